"""Documents that say which test shows something name tests that there are."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = ("docs/guarantees.md", "docs/emulators.md")
PATH = re.compile(r"tests/[\w/]+(?:\.py)?(?:::\w+)?")
NAME = re.compile(r"`(test_\w+)(?:\[[^`]*\])?`")


@cache
def names_in(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in tree.body if isinstance(node, functions) and node.name.startswith("test_"))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_path_and_test_that_a_document_names_exists(document: str) -> None:
    named = PATH.findall((ROOT / document).read_text(encoding="utf-8"))
    assert named
    for path, _, test in (name.partition("::") for name in named):
        assert (ROOT / path).exists(), path
        assert not test or test in names_in(ROOT / path), f"{path}::{test}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_test_that_a_document_names_without_its_path_exists(document: str) -> None:
    existing = frozenset[str]().union(*map(names_in, (ROOT / "tests").rglob("test_*.py")))
    assert set(NAME.findall((ROOT / document).read_text(encoding="utf-8"))) <= existing


def test_every_guarantee_names_a_test() -> None:
    sections = re.split(r"^## ", (ROOT / "docs/guarantees.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    guarantees = {section[:2]: section for section in sections if re.match(r"G\d ", section)}
    assert list(guarantees) == [f"G{number}" for number in range(1, 9)]
    assert all("::test_" in section for section in guarantees.values())
