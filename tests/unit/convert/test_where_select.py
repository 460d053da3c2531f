"""Row-wise SQL on the way: what is kept, computed, counted and refused."""

import io

import pyarrow.parquet as pq
import pytest
from tests.unit.convert.harness import dataset, run

from headsaw.convert import check_expressions
from headsaw.errors import ConfigError


def test_where_keeps_matching_rows_and_counts_the_others_as_filtered() -> None:
    done = run('{"s":200}\n{"s":500}\n{"t":1}\nbad\n\n', '{"s":404}\n', where="s < 500")
    assert done.rows("s") == [{"s": 200}, {"s": 404}]
    counts = done.report.files[0]
    assert (counts.lines, counts.rows, counts.filtered, counts.quarantined, counts.blank) == (5, 1, 2, 1, 1)


def test_rescued_values_are_counted_for_kept_rows_alone() -> None:
    done = run('{"a":1,"b":{}}\n{"a":9,"b":{}}\n', where="a < 5")
    assert done.report.rescued_values == 1


def test_lines_keep_their_numbers_behind_filtered_ones() -> None:
    done = run('{"s":500}\n{"s":1}\n{"s":500}\n{"s":2}\n', where="s < 500")
    assert [(row["s"], row["_source_line"]) for row in done.outputs.rows()] == [(1, 2), (2, 4)]


def test_select_excludes_computes_and_keeps_rescued_data() -> None:
    done = run(
        '{"ip":"10.0.0.1","name":"ann","n":1}\n{"ip":"10.0.0.2","name":"bob","n":18446744073709551615}\n',
        select=["* exclude (ip)", "upper(name) as shout", "n * 2 as twice", "1 as one"],
    )
    assert done.rows() == [
        {"name": "ann", "n": 1, "shout": "ANN", "twice": 2, "one": 1},
        {"name": "bob", "shout": "BOB", "one": 1, "_rescued_data": '{"/n":18446744073709551615}'},
    ]


def test_a_computed_column_takes_the_place_of_the_one_it_is_named_after() -> None:
    done = run('{"a":"x","b":1}\n', select=["*", "upper(a) as a"])
    [table] = done.outputs.tables
    names = pq.read_schema(io.BytesIO(table.data)).names
    assert names == ["a", "b", "_rescued_data", "_source_file", "_source_line", "_batch"]
    assert done.rows("a") == [{"a": "X"}]


def test_select_without_a_star_keeps_only_what_it_names() -> None:
    done = run('{"a":{"b":5},"c":1}\n', select=["a.b as b"])
    assert done.rows() == [{"b": 5}]


def test_rows_on_which_an_expression_fails_go_to_quarantine_with_the_message() -> None:
    lines = [f'{{"v":"{number}"}}' for number in range(50)]
    lines[7] = '{"v":"seven"}'
    lines[33] = '{"v":"many"}'
    done = run("\n".join(lines), where="cast(v as bigint) < 40")
    assert done.reasons() == {8: "expression_failed", 34: "expression_failed"}
    bad = done.outputs.quarantined()
    assert bad[0]["text"] == lines[7]
    assert bad[1]["offset"] == len("\n".join(lines[:33])) + 1
    assert "conversion" in bad[0]["detail"]
    counts = done.report.counts
    assert (counts.rows, counts.filtered, counts.quarantined) == (38, 10, 2)


def test_a_column_that_nobody_knows_sends_the_rows_to_quarantine_and_loses_none() -> None:
    done = run('{"a":1}\n{"a":2}\n', where="typo < 5")
    assert done.reasons() == {1: "expression_failed", 2: "expression_failed"}


def test_a_hinted_column_that_no_row_has_yet_is_null() -> None:
    done = run('{"a":1}\n{"a":2}\n', where="a < 2 or debug", schema={"hints": {"debug": "bool"}})
    assert done.rows("a") == [{"a": 1}]


def test_partitions_come_from_rows_before_select() -> None:
    done = run('{"day":"x","a":1}\n', select=["* exclude (day)"], partition_by=[{"field": "day"}])
    assert [file.partition for file in done.outputs.tables] == ["day_value=x"]
    assert done.rows() == [{"a": 1}]


@pytest.mark.parametrize(
    "text",
    [
        "sum(x)",
        "max(a) > a",
        "count(*) > 1",
        "row_number() over (order by x) = 1",
        "rank() over (order by x) = 1",
        "a in (select 1)",
        "(select 1) = a",
        "unnest(l) = 1",
        "first(a) = a",
        "corr(a, b) > 0",
        "date(x) > date '2026-01-01'",
        "select * from x",
        "a limit 5",
        "a <",
    ],
)
def test_what_is_not_row_wise_is_a_configuration_error(text: str) -> None:
    [problem] = check_expressions(dataset(select=[text]))
    assert problem.path == "select[0]"
    with pytest.raises(ConfigError):
        run('{"a":1}\n', where=text)


@pytest.mark.parametrize(
    "text",
    [
        "a + 1 = 2",
        "lower(x) like 'a%'",
        "a in (1, 2)",
        "case when a > 1 then b else c end",
        "coalesce(a, b) is null",
        "s.x.y = 'Agg'",
        "extract(year from t) = 2026",
        "strptime(x, '%Y') is null",
        '"Len" = 1',
        "x = 'sum(x)'",
    ],
)
def test_row_wise_expressions_are_accepted(text: str) -> None:
    assert check_expressions(dataset(where=text, select=["*", f"{text} as z"])) == []
