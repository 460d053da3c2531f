#!/usr/bin/env bash
# Makes a base image from Debian's packages alone, for hosts that reach a Debian mirror and no image registry.
# Needs root, mmdebstrap and buildah.
#
#   deploy/image/base-image.sh
#   PYTHON_IMAGE=localhost/python:3.13-slim-trixie deploy/image/build-and-run.sh
#
# Environment, all optional:
#   BASE_IMAGE   the image's name; default localhost/python:3.13-slim-trixie
#   SUITE        Debian's release; default trixie, whose Python is 3.13
set -euo pipefail

name=${BASE_IMAGE:-localhost/python:3.13-slim-trixie}
suite=${SUITE:-trixie}
directory=$(mktemp --directory)
trap 'rm --recursive --force "$directory"' EXIT

mmdebstrap --variant=minbase --include=ca-certificates,python3,python3-venv "$suite" "$directory/root.tar"
# Where the official images have it: both then agree on the interpreter's path.
cat > "$directory/Dockerfile" << 'END'
FROM scratch
ADD root.tar /
RUN ln --symbolic --force /usr/bin/python3 /usr/local/bin/python3
END
buildah bud --isolation chroot --storage-driver vfs --tag "$name" "$directory"
echo "$name"
