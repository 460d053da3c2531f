"""What can be configured, told by the settings themselves: the JSON Schema, and the tables of docs/configuration.md.

`python -m headsaw.config docs/configuration.md` brings the tables up to date; a test fails when they aren't.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue

from headsaw.config.explain import keys_of, model_in, unit_of
from headsaw.config.settings import ServiceSettings

_BEGIN = "<!-- generated: the tables, by python -m headsaw.config docs/configuration.md -->"
_END = "<!-- end of the generated tables -->"


def config_schema() -> JsonSchemaValue:
    """The JSON Schema (2020-12) of the configuration file: keys as written, units in strings, a description on each."""
    schema = ServiceSettings.model_json_schema(by_alias=True)
    nodes = _nodes(schema)
    for model in dict.fromkeys(model for _, model in _sections("", ServiceSettings)):
        node = nodes[model.__name__]
        node.pop("title", None)
        for key, field in keys_of(model).items():
            _tidy(node["properties"][key], field)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Headsaw configuration"}
    return {**head, **schema}


def tables() -> str:
    """Markdown: a table for each mapping of the configuration, outermost first."""
    nodes = _nodes(config_schema())
    parts = [
        "\n".join([f"### {_heading(path)}", "", nodes[model.__name__]["description"], "", *_table(model, nodes), ""])
        for path, model in _sections("", ServiceSettings)
    ]
    return "\n".join(parts)


def with_tables(document: str) -> str:
    """The document with its tables up to date; raises ValueError if it marks no place for them."""
    head, begin, rest = document.partition(_BEGIN)
    _, end, tail = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"mark the place of the tables by {_BEGIN} and {_END}")
    return f"{head}{begin}\n\n{tables()}\n{end}{tail}"


def _sections(path: str, model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    """Every mapping of the configuration by its path: `datasets[].batch`."""
    yield path, model
    for key, field in keys_of(model).items():
        inner = model_in(field.annotation)
        if inner is not None:
            many = "[]" if get_origin(field.annotation) is tuple else ""
            yield from _sections(f"{path}.{key}{many}".lstrip("."), inner)


def _nodes(schema: JsonSchemaValue) -> dict[str, JsonSchemaValue]:
    """The schema of each model, by the model's name."""
    return {ServiceSettings.__name__: schema, **schema["$defs"]}


def _tidy(node: JsonSchemaValue, field: FieldInfo) -> None:
    """Drops noise from the field's schema, and writes its default as people do."""
    node.pop("title", None)
    node["description"] = field.description  # pydantic drops one that equals the mapping's own
    if model_in(field.annotation) is not None:
        node.pop("default", None)
    unit = unit_of(field)
    if unit is not None and isinstance(field.default, int | float):
        node["default"] = unit(field.default)


def _heading(path: str) -> str:
    return f"`{path}`" if path else "The file"


def _table(model: type[BaseModel], nodes: Mapping[str, JsonSchemaValue]) -> Iterator[str]:
    yield "| key | value | default | meaning |"
    yield "|---|---|---|---|"
    for key, field in keys_of(model).items():
        node = nodes[model.__name__]["properties"][key]
        cells = (f"`{key}`", _kind(node, field), _default(node, field), node["description"])
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _kind(node: JsonSchemaValue, field: FieldInfo) -> str:
    """What may be written: the type, and its limits where it has some."""
    if model_in(field.annotation) is not None:
        return "list of mappings" if node.get("type") == "array" else "mapping"
    unit = unit_of(field)
    if unit is not None:
        return unit.__name__.removeprefix("format_") + _limits(field, unit)
    kinds = [_plain_kind(option) for option in node.get("anyOf", [node]) if option.get("type") != "null"]
    return " or ".join(kinds) + _limits(field, str)


def _plain_kind(node: JsonSchemaValue) -> str:
    """The type in plain words."""
    if "enum" in node:
        return ", ".join(f"`{value}`" for value in node["enum"])
    if "$ref" in node:  # models are told apart before: what is left is a prefix
        return "`s3://bucket/prefix/`"
    match node["type"]:
        case "array":
            return f"list of {_plain_kind(node['items'])}s"
        case "object":
            return "mapping of texts"
        case "boolean":
            return "`true`, `false`"
        case "string":
            return "text"
        case other:
            return "whole number" if other == "integer" else str(other)


def _limits(field: FieldInfo, show: Callable[[float], str]) -> str:
    """`, 3s to 1h`, as far as there are limits that numbers have."""
    words = {"ge": "from", "gt": "above", "le": "to"}
    limits = [
        f"{word} {show(limit)}"
        for name, word in words.items()
        for mark in field.metadata
        if isinstance(limit := getattr(mark, name, None), int | float)
    ]
    return f", {' '.join(limits)}" if limits else ""


def _default(node: JsonSchemaValue, field: FieldInfo) -> str:
    """The default as written in YAML; a dash where the description tells it, or the mapping's own table does."""
    if field.is_required():
        return "**required**"
    value = node.get("default")
    if value is None or model_in(field.annotation) is not None:
        return "–"
    return f"`{json.dumps(value) if not isinstance(value, str) else value}`"
