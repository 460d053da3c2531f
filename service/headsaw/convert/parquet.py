"""One Parquet file: row groups in, bytes to an Output, and a footer that tells where the rows come from."""

import json
from collections import Counter
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from headsaw.convert.arrow_types import table_fields
from headsaw.core.conversion import Output, OutputFile, OutputKind
from headsaw.core.model import FORMAT
from headsaw.core.settings import DatasetSettings, ParquetSettings
from headsaw.core.table_schema import BATCH, SOURCE_FILE, SOURCE_LINE, TableSchema

DRAIN_BYTES = 1024**2
FOOTER_FILES_BYTES = 64 * 1024
"""The footer lists the rows of as many sources as fit; `headsaw.files_omitted` counts the others."""


@dataclass(frozen=True, slots=True)
class FileContext:
    """What all files of a conversion share."""

    settings: DatasetSettings
    batch: str
    sources: tuple[str, ...]
    """Names of the sources, by index."""


class _Sink:
    """Keeps what the Parquet library writes until it may be handed on, where errors can pass."""

    closed = False

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.bytes = 0

    def write(self, data: bytes) -> int:
        self.parts.append(data)
        self.bytes += len(data)
        return len(data)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False


class ParquetFile:
    """A file being written with one version of the table schema."""

    def __init__(self, output: Output, partition: str, schema: TableSchema, context: FileContext) -> None:
        self.schema = schema
        self._output = output
        self._partition = partition
        self._context = context
        self._sink = _Sink()
        self._arrow = file_schema(schema, lineage=context.settings.lineage)
        self._writer = pq.ParquetWriter(self._sink, self._arrow, **_options(context.settings.parquet))
        self._rows = 0
        self._by_source: Counter[int] = Counter()

    @property
    def bytes(self) -> int:
        """Encoded so far."""
        return self._sink.bytes

    def write(self, rows: pa.Table) -> None:
        """The rows are one row group. Columns: the schema's, `_rescued_data`, and those of `tables.HIDDEN`."""
        sources = rows.column(SOURCE_FILE)
        counted = pc.value_counts(sources)
        for item in counted:
            self._by_source[item["values"].as_py()] += item["counts"].as_py()
        columns = rows.columns[:-2]
        if self._context.settings.lineage:
            batch = pa.repeat(pa.scalar(0, pa.int32()), rows.num_rows)
            columns += [
                _names(sources.combine_chunks(), self._context.sources),
                rows.column(SOURCE_LINE),
                pa.DictionaryArray.from_arrays(batch, pa.array([self._context.batch], pa.string())),
            ]
        table = pa.Table.from_arrays(columns, schema=self._arrow)
        self._writer.write_table(table, row_group_size=max(rows.num_rows, 1))
        self._rows += rows.num_rows
        self._drain()

    def close(self) -> OutputFile:
        """The file is complete and stored."""
        self._writer.add_key_value_metadata(self._metadata())
        self._writer.close()
        self._drain()
        self._output.close()
        return OutputFile(
            self._output.name, OutputKind.TABLE, self._partition, self._rows, self._sink.bytes, self.schema.version
        )

    def _drain(self) -> None:
        parts, self._sink.parts = self._sink.parts, []
        pending: list[bytes] = []
        size = 0
        for part in parts:
            pending.append(part)
            size += len(part)
            if size >= DRAIN_BYTES:
                self._output.write(b"".join(pending))
                pending, size = [], 0
        if pending:
            self._output.write(b"".join(pending))

    def _metadata(self) -> dict[str, str]:
        listed: dict[str, int] = {}
        size = 0
        for index, count in sorted(self._by_source.items()):
            name = self._context.sources[index]
            size += len(name) + 16
            if size > FOOTER_FILES_BYTES:
                break
            listed[name] = listed.get(name, 0) + count
        return {
            "headsaw.format": str(FORMAT),
            "headsaw.dataset": self._context.settings.name,
            "headsaw.batch": self._context.batch,
            "headsaw.schema_version": str(self.schema.version),
            "headsaw.rows": str(self._rows),
            "headsaw.files": json.dumps(listed, ensure_ascii=False, separators=(",", ":")),
            "headsaw.files_omitted": str(max(len(self._by_source) - len(listed), 0)),
        }


def file_schema(schema: TableSchema, *, lineage: bool) -> pa.Schema:
    """The Arrow schema of a file, lineage columns last."""
    fields = list(table_fields(schema))
    if lineage:
        names = pa.dictionary(pa.int32(), pa.string())
        fields += [pa.field(SOURCE_FILE, names), pa.field(SOURCE_LINE, pa.int64()), pa.field(BATCH, names)]
    return pa.schema(fields)


def _names(indices: pa.Array, names: tuple[str, ...]) -> pa.DictionaryArray:
    encoded = indices.dictionary_encode()
    used = [names[index] for index in encoded.dictionary.to_pylist()]
    return pa.DictionaryArray.from_arrays(encoded.indices, pa.array(used, pa.string()))


def _options(settings: ParquetSettings) -> dict[str, object]:
    level = settings.compression_level if settings.compression == "zstd" else None
    return {
        "compression": settings.compression,
        "compression_level": level,
        "write_page_index": True,
        "write_statistics": True,
        "store_schema": False,
        "version": "2.6",
    }
