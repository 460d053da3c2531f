"""What each column type holds, and what it leaves to rescued data."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from tests.unit.convert.harness import Book, run

from headsaw.core.table_schema import TableSchema
from headsaw.core.table_types import Field, parse_type


def _typed(type_: str, *texts: str) -> list[Any]:
    """What a column `v` of that type holds of each JSON text; `rescued` and the text where it can't."""
    book = Book([TableSchema(1, (Field("v", parse_type(type_)),))])
    rows = run("".join(f'{{"v":{text}}}\n' for text in texts), book=book).rows()
    return [("rescued", row["_rescued_data"]) if "_rescued_data" in row else row.get("v") for row in rows]


def _rescued(text: str) -> tuple[str, str]:
    return ("rescued", '{"/v":' + text + "}")


@pytest.mark.parametrize(
    ("type_", "text", "held"),
    [
        ("int64", "-9223372036854775808", -(2**63)),
        ("int64", "-0", 0),
        ("int64", "1.0", 1),
        ("int64", "12e2", 1200),
        ("int64", "9223372036854775807.0", 2**63 - 1),
        ("float64", "5e-324", 5e-324),
        ("float64", "100", 100.0),
        ("float64", "9007199254740992", 2.0**53),
        ("bool", "true", True),
        ("string", '""', ""),
        ("string", '"\\u0000"', "\0"),
        ("decimal(5,2)", "123.45", Decimal("123.45")),
        ("decimal(5,2)", "1e2", Decimal("100.00")),
        ("decimal(5,2)", "1.500", Decimal("1.50")),
        ("decimal(5,2)", "0e99", Decimal("0.00")),
        ("decimal(38,0)", "-" + "9" * 38, Decimal("-" + "9" * 38)),
        ("date", '"2026-02-28"', date(2026, 2, 28)),
        ("timestamp", '"2026-11-23T06:58:00Z"', datetime(2026, 11, 23, 6, 58, tzinfo=UTC)),
        ("timestamp", '"2026-11-23T06:58:00.5+02:00"', datetime(2026, 11, 23, 4, 58, 0, 500_000, tzinfo=UTC)),
        ("timestamp(s)", "1700000000", datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
        ("timestamp(s)", "1700000000.25", datetime(2023, 11, 14, 22, 13, 20, 250_000, tzinfo=UTC)),
        ("timestamp(ms)", "1700000000001", datetime(2023, 11, 14, 22, 13, 20, 1000, tzinfo=UTC)),
        ("timestamp(us)", "-1", datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
        ("json", '{ "a" : [1.0, "\\u00e9"] }', '{"a":[1.0,"é"]}'),
        ("json", '"x"', '"x"'),
        ("list<int64>", "[1,null,3]", [1, None, 3]),
        ("list<list<string>>", '[["a"],[],null]', [["a"], [], None]),
        ("map<string,int64>", '{"b":1,"a":null}', [("b", 1), ("a", None)]),
        ("struct<a:int64,b:string>", '{"b":"x"}', {"a": None, "b": "x"}),
        ("struct<a:int64>", "{}", {"a": None}),
    ],
)
def test_the_type_holds_the_value(type_: str, text: str, held: object) -> None:
    assert _typed(type_, text) == [held]
    assert _typed(type_, text, "null", text)[::2] == [held, held]


@pytest.mark.parametrize(
    ("type_", "text"),
    [
        ("int64", "9223372036854775808"),
        ("int64", "1.5"),
        ("int64", "1e400"),
        ("int64", "1e-999999999999"),
        ("int64", "9" * 5000),
        ("int64", "true"),
        ("int64", '"1"'),
        ("float64", "1e400"),
        ("float64", "-2e-324"),
        ("float64", "9007199254740993"),
        ("float64", "3.141592653589793238"),
        ("float64", "1e999999999999999999999"),
        ("float64", "1" * 400),
        ("float64", "false"),
        ("bool", "0"),
        ("string", "1"),
        ("string", '["x"]'),
        ("decimal(5,2)", "1234.5"),
        ("decimal(5,2)", "0.001"),
        ("decimal(5,2)", '"1.00"'),
        ("decimal(38,0)", "1e999999999999"),
        ("date", '"2026-02-29"'),
        ("date", '"2026-2-1"'),
        ("date", '"2026-02-28T00:00:00Z"'),
        ("timestamp", '"2026-11-23 06:58:00Z"'),
        ("timestamp", '"2026-11-23T06:58:00"'),
        ("timestamp", '"2026-02-30T00:00:00Z"'),
        ("timestamp", '"2026-11-23T23:59:60Z"'),
        ("timestamp", '"2026-11-23T06:58:00.1234567Z"'),
        ("timestamp", '"0000-01-01T00:00:00Z"'),
        ("timestamp", '"9999-12-31T23:59:59-01:00"'),
        ("timestamp", "1700000000"),
        ("timestamp(s)", "1e30"),
        ("timestamp(us)", "0.5"),
        ("timestamp(ms)", '"2026-11-23T06:58:00Z"'),
        ("list<int64>", "{}"),
        ("map<string,int64>", "[]"),
        ("struct<a:int64>", "[]"),
    ],
)
def test_the_type_leaves_the_value_to_rescued_data(type_: str, text: str) -> None:
    assert _typed(type_, text) == [_rescued(text)]
    assert _typed(type_, "null", text, "null") == [None, _rescued(text), None]


def test_a_value_within_lists_and_structs_is_rescued_by_its_pointer() -> None:
    rows = _rows(
        "struct<a:list<struct<b:int64>>,m:map<string,int64>>",
        '{"a":[{"b":1},{"b":"x"},5,{"b":2,"c/~":[]}],"m":{"k/":"y"}}',
    )
    assert rows == [
        {
            "v": {"a": [{"b": 1}, {"b": None}, None, {"b": 2}], "m": [("k/", None)]},
            "_rescued_data": '{"/v/a/1/b":"x","/v/a/2":5,"/v/a/3/c~1~0":[],"/v/m/k~1":"y"}',
        }
    ]


def _rows(type_: str, *texts: str) -> list[dict[str, Any]]:
    book = Book([TableSchema(1, (Field("v", parse_type(type_)),))])
    return run("".join(f'{{"v":{text}}}\n' for text in texts), book=book, schema={"mode": "rescue"}).rows()


@pytest.mark.parametrize(
    ("texts", "type_"),
    [
        (["1", "2"], "int64"),
        (["1", "2.5"], "float64"),
        (["1", "1.0"], "float64"),
        (["18446744073709551615"], "int64"),
        (["true"], "bool"),
        (['"2026-11-23T06:58:00Z"'], "string"),
        (["null", '"x"'], "string"),
        (["[]", "[null]", "[1]"], "list<int64>"),
        (["[[1],[2.5]]"], "list<list<float64>>"),
        (["{}", '{"a":{}}', '{"a":{"b":1}}'], "struct<a:struct<b:int64>>"),
        (["[{}]", '[{"a":1},{"b":"x"}]'], "list<struct<a:int64,b:string>>"),
        (["1", '"x"'], "json"),
        (["[1,{}]"], "list<json>"),
        (["1"] * 99 + ['"x"'], "int64"),
        (["[" * 20 + "1" + "]" * 20], "list<" * 15 + "json" + ">" * 15),
    ],
)
def test_the_first_version_types_a_column_by_all_of_its_values(texts: list[str], type_: str) -> None:
    done = run("".join(f'{{"v":{text}}}\n' for text in texts))
    assert done.types == {"v": type_}


@pytest.mark.parametrize("text", ["null", "{}", "[]", "[null]", "[[]]", '{"a":null}', '{"a":{}}'])
def test_a_key_without_a_typed_value_is_no_column_yet(text: str) -> None:
    done = run(f'{{"v":{text},"w":1}}\n')
    assert done.types == {"w": "int64"}
    kept = [] if text == "null" else [f'{{"/v":{text}}}']
    assert [row["_rescued_data"] for row in done.rows() if "_rescued_data" in row] == kept


def test_settings_say_how_numbers_and_timestamps_are_inferred() -> None:
    body = '{"n":1,"t":"2026-11-23T06:58:00Z","u":"2026-11-23"}\n'
    done = run(body, schema={"numbers": "decimal", "timestamps": "infer"})
    assert done.types == {"n": "decimal(38,9)", "t": "timestamp", "u": "string"}
    assert run(body, schema={"numbers": "float64"}).types["n"] == "float64"


def test_text_that_only_resembles_a_timestamp_makes_no_timestamp_column() -> None:
    done = run('{"t":"2026-11-23T06:58:00Z\\n"}\n', schema={"timestamps": "infer"})
    assert done.types == {"t": "string"}


def test_hints_fix_types_at_any_depth() -> None:
    hints = {"price": "decimal(12,2)", "payload": "json", "items[].at": "timestamp(ms)", "/a.b": "map<string,int64>"}
    body = '{"price":1,"payload":{"x":1},"items":[{"at":5}],"a.b":{"k":1}}\n'
    done = run(body, schema={"hints": hints})
    assert done.types == {
        "price": "decimal(12,2)",
        "payload": "json",
        "items": "list<struct<at:timestamp(ms)>>",
        "a.b": "map<string,int64>",
    }


def test_keys_that_readers_would_confuse_are_rescued() -> None:
    body = '{"ID":1,"id":2,"":3,"_batch":4,"a\\u0000b":5,"' + "k" * 300 + '":6,"a.b":7," a":8}\n'
    done = run(body)
    assert done.types == {"ID": "int64", "a.b": "int64", " a": "int64"}
    [row] = done.rows()
    assert json.loads(row["_rescued_data"]) == {"/": 3, "/_batch": 4, "/a\0b": 5, "/id": 2, "/" + "k" * 300: 6}


def test_keys_beyond_the_column_limit_are_rescued() -> None:
    body = json.dumps({f"k{number}": number for number in range(20)}) + "\n"
    done = run(body, schema={"max_columns": 5})
    assert list(done.types) == ["k0", "k1", "k2", "k3", "k4"]
    [row] = done.rows()
    assert len(json.loads(row["_rescued_data"])) == 15


def test_objects_with_ids_for_keys_become_json() -> None:
    body = "".join(f'{{"v":{{"id{number}":1}}}}\n' for number in range(1000))
    done = run(body)
    assert done.types == {"v": "json"}
    assert done.rows()[7] == {"v": '{"id7":1}'}


def test_a_struct_stops_growing_when_its_keys_turn_out_to_be_data() -> None:
    book = Book()
    run('{"v":{"total":1}}\n', book=book)
    done = run("".join(f'{{"v":{{"id{number}":1}}}}\n' for number in range(1000)), book=book)
    assert done.types == {"v": "struct<total:int64>"}
    assert done.report.rescued_values == 1000


def test_a_member_seen_late_joins_its_struct() -> None:
    book = Book()
    run('{"v":[{"a":1}],"w":{"x":{"y":1}}}\n', book=book)
    done = run('{"v":[{"a":1,"b":"x"}],"w":{"x":{"z":true}}}\n', book=book)
    assert done.types == {"v": "list<struct<a:int64,b:string>>", "w": "struct<x:struct<y:int64,z:bool>>"}
    assert [schema.version for schema in book.versions] == [0, 1, 2]
