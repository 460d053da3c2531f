"""The examples of docs/schema.md do what they say."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.convert.harness import Book, Done, run

from headsaw.core.table_schema import TableSchema

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "schema.md"
EXAMPLE = re.compile(
    r"(?:^(?P<then>Then)$\s+)?(?:^```yaml\n(?P<settings>.*?)^```$\s+)?^```ndjson\n(?P<lines>.*?)^```$\s+"
    r"^```result\n(?P<result>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)

LINEAGE = ("_source_file", "_source_line", "_batch")


def _shown(done: Done, lines: int) -> str:
    """The outcome as the document writes it."""
    shown = [", ".join(map(str, done.report.schema.columns))]
    if done.report.rejections:
        return "\n".join([*shown, f"rejected: {done.report.rejections[0].reason}"]) + "\n"
    rows = {row["_source_line"]: row for row in done.outputs.rows()}
    reasons = done.reasons()
    filtered = done.report.counts.filtered
    for number in range(1, lines + 1):
        if number in rows:
            row = {
                key: value
                for key, value in rows[number].items()
                if key not in ("_source_file", "_source_line", "_batch")
            }
            text = json.dumps(_bare(row), ensure_ascii=False, separators=(",", ":"), default=str)
            shown.append(f"{number} {text}")
        elif number in reasons:
            shown.append(f"{number} quarantined: {reasons[number]}")
        elif filtered:
            shown.append(f"{number} filtered")
    return "\n".join(shown) + "\n"


def _bare(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _bare(member) for key, member in value.items() if member is not None}
    return [_bare(item) for item in value] if isinstance(value, list) else value


def _examples() -> list[tuple[TableSchema, re.Match[str]]]:
    """Each example with the table schema that it starts from."""
    examples = []
    schema = TableSchema()
    for match in EXAMPLE.finditer(DOCUMENT.read_text()):
        start = schema if match["then"] else TableSchema()
        examples.append((start, match))
        schema = _run(start, match).report.schema
    return examples


def _run(schema: TableSchema, match: re.Match[str]) -> Done:
    return run(match["lines"], book=Book([schema]), **yaml.safe_load(match["settings"] or "{}"))


EXAMPLES = _examples()


def test_the_document_has_its_examples() -> None:
    assert len(EXAMPLES) == DOCUMENT.read_text().count("```ndjson") >= 12


@pytest.mark.parametrize(("schema", "match"), EXAMPLES, ids=[match["lines"][:40] for _, match in EXAMPLES])
def test_the_example_does_what_it_says(schema: TableSchema, match: re.Match[str]) -> None:
    assert _shown(_run(schema, match), match["lines"].count("\n")) == match["result"]
