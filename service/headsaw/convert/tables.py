"""Rows by partition → Parquet files: buffers, row groups by bytes, rollover by file size, all in bounded memory.

A file begins with many rows at once, since its columns are fixed from then on; what follows goes in piece by piece.
While few partitions are busy, rows go from their buffers straight into open files. With many, the buffers that don't
make a decent row group are spilled to local disk, and written in one go at the end, one file at a time: so neither
memory nor the number of files grows with the number of partitions.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from typing import ParamSpec

import pyarrow as pa

from headsaw.convert.background import Background
from headsaw.convert.layout import Layout
from headsaw.convert.parquet import FileContext, ParquetFile
from headsaw.convert.spill import Spill, Spilled
from headsaw.core.conversion import Output, OutputFile, OutputKind, Outputs
from headsaw.core.table_schema import TableSchema

P = ParamSpec("P")

OPEN_FILES_MAX = 8
"""Files that have begun and aren't closed; each may hold an upload part in the caller's memory."""

DECENT = 8
"""When memory is short, a buffer of at least one in this many of a full row group begins a file and isn't spilled."""

BEGIN_BYTES = 32 * 1024**2
"""A file begins with rows that take so much memory, for from then on its columns are fixed."""

PIECE_BYTES = 4 * 1024**2
"""Rows go into an open file once they take so much memory."""

COLUMN_BYTES = 1024
"""What a column of a batch takes beyond its values: with many partitions, batches are small and this is most of it."""


@dataclass(slots=True)
class _Partition:
    """One directory's rows that no file has yet, and its open file."""

    directory: str
    spilled: list[Spilled] = field(default_factory=list)
    pending: list[tuple[TableSchema, pa.RecordBatch]] = field(default_factory=list)
    size: int = 0
    """Bytes that the pending rows take."""
    file: ParquetFile | None = None
    held: int = 0
    """Bytes that the file's open row group takes."""


