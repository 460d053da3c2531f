"""Versions, deltas and growth of table schemas."""

import pytest

from headsaw.core.inference import Rules, Seen, grow, hint_path
from headsaw.core.settings import SchemaSettings
from headsaw.core.table_schema import NotAnExtension, TableSchema, delta_from_json, delta_to_json
from headsaw.core.table_types import INT64, STRING, Field, ListOf, StructOf, parse_type

RICH = 'struct<a:int64,"b c":list<map<string,decimal(12,2)>>,t:timestamp(ms),u:timestamp,j:json>'


def test_a_type_reads_back_from_its_text() -> None:
    assert str(parse_type(RICH)) == RICH


@pytest.mark.parametrize(
    "text", ["", "int", "list", "list<int64", "decimal(39,2)", "struct<>", "struct<a:int64,A:int64>", "int64 int64"]
)
def test_a_wrong_type_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_type(text)


def test_a_type_text_nested_without_end_is_refused() -> None:
    with pytest.raises(ValueError, match="deep"):
        parse_type("list<" * 10_000)


def test_a_schema_reads_back_from_json() -> None:
    schema = TableSchema(3, (Field("é", parse_type(RICH)), Field("b", STRING)))
    assert TableSchema.from_json(schema.to_json()) == schema


def test_a_delta_applied_to_the_older_version_makes_the_newer_one() -> None:
    old = TableSchema(
        1, (Field("s", ListOf(StructOf((Field("x", INT64),)))), Field("m", parse_type("map<string,json>")))
    )
    new = TableSchema(
        2, (Field("s", parse_type("list<struct<x:int64,y:string>>")), *old.columns[1:], Field("z", INT64))
    )
    delta = new.delta(old)
    assert [addition.path for addition in delta] == [("s", None), ()]
    assert old.apply(delta_from_json(delta_to_json(delta)), 2) == new
    assert new.extends(old)
    assert not old.extends(new)


def test_a_changed_type_a_lost_column_and_a_new_order_are_no_extension() -> None:
    old = TableSchema(1, (Field("a", INT64), Field("b", STRING)))
    for columns in [
        (Field("a", STRING), Field("b", STRING)),
        (Field("a", INT64),),
        (Field("b", STRING), Field("a", INT64)),
    ]:
        with pytest.raises(NotAnExtension):
            old.next(columns)


def test_equal_columns_have_equal_fingerprints_whatever_their_version() -> None:
    columns = (Field("a", INT64),)
    assert TableSchema(1, columns).fingerprint == TableSchema(2, columns).fingerprint
    assert TableSchema(1, columns).fingerprint != TableSchema(1).fingerprint


def test_growth_adds_columns_in_the_order_in_which_keys_were_seen() -> None:
    seen = Seen(members={"b": Seen(ints=1), "a": Seen(strings=1)})
    grown = grow(TableSchema(), seen, Rules.of(SchemaSettings()))
    assert [str(column) for column in grown.columns] == ["b:int64", "a:string"]
    assert grown.version == 1


def test_nothing_to_add_returns_the_schema_itself() -> None:
    schema = TableSchema(1, (Field("a", INT64),))
    seen = Seen(
        members={"a": Seen(strings=5), "A": Seen(ints=1), "_batch": Seen(ints=1), "": Seen(ints=1), "n": Seen()}
    )
    assert grow(schema, seen, Rules.of(SchemaSettings())) is schema


def test_hint_paths_are_dotted_or_json_pointers() -> None:
    assert hint_path("a.b") == ("a", "b")
    assert hint_path("items[].price") == ("items", "[]", "price")
    assert hint_path("/a.b/c~1d") == ("a.b", "c/d")


def _wide(names: int) -> Seen:
    return Seen(objects=9, keys=9 * names, members={f"k{n}": Seen(ints=9) for n in range(names)})


def test_what_was_seen_is_limited_from_below_and_from_behind() -> None:
    items = Seen(lists=1, element=_wide(3))
    seen = Seen(members={"a": Seen(ints=1), "s": _wide(3), "items": items, "b": Seen(strings=1), "c": Seen(bools=1)})
    seen.limit(8)
    assert seen.nodes == 8
    grown = grow(TableSchema(), seen, Rules.of(SchemaSettings()))
    assert [str(column) for column in grown.columns] == [
        "a:int64",
        "s:struct<k0:int64,k1:int64>",
        "b:string",
        "c:bool",
    ], "the list has no type yet"
    seen.limit(4)
    assert list(seen.members) == ["a", "s", "items"]


def test_what_was_left_out_is_added_later_to_the_same_columns() -> None:
    rules = Rules.of(SchemaSettings())
    limited, whole = (Seen(members={"s": _wide(50), "items": Seen(lists=9, element=_wide(50))}) for _ in range(2))
    limited.limit(20)
    early = grow(TableSchema(), limited, rules)
    late = grow(early, whole, rules)
    assert early.leaves < late.leaves == grow(TableSchema(), whole, rules).leaves
    assert late.extends(early)


def test_an_object_whose_keys_are_data_is_json_however_few_of_them_were_told() -> None:
    data = Seen(objects=5000, keys=5000, members={f"user-{n}": Seen(ints=1) for n in range(5000)})
    seen = Seen(members={"by_user": data, "last": Seen(ints=1)})
    seen.limit(100)
    assert seen.nodes == 3
    grown = grow(TableSchema(), seen, Rules.of(SchemaSettings()))
    assert [str(column) for column in grown.columns] == ["by_user:json", "last:int64"]


def test_what_is_within_the_limit_stays_as_it_is() -> None:
    seen = Seen(members={"by_user": Seen(objects=900, keys=900, members={f"{n}": Seen(ints=1) for n in range(900)})})
    seen.limit(seen.nodes)
    assert (seen.nodes, seen.members["by_user"].overflow) == (902, False)
