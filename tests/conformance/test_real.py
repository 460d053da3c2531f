"""Every file of the shared corpus of published NDJSON: counts as in its manifest, and every value round-trips."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.reading import check_values
from tests.unit.convert.harness import File, run

from headsaw.convert.decode import Decode

CORPUS = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def _manifest() -> dict[str, dict[str, str]]:
    if not CORPUS.is_dir():
        return {}
    with (CORPUS / "MANIFEST.tsv").open(newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    return {row["file"]: row for row in rows if row["file"].startswith("real/")}


MANIFEST = _manifest()

pytestmark = pytest.mark.skipif(not MANIFEST, reason="the shared corpus isn't beside this checkout")


class _Repeated(ValueError):  # noqa: N818 - a finding
    pass


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise _Repeated
    return dict(pairs)


def _left_open(path: Path) -> set[int]:
    """Lines that the manifest counts as valid and the rules quarantine: with duplicate keys or lone surrogates."""
    lines: set[int] = set()
    for number, line in enumerate(b"".join(Decode(File(path).chunks())).split(b"\n"), 1):
        try:
            json.dumps(json.loads(line, object_pairs_hook=_once), ensure_ascii=False).encode()
        except (_Repeated, UnicodeEncodeError):
            lines.add(number)
        except ValueError:
            continue
    return lines


@pytest.mark.parametrize("name", MANIFEST)
def test_every_line_and_value_of_the_file_is_where_it_must_be(name: str, tmp_path: Path) -> None:
    row = MANIFEST[name]
    done = run(File(CORPUS / name))
    if done.report.rejections:
        assert [item.reason for item in done.report.rejections] == ["utf16"]
        assert row["valid_objects"] == "0"
        return
    counts = done.report.counts
    expected = {key: int(row[key]) for key in ("lines", "valid_objects", "must_quarantine", "blank")}
    if (CORPUS / name).read_bytes() == b"\xef\xbb\xbf":  # nothing but a byte order mark, which is skipped
        expected |= {"must_quarantine": 0, "blank": 1}
    if counts.rows != expected["valid_objects"]:
        left_open = len(_left_open(CORPUS / name))
        assert left_open > 0
        expected["valid_objects"] -= left_open
        expected["must_quarantine"] += left_open
    assert (counts.lines, counts.rows) == (expected["lines"], expected["valid_objects"])
    assert (counts.quarantined, counts.blank) == (expected["must_quarantine"], expected["blank"])
    check_values(File(CORPUS / name), done, tmp_path)
