"""JSON Schemas become columns."""

import json
from typing import Any

import pytest

from headsaw.core.json_schema import columns_from_json_schema


def _types(**schema: Any) -> dict[str, str]:
    columns = columns_from_json_schema(json.dumps({"type": "object", **schema}))
    return {column.name: str(column.type) for column in columns}


def test_plain_types_and_formats_become_columns() -> None:
    assert _types(
        properties={
            "i": {"type": "integer", "minimum": 0},
            "n": {"type": ["number", "null"]},
            "s": {"type": "string", "enum": ["a"]},
            "t": {"type": "string", "format": "date-time"},
            "d": {"type": "string", "format": "date"},
            "b": {"type": "boolean"},
        }
    ) == {"i": "int64", "n": "float64", "s": "string", "t": "timestamp", "d": "date", "b": "bool"}


def test_nested_types_become_structs_lists_and_maps() -> None:
    assert _types(
        properties={
            "o": {"properties": {"x": {"type": "integer"}}},
            "l": {"type": "array", "items": {"type": "array", "items": {"type": "string"}}},
            "m": {"type": "object", "additionalProperties": {"type": "number"}},
        }
    ) == {"o": "struct<x:int64>", "l": "list<list<string>>", "m": "map<string,float64>"}


def test_what_may_be_anything_becomes_json() -> None:
    assert _types(
        properties={
            "any": {},
            "open": {"type": "object"},
            "two": {"type": ["string", "integer"]},
            "either": {"oneOf": [{"type": "string"}, {"type": "integer"}]},
            "items": {"type": "array"},
            "true": True,
            "null": {"type": "null"},
        }
    ) == dict.fromkeys(["any", "open", "two", "either", "items", "true", "null"], "json")


def test_a_choice_with_null_is_the_other_choice_and_references_are_followed() -> None:
    assert _types(
        properties={"a": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/id"}]}},
        **{"$defs": {"id": {"type": "integer"}}},
    ) == {"a": "int64"}


def test_a_schema_that_contains_itself_ends_in_json() -> None:
    tree = {"type": "object", "properties": {"v": {"type": "integer"}, "next": {"$ref": "#"}}}
    [v, following] = columns_from_json_schema(json.dumps(tree))
    assert str(v.type) == "int64"
    assert str(following.type).startswith("struct<v:int64,next:struct<")
    assert str(following.type).count("json") == 1


@pytest.mark.parametrize(
    "document", ["[]", '{"type":"string"}', '{"type":"object"}', '{"properties":{"a":{"$ref":"#/none"}}}', "{"]
)
def test_what_describes_no_object_is_refused(document: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        columns_from_json_schema(document)
