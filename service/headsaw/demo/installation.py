"""The emulator's own environment: made once from a hashed lock, and never taken for complete when it is half-made.

The emulator pins its own botocore, so it can't share headsaw's environment. The marker, which names the lock, is
written last.
"""

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

from headsaw.errors import UsageError

Progress = Callable[[str], None]
"""Told in one line what is being done; it may take seconds."""

_LOCK_NAME = "ministack-requirements.txt"
_MARKER = "headsaw-complete"
_TAIL_LINES = 12
_REMEDY = "check that the package index can be reached, or use an emulator of your own with --endpoint-url"


def quiet(_: str) -> None:
    """Tells nobody."""


def lock_text() -> str:
    """The hashed requirements that the environment is made of."""
    return (files("headsaw.demo") / _LOCK_NAME).read_text(encoding="utf-8")


def lock_hash() -> str:
    """Names the environment's content: the lock and the interpreter that it is made for."""
    return hashlib.sha256(f"{lock_text()}\n{sys.version}\n{sys.base_prefix}".encode()).hexdigest()


def default_directory() -> Path:
    """Inside headsaw's own environment where that can be written, else in the user's cache."""
    prefix = Path(sys.prefix)
    if sys.prefix != sys.base_prefix and os.access(prefix, os.W_OK):
        return prefix / "emulator"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "headsaw" / f"ministack-{lock_hash()[:12]}"


class Installation:
    """The environment in `directory` (by default `default_directory()`)."""

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory or default_directory()

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        return self.directory / "bin" / "python"

    @property
    def complete(self) -> bool:
        """Everything of the present lock is installed."""
        marker = self.directory / _MARKER
        return marker.is_file() and marker.read_text() == lock_hash() and self.python.exists()

    def ensure(self, progress: Progress = quiet) -> None:
        """The environment is complete: made now if it wasn't, by one process at a time. Raises UsageError."""
        if self.complete:
            return
        try:
            with self._alone():
                if not self.complete:
                    self._make(progress)
        except OSError as error:
            raise UsageError(
                f"can't write the emulator's environment at {self.directory}: {error} "
                "(run `make setup`, or point XDG_CACHE_HOME at a writable directory)"
            ) from error

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.directory.parent.mkdir(parents=True, exist_ok=True)
        with self.directory.with_name(f"{self.directory.name}.lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def _make(self, progress: Progress) -> None:
        progress(f"making an environment for the local AWS emulator in {self.directory}")
        if self.directory.exists():
            shutil.rmtree(self.directory)
        _run([sys.executable, "-m", "venv", "--without-pip", str(self.directory)], "make")
        lock = self.directory / _LOCK_NAME
        lock.write_text(lock_text(), encoding="utf-8")
        progress("installing the local AWS emulator (once; it takes some seconds)")
        _run(
            [*self._pip(), "install", "--quiet", "--require-hashes", "--requirement", str(lock)], "install packages in"
        )
        marker = self.directory / f"{_MARKER}.part"
        marker.write_text(lock_hash())
        marker.replace(self.directory / _MARKER)
        progress("the local AWS emulator is installed")

    def _pip(self) -> list[str]:
        """A pip that installs into the environment: ours, the base interpreter's, or its own."""
        common = ["--python", str(self.python), "--disable-pip-version-check", "--no-input"]
        for interpreter in _interpreters_with_pip():
            command = [interpreter, "-m", "pip", *common]
            if subprocess.run([*command, "--version"], capture_output=True, check=False).returncode == 0:  # noqa: S603 - fixed arguments
                return command
        _run([str(self.python), "-m", "ensurepip"], "put pip in")
        return [str(self.python), "-m", "pip", *common[2:]]


def _interpreters_with_pip() -> Iterator[str]:
    """Candidates, nearest first; an old pip that doesn't know --python is told apart by running it."""
    if importlib.util.find_spec("pip") is not None:
        yield sys.executable
    base = getattr(sys, "_base_executable", None)
    if base and base != sys.executable:
        yield base


def _run(command: Sequence[str], what: str) -> None:
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)  # noqa: S603 - fixed arguments
    if result.returncode != 0:
        tail = "\n".join(result.stdout.splitlines()[-_TAIL_LINES:])
        raise UsageError(f"can't {what} the emulator's environment ({_REMEDY}); the last lines were:\n{tail}")
