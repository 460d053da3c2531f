"""docs/commands.md against the commands themselves."""

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from headsaw.cli import look_json
from headsaw.cli.root import app
from headsaw.core.model import (
    Batch,
    BatchId,
    BatchState,
    DatasetName,
    Lease,
    SettingsHash,
    SourceFile,
    SourceSpan,
    SparkRun,
)
from headsaw.operate.audit_report import AuditReport, Finding
from headsaw.operate.backfill import Backfilled
from headsaw.operate.redrive import Redriven

PAGE = (Path(__file__).parents[3] / "docs" / "commands.md").read_text(encoding="utf-8")
BATCH = Batch(
    BatchId("b"), DatasetName("clicks"), SettingsHash("h"), BatchState.READY, SourceSpan(BatchId("b"), 0, 1), 1, 1, 0.0,
    Lease(None, 1, 0.0),
)  # fmt: skip

DELEGATED = dataclasses.replace(BATCH, run=SparkRun("glue", 0.0))


def commands() -> Iterator[tuple[str, Any]]:
    """Every visible command by its words."""

    def walk(command: Any, words: list[str]) -> Iterator[tuple[str, Any]]:
        if not hasattr(command, "commands"):
            yield " ".join(words), command
            return
        for name, inner in command.commands.items():
            if not inner.hidden:
                yield from walk(inner, [*words, name])

    return walk(typer.main.get_command(app), [])


def section(command: str) -> str:
    """What the page says of a command; groups may share a section."""
    for heading in (command, command.split()[0]):
        found = re.search(rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
        if found:
            return found[1]
    raise AssertionError(f"docs/commands.md has no section {command}")


@pytest.mark.parametrize(
    ("name", "command"), list(commands()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_command_and_every_option_is_on_the_page(name: str, command: Any) -> None:
    text = section(name)
    assert f"headsaw {name}" in text
    common = {"--config", "-c", "--json", "--help"}
    options = {option for param in command.params for option in param.opts if option.startswith("-")}
    assert {option for option in options - common if f"{option}" not in text} == set()


@pytest.mark.parametrize(
    "words", re.findall(r"^    headsaw ([a-z-]+(?: (?:check|schema|show|set|ddl|history))?)", PAGE, re.MULTILINE)
)
def test_every_command_of_the_page_exists(words: str) -> None:
    assert words in {name for name, _ in commands()}


def names(kind: Any) -> set[str]:
    return {field.name for field in dataclasses.fields(kind)}


COUNTS = {"lines", "rows", "quarantined", "blank", "filtered"}


@pytest.mark.parametrize(
    ("command", "fields"),
    [
        ("audit", (names(AuditReport) - {"counts"}) | names(Finding)),
        ("backfill", names(Backfilled) | {"dry_run"}),
        ("redrive", names(Redriven) | {"dry_run"}),
        ("batches", set(look_json.batch(BATCH)) | set(look_json.batch(DELEGATED)["run"])),
    ],
)
def test_every_field_of_the_json_is_on_the_page(command: str, fields: set[str]) -> None:
    text = section(command)
    assert {field for field in fields if f'"{field}"' not in text} == set()


def test_the_counts_that_the_page_abbreviates_are_those_of_the_report() -> None:
    assert set(re.findall(r'"(\w+)": int', PAGE.split("for which")[0].split("*counts*")[1])) == COUNTS


def test_a_described_source_has_the_fields_on_the_page() -> None:
    text = section("describe")
    document = look_json._source(SourceFile("landing", "k", "e", 1))
    assert json.dumps(document)
    assert {field for field in document if f'"{field}"' not in text} == set()
