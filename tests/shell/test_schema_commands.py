"""`headsaw schema` against a local AWS."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import Shell

from headsaw.demo.emulator import Endpoint

pytestmark = pytest.mark.emulator


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    for name in [name for name in os.environ if name.startswith("HEADSAW_")]:
        monkeypatch.delenv(name)
    return Shell(monkeypatch, capsys)


@pytest.fixture
def config(tmp_path: Path, emulator_environment: Endpoint) -> Path:
    queue = f"{emulator_environment.url}/{emulator_environment.account}/{tmp_path.name.replace('_', '-')[:40]}"
    content: dict[str, Any] = {
        "queue_url": queue,
        "dlq_url": f"{queue}-dlq",
        "ledger_table": f"schema-{tmp_path.name}"[:60],
        "control": "s3://schema-control/headsaw/",
        "quarantine": "s3://schema-control/quarantine/",
        "datasets": [{"name": "clicks", "source": "s3://schema-in/clicks/", "destination": "s3://schema-out/clicks/"}],
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_columns_are_added_shown_and_kept_as_history(shell: Shell, config: Path, tmp_path: Path) -> None:
    assert shell.run("local-setup", "-c", config).status == 0
    assert "no table schema yet" in shell.run("schema", "show", "clicks", "-c", config).out
    first = shell.run("schema", "set", "clicks", "--add", "price: decimal(12,2)", "-c", config, "--json")
    assert first.json["version"] == 1
    described = tmp_path / "event.json"
    described.write_text(
        '{"type":"object","properties":{"id":{"type":"integer"},"tags":{"type":"array","items":{"type":"string"}}}}'
    )
    second = shell.run("schema", "set", "clicks", "--json-schema", described, "-c", config, "--json")
    assert second.json["version"] == 2
    assert shell.run("schema", "show", "clicks", "-c", config, "--json").json["schema"] == [
        {"name": "price", "type": "decimal(12,2)"},
        {"name": "id", "type": "int64"},
        {"name": "tags", "type": "list<string>"},
    ]
    versions = shell.run("schema", "history", "clicks", "-c", config, "--json").json["versions"]
    assert [[column["name"] for column in version["added"]] for version in versions] == [["price"], ["id", "tags"]]
    assert "tags" in shell.run("schema", "history", "clicks", "-c", config).out
    again = shell.run("schema", "set", "clicks", "--add", "id:int64", "-c", config, "--json")
    assert again.json["version"] == 2, "nothing new"
    statement = shell.run("schema", "ddl", "clicks", "--for", "athena", "-c", config).out
    assert "CREATE EXTERNAL TABLE" in statement
    assert "s3://schema-out/clicks/" in statement


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ("id:string", "never changes its type"),
        ("ID:int64", "by case only"),
        ("_batch:string", "one of headsaw's own"),
        ("x:quaternion", "is no type"),
        ("nothing", "NAME:TYPE"),
    ],
)
def test_what_cannot_be_a_column_is_refused(shell: Shell, config: Path, column: str, words: str) -> None:
    assert shell.run("local-setup", "-c", config).status == 0
    assert shell.run("schema", "set", "clicks", "--add", "id:int64", "-c", config).status == 0
    refused = shell.run("schema", "set", "clicks", "--add", column, "-c", config)
    assert refused.status == 2
    assert words in " ".join(refused.err.split())
    assert "Traceback" not in refused.err


def test_an_unknown_dataset_is_named_with_the_known_ones(shell: Shell, config: Path) -> None:
    refused = shell.run("schema", "show", "click", "-c", config)
    assert refused.status == 2
    assert "clicks" in refused.err
