#!/usr/bin/env bash
# Makes base images from Debian's packages alone, for hosts that reach a Debian mirror and no image registry.
# Needs root, mmdebstrap and buildah; for the Rust image also a Rust toolchain on this host, which goes into it.
#
#   deploy/image/base-image.sh           localhost/python:3.13-slim-trixie
#   deploy/image/base-image.sh rust      localhost/rust:slim-trixie
#   PYTHON_IMAGE=localhost/python:3.13-slim-trixie RUST_IMAGE=localhost/rust:slim-trixie deploy/image/build-and-run.sh
#
# Environment, all optional:
#   BASE_IMAGE   the image's name
#   SUITE        Debian's release; default trixie, whose Python is 3.13
set -euo pipefail

suite=${SUITE:-trixie}
directory=$(mktemp --directory)
trap 'rm --recursive --force "$directory"' EXIT

# Interpreter and toolchain are where the official images have them.
case "${1:-python}" in
    python)
        name=${BASE_IMAGE:-localhost/python:3.13-slim-trixie}
        packages=ca-certificates,python3,python3-venv
        cat > "$directory/Dockerfile" << 'END'
FROM scratch
ADD root.tar /
RUN ln --symbolic --force /usr/bin/python3 /usr/local/bin/python3
END
        ;;
    rust)
        name=${BASE_IMAGE:-localhost/rust:slim-trixie}
        packages=ca-certificates,gcc,libc6-dev
        # Debian's own Rust is older than native/Cargo.toml asks for.
        tar --create --file "$directory/rust.tar" --directory "$(rustc --print sysroot)" bin lib
        cat > "$directory/Dockerfile" << 'END'
FROM scratch
ADD root.tar /
ADD rust.tar /usr/local/rustup
ENV CARGO_HOME=/usr/local/cargo PATH=/usr/local/rustup/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
END
        ;;
    *)
        echo "$1: choose python or rust" >&2
        exit 2
        ;;
esac

mmdebstrap --variant=minbase --include="$packages" "$suite" "$directory/root.tar"
buildah bud --isolation chroot --storage-driver vfs --tag "$name" "$directory"
echo "$name"
