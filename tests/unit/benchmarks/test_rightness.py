import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from benchmarks.conversions import measured
from benchmarks.corpora import CORPORA, Column, Corpus, Facts, Prepared
from benchmarks.rightness import Answer, difference, fault

Records = list[dict[str, Any]]
RECORDS: Records = [
    {"id": str(n), "n": n, "at": f"2026-11-23T00:00:{n % 60:02}Z", "who": {"name": f"n{n}"}, "tags": ["a", None]}
    | ({"org": {"id": 9_007_199_254_740_993 + n}} if n % 3 == 0 else {})
    for n in range(3000)
]


@pytest.fixture
def corpus(tmp_path: Path) -> Prepared:
    plain = tmp_path / "a.ndjson"
    facts = Facts()
    lines = [json.dumps(record).encode() + b"\n" for record in RECORDS]
    for line in lines:
        facts.add(line)
    plain.write_bytes(b"".join(lines))
    return Prepared("a", "id", "", plain, plain, facts.rows, facts.ndjson_bytes, len(facts.paths), facts.columns)


def _written(records: Records, path: Path) -> Answer:
    names = {name: None for record in records for name in record}
    pq.write_table(pa.table({name: [record.get(name) for record in records] for name in names}), path)
    return Answer((path,))


def _with(changed: Callable[[dict[str, Any]], dict[str, Any]]) -> Records:
    return [changed(record) for record in RECORDS]


def test_the_same_records_are_right(corpus: Prepared, tmp_path: Path) -> None:
    assert fault(corpus, _written(RECORDS, tmp_path / "a.parquet")) == ""


def test_another_order_is_right(corpus: Prepared, tmp_path: Path) -> None:
    assert fault(corpus, _written(RECORDS[::-1], tmp_path / "a.parquet")) == ""


def test_a_time_that_was_read_as_a_timestamp_is_right(corpus: Prepared, tmp_path: Path) -> None:
    table = pa.Table.from_pylist(RECORDS)
    at = table["at"].cast(pa.timestamp("ns", "UTC"))
    pq.write_table(table.set_column(table.schema.get_field_index("at"), "at", at), tmp_path / "a.parquet")
    assert fault(corpus, Answer((tmp_path / "a.parquet",))) == ""


def test_a_missing_row_is_noticed(corpus: Prepared, tmp_path: Path) -> None:
    assert fault(corpus, _written(RECORDS[:-12], tmp_path / "a.parquet")) == "12 rows missing"


def test_a_row_too_many_is_noticed(corpus: Prepared, tmp_path: Path) -> None:
    assert fault(corpus, _written([*RECORDS, RECORDS[0]], tmp_path / "a.parquet")) == "1 rows too many"


def test_a_dropped_member_is_noticed(corpus: Prepared, tmp_path: Path) -> None:
    answer = _written(_with(lambda record: record | {"who": {"other": 1}}), tmp_path / "a.parquet")
    assert fault(corpus, answer) == "2,000 of 2,000 rows differ, most often at who.name (missing)"


def test_an_integer_that_went_through_a_double_is_noticed(corpus: Prepared, tmp_path: Path) -> None:
    def rounded(record: dict[str, Any]) -> dict[str, Any]:
        return record | ({"org": {"id": float(record["org"]["id"])}} if "org" in record else {})

    assert "most often at org.id" in fault(corpus, _written(_with(rounded), tmp_path / "a.parquet"))


def test_a_struct_of_nulls_where_nothing_was_is_noticed(corpus: Prepared, tmp_path: Path) -> None:
    answer = _written(_with(lambda record: {"org": {"id": None}} | record), tmp_path / "a.parquet")
    assert "org (added)" in fault(corpus, answer)


@pytest.mark.parametrize(
    ("change", "told"),
    [({"n": 7}, "column n: another sum"), ({"id": "longer than"}, "column id: another number of characters")],
)
def test_one_wrong_value_is_noticed_also_outside_the_sample(
    corpus: Prepared, tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    outside = [
        _written([*RECORDS[:n], RECORDS[n] | change, *RECORDS[n + 1 :]], tmp_path / f"{n}.parquet")
        for n in range(20, 30)
    ]
    faults = [fault(corpus, answer) for answer in outside]
    assert all(faults)
    assert told in faults


def test_what_headsaw_rescued_counts_as_present(tmp_path: Path) -> None:
    plain = tmp_path / "a.ndjson"
    records = [{"id": str(n), "v": n if n % 50 else "text"} for n in range(1, 500)]
    plain.write_text("".join(json.dumps(record) + "\n" for record in records))
    facts = Facts()
    for line in plain.read_bytes().splitlines(keepends=True):
        facts.add(line)
    ready = Prepared("a", "id", "", plain, plain, facts.rows, facts.ndjson_bytes, 2, facts.columns)
    done = measured("headsaw reference", [plain], tmp_path / "out", whole=False)
    paths = tuple((tmp_path / "out").glob("*.parquet"))
    assert fault(ready, Answer(paths, done["schema"])) == ""
    ready.columns["v"].present += 1
    assert fault(ready, Answer(paths, done["schema"])) == "column v: 499 of 500 values"


def test_where_two_records_differ_is_named() -> None:
    assert difference({"a": {"b": 1}}, {"a": {"b": 2}}) == "a.b"
    assert difference({"a": {}}, {"a": {"b": 2}}) == "a.b (missing)"
    assert difference({"a": 1, "c": 1}, {"a": 1}) == "c (added)"


def test_every_corpus_has_the_key_by_which_its_rows_are_found() -> None:
    def has_key(corpus: Corpus) -> bool:
        _, lines = corpus.lines(1000)
        column = Column()
        for line, _ in zip(lines, range(20), strict=False):
            column.add(json.loads(line).get(corpus.key))
        return column.texts == 20

    assert all(map(has_key, CORPORA))
