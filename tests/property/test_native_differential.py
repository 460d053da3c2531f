"""The native parser and the reference parser say the same of any block under any table schema, to the last byte."""

import json
import math
import os
import shutil
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.conformance.test_generated import LINES
from tests.property.differential import columns, compare, compare_case, grown, inputs
from tests.property.test_convert import jsonish, objects, texts

from headsaw.convert import native
from headsaw.convert.decode import Decode
from headsaw.convert.frame import Framer, Run
from headsaw.convert.parser import Lines, ParseRules
from headsaw.convert.reference import ReferenceParser
from headsaw.core.table_schema import TableSchema
from headsaw.core.table_types import leaves
from headsaw.errors import SourceUnreadable

if not native.available():
    if os.environ.get("CI") and shutil.which("cargo"):
        pytest.fail("cargo is here and the native parser isn't built: run `make native`", pytrace=False)
    pytest.skip("the native parser isn't built: `make native` builds it", allow_module_level=True)

CORPUS = Path(__file__).resolve().parents[2].parent / "shared" / "data"
FILES = sorted(
    path for path in CORPUS.glob("**/*") if path.is_file() and path.parent != CORPUS and path.name != "expected.json"
)
SEEDS = Path(__file__).resolve().parents[2] / "native" / "fuzz" / "seeds"
MANY = settings(max_examples=100, deadline=None)


TYPES = [
    "bool", "int64", "float64", "string", "date", "timestamp", "timestamp(s)", "timestamp(ms)", "timestamp(us)",
    "json", "decimal(1,0)", "decimal(12,2)", "decimal(38,0)", "decimal(38,9)", "decimal(38,38)", "list<json>",
    "list<float64>", "list<list<int64>>", "map<string,int64>", "map<string,struct<a:int64,b:string>>",
    "map<string,list<string>>", "struct<a:int64>", "struct<b:struct<c:list<struct<a:string>>>>",
    'struct<"":int64,"a.b":json,"~":string,"a/b":list<bool>>', "map<string,map<string,json>>",
]  # fmt: skip

SCALARS = [
    "null",
    "true",
    "false",
    "0",
    "-0",
    "-0.0",
    "0e5",
    "0.000",
    "1",
    "-1",
    "12",
    "123456789012345678",
    "1234567890123456789",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "9007199254740993",
    "18446744073709551615",
    "99999999999999999999999999999999999999",
    "100000000000000000000000000000000000000",
    "1.0",
    "2e0",
    "1.5e1",
    "1e-1",
    "1E+2",
    "12.5",
    "12.50",
    "12.505",
    "0.1",
    "0.30000000000000004",
    "1e400",
    "1e-400",
    "0.1000000000000000055511151231257827",
    "5e-324",
    "4e-324",
    "2.2250738585072014e-308",
    "1.7976931348623157e308",
    "1.7976931348623159e308",
    "123456789.123456789",
    "1e22",
    "1e23",
    "1e15",
    "123456789012345e22",
    "123456789012345e-22",
    "9007199254740992.5",
    "0.000001",
    "1e-7",
    "0.0020799636840820312",
    "0.0020799636840820313",
    "1795417200",
    "1795417200.123456",
    "1795417200.1234567",
    "-62135596800",
    "-62135596800.000001",
    "253402300799.999999",
    "253402300800",
    "1e18",
    "1e19",
    "1" + "0" * 4400,
    "0." + "0" * 400 + "1e401",
    '""',
    '"a"',
    '"a\\u0041\\n\\"\\/\\ud83d\\ude00"',
    '"\\u0000\\u001f\x7f\u2028"',
    '"2026-11-23"',
    '"2026-02-29"',
    '"2024-02-29"',
    '"0000-01-01"',
    '"9999-12-31"',
    '"2026-11-23T06:58:00Z"',
    '"2026-11-23T06:58:00.1Z"',
    '"2026-11-23T06:58:00.123456+05:30"',
    '"2026-11-23T06:58:00.1234567Z"',
    '"2026-11-23T06:58:60Z"',
    '"2026-11-23T24:00:00Z"',
    '"2026-02-30T00:00:00Z"',
    '"0000-12-31T23:30:00-01:00"',
    '"0001-01-01T00:30:00+01:00"',
    '"9999-12-31T23:59:59.999999Z"',
    '"0000-02-29T00:00:00Z"',
    '"9999-12-31T23:59:59-00:01"',
    '"2026-11-23T06:58:00\\u005a"',
    '"2026-11-23t06:58:00z"',
    '"2026-11-23T06:58:00.Z"',
    '"2026-11-23T06:58:00Z\\n"',
    '"2026-11-23\\n"',
    '"\u0662026-11-23"',
    '"2026-11-23T06:58:00+24:00"',
    '"2026-11-23T06:58Z"',
    "[]",
    "{}",
    "[null]",
    '[1,null,2.5,"x"]',
    '{"a":1,"b":"x"}',
    '{"a":null,"c":[{"a":"y","z":1},{"z":null}]}',
    '{"b":{"c":[{"a":1},{"q":[[]]}, 7 ]}}',
    '[[1],[2,"x"],null,[]]',
    '{"k":{"a":1,"n":null},"l":5,"m":{"b":2,"o":[{}]}}',
    '{"x":["p",1],"y":null}',
    '{"":1,"a.b":2,"~":"t","a/b":[true,0]}',
    '{"A":1,"a":2}',
    '{ "a" :\t1 , "b" : [ ] }',
]


