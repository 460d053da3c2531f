"""A JSON Schema as the columns of a table schema.

What has one JSON type (null aside) becomes that column; what may be several, or can't be said, becomes json. Keywords
that only restrict values (`minimum`, `pattern`, `enum` and so on) don't matter: a column holds what its type holds.
"""

import json
from collections.abc import Mapping
from typing import Any

from headsaw.core.inference import DEPTH_MAX
from headsaw.core.table_types import (
    BOOL,
    DATE,
    FLOAT64,
    INT64,
    JSON,
    STRING,
    TIMESTAMP,
    DataType,
    Field,
    ListOf,
    MapOf,
    StructOf,
)

_FORMATS = {"date-time": TIMESTAMP, "date": DATE}
_PLAIN = {"boolean": BOOL, "integer": INT64, "number": FLOAT64}


def columns_from_json_schema(text: str | bytes) -> tuple[Field, ...]:
    """The columns of the objects that the schema describes; raises ValueError if it describes anything else."""
    document = json.loads(text)
    type_ = _Import(document).type(document, 0)
    if not isinstance(type_, StructOf):
        raise ValueError('the JSON Schema must describe an object: "type": "object" with "properties"')
    return type_.fields


class _Import:
    """Reads one document; references within it are followed."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document

    def type(self, schema: object, depth: int) -> DataType:
        """The type of the values that a subschema describes."""
        if not isinstance(schema, dict) or depth > 2 * DEPTH_MAX:
            return JSON
        if "$ref" in schema:
            return self.type(self._referenced(str(schema["$ref"])), depth + 1)
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                choices = [item for item in schema[keyword] if item != {"type": "null"}]
                return self.type(choices[0], depth + 1) if len(choices) == 1 else JSON
        types = schema.get("type", "object" if "properties" in schema else None)
        names = [name for name in (types if isinstance(types, list) else [types]) if name != "null"]
        return self._named(names[0], schema, depth) if len(names) == 1 else JSON

    def _named(self, name: object, schema: Mapping[str, Any], depth: int) -> DataType:
        match name:
            case "string":
                return _FORMATS.get(str(schema.get("format")), STRING)
            case "array" | "object" if depth > DEPTH_MAX:
                return JSON
            case "array":
                return ListOf(self.type(schema["items"], depth + 1)) if "items" in schema else JSON
            case "object":
                return self._object(schema, depth)
            case str():
                return _PLAIN.get(name, JSON)
            case _:
                return JSON

    def _object(self, schema: Mapping[str, Any], depth: int) -> DataType:
        members = schema.get("properties")
        if members:
            return StructOf(tuple(Field(name, self.type(member, depth + 1)) for name, member in members.items()))
        values = schema.get("additionalProperties")
        return MapOf(self.type(values, depth + 1)) if isinstance(values, dict) and values else JSON

    def _referenced(self, reference: str) -> object:
        if not reference.startswith("#"):
            raise ValueError(f"{reference!r} leads outside the document; put the definition into it")
        found: Any = self._document
        for step in filter(None, reference[1:].split("/")):
            name = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, dict) or name not in found:
                raise ValueError(f"{reference!r} leads nowhere in the document")
            found = found[name]
        return found
