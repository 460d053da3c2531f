#!/bin/sh
# Cargo.lock and locked.toml say the same of every crate: its version, its checksum and what it depends on. Only locked.toml
# is committed: it leaves out the registry's address, which cargo itself knows.
#
#   native/lock.sh restore   make Cargo.lock from locked.toml; cargo's --locked then builds these crates or none
#   native/lock.sh update    let cargo choose the newest crates that Cargo.toml allows, and write locked.toml
set -eu
cd "$(dirname "$0")"
case "${1:-}" in
    restore)
        # An empty one would do, but only cargo knows how it writes the address.
        [ -e Cargo.lock ] || cargo generate-lockfile --quiet
        source=$(grep -m 1 '^source = ' Cargo.lock)
        awk -v source="$source" '/^checksum = / { print source } { print }' locked.toml > Cargo.lock.new
        if cmp -s Cargo.lock.new Cargo.lock; then rm Cargo.lock.new; else mv Cargo.lock.new Cargo.lock; fi
        ;;
    update)
        cargo update --quiet
        grep -v '^source = ' Cargo.lock > locked.toml
        ;;
    *)
        sed -n '2,/^set /{/^#/s/^# \{0,1\}//p;}' "$0" >&2
        exit 2
        ;;
esac
