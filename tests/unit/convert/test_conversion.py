"""The whole conversion, in memory: where lines, values and files end up."""

import gzip
import io
import json
import random

import pyarrow.parquet as pq
import pytest
from tests.unit.convert.harness import Book, Bytes, Memory, run

from headsaw.core.conversion import OutputKind, RejectReason
from headsaw.core.table_schema import TableSchema
from headsaw.core.table_types import INT64, STRING, Field
from headsaw.errors import Unreachable


def test_an_empty_batch_writes_nothing() -> None:
    done = run()
    assert done.outputs.files == []
    assert done.report.counts.lines == 0


def test_an_empty_file_writes_nothing_and_is_counted() -> None:
    done = run(b"")
    assert done.outputs.files == []
    assert done.report.files[0].lines == 0


def test_rows_of_many_files_share_one_output_and_name_their_source() -> None:
    done = run('{"a":1}\n{"a":2}', '{"a":3}\n', "\n\n")
    assert [row["a"] for row in done.rows("a")] == [1, 2, 3]
    assert len(done.outputs.tables) == 1
    lineage = [(row["_source_file"], row["_source_line"], row["_batch"]) for row in done.outputs.rows()]
    first, second = "s3://landing/clicks/0000.ndjson", "s3://landing/clicks/0001.ndjson"
    assert lineage == [(first, 1, "b1"), (first, 2, "b1"), (second, 1, "b1")]
    assert done.report.files[2].blank == 2


def test_every_bad_line_is_quarantined_with_its_place_reason_and_bytes() -> None:
    lines = [
        b'{"a":1}',
        b"[1]",
        b'{"a":NaN}',
        b'{"a":1,"a":2}',
        b'{"a":"\\ud800"}',
        b'{"a":"\xff"}',
        b"[" * 300 + b"]" * 300,
        b'{"a":1}{"a":2}',
        b"\r",
        b'{"a":2}\r',
    ]
    done = run(b"\n".join(lines))
    assert done.reasons() == {
        2: "not_an_object",
        3: "not_json",
        4: "duplicate_key",
        5: "lone_surrogate",
        6: "invalid_utf8",
        7: "too_deep",
        8: "not_json",
    }
    assert done.rows("a") == [{"a": 1}, {"a": 2}]
    bad = {item["line"]: item for item in done.outputs.quarantined()}
    assert bad[6]["base64"] == "eyJhIjoi/yJ9"
    assert bad[2] == {
        "file": "s3://landing/clicks/0000.ndjson",
        "line": 2,
        "offset": 8,
        "reason": "not_an_object",
        "text": "[1]",
    }


def test_a_line_over_the_limit_is_quarantined_by_offset_without_content() -> None:
    done = run('{"a":1}\n{"a":"' + "x" * 100 + '"}\n{"a":2}\n', line={"max_bytes": 50})
    [bad] = done.outputs.quarantined()
    assert (bad["line"], bad["offset"], bad["length"], bad["reason"]) == (2, 8, 108, "too_long")
    assert done.rows("a") == [{"a": 1}, {"a": 2}]


def test_numbers_stay_exact_or_are_rescued_with_their_text() -> None:
    done = run('{"n":1}\n{"n":9223372036854775808}\n{"n":2.0}\n{"n":3e0}\n', book=_book(Field("n", INT64)))
    assert done.rows() == [{"n": 1}, {"_rescued_data": '{"/n":9223372036854775808}'}, {"n": 2}, {"n": 3}]
    assert done.report.rescued_values == 1


def test_doubles_hold_only_numbers_that_they_are_the_shortest_form_of() -> None:
    texts = ["0.1", "1.10", "1e400", "1e-400", "0.30000000000000004", "9007199254740993", "1e22", "-0.0", "5", "1e2"]
    done = run("\n".join(f'{{"n":{text}}}' for text in texts))
    assert done.types == {"n": "float64"}
    held = [row.get("n") for row in done.rows()]
    assert held == [0.1, 1.1, None, None, 0.30000000000000004, None, 1e22, -0.0, 5.0, 100.0]
    rescued = [row["_rescued_data"] for row in done.rows() if "_rescued_data" in row]
    assert rescued == ['{"/n":1e400}', '{"/n":1e-400}', '{"/n":9007199254740993}']


def test_a_corrupt_file_is_rejected_and_nothing_of_it_is_published() -> None:
    damaged = bytearray(gzip.compress(b'{"a":1}\n' * 1000))
    damaged[-6] ^= 1
    done = run('{"a":7}\n', bytes(damaged), '{"a":8}\n')
    assert [rejection.reason for rejection in done.report.rejections] == [RejectReason.CORRUPT_STREAM]
    assert done.rows("a") == [{"a": 7}, {"a": 8}]
    assert sorted(done.report.files) == [0, 2]


def test_a_large_file_found_corrupt_at_its_end_leaves_no_trace() -> None:
    body = b"".join(b'{"a":%d,"pad":"%032d"}\n' % (number, number) for number in range(150_000))
    damaged = bytearray(gzip.compress(body, 1))
    damaged[-6] ^= 1
    done = run('{"a":7}\n', bytes(damaged), "nonsense\n", bytes(damaged), memory_bytes=4 * 1024**2)
    assert [rejection.index for rejection in done.report.rejections] == [1, 3]
    assert done.rows("a") == [{"a": 7}]
    assert list(done.reasons()) == [1]
    assert any(file.aborted for file in done.outputs.files)


