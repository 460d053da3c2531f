"""One Parquet file: row groups in, bytes to an Output, and a footer that tells where the rows come from."""

import json
from collections import Counter
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from headsaw.convert.encodings import encodings
from headsaw.convert.layout import Layout
from headsaw.core.conversion import Output, OutputFile, OutputKind
from headsaw.core.model import FORMAT
from headsaw.core.settings import DatasetSettings, ParquetSettings
from headsaw.core.table_schema import SOURCE_FILE, SOURCE_LINE, TableSchema

DRAIN_BYTES = 1024**2
FOOTER_FILES_BYTES = 64 * 1024
"""The footer lists the rows of as many sources as fit; `headsaw.files_omitted` counts the others."""

WRITE_BATCH_ROWS = 8192
"""Rows that the library encodes at a time."""

BLOOM_VALUES = 100_000
"""Distinct values per row group that a bloom filter is made for, at one false positive in twenty."""


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

    def __init__(
        self, output: Output, partition: str, schema: TableSchema, layout: Layout, context: FileContext
    ) -> None:
        self.schema = schema
        self._output = output
        self._partition = partition
        self._context = context
        self._sink = _Sink()
        self._arrow = layout.file_schema(schema)
        self._writer: pq.ParquetWriter | None = None
        self._rows = 0
        self._by_source: Counter[int] = Counter()

    @property
    def bytes(self) -> int:
        """Encoded so far."""
        return self._sink.bytes

    def write(self, rows: pa.Table) -> None:
        """The rows, with the columns that the layout gives a batch, are one row group."""
        keys = [(name, "ascending") for name in self._context.settings.parquet.sort_by if name in rows.column_names]
        if keys:
            rows = rows.sort_by(keys)
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
        if self._writer is None:
            options = _options(self._context.settings.parquet, table)
            self._writer = pq.ParquetWriter(self._sink, self._arrow, **options)
        self._writer.write_table(table, row_group_size=max(rows.num_rows, 1))
        self._rows += rows.num_rows
        self._drain()

    def close(self) -> OutputFile:
        """The file, which has rows, is complete and stored."""
        if self._writer is None:
            raise ValueError("a file has rows")
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


def _names(indices: pa.Array, names: tuple[str, ...]) -> pa.DictionaryArray:
    encoded = indices.dictionary_encode()
    used = [names[index] for index in encoded.dictionary.to_pylist()]
    return pa.DictionaryArray.from_arrays(encoded.indices, pa.array(used, pa.string()))


def _options(settings: ParquetSettings, first: pa.Table) -> dict[str, object]:
    schema = first.schema
    chosen = encodings(first)
    level = settings.compression_level if settings.compression == "zstd" else None
    positions = {item.name: at for at, item in enumerate(schema)}
    sorted_by = [pq.SortingColumn(positions[name]) for name in settings.sort_by if name in positions]
    return {
        "compression": settings.compression,
        "compression_level": level,
        "write_page_index": True,
        "write_statistics": True,
        "store_schema": False,
        "use_dictionary": list(chosen.dictionary),
        "column_encoding": chosen.other,
        "write_batch_size": WRITE_BATCH_ROWS,
        "version": "2.6",
        "sorting_columns": sorted_by or None,
        "bloom_filter_options": _bloom_filters(settings.bloom_filters, schema) or None,
    }


def _bloom_filters(columns: tuple[str, ...], schema: pa.Schema) -> dict[str, dict[str, float]]:
    """Options by column path; columns that the schema lacks, nested ones and booleans have no filter."""
    positions = {name: schema.get_field_index(name) for name in columns}
    types = {name: schema.field(at).type for name, at in positions.items() if at >= 0}
    plain = [name for name, type_ in types.items() if not pa.types.is_nested(type_) and not pa.types.is_boolean(type_)]
    return {name: {"ndv": BLOOM_VALUES, "fpp": 0.05} for name in plain}
