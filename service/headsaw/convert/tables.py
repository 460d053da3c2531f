"""Rows by partition → Parquet files: buffers, row groups by bytes, rollover by file size, all in bounded memory."""

from dataclasses import dataclass, field

import pyarrow as pa

from headsaw.convert.arrow_types import table_fields
from headsaw.convert.parquet import FileContext, ParquetFile
from headsaw.core.conversion import Output, OutputFile, OutputKind, Outputs
from headsaw.core.table_schema import SOURCE_FILE, SOURCE_LINE, TableSchema

OPEN_FILES_MAX = 16
"""Files that have begun and aren't closed; each may hold an upload part in the caller's memory."""

HIDDEN = (pa.field(SOURCE_FILE, pa.int32()), pa.field(SOURCE_LINE, pa.int64()))
"""Every batch's last columns, whether or not lineage is written."""


@dataclass(slots=True)
class _Partition:
    """One directory's rows that no file has yet, and its open file."""

    directory: str
    pending: list[tuple[TableSchema, pa.RecordBatch]] = field(default_factory=list)
    bytes: int = 0
    file: ParquetFile | None = None


class Tables:
    """Writes all partitions of a conversion. `memory_bytes` bounds the rows that are buffered."""

    def __init__(self, outputs: Outputs, context: FileContext, memory_bytes: int) -> None:
        self._outputs = outputs
        self._context = context
        self._memory_bytes = memory_bytes
        self._row_group_bytes = min(context.settings.parquet.row_group_bytes, memory_bytes)
        self._partitions: dict[str, _Partition] = {}
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
        """The rows, typed with an accepted schema, are buffered or written."""
        partition = self._partitions.setdefault(directory, _Partition(directory))
        size = rows.nbytes
        partition.pending.append((schema, rows))
        partition.bytes += size
        self._buffered += size
        if partition.bytes >= self._row_group_bytes:
            self._flush(partition)
        while self._buffered > self._memory_bytes:
            self._flush(max(self._partitions.values(), key=lambda item: item.bytes))

    def close(self) -> list[OutputFile]:
        """All rows are in closed files."""
        for partition in self._partitions.values():
            self._flush(partition)
            self._finish(partition)
        return self._closed

    def abort(self) -> None:
        """Nothing of any file will be seen."""
        for output in self._opened:
            output.abort()

    def _flush(self, partition: _Partition) -> None:
        if not partition.pending:
            return
        schema = max((schema for schema, _ in partition.pending), key=lambda item: item.version)
        if partition.file is not None and schema.version > partition.file.schema.version:
            self.early += 1
            self._finish(partition)
        if partition.file is None:
            self._make_room()
            output = self._outputs.open(OutputKind.TABLE, partition.directory)
            self._opened.append(output)
            partition.file = ParquetFile(output, partition.directory, schema, self._context)
        target = pa.schema([*table_fields(partition.file.schema), *HIDDEN])
        table = pa.Table.from_batches([conform(rows, target) for _, rows in partition.pending], target)
        self._buffered -= partition.bytes
        partition.pending, partition.bytes = [], 0
        partition.file.write(table)
        if partition.file.bytes >= self._context.settings.parquet.file_bytes:
            self._finish(partition)

    def _make_room(self) -> None:
        open_ = [partition for partition in self._partitions.values() if partition.file is not None]
        if len(open_) >= OPEN_FILES_MAX:
            self._finish(max(open_, key=lambda item: item.file.bytes if item.file else 0))

    def _finish(self, partition: _Partition) -> None:
        if partition.file is not None:
            self._closed.append(partition.file.close())
            partition.file = None


def conform(rows: pa.RecordBatch, target: pa.Schema) -> pa.RecordBatch:
    """The rows in the target's schema, which extends theirs: what they lack is null."""
    if rows.schema.equals(target):
        return rows
    columns = []
    for wanted in target:
        at = rows.schema.get_field_index(wanted.name)
        columns.append(pa.nulls(rows.num_rows, wanted.type) if at < 0 else rows.column(at).cast(wanted.type))
    return pa.RecordBatch.from_arrays(columns, schema=target)
