"""Files, row groups, partitions and drift."""

import io
import json
import random
import resource
import tempfile
from pathlib import Path

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest
from tests.unit.convert.harness import Book, Done, run

from headsaw.convert.partition import DEFAULT, PARTITIONS_MAX, directory_value
from headsaw.worker.runner import ENVIRONMENT_ERRNOS

MIB = 1024**2


def test_a_file_is_closed_at_its_size_and_another_opened() -> None:
    noise = random.Random(1)
    body = "".join(f'{{"a":"{noise.randbytes(400).hex()}"}}\n' for _ in range(8000))
    done = run(body, memory_bytes=4 * MIB, parquet={"file_bytes": "1MiB", "row_group_bytes": "1MiB"})
    assert len(done.outputs.tables) > 2
    assert sum(file.rows for file in done.report.outputs) == 8000
    assert all(len(file.data) < 2.5 * MIB for file in done.outputs.tables)


def test_many_partitions_in_little_memory_make_one_file_each() -> None:
    lines = [f'{{"k":{number % 100},"n":{number},"pad":"{number:0200}"}}' for number in range(60_000)]
    done = run("\n".join(lines), memory_bytes=4 * MIB, partition_by=[{"field": "k"}])
    assert len(done.outputs.tables) == 100
    assert sorted(row["n"] for row in done.outputs.rows()) == list(range(60_000))
    for file in done.outputs.tables:
        keys = {row["k"] for row in pq.read_table(io.BytesIO(file.data), columns=["k"]).to_pylist()}
        assert file.partition == f"k_value={keys.pop()}"
        assert not keys


def test_a_disk_that_is_full_from_the_start_is_told_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit makes every write fail, also those by which tempfile tries out folders."""
    lines = [f'{{"k":{number % 100},"pad":"{number:0200}"}}' for number in range(60_000)]
    monkeypatch.setattr(tempfile, "tempdir", None)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(OSError, match="no temporary folder") as raised:
            run("\n".join(lines), memory_bytes=4 * MIB, partition_by=[{"field": "k"}])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert raised.value.errno in ENVIRONMENT_ERRNOS


def test_partitions_beyond_the_limit_share_the_default_one() -> None:
    lines = [f'{{"k":{number}}}' for number in range(PARTITIONS_MAX + 5)]
    done = run("\n".join(lines), partition_by=[{"field": "k"}])
    counts = {file.partition: file.rows for file in done.report.outputs}
    assert len(counts) == PARTITIONS_MAX + 1
    assert counts[f"k_value={DEFAULT}"] == 5


def test_partition_levels_combine_field_key_group_and_ingestion_time() -> None:
    done = run(
        '{"c":"a/b"}\n{"c":""}\n{"c":null}\n{"d":1}\n',
        partition_by=[
            {"ingestion": True, "granularity": "hour"},
            {"key_regex": r"clicks/(?P<shard>\d+)"},
            {"field": "c", "name": "country"},
        ],
    )
    start = "ingested_hour=2026-11-23T07/shard=0000/country="
    assert {file.partition: file.rows for file in done.report.outputs} == {start + "a%2Fb": 1, start + DEFAULT: 3}


def test_times_partition_by_hour_and_month_from_text_too() -> None:
    body = '{"t":"2026-01-31T23:30:00-01:00"}\n{"t":"2026-02-30T00:00:00Z"}\n{"t":"2026-02-01T00:00:00.5Z"}\n'
    done = run(body, partition_by=[{"field": "t", "granularity": "hour"}, {"field": "t", "granularity": "month"}])
    assert {file.partition: file.rows for file in done.report.outputs} == {
        "t_hour=2026-02-01T00/t_month=2026-02": 2,
        f"t_hour={DEFAULT}/t_month={DEFAULT}": 1,
    }


def test_directory_values_are_safe_path_segments() -> None:
    assert directory_value("a=b/c%d") == "a%3Db%2Fc%25d"
    assert directory_value("é: 12*\\[x]\x7f") == "é%3A 12%2A%5C%5Bx%5D%7F"
    assert directory_value("") == DEFAULT
    assert directory_value("x" * 500) == DEFAULT


def test_partition_values_read_back_as_they_were(tmp_path: Path) -> None:
    values = ["a b", "é/ü", "x=y&z", "100%", "[1]^{2}", "'q'", "2026-11-23T01:00", "+1", "~"]
    done = run("".join(json.dumps({"k": value}) + "\n" for value in values), partition_by=[{"field": "k"}])
    for number, file in enumerate(done.outputs.tables):
        (tmp_path / file.partition).mkdir()
        (tmp_path / file.partition / f"{number}.parquet").write_bytes(file.data)
    options = "hive_types_autocast=false"
    by_duckdb = duckdb.sql(f"select k, k_value from read_parquet('{tmp_path}/*/*.parquet', {options})").fetchall()
    by_polars = pl.scan_parquet(f"{tmp_path}/", hive_schema={"k_value": pl.String}).select("k", "k_value").collect()
    assert sorted(by_duckdb) == sorted(by_polars.rows()) == sorted((value, value) for value in values)


def test_rows_are_sorted_within_a_row_group_and_the_footer_says_so() -> None:
    done = run('{"a":3}\n{"a":1}\n{"a":2}\n', parquet={"sort_by": ["a", "absent"]})
    [table] = done.outputs.tables
    assert [row["a"] for row in done.outputs.rows()] == [1, 2, 3]
    metadata = pq.read_metadata(io.BytesIO(table.data))
    assert [column.column_index for column in metadata.row_group(0).sorting_columns] == [0]


def test_bloom_filters_are_written_for_columns_that_exist() -> None:
    plain = run('{"a":"x","b":true}\n')
    filtered = run('{"a":"x","b":true}\n', parquet={"bloom_filters": ["a", "b", "absent"]})
    assert len(filtered.outputs.tables[0].data) > len(plain.outputs.tables[0].data)
    assert filtered.rows() == plain.rows()


def _drift(late_keys: int) -> Done:
    files = []
    for number in range(1000):
        rows = [{"n": number, "pad": f"{number:0400}"} for _ in range(25)]
        if number % 2 and number // 2 < late_keys:
            rows[12][f"late_{number}"] = "x"
        files.append("".join(json.dumps(row) + "\n" for row in rows))
    book = Book()
    run(files[0], book=book)
    return run(*files, book=book, memory_bytes=8 * MIB, parquet={"file_bytes": "1MiB", "row_group_bytes": "1MiB"})


def test_five_hundred_late_keys_hardly_change_the_number_of_files() -> None:
    calm, drifting = _drift(0), _drift(500)
    assert len(drifting.outputs.tables) <= 1.2 * len(calm.outputs.tables) + 1
    versions = [schema.version for schema in drifting.book.versions]
    assert versions == list(range(len(versions)))
    assert all(new.extends(old) for old, new in zip(drifting.book.versions, drifting.book.versions[1:], strict=False))
    found = sum(any(key.startswith("late_") for key in row) or "_rescued_data" in row for row in drifting.rows())
    assert found == 500
    assert sum(name.startswith("late_") for name in drifting.types) == 500
