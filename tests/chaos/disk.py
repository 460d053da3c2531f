"""A spool folder that is full now and then: a small file system in memory, filled and emptied."""

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SIZE = "24m"
LEFT_BYTES = 12 * 1024
"""So much is left when it is full: enough for Python to find out that the folder takes files, which it otherwise leaves
for another one, and too little for what a conversion writes."""


class SmallDisk:
    """A folder with little space."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self) -> None:
        """Hardly anything more can be written."""
        with self._filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"\0" * 65536)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
            file.truncate(max(0, file.tell() - LEFT_BYTES))

    def empty(self) -> None:
        """There is space again."""
        self._filler.unlink(missing_ok=True)


@contextmanager
def small_disk(folder: Path) -> Iterator[SmallDisk | None]:
    """Mounted at `folder`; None where this process may not mount."""
    folder.mkdir()
    options = f"size={SIZE},mode=1777"
    if not _as_root("mount", "-t", "tmpfs", "-o", options, "headsaw-chaos", str(folder)):
        yield None
        return
    try:
        yield SmallDisk(folder)
    finally:
        _as_root("umount", "--lazy", str(folder))


def _as_root(*command: str) -> bool:
    """Whether the command succeeded, with sudo where this user isn't root."""
    if os.geteuid() != 0:
        command = ("sudo", "-n", *command)
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False
