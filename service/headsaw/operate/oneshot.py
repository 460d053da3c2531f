"""Conversion of files on this machine: sources from disk, outputs that nobody sees until all of them are whole.

Outputs are written into a hidden staging directory beside their destination and renamed into place at the end, so a
conversion that fails, or is stopped, leaves nothing behind.
"""

import os
import shutil
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from headsaw.core.conversion import OutputKind, RejectReason
from headsaw.core.table_schema import TableSchema
from headsaw.errors import HeadsawError, SourceUnreadable, UsageError

READ_BYTES = 1024**2
QUARANTINE = "_quarantine"
SUFFIX = {OutputKind.TABLE: ".parquet", OutputKind.QUARANTINE: ".ndjson.zst"}


class Stopped(HeadsawError):  # noqa: N818 - what happened
    """Somebody asked the conversion to stop."""


class WriteFailed(HeadsawError):  # noqa: N818 - what happened
    """An output can't be written: the disk is full, or gone."""


@dataclass(slots=True)
class Watch:
    """Counts stored bytes as they are read, and stops the reading when told to."""

    told: Callable[[int], None]
    stopping: threading.Event = field(default_factory=threading.Event)

    def read(self, size: int) -> None:
        """So many bytes more. Raises Stopped."""
        if self.stopping.is_set():
            raise Stopped("stopped")
        self.told(size)


@dataclass(frozen=True, slots=True)
class LocalFile:
    """`core.conversion.SourceStream` over a file."""

    path: Path
    watch: Watch

    @property
    def name(self) -> str:
        """The path as it was given."""
        return str(self.path)

    @property
    def key(self) -> str:
        """The path, for partition regexes."""
        return self.path.as_posix()

    def chunks(self) -> Iterator[bytes]:
        """The file's bytes."""
        try:
            with self.path.open("rb") as stream:
                while chunk := stream.read(READ_BYTES):
                    self.watch.read(len(chunk))
                    yield chunk
        except FileNotFoundError:
            raise SourceUnreadable(RejectReason.MISSING) from None
        except PermissionError:
            raise SourceUnreadable(RejectReason.ACCESS_DENIED) from None


class LocalOutput:
    """`core.conversion.Output` as a file in the staging directory. `name` is where it will stand."""

    def __init__(self, staged: Path, target: Path) -> None:
        self.staged = staged
        self.target = target
        with _writing(target):
            self._file: BinaryIO = staged.open("wb")

    @property
    def name(self) -> str:
        """The final path."""
        return str(self.target)

    def write(self, data: bytes) -> None:
        """Written, perhaps not flushed."""
        with _writing(self.target):
            self._file.write(data)

    def close(self) -> None:
        """Every byte is in the staged file."""
        with _writing(self.target):
            self._file.close()

    def abort(self) -> None:
        """The staged file is gone."""
        self._file.close()
        self.staged.unlink(missing_ok=True)


class LocalOutputs:
    """`core.conversion.Outputs` under a directory. `stem` makes names unique among conversions.

    Raises UsageError for a directory that can't be written to.
    """

    def __init__(self, directory: Path, stem: str) -> None:
        self._directory = directory
        self._stem = stem
        self._staging = directory / f".headsaw-{stem}"
        self._new = not directory.exists()
        self._opened: dict[str, LocalOutput] = {}
        try:
            self._staging.mkdir(parents=True)
        except OSError as error:
            raise UsageError(f"{directory}: it can't be written to: {error.strerror}; choose another place") from None

    def open(self, kind: OutputKind, partition: str) -> LocalOutput:
        """A new staged output."""
        number = len(self._opened)
        place = self._directory / partition if kind is OutputKind.TABLE else self._directory / QUARANTINE / partition
        output = LocalOutput(self._staging / str(number), place / f"{self._stem}-{number}{SUFFIX[kind]}")
        self._opened[output.name] = output
        return output

    def publish(self, names: Collection[str]) -> None:
        """These outputs stand in their places, all others are gone."""
        for name in names:
            output = self._opened[name]
            with _writing(output.target):
                output.target.parent.mkdir(parents=True, exist_ok=True)
                output.staged.replace(output.target)
        self._clear()

    def discard(self) -> None:
        """Nothing was ever written here."""
        for output in self._opened.values():
            output.abort()
        self._clear()

    def _clear(self) -> None:
        shutil.rmtree(self._staging, ignore_errors=True)
        if self._new and self._directory.exists() and not any(self._directory.iterdir()):
            self._directory.rmdir()


class _writing:  # noqa: N801 - reads as a verb
    """Operating system errors inside name what couldn't be written."""

    def __init__(self, target: Path) -> None:
        self._target = target

    def __enter__(self) -> None:
        """Nothing yet."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise WriteFailed(f"{self._target.parent}: can't be written to: {error.strerror or error}") from None


class SchemaInMemory:
    """`core.conversion.SchemaBook` of one conversion: there is nobody to agree with."""

    def __init__(self) -> None:
        self._head = TableSchema()

    def head(self) -> TableSchema:
        """What was proposed last."""
        return self._head

    def propose(self, schema: TableSchema) -> TableSchema:
        """Accepted."""
        self._head = schema
        return schema


def local_files(paths: Sequence[Path], leave_out: Path | None) -> list[Path]:
    """Every file that the paths name, directories with all that is in them but hidden files and `leave_out`.

    Raises UsageError for a path that isn't there or is no regular file, and for a directory without files.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if leave_out is not None and path.exists() and path.resolve().is_relative_to(leave_out.resolve()):
            raise UsageError(f"{path}: the source is, or lies in, the destination; write to another directory")
        if path.is_dir():
            found.update(dict.fromkeys(_inside(path, leave_out)))
        elif path.is_file():
            found[path] = None
        elif path.exists():
            raise UsageError(f"{path}: no regular file (a pipe or device can't be read twice); save it to a file first")
        elif str(path) == "-":
            raise UsageError("-: standard input can't be converted; save it to a file first")
        else:
            raise UsageError(f"{path}: there is no such file or directory; check the path")
    return list(found)


def _inside(directory: Path, leave_out: Path | None) -> list[Path]:
    def refuse(error: OSError) -> None:
        raise UsageError(f"{error.filename}: it can't be listed: {error.strerror}; see its permissions")

    files = [Path(at) / name for at, _, names in os.walk(directory, onerror=refuse) for name in names]
    wanted = sorted(file for file in files if _counts(file, directory, leave_out))
    if not wanted:
        raise UsageError(f"{directory}: no files in this directory; name files, or another directory")
    return wanted


def _counts(file: Path, root: Path, leave_out: Path | None) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(root).parts)
    inside_output = leave_out is not None and file.resolve().is_relative_to(leave_out.resolve())
    return file.is_file() and not hidden and not inside_output
