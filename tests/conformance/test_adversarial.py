"""Every file of the shared adversarial corpus: lines, rows, quarantine and values, against what its authors expect."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.reading import check_values
from tests.unit.convert.harness import File, run

CORPUS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "adversarial"
EXPECTED: dict[str, Any] = json.loads((CORPUS / "expected.json").read_text())["files"] if CORPUS.is_dir() else {}

REJECTED_OR_ERROR = ("stream", "file_level")
"""Where a file has one of these, rejecting it as a whole is an answer that the corpus allows."""

POLICY = {
    "lone_surrogate": "lone_surrogate",
    "dup_key": "duplicate_key",
    "deep": "too_deep",
    "float_overflow": None,
    "float_underflow": None,
    "int_beyond_64": None,
    "bom:accept after stripping": None,
}
"""Headsaw's one answer to each class that the corpus leaves open: the reason code, or None for a row."""

pytestmark = pytest.mark.skipif(not EXPECTED, reason="the shared corpus isn't beside this checkout")


def _numbers(ranges: list[list[int]]) -> set[int]:
    return {number for first, last in ranges for number in range(first, last + 1)}


def _expected_quarantine(name: str, expected: dict[str, Any]) -> set[int]:
    """The lines that must be quarantined under the policy."""
    lines: set[int] = set()
    for ranges in expected["must_quarantine"].values():
        lines |= _numbers(ranges)
    for kind, ranges in expected["implementation_defined"].items():
        for number in _numbers(ranges):
            if kind == "deep":
                wanted = _deep(name, number)
            elif kind.startswith("bom:not at file start"):
                wanted = number > 1  # at the start it is skipped, even if nothing follows
            else:
                wanted = POLICY[kind] is not None
            (lines.add if wanted else lines.discard)(number)
    return lines


def _deep(name: str, number: int) -> bool:
    """The line nests deeper than the default limit of 256."""
    line = (CORPUS / name).read_bytes().split(b"\n")[number - 1]
    return line.count(b"[") + line.count(b"{") > 256


@pytest.mark.parametrize("name", EXPECTED)
def test_every_line_and_value_of_the_file_is_where_it_must_be(name: str, tmp_path: Path) -> None:
    expected = EXPECTED[name]
    done = run(File(CORPUS / name), line={"max_bytes": "1GiB"})
    if done.report.rejections:
        assert any(key in expected for key in REJECTED_OR_ERROR)
        assert done.outputs.visible == []
        return
    if expected.get("stream", "").startswith("error"):
        assert done.report.notices or not expected["raw_bytes"]
    counts = done.report.counts
    quarantined = _expected_quarantine(name, expected)
    assert set(done.reasons()) == quarantined
    assert counts.lines == expected["lines"]
    assert counts.rows == counts.lines - len(quarantined) - counts.blank
    if "bom" not in expected["must_quarantine"]:
        assert counts.blank == len(_numbers(expected["blank_lines"]))
    check_values(File(CORPUS / name), done, tmp_path)
