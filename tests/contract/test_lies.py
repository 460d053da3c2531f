"""The table of what local implementations get wrong is true, complete in the documents, and about tests that exist."""

import subprocess
import sys

from lies import LIES, lie_of, table
from local_services import ROOT


def test_every_test_that_is_expected_to_fail_somewhere_exists() -> None:
    """A test that was renamed would otherwise be expected to fail nowhere."""
    collected = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "tests/contract"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    names = {line.partition("::")[2] for line in collected.splitlines()}
    assert {item for lie in LIES for item in lie.items} <= names


def test_the_documents_tell_every_wrong_behaviour_and_the_test_that_shows_it() -> None:
    document = (ROOT / "docs" / "emulators.md").read_text(encoding="utf-8")
    assert table() in document, "print it with: python tests/contract/lies.py"


def test_no_test_is_excused_twice() -> None:
    items = [item for lie in LIES for item in lie.items]
    assert len(items) == len(set(items))
    assert all(lie_of(item) is not None for item in items)