@pytest.mark.parametrize("type_", TYPES)
def test_they_agree_on_every_value_in_a_column_of_every_type(type_: str) -> None:
    for block in ("".join(f'{{"v":{value}}}\n' for value in SCALARS), *(f'{{"v":{value}}}' for value in SCALARS)):
        compare(block.encode(), columns(v=type_))
        compare(block.encode(), columns(w="int64", v=f"list<{type_}>", s=f"struct<v:{type_}>"))
    nested = "".join(f'{{"s":{{"v":{value}}},"v":[{value},{value}],"w":{value}}}\n' for value in SCALARS)
    compare(nested.encode(), columns(v=f"list<{type_}>", s=f"struct<v:{type_}>", w=f"map<string,{type_}>"))


@pytest.mark.parametrize("numbers", ["int64", "float64", "decimal"])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_they_agree_on_every_class_of_line(numbers: str, newline: bytes) -> None:
    block = newline.join(line for line, _ in LINES)
    seen = compare(block, TableSchema())
    compare(block, grown(seen, numbers=numbers))
    for line, _ in LINES:
        compare(line, grown(seen, numbers=numbers))
        compare(line + b"\n", TableSchema())


@pytest.mark.parametrize("depth", [1, 2, 3, 16, 17, 20])
def test_they_agree_on_depth(depth: int) -> None:
    lines = ['{"a":' + "[" * deep + "]" * deep + "}" for deep in range(25)]
    lines += ['{"a":' * deep + "1" + "}" * deep for deep in range(1, 25)]
    lines += ['{"s":{"a":' + "[" * deep + '"}{"' + "]" * deep + "}}" for deep in range(25)]
    lines += ['{"u":' + '{"b":[' * deep + "1" + "]}" * deep + "}" for deep in range(12)]
    block = "\n".join(lines).encode()
    for rules in (ParseRules(depth), ParseRules()):
        seen = compare(block, TableSchema(), rules)
        compare(block, grown(seen), rules)
        compare(block, columns(a="list<list<json>>", s="struct<a:list<int64>>"), rules)
        compare(block, columns(a="map<string,map<string,int64>>"), rules)


@pytest.mark.parametrize("count", [2, 8, 9, 40])
def test_they_agree_on_repeated_keys(count: int) -> None:
    keys = [f"k{number}" for number in range(count)]
    once = ",".join(f'"{key}":1' for key in keys)
    for again in ("", ',"k0":2', ',"k\\u0030":2', f',"k{count - 1}":null', ',"K0":1'):
        for line in (f"{{{once}{again}}}", f'{{"s":{{{once}{again}}}}}', f'{{"s":[{{"x":{{{once}{again}}}}}]}}'):
            for type_ in ("json", "map<string,int64>", "struct<k0:int64>", "list<struct<x:map<string,json>>>"):
                compare(line.encode(), columns(s=type_, k0="int64"))


def test_a_zero_beyond_decimal_exponents_is_left_to_the_reference() -> None:
    block = b'{"v":0e99999999999999999999}\n'
    for type_ in ("float64", "int64", "decimal(3,0)", "timestamp(s)"):
        compare(block, columns(v=type_), left_to_reference=1)
    compare(block, columns(v="json"))


@pytest.mark.parametrize("path", inputs(SEEDS), ids=lambda path: path.name[:36])
def test_they_agree_on_every_seed_of_the_fuzzers(path: Path) -> None:
    compare_case(path.read_bytes())


