"""Runs the image as the cluster does and checks what it promises. Exit status 1 if a promise is broken.

    python deploy/image/check.py IMAGE [--run-args "…"] -- docker
    python deploy/image/check.py IMAGE -- podman --storage-driver vfs

What follows `--` is the engine's command line up to its subcommand.
"""
# ruff: noqa: INP001, S108, S603 - a script beside others, about a container's /tmp, that runs the engine it is told to

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
HARDENED = ("--read-only", "--tmpfs", "/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=host")


class Image:
    """The image under an engine, with every run hardened as the Deployment is."""

    def __init__(self, name: str, engine: list[str], run_args: list[str]) -> None:
        self.name = name
        self.engine = engine
        self.run_args = run_args

    def command(self, *arguments: str, options: tuple[str, ...] = ()) -> list[str]:
        """The command line that runs the image with those arguments."""
        return [*self.engine, "run", "--rm", *HARDENED, *self.run_args, *options, self.name, *arguments]

    def output(self, *arguments: str, options: tuple[str, ...] = (), text: str | None = None) -> str:
        """What the container prints; its failure is ours."""
        command = self.command(*arguments, options=options)
        return subprocess.run(command, input=text, stdout=subprocess.PIPE, text=True, check=True).stdout


class Report:
    """Each check as a line; broken ones are counted."""

    def __init__(self) -> None:
        self.broken = 0

    def expect(self, promise: str, found: object, wanted: object) -> None:
        """Prints the promise and what was found."""
        kept = found == wanted
        self.broken += not kept
        sys.stdout.write(f"{'ok    ' if kept else 'BROKEN'}  {promise}: {found}{'' if kept else f', not {wanted}'}\n")


def check_inside(image: Image, report: Report) -> None:
    """The process's rights, and what there is to find in the file system."""
    probe = (HERE / "inside.py").read_text()
    found = json.loads(image.output("-", options=("--interactive", "--entrypoint", "python"), text=probe))
    report.expect("runs as user", found["user"], "10001:10001")
    report.expect("capabilities", found["capabilities"], 0)
    report.expect("can gain no privileges", found["no_new_privileges"], "1")
    report.expect("system calls are filtered (2 = by a seccomp filter)", found["seccomp"], "2")
    report.expect("writable directories", found["writable"], ["/tmp"])
    report.expect("compiled in advance", found["compiled"], True)
    # As root, who may look everywhere.
    options = ("--interactive", "--user", "0:0", "--entrypoint", "python")
    found = json.loads(image.output("-", options=options, text=probe))
    report.expect("installers, compilers, downloaders", found["tools"], [])
    report.expect("directories of the build", found["build_directories"], [])


def check_commands(image: Image, report: Report) -> None:
    """The entry point is the command line."""
    text = image.output("--help")
    sys.stdout.write(text)
    report.expect("headsaw --help names the service's command", " run " in text, True)


def main() -> int:
    """Every check, then the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image")
    parser.add_argument("--run-args", default="", help="more arguments of each run, in one string")
    parser.add_argument("engine", nargs="+", help="the engine's command line, after --")
    arguments = parser.parse_args()
    image = Image(arguments.image, arguments.engine, shlex.split(arguments.run_args))
    report = Report()
    check_inside(image, report)
    check_commands(image, report)
    sys.stdout.write(f"{report.broken} broken\n")
    return 1 if report.broken else 0


if __name__ == "__main__":
    sys.exit(main())
