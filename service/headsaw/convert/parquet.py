"""One Parquet file: row groups in, bytes to an Output, and a footer that tells where the rows come from."""

import json
from collections import Counter
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from headsaw.convert.encoders import Encoder, NativeEncoder, PyarrowEncoder
from headsaw.convert.encodings import Encodings, columns, encodings
from headsaw.convert.layout import Layout
from headsaw.core.conversion import Output, OutputFile, OutputKind
from headsaw.core.model import FORMAT
from headsaw.core.settings import DatasetSettings
from headsaw.core.table_schema import SOURCE_FILE, SOURCE_LINE, TableSchema

DRAIN_BYTES = 1024**2
ROW_GROUP_ROWS = 1024**2
"""A row group has no more rows, however small they are: readers take whole ones."""

NATIVE_COLUMNS_MAX = 768
"""Wider files are pyarrow's to write: natively, each column has a compressor of its own, of a hundred kilobytes."""

FOOTER_FILES_BYTES = 64 * 1024
"""The footer lists the rows of as many sources as fit; `headsaw.files_omitted` counts the others."""


@dataclass(frozen=True, slots=True)
class FileContext:
    """What all files of a conversion share."""

    settings: DatasetSettings
    batch: str
    sources: tuple[str, ...]
    """Names of the sources, by index."""
    row_group_bytes: int
    """A row group that takes so much memory is closed."""
    native: bool
    threads: int

    def encoder(self, schema: pa.Schema, chosen: Encodings) -> Encoder:
        """Of a new file."""
        if self.native and sum(1 for _ in columns(schema)) <= NATIVE_COLUMNS_MAX:
            return NativeEncoder(schema, self.settings.parquet, chosen, self.threads)
        return PyarrowEncoder(schema, self.settings.parquet, chosen)


class ParquetFile:
    """A file being written with one version of the table schema."""

    def __init__(
        self, output: Output, partition: str, schema: TableSchema, layout: Layout, context: FileContext
    ) -> None:
        self.schema = schema
        self._output = output
        self._partition = partition
        self._context = context
        self._arrow = layout.file_schema(schema)
        self._sorted_by = [name for name in context.settings.parquet.sort_by if name in self._arrow.names]
        self._unsorted: list[pa.Table] = []
        self._encoder: Encoder | None = None
        self._rows = 0
        self._group_rows = 0
        self._by_source: Counter[int] = Counter()
        self.bytes = 0
        """Of closed row groups."""

    @property
    def held(self) -> int:
        """Bytes that the open row group takes."""
        unsorted: int = sum(rows.nbytes for rows in self._unsorted)
        return unsorted + (self._encoder.held if self._encoder is not None else 0)

    def write(self, rows: pa.Table) -> None:
        """The rows, with the columns that the layout gives a batch, are in the open row group, which may be closed."""
        for item in pc.value_counts(rows.column(SOURCE_FILE)):
            self._by_source[item["values"].as_py()] += item["counts"].as_py()
        self._rows += rows.num_rows
        self._group_rows += rows.num_rows
        if self._sorted_by:
            self._unsorted.append(rows)
        else:
            self._encode(rows)
        full = self._group_rows >= ROW_GROUP_ROWS or self.held >= self._context.row_group_bytes
        if full:
            self.end_row_group()

    def end_row_group(self) -> None:
        """The rows so far are in closed row groups, and stored."""
        if self._unsorted:
            rows, self._unsorted = pa.concat_tables(self._unsorted), []
            self._encode(rows.sort_by([(name, "ascending") for name in self._sorted_by]))
        if self._encoder is not None and self._group_rows:
            self._encoder.end_row_group()
            self._drain(self._encoder)
        self._group_rows = 0

    def close(self) -> OutputFile:
        """The file, which has rows, is complete and stored."""
        self.end_row_group()
        if self._encoder is None:
            raise ValueError("a file has rows")
        self._encoder.finish(self._metadata())
        self._drain(self._encoder)
        self._output.close()
        return OutputFile(
            self._output.name, OutputKind.TABLE, self._partition, self._rows, self.bytes, self.schema.version
        )

    def _encode(self, rows: pa.Table) -> None:
        columns = rows.columns[:-2]
        if self._context.settings.lineage:
            batch = pa.repeat(pa.scalar(0, pa.int32()), rows.num_rows)
            columns += [
                _names(rows.column(SOURCE_FILE).combine_chunks(), self._context.sources),
                rows.column(SOURCE_LINE),
                pa.DictionaryArray.from_arrays(batch, pa.array([self._context.batch], pa.string())),
            ]
        table = pa.Table.from_arrays(columns, schema=self._arrow)
        if self._encoder is None:
            self._encoder = self._context.encoder(self._arrow, encodings(table))
        self._encoder.write(table)

    def _drain(self, encoder: Encoder) -> None:
        pending: list[bytes] = []
        size = 0
        for part in encoder.take():
            pending.append(part)
            size += len(part)
            if size >= DRAIN_BYTES:
                self._store(pending)
                pending, size = [], 0
        if pending:
            self._store(pending)

    def _store(self, parts: list[bytes]) -> None:
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        self.bytes += len(data)
        self._output.write(data)

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
