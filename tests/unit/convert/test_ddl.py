"""The printed statements: a dataset of two schema versions reads as one table."""

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from tests.unit.convert.harness import Book, dataset, run

from headsaw.convert.ddl import Engine, Table, ddl, table_of
from headsaw.core.table_schema import TableSchema
from headsaw.core.table_types import Field, parse_type

SETTINGS: dict[str, Any] = {
    "partition_by": [{"field": "ts", "granularity": "day"}],
    "schema": {"hints": {"ts": "timestamp", "d": "decimal(12,2)", "m": "map<string,int64>", "day": "date"}},
}
OLD = '{"ts":"2026-11-22T00:00:00Z","a":1,"s":{"x":1},"l":[{"p":1}],"b b":true,"m":{"k":1},"d":1.5}\n'
NEW = (
    '{"ts":"2026-11-23T00:00:00Z","a":2,"s":{"x":2,"y z":"q"},"l":[{"p":1,"q":[2.5]}],"n\\"n":"v","day":"2026-01-01"}\n'
)


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """Two files of two versions on disk, and their table."""
    book = Book()
    for number, body in enumerate((OLD, NEW)):
        done = run(body, book=book, **SETTINGS)
        [file] = done.outputs.tables
        directory = tmp_path / file.partition
        directory.mkdir()
        (directory / f"{number}.parquet").write_bytes(file.data)
    assert book.head().version == 2
    return table_of(dataset(**SETTINGS), book.head(), f"{tmp_path}/")


def _check(rows: list[dict[str, Any]]) -> None:
    first, second = sorted(rows, key=lambda row: row["a"])
    assert first["ts"] == datetime(2026, 11, 22, tzinfo=UTC)
    assert first["s"] == {"x": 1, "y z": None}
    assert first["l"] == [{"p": 1, "q": None}]
    assert dict(first["m"]) == {"k": 1}
    assert (first["b b"], first["d"], first['n"n'], first["ts_day"]) == (True, Decimal("1.50"), None, "2026-11-22")
    assert second["s"] == {"x": 2, "y z": "q"}
    assert second["l"] == [{"p": 1, "q": [2.5]}]
    assert (second["m"], second["d"], second['n"n'], second["day"]) == (None, None, "v", date(2026, 1, 1))
    assert (second["ts_day"], second["_source_line"], second["_batch"]) == ("2026-11-23", 1, "b1")


def test_duckdb_reads_both_versions_through_its_view(table: Table) -> None:
    with duckdb.connect() as connection:
        connection.execute(ddl(table, Engine.DUCKDB))
        _check(connection.sql("select * from clicks").to_arrow_table().to_pylist())


def test_polars_reads_both_versions_through_its_code(table: Table) -> None:
    names: dict[str, Any] = {}
    exec(ddl(table, Engine.POLARS), names)
    _check(names["clicks"].collect().to_dicts())


def test_pyarrow_reads_both_versions_through_its_code(table: Table) -> None:
    names: dict[str, Any] = {}
    exec(ddl(table, Engine.PYARROW), names)
    _check(names["clicks"].to_table().to_pylist())


EVERY_TYPE = (
    "struct<b:bool,i:int64,f:float64,s:string,d:date,t:timestamp,e:timestamp(ms),j:json,n:decimal(38,9),"
    "l:list<int64>,m:map<string,float64>,r:struct<x:list<struct<y:string>>>>"
)


def _one_of_each() -> Table:
    type_ = parse_type(EVERY_TYPE)
    assert hasattr(type_, "fields")
    return table_of(dataset(lineage=False), TableSchema(1, type_.fields))


def test_athena_declares_hive_types() -> None:
    # https://docs.aws.amazon.com/athena/latest/ug/data-types.html
    assert ddl(_one_of_each(), Engine.ATHENA) == (
        "CREATE EXTERNAL TABLE `clicks` (\n  `b` boolean,\n  `i` bigint,\n  `f` double,\n  `s` string,\n  `d` date,\n"
        "  `t` timestamp,\n  `e` timestamp,\n  `j` string,\n  `n` decimal(38,9),\n  `l` array<bigint>,\n"
        "  `m` map<string,double>,\n  `r` struct<x:array<struct<y:string>>>,\n  `_rescued_data` string\n)\n"
        "STORED AS PARQUET\nLOCATION 's3://lake/clicks/';\n"
    )


def test_trino_declares_its_own_types() -> None:
    # https://trino.io/docs/current/language/types.html and the Hive connector's table properties
    assert ddl(_one_of_each(), Engine.TRINO) == (
        'CREATE TABLE "clicks" (\n  "b" boolean,\n  "i" bigint,\n  "f" double,\n  "s" varchar,\n  "d" date,\n'
        '  "t" timestamp(3),\n  "e" timestamp(3),\n  "j" varchar,\n  "n" decimal(38,9),\n  "l" array(bigint),\n'
        '  "m" map(varchar,double),\n  "r" row("x" array(row("y" varchar))),\n  "_rescued_data" varchar\n)\n'
        "WITH (external_location = 's3://lake/clicks/', format = 'PARQUET');\n"
    )


def test_spark_declares_its_own_types() -> None:
    assert ddl(_one_of_each(), Engine.SPARK) == (
        "CREATE TABLE `clicks` (\n  `b` BOOLEAN,\n  `i` BIGINT,\n  `f` DOUBLE,\n  `s` STRING,\n  `d` DATE,\n"
        "  `t` TIMESTAMP,\n  `e` TIMESTAMP,\n  `j` STRING,\n  `n` DECIMAL(38,9),\n  `l` ARRAY<BIGINT>,\n"
        "  `m` MAP<STRING,DOUBLE>,\n  `r` STRUCT<`x`: ARRAY<STRUCT<`y`: STRING>>>,\n  `_rescued_data` STRING\n)\n"
        "USING PARQUET\nLOCATION 's3://lake/clicks/';\n"
    )


def test_athena_leaves_out_members_that_hive_cannot_name_and_says_so() -> None:
    columns = (Field("s", parse_type('struct<a:int64,"b c":string>')), Field("t", parse_type('struct<"x:y":int64>')))
    text = ddl(table_of(dataset(), TableSchema(1, columns)), Engine.ATHENA)
    assert "`s` struct<a:bigint>" in text
    assert "`t`" not in text
    assert "can't name it: 's.b c'" in text
    assert "can't name it: 't.x:y'" in text


def test_partitions_are_declared_as_strings() -> None:
    table = table_of(dataset(**SETTINGS), TableSchema())
    assert "PARTITIONED BY (`ts_day` string)" in ddl(table, Engine.ATHENA)
    assert "partitioned_by = ARRAY['ts_day']" in ddl(table, Engine.TRINO)
    assert "PARTITIONED BY (`ts_day`)" in ddl(table, Engine.SPARK)


def test_the_table_has_the_columns_that_select_leaves() -> None:
    schema = TableSchema(1, (Field("ip", parse_type("string")), Field("n", parse_type("int64"))))
    table = table_of(dataset(select=["* exclude (ip)", "cast(n as double) as half"], lineage=False), schema)
    assert table.columns == pa.schema([("n", pa.int64()), ("half", pa.float64()), ("_rescued_data", pa.string())])
