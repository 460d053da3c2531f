"""Rows → the bytes of a Parquet file, by the native encoder where the native parser is in use, else by pyarrow.

The native one encodes rows as they come and columns side by side, so an open row group takes no more memory than its
pages do; pyarrow is given a row group at a time.
"""

from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from headsaw.convert import native
from headsaw.convert.encodings import Encodings, columns
from headsaw.core.settings import ParquetSettings

BLOOM_VALUES = 100_000
"""Distinct values per row group that a bloom filter is made for."""

BLOOM_FALSE_POSITIVES = 0.05

WRITE_BATCH_ROWS = 8192
"""Rows that pyarrow encodes at a time."""


class Encoder(Protocol):
    """Makes one file. What it raises leaves the file good for nothing."""

    @property
    def held(self) -> int:
        """Bytes that the open row group takes."""
        ...

    def write(self, rows: pa.Table) -> None:
        """The rows are in the open row group."""
        ...

    def end_row_group(self) -> None:
        """The rows so far are in closed row groups; none is open."""
        ...

    def take(self) -> list[bytes]:
        """What the file has more since the last time."""
        ...

    def finish(self, metadata: dict[str, str]) -> None:
        """The file is complete, its footer with that metadata."""
        ...


class NativeEncoder:
    """Up to `threads` columns at a time."""

    def __init__(self, schema: pa.Schema, settings: ParquetSettings, chosen: Encodings, threads: int) -> None:
        self._file = native.installed().TableFile(
            schema,
            codec=settings.compression,
            level=settings.compression_level,
            dictionary=list(chosen.dictionary),
            delta=list(chosen.delta),
            unbounded=list(chosen.unbounded),
            sorted_by=_positions(settings.sort_by, schema),
            bloom_filters=[(name, BLOOM_VALUES, BLOOM_FALSE_POSITIVES) for name in _filtered(settings, schema)],
            threads=threads,
        )

    @property
    def held(self) -> int:
        """Encoded bytes."""
        return self._file.held

    def write(self, rows: pa.Table) -> None:
        """Encoded at once."""
        for batch in rows.to_batches():
            self._file.write(batch)

    def end_row_group(self) -> None:
        """Its bytes can be taken."""
        self._file.end_row_group()

    def take(self) -> list[bytes]:
        """Nothing, or one piece."""
        return [piece] if (piece := self._file.take()) else []

    def finish(self, metadata: dict[str, str]) -> None:
        """The rest can be taken."""
        self._file.finish(list(metadata.items()))


class _Sink:
    """Keeps what the Parquet library writes until it may be handed on, where errors can pass."""

    closed = False

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self.parts.append(data)
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


class PyarrowEncoder:
    """Holds the open row group as rows."""

    def __init__(self, schema: pa.Schema, settings: ParquetSettings, chosen: Encodings) -> None:
        self.held = 0
        self._tables: list[pa.Table] = []
        self._sink = _Sink()
        sorted_by = [pq.SortingColumn(at) for at in _positions(settings.sort_by, schema)]
        bloom = {"ndv": BLOOM_VALUES, "fpp": BLOOM_FALSE_POSITIVES}
        self._writer = pq.ParquetWriter(
            self._sink,
            schema,
            compression=settings.compression,
            compression_level=settings.compression_level if settings.compression == "zstd" else None,
            use_dictionary=list(chosen.dictionary),
            column_encoding=dict.fromkeys(chosen.delta, "DELTA_BINARY_PACKED"),
            write_page_index=True,
            write_statistics=[column.path for column in columns(schema) if column.path not in chosen.unbounded],
            write_batch_size=WRITE_BATCH_ROWS,
            store_schema=False,
            version="2.6",
            sorting_columns=sorted_by or None,
            bloom_filter_options=dict.fromkeys(_filtered(settings, schema), bloom) or None,
        )

    def write(self, rows: pa.Table) -> None:
        """Held until the row group ends."""
        self._tables.append(rows)
        self.held += rows.nbytes

    def end_row_group(self) -> None:
        """Encoded now."""
        if self._tables:
            whole = pa.concat_tables(self._tables)
            self._tables, self.held = [], 0
            self._writer.write_table(whole, row_group_size=max(whole.num_rows, 1))

    def take(self) -> list[bytes]:
        """Many small pieces."""
        parts, self._sink.parts = self._sink.parts, []
        return parts

    def finish(self, metadata: dict[str, str]) -> None:
        """The rest can be taken."""
        self.end_row_group()
        self._writer.add_key_value_metadata(metadata)
        self._writer.close()


def _positions(names: tuple[str, ...], schema: pa.Schema) -> list[int]:
    """The places among the Parquet columns of those that the rows are sorted by, as far as the schema has them."""
    places = {column.path: at for at, column in enumerate(columns(schema))}
    return [places[name] for name in names if name in places]


def _filtered(settings: ParquetSettings, schema: pa.Schema) -> list[str]:
    """The columns with a bloom filter; those that the schema lacks, nested ones and booleans have none."""
    types = {name: schema.field(name).type for name in settings.bloom_filters if schema.get_field_index(name) >= 0}
    return [name for name, type_ in types.items() if not pa.types.is_nested(type_) and not pa.types.is_boolean(type_)]