class Tables:
    """Writes all partitions of a conversion. `memory_bytes` bounds what buffers and open row groups take."""

    def __init__(
        self, outputs: Outputs, context: FileContext, layout: Layout, memory_bytes: int, background: Background
    ) -> None:
        self._background = background
        self._writing: tuple[_Partition, Future[None]] | None = None
        self._outputs = outputs
        self._context = context
        self._layout = layout
        self._memory_bytes = memory_bytes
        self._partitions: dict[str, _Partition] = {}
        self._spill = Spill()
        self._buffered = 0
        self._closed: list[OutputFile] = []
        self._opened: list[Output] = []
        self.early = 0
        """Files that were closed before they were full because the schema had grown."""

    @property
    def full_files(self) -> int:
        """Files closed for their size."""
        return len(self._closed) - self.early

    @property
    def begun(self) -> int:
        """Open files, whose schema is fixed."""
        return sum(partition.file is not None for partition in self._partitions.values())

    def append(self, directory: str, schema: TableSchema, rows: pa.RecordBatch) -> None:
        """The rows, typed with an accepted schema, are buffered, spilled or written."""
        partition = self._partitions.setdefault(directory, _Partition(directory))
        size = rows.nbytes + COLUMN_BYTES * rows.num_columns
        partition.pending.append((schema, rows))
        partition.size += size
        self._buffered += size
        enough = BEGIN_BYTES if partition.file is None else PIECE_BYTES
        if partition.size >= min(enough, self._context.row_group_bytes):
            self._relieve(partition)
        while self._buffered + self._held > self._memory_bytes:
            if self._held > self._buffered:
                self._end_row_group(max(self._partitions.values(), key=lambda item: item.held))
            else:
                self._relieve(max(self._partitions.values(), key=lambda item: item.size))

    @property
    def _held(self) -> int:
        return sum(partition.held for partition in self._partitions.values())

    def wait(self) -> None:
        """The rows that were being written are; their file is closed if it is full."""
        if self._writing is None:
            return
        (partition, written), self._writing = self._writing, None
        written.result()
        if partition.file is not None:
            partition.held = partition.file.held
            if partition.file.bytes + partition.held >= self._context.settings.parquet.file_bytes:
                self._finish(partition)

    def close(self) -> list[OutputFile]:
        """All rows are in closed files."""
        for partition in self._partitions.values():
            if partition.spilled and partition.file is None:
                continue
            self._write(partition)
            self._finish(partition)
        for partition in self._partitions.values():
            self._write(partition)
            self._finish(partition)
        self._spill.close()
        return self._closed

    def abort(self) -> None:
        """Nothing of any file will be seen."""
        if self._writing is not None:
            wait([self._writing[1]])
        for output in self._opened:
            output.abort()
        self._spill.close()

    def _relieve(self, partition: _Partition) -> None:
        """The partition's rows are out of memory, or on their way: in its file if that may be open, else on disk."""
        self.wait()
        decent = partition.size * DECENT >= self._context.row_group_bytes
        may_begin = decent and not partition.spilled and self.begun < OPEN_FILES_MAX
        if partition.file is not None or may_begin:
            self._write(partition)
            return
        groups: dict[TableSchema, list[pa.RecordBatch]] = {}
        for schema, rows in partition.pending:
            groups.setdefault(schema, []).append(rows)
        for schema, batches in groups.items():
            whole = pa.concat_batches(batches)
            partition.spilled.append(self._spill.put(schema, whole))
        self._forget(partition)

    def _end_row_group(self, partition: _Partition) -> None:
        self.wait()
        if partition.file is not None:
            self._submit(partition, partition.file.end_row_group)
        self.wait()

    def _submit(self, partition: _Partition, call: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        self._writing = (partition, self._background.submit(call, *args, **kwargs))

    def _forget(self, partition: _Partition) -> None:
        self._buffered -= partition.size
        partition.pending, partition.size = [], 0

    def _write(self, partition: _Partition) -> None:
        """All rows of the partition are in files, a row group at a time."""
        group: list[tuple[TableSchema, pa.RecordBatch]] = []
        size = 0
        for schema, rows in self._rows(partition):
            group.append((schema, rows))
            size += rows.nbytes
            if size >= self._context.row_group_bytes:
                self._write_group(partition, group)
                group, size = [], 0
        if group:
            self._write_group(partition, group)
        self._forget(partition)

    def _rows(self, partition: _Partition) -> Iterator[tuple[TableSchema, pa.RecordBatch]]:
        spilled, partition.spilled = partition.spilled, []
        for item in spilled:
            yield item.schema, self._spill.get(item)
        yield from partition.pending

    def _write_group(self, partition: _Partition, group: list[tuple[TableSchema, pa.RecordBatch]]) -> None:
        self.wait()
        schema = max((schema for schema, _ in group), key=lambda item: item.version)
        if partition.file is not None and schema.version > partition.file.schema.version:
            self.early += 1
            self._finish(partition)
        if partition.file is None:
            output = self._outputs.open(OutputKind.TABLE, partition.directory)
            self._opened.append(output)
            partition.file = ParquetFile(output, partition.directory, schema, self._layout, self._context)
        target = self._layout.batch_schema(partition.file.schema)
        table = pa.Table.from_batches([conform(rows, target) for _, rows in group], target)
        self._submit(partition, partition.file.write, table)

    def _finish(self, partition: _Partition) -> None:
        self.wait()
        if partition.file is not None:
            self._closed.append(partition.file.close())
            partition.file, partition.held = None, 0


def conform(rows: pa.RecordBatch, target: pa.Schema) -> pa.RecordBatch:
    """The rows in the target's schema, which extends theirs: what they lack is null."""
    if rows.schema.equals(target):
        return rows
    columns = []
    for wanted in target:
        at = rows.schema.get_field_index(wanted.name)
        columns.append(pa.nulls(rows.num_rows, wanted.type) if at < 0 else rows.column(at).cast(wanted.type))
    return pa.RecordBatch.from_arrays(columns, schema=target)
