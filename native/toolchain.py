"""Exit status 0 where cargo can build the native parser; else 1, and one line says why not and what to do.

Standard library only: it runs before anything is installed.
"""
# ruff: noqa: INP001, S607, T201 - a script; cargo is the one in PATH

import subprocess
import sys
import tomllib
from pathlib import Path

MANIFEST = Path(__file__).with_name("Cargo.toml")


def version(text: str) -> tuple[int, ...]:
    """`1.88.0-nightly` as (1, 88, 0), to be compared."""
    return tuple(int(part) for part in text.partition("-")[0].split("."))


def obstacle(needed: str) -> str:
    """Why the native parser can't be built; nothing where it can."""
    try:
        shown = subprocess.run(["cargo", "--version"], capture_output=True, text=True, check=True).stdout
    except FileNotFoundError:
        return "cargo not found"
    except (OSError, subprocess.CalledProcessError):
        return "`cargo --version` fails"
    found = shown.split()[1]
    return f"cargo is {found}" if version(found) < version(needed) else ""


def main() -> int:
    """The check."""
    needed = tomllib.loads(MANIFEST.read_text())["package"]["rust-version"]
    reason = obstacle(needed)
    if reason:
        print(
            f"{reason}: the reference parser will be used (slower); install Rust {needed}+ to build the native one",
            file=sys.stderr,
        )
    return 1 if reason else 0


if __name__ == "__main__":
    sys.exit(main())
