#!/usr/bin/env bash
# Builds the service's image, then runs it the way the cluster does and checks what it promises (check.py).
#
#   deploy/image/build-and-run.sh            build and check
#   deploy/image/build-and-run.sh build      build only
#   deploy/image/build-and-run.sh check      check the image that is there
#
# Environment, all optional:
#   IMAGE             the image's name; default localhost/headsaw:dev
#   ENGINE            docker, podman, or isolated: buildah and podman as root where neither a daemon runs nor control
#                     groups (version 2) are mounted, such as inside a virtual machine's or a CI job's own container.
#                     Default: the first of them that works
#   PYTHON_IMAGE      the base image; default the Dockerfile's. base-image.sh makes one where no registry is in reach
#   RUST_IMAGE        the image that builds the native parser, likewise
#   EXTRA_BUILD_ARGS  more arguments of the build, such as "--volume /path/ca.crt:/etc/ssl/certs/ca-certificates.crt:ro"
#   EXTRA_RUN_ARGS    more arguments of each run
#   PYTHON            an interpreter with headsaw and its development dependencies; default .venv/bin/python
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

image=${IMAGE:-localhost/headsaw:dev}
python=${PYTHON:-.venv/bin/python}
read -r -a build_args <<< "${EXTRA_BUILD_ARGS:-}"
read -r -a run_args <<< "${EXTRA_RUN_ARGS:-}"
if [[ -n "${PYTHON_IMAGE:-}" ]]; then
    build_args+=(--build-arg "PYTHON_IMAGE=$PYTHON_IMAGE")
fi
if [[ -n "${RUST_IMAGE:-}" ]]; then
    build_args+=(--build-arg "RUST_IMAGE=$RUST_IMAGE")
fi

has() { command -v "$1" > /dev/null 2>&1; }

detect_engine() {
    local cgroups
    cgroups=$(stat --file-system --format %T /sys/fs/cgroup 2> /dev/null || true)
    if has docker && docker info > /dev/null 2>&1; then
        echo docker
    elif [[ "$cgroups" == cgroup2fs ]] && has podman && podman info > /dev/null 2>&1; then
        echo podman
    elif [[ "$(id --user)" == 0 ]] && has buildah && has podman && has crun; then
        echo isolated
    else
        echo "no engine: start docker, install podman, or, as root, install buildah, podman and crun" >&2
        return 2
    fi
}

engine=${ENGINE:-$(detect_engine)}
storage=(--storage-driver vfs)
case "$engine" in
    docker)
        builder=(docker build)
        runner=(docker)
        ;;
    podman)
        builder=(podman build)
        runner=(podman)
        run_args+=(--read-only-tmpfs=false)
        ;;
    isolated)
        builder=(buildah bud --isolation chroot "${storage[@]}")
        runner=(unshare --mount --propagation private deploy/image/with-own-cgroups.sh
            podman "${storage[@]}" --cgroup-manager cgroupfs --runtime crun)
        run_args+=(--cgroups=disabled --ulimit nofile=4096:4096 --ulimit nproc=4096:4096 --read-only-tmpfs=false)
        ;;
    *)
        echo "ENGINE=$engine: choose docker, podman or isolated" >&2
        exit 2
        ;;
esac

build() {
    DOCKER_BUILDKIT=1 "${builder[@]}" "${build_args[@]}" --tag "$image" .
    "${runner[@]}" images "$image"
}

check() {
    "$python" deploy/image/check.py "$image" --run-args "${run_args[*]}" -- "${runner[@]}"
}

echo "engine: $engine"
case "${1:-all}" in
    build) build ;;
    check) check ;;
    all)
        build
        check
        ;;
    *)
        sed --quiet '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
        exit 2
        ;;
esac