@MANY
@given(st.lists(objects | jsonish.map(lambda data: data.decode("utf-8", "replace")), max_size=12), st.data())
def test_they_agree_on_any_lines(lines: list[str], data: Any) -> None:
    block = "\n".join(lines).encode()
    rules = ParseRules(data.draw(st.sampled_from([2, 4, 256])), infer_timestamps=data.draw(st.booleans()))
    seen = compare(block, TableSchema(), rules)
    compare(block, grown(seen, numbers=data.draw(st.sampled_from(["int64", "float64", "decimal"]))), rules)
    half = ReferenceParser(rules).observe(Lines.of("\n".join(lines[::2]).encode()), TableSchema())
    compare(block, grown(half, max_columns=data.draw(st.integers(1, 6))), rules)


types = st.recursive(
    st.sampled_from(TYPES),
    lambda inner: st.one_of(
        inner.map(lambda text: f"list<{text}>"),
        inner.map(lambda text: f"map<string,{text}>"),
        st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, min_size=1).map(
            lambda members: "struct<" + ",".join(f"{key}:{text}" for key, text in members.items()) + ">"
        ),
    ),
    max_leaves=5,
)


@MANY
@given(st.lists(objects, max_size=8), st.dictionaries(st.sampled_from(["a", "b", "c", "a.b", ""]), types))
def test_they_agree_under_any_table_schema(lines: list[str], columns_: dict[str, str]) -> None:
    compare("\n".join(lines).encode(), columns(**columns_))


@MANY
@given(st.binary(max_size=300) | jsonish)
@example(b"\xed\xa0\x80\n{}\n")
@example(b'{"a":"\xff"}\n{"a":"\xc3\xa9"}\n \r\n')
@example(b"\n\n")
@example(b"")
def test_they_agree_on_any_bytes(block: bytes) -> None:
    compare(block, grown(compare(block, TableSchema())))


numbers = st.from_regex(r"-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)
doubles = st.floats(allow_nan=False, allow_infinity=False).map(repr)
near_doubles = st.tuples(st.integers(1, 2**53), st.integers(-80, 20), st.integers(-2, 2)).map(
    lambda parts: (
        f"{Decimal(repr(math.ldexp(parts[0], parts[1]))) + parts[2] * _last_place(math.ldexp(parts[0], parts[1]))}"
    )
)


def _last_place(number: float) -> Decimal:
    """One in the last place of the double's shortest form."""
    exponent = Decimal(repr(number)).as_tuple().exponent
    assert isinstance(exponent, int)
    return Decimal(1).scaleb(exponent)


@MANY
@given(st.lists(numbers | doubles | near_doubles | st.integers(-(2**64), 2**64).map(str), min_size=1, max_size=30))
def test_they_agree_on_any_number(values: list[str]) -> None:
    block = "".join(f'{{"v":{value}}}\n' for value in values).encode()
    for type_ in ("int64", "float64", "decimal(38,9)", "decimal(18,18)", "timestamp(s)", "timestamp(us)", "json"):
        compare(block, columns(v=type_))


@MANY
@given(st.lists(st.tuples(st.text(max_size=20) | texts, st.booleans()), max_size=10))
def test_they_agree_on_any_string_however_it_is_escaped(values: list[tuple[str, bool]]) -> None:
    block = "".join(f'{{"v":{json.dumps(text, ensure_ascii=plain)}}}\n' for text, plain in values)
    for type_ in ("string", "json", "map<string,json>", "date"):
        compare(block.encode("utf-8", "surrogatepass"), columns(v=type_))


def blocks(path: Path) -> list[bytes]:
    """The file's runs, cut into blocks; nothing of a file that can't be decoded."""
    framer = Framer(Decode([path.read_bytes()], name=path.name), 1 << 30)
    try:
        return [framed.piece[framed.start : framed.end] for framed in framer if isinstance(framed, Run)]
    except SourceUnreadable:  # which files are rejected, and why, is tested elsewhere
        return []


@pytest.mark.thorough
@pytest.mark.timeout(600)  # the reference parser reads the largest file twenty times
@pytest.mark.skipif(not FILES, reason="the shared corpora aren't beside this checkout")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_they_agree_on_every_file_of_the_corpora(path: Path) -> None:
    for block in blocks(path):
        seen = compare(block, TableSchema())
        for rules in ({}, {"numbers": "decimal", "max_columns": 20}):
            schema = grown(seen, **rules)
            assert sum(leaves(column.type) for column in schema.columns) == schema.leaves
            compare(block, schema, ParseRules(infer_timestamps=True))
        head = block[: block.find(b"\n", len(block) // 10) + 1]
        compare(block, grown(ReferenceParser(ParseRules()).observe(Lines.of(head), TableSchema())))
