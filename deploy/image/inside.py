"""Runs inside a container of the image: prints what it finds there as one JSON object. Standard library only."""
# ruff: noqa: INP001, PTH110, S108 - a script, about the container's own directories (Path.exists raises where it may not look)

import importlib.util
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

TOOLS = ("pip", "pip3", "uv", "gcc", "cc", "g++", "ld", "make", "cargo", "rustc", "git", "curl", "wget")
BUILD_DIRECTORIES = ("/root/.cache", "/wheels", "/stage", "/src", "/opt/build")


def writable(directory: str) -> bool:
    """A file can be made there."""
    try:
        with tempfile.TemporaryFile(dir=directory):
            return True
    except OSError:
        return False


def compiled(package: str) -> bool:
    """The package's code needn't be compiled at each start."""
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.cached is not None and Path(spec.cached).exists()


status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
found = {
    "user": f"{os.getuid()}:{os.getgid()}",
    "python": sys.version.split()[0],
    "capabilities": sum(int(status[name], 16) for name in ("CapPrm", "CapEff", "CapBnd", "CapInh", "CapAmb")),
    "no_new_privileges": status["NoNewPrivs"],
    "seccomp": status["Seccomp"],
    "writable": [path for path in ("/", "/etc", "/opt/headsaw", "/var/tmp", "/tmp") if writable(path)],
    "tools": [name for name in TOOLS if shutil.which(name)] + ["pip"] * (importlib.util.find_spec("pip") is not None),
    "build_directories": [path for path in BUILD_DIRECTORIES if os.path.exists(path)],
    "compiled": compiled("headsaw") and compiled("pydantic"),
}
json.dump(found, sys.stdout)
