#!/usr/bin/env bash
# Runs a command under a clean cgroup2 mount. Meant for a private mount namespace: the host's own mounts stay as they are.
#   unshare --mount --propagation private deploy/image/with-own-cgroups.sh COMMAND…
set -euo pipefail
umount --lazy --recursive /sys/fs/cgroup 2> /dev/null || true
mount -t cgroup2 none /sys/fs/cgroup
exec "$@"
