"""The JSON Schema, and documentation that tells what the code does."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from headsaw.config import config_schema, load
from headsaw.config.explain import key_paths
from headsaw.config.reference import with_tables
from headsaw.config.settings import ServiceSettings

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"


def example() -> str:
    """The YAML block of docs/configuration.md."""
    [block] = re.findall(r"```yaml\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    return str(block)


def keys_in(value: object, path: str = "") -> set[str]:
    """Every key path of nested mappings, positions in lists left aside."""
    if isinstance(value, list):
        return set().union(*(keys_in(item, path) for item in value))
    if not isinstance(value, dict):
        return set()
    below = {f"{path}.{key}".lstrip("."): inner for key, inner in value.items()}
    return set(below).union(*(keys_in(inner, key) for key, inner in below.items()))


def properties() -> dict[str, dict[str, Any]]:
    """Every property of the schema by model and key."""
    schema = config_schema()
    nodes = {"": schema, **schema["$defs"]}
    return {f"{name}.{key}": node for name, model in nodes.items() for key, node in model.get("properties", {}).items()}


def test_the_example_is_loaded(tmp_path: Path) -> None:
    file = tmp_path / "headsaw.yaml"
    file.write_text(example(), encoding="utf-8")
    settings = load(file, {})
    assert [dataset.name for dataset in settings.datasets] == ["clicks", "orders"]
    directories = [level.directory for dataset in settings.datasets for level in dataset.partition_by]
    assert directories == ["country_value", "ts_day", "landed", "ingested_hour"]


def test_the_example_shows_every_setting() -> None:
    assert set(key_paths(ServiceSettings)) <= keys_in(yaml.safe_load(example()))


def test_the_tables_tell_what_the_settings_are() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert with_tables(text) == text, "bring it up to date: python -m headsaw.config docs/configuration.md"


def test_a_document_without_a_place_for_the_tables_is_refused() -> None:
    with pytest.raises(ValueError, match="mark the place"):
        with_tables("# Configuration\n")


def test_every_property_is_described() -> None:
    assert [name for name, node in properties().items() if not str(node.get("description", "")).endswith(".")] == []


def test_the_schema_is_plain_json() -> None:
    schema = config_schema()
    assert json.loads(json.dumps(schema)) == schema
    assert schema["required"] == ["queue_url", "dlq_url", "control", "quarantine", "datasets"]
    assert schema["additionalProperties"] is False


def test_the_schema_uses_the_file_s_keys_and_units() -> None:
    nodes = properties()
    assert "DatasetSettings.schema" in nodes
    assert "DatasetSettings.table_schema" not in nodes
    assert nodes["BatchLimits.max_age"]["type"] == ["string", "number"]
    assert nodes["BatchLimits.max_age"]["default"] == "5m"
    assert nodes["BatchLimits.max_bytes"]["type"] == ["string", "integer"]
    assert nodes["BatchLimits.max_bytes"]["default"] == "256MiB"
    assert {option["type"] for option in nodes[".queue_url"]["anyOf"]} == {"string", "array"}


def test_the_patterns_of_units_match_the_examples_and_no_nonsense() -> None:
    for key in ("BatchLimits.max_age", "BatchLimits.max_bytes"):
        node = properties()[key]
        pattern = re.compile(node["pattern"])
        assert all(pattern.search(text) for text in (*node["examples"], node["default"], "300"))
        assert not any(pattern.search(text) for text in ("", "5 lightyears", "-1"))
