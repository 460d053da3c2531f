"""A file opens and says the same in pyarrow, Polars and DuckDB, and has what makes reading it cheap."""

import io
import json
import threading
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow.parquet as pq
from tests.conformance.reading import check_values
from tests.unit.convert.harness import Book, Bytes, Done, run

from headsaw.core.table_schema import TableSchema

HINTS = {
    "dec": "decimal(12,2)",
    "day": "date",
    "at": "timestamp",
    "ms": "timestamp(ms)",
    "any": "json",
    "map": "map<string,list<int64>>",
}

ROWS: list[dict[str, Any]] = [
    {
        "int": 2**63 - 1,
        "dbl": 0.1,
        "yes": True,
        "txt": "é\u0000😀\u2028",
        "dec": 12345.67,
        "day": "2026-02-28",
        "at": "2026-11-23T06:58:00.123456+01:00",
        "ms": 1,
        "any": {"x": [1, None]},
        "map": {"a": [1, None], "b": []},
        "list": [[1], [], None, [2, 3]],
        "obj": {"in": {"deep": [{"x": 1, "y": "z"}, {}]}, "a b": 1.5},
    },
    {},
    {"int": -1, "list": [], "obj": {}, "map": {}, "txt": ""},
]


def _written(directory: Path) -> Path:
    done = run("".join(json.dumps(row) + "\n" for row in ROWS), schema={"hints": HINTS})
    assert done.report.rescued_values == 0
    [table] = done.outputs.tables
    path = directory / "one.parquet"
    path.write_bytes(table.data)
    return path


def _plain(value: Any) -> Any:
    """One form for what the engines return differently: maps, and the zone's object."""
    if isinstance(value, dict):
        return {key: _plain(member) for key, member in value.items()}
    if isinstance(value, list):
        if value and all(isinstance(item, tuple) for item in value):
            return {key: _plain(member) for key, member in value}
        return [_plain(item) for item in value]
    return value.astimezone(UTC) if isinstance(value, datetime) else value


def test_three_engines_read_the_same_values_of_every_type(tmp_path: Path) -> None:
    path = _written(tmp_path)
    by_pyarrow = _plain(pq.read_table(path).to_pylist())
    by_polars = _plain(pl.read_parquet(path).to_dicts())
    with duckdb.connect() as connection:
        by_duckdb = _plain(connection.sql(f"select * from '{path}'").to_arrow_table().to_pylist())
    empty_map = {row["_source_line"]: row.pop("map") for row in by_pyarrow}[3]
    assert empty_map == []
    assert [row.pop("map") or None for row in by_polars] == [row.pop("map") or None for row in by_duckdb]
    assert by_polars == by_pyarrow
    assert by_duckdb == by_pyarrow
    first = by_pyarrow[0]
    assert first["int"] == 2**63 - 1
    assert first["dec"] == Decimal("12345.67")
    assert first["day"] == date(2026, 2, 28)
    assert first["at"] == datetime(2026, 11, 23, 5, 58, 0, 123456, tzinfo=UTC)
    assert first["any"] == '{"x":[1,null]}'


def test_files_have_statistics_and_a_page_index_and_no_engine_specific_schema(tmp_path: Path) -> None:
    metadata = pq.read_metadata(_written(tmp_path))
    column = metadata.row_group(0).column(0)
    assert column.is_stats_set
    assert column.has_column_index
    assert column.has_offset_index
    assert column.compression == "ZSTD"
    assert b"ARROW:schema" not in metadata.metadata


class _Shared(Book):
    """A schema book that two threads use."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()

    def propose(self, schema: TableSchema) -> TableSchema:
        with self._lock:
            return super().propose(schema)


def test_conversions_that_evolve_the_schema_at_once_converge_and_lose_nothing(tmp_path: Path) -> None:
    book = _Shared()
    run('{"id":0}\n', book=book)
    start = threading.Barrier(4)
    done: dict[int, Done] = {}
    sources = {n: Bytes(b'{"id":1,"only_%d":"x","both":%d,"s":{"m_%d":1}}\n' % (n, n, n)) for n in range(4)}

    def convert(number: int) -> None:
        start.wait()
        done[number] = run(sources[number], book=book)

    threads = [threading.Thread(target=convert, args=(number,)) for number in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [schema.version for schema in book.versions] == list(range(len(book.versions)))
    assert all(newer.extends(older) for older, newer in zip(book.versions, book.versions[1:], strict=False))
    names = {column.name for column in book.head().columns}
    assert names == {"id", "both", "s", *(f"only_{number}" for number in range(4))}
    for number, source in sources.items():
        check_values(source, done[number], tmp_path)
        [table] = done[number].outputs.tables
        version = int(pq.read_metadata(io.BytesIO(table.data)).metadata[b"headsaw.schema_version"])
        assert book.versions[version].extends(book.versions[1])