def test_a_file_over_its_error_budget_is_rejected_as_a_whole() -> None:
    done = run('{"a":1}\nx\ny\n', '{"a":2}\nx\n{"a":3}\n', max_bad_fraction=0.5)
    assert [(item.index, item.reason) for item in done.report.rejections] == [(0, RejectReason.ERROR_BUDGET)]
    assert done.rows("a") == [{"a": 2}, {"a": 3}]
    assert len(done.outputs.quarantined()) == 1


def test_a_late_key_becomes_a_column_of_the_next_version() -> None:
    book = Book()
    run('{"a":1}\n', book=book)
    done = run('{"a":1,"b":"x"}\n', book=book)
    assert [schema.version for schema in book.versions] == [0, 1, 2]
    assert done.rows() == [{"a": 1, "b": "x"}]
    [table] = done.outputs.tables
    assert pq.read_metadata(io.BytesIO(table.data)).metadata[b"headsaw.schema_version"] == b"2"


def test_rescue_mode_keeps_late_keys_as_rescued_data() -> None:
    book = Book()
    run('{"a":1}\n', book=book)
    done = run('{"a":1,"b":{"c":[1,2.50]}}\n', book=book, schema={"mode": "rescue"})
    assert done.rows() == [{"a": 1, "_rescued_data": '{"/b":{"c":[1,2.50]}}'}]
    assert book.head().version == 1


def test_strict_mode_rejects_files_with_late_keys() -> None:
    book = Book()
    run('{"a":1}\n', book=book)
    done = run('{"a":1,"b":2}\n', '{"a":2}\n', '{"a":3,"b":null}\n', book=book, schema={"mode": "strict"})
    assert [(item.index, item.reason) for item in done.report.rejections] == [(0, RejectReason.STRICT_SCHEMA)]
    assert done.rows("a") == [{"a": 2}, {"a": 3}]


def test_the_loser_of_a_schema_race_types_its_rows_with_the_winners_columns() -> None:
    rival = TableSchema(1, (Field("b", STRING), Field("a", STRING)))
    done = run('{"a":1,"c":true}\n', book=Book(rivals=[rival]))
    assert done.types == {"b": "string", "a": "string", "c": "bool"}
    assert done.rows() == [{"c": True, "_rescued_data": '{"/a":1}'}]


def test_rows_are_partitioned_by_day_with_bad_times_in_the_default_partition() -> None:
    done = run(
        '{"ts":"2026-11-22T23:59:59Z","a":1}\n{"ts":"2026-11-23T01:00:00+02:00","a":2}\n{"ts":"soon","a":3}\n'
        '{"a":4}\n{"ts":"1999-01-01T00:00:00Z","a":5}\n',
        schema={"hints": {"ts": "timestamp"}},
        partition_by=[{"field": "ts", "granularity": "day", "window": {"past": "30d", "future": "1d"}}],
    )
    by_partition = {
        file.partition: [row["a"] for row in pq.read_table(io.BytesIO(file.data)).to_pylist()]
        for file in done.outputs.tables
    }
    assert by_partition == {"ts_day=2026-11-22": [1, 2], "ts_day=__HIVE_DEFAULT_PARTITION__": [3, 4, 5]}


def test_the_footer_names_batch_dataset_version_and_rows_per_source() -> None:
    done = run('{"a":1}\n', '{"a":1}\n{"a":2}\n')
    metadata = pq.read_metadata(io.BytesIO(done.outputs.tables[0].data)).metadata
    assert metadata[b"headsaw.batch"] == b"b1"
    assert metadata[b"headsaw.dataset"] == b"clicks"
    assert json.loads(metadata[b"headsaw.files"]) == {
        "s3://landing/clicks/0000.ndjson": 1,
        "s3://landing/clicks/0001.ndjson": 2,
    }


def test_small_memory_makes_more_row_groups_but_the_same_rows() -> None:
    noise = random.Random(1)
    body = "".join(f'{{"a":{number},"b":"{noise.randbytes(100).hex()}"}}\n' for number in range(60_000))
    done = run(body, memory_bytes=4 * 1024**2)
    [table] = done.outputs.tables
    assert pq.ParquetFile(io.BytesIO(table.data)).num_row_groups > 2
    assert [row["a"] for row in done.rows("a")] == list(range(60_000))


def test_an_outage_passes_through_and_every_output_is_aborted() -> None:
    class Failing(Bytes):
        def chunks(self):  # type: ignore[no-untyped-def]
            yield b'{"a":1}\nbad\n' * 10
            yield b'{"a":1}\n' * 1_000_000
            raise Unreachable("no answer")

    outputs = Memory()
    with pytest.raises(Unreachable):
        run(Failing(b""), outputs=outputs, memory_bytes=4 * 1024**2)
    assert {file.kind for file in outputs.files} == {OutputKind.TABLE, OutputKind.QUARANTINE}
    assert all(file.aborted for file in outputs.files)


def _book(*columns: Field) -> Book:
    return Book([TableSchema(1, columns)])
