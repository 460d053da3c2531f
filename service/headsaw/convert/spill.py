"""Rows that fit neither memory nor an open file: kept in one temporary file on local disk until their turn comes."""

import errno
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from typing import IO

import pyarrow as pa

from headsaw.core.table_schema import TableSchema


@dataclass(frozen=True, slots=True)
class Spilled:
    """Where one batch lies in the spill file."""

    schema: TableSchema
    offset: int
    length: int


class Spill:
    """An append-only file that vanishes with the process; it is created with the first batch."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._file: IO[bytes] | None = None
        self._options = pa.ipc.IpcWriteOptions(compression="lz4")
        self.bytes = 0
        """On disk."""

    def put(self, schema: TableSchema, rows: pa.RecordBatch) -> Spilled:
        """The batch is on disk."""
        if self._file is None:
            self._file = self._stack.enter_context(_temporary_file())
        buffer = pa.BufferOutputStream()
        with pa.ipc.new_stream(buffer, rows.schema, options=self._options) as stream:
            stream.write_batch(rows)
        data = buffer.getvalue()
        self._file.seek(self.bytes)
        self._file.write(data)
        spilled = Spilled(schema, self.bytes, data.size)
        self.bytes += data.size
        return spilled

    def get(self, spilled: Spilled) -> pa.RecordBatch:
        """The batch, read back."""
        if self._file is None:
            raise ValueError("nothing was spilled")
        self._file.seek(spilled.offset)
        with pa.ipc.open_stream(self._file.read(spilled.length)) as stream:
            return stream.read_next_batch()

    def close(self) -> None:
        """The space is free."""
        self._stack.close()
        self._file = None


def _temporary_file() -> IO[bytes]:
    """Raises OSError with ENOSPC where no folder takes a file: tempfile's own "not found" would look like bad data."""
    try:
        return tempfile.TemporaryFile(prefix="headsaw-")
    except FileNotFoundError as nowhere:
        raise OSError(errno.ENOSPC, "no temporary folder can be written to") from nowhere
