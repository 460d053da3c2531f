"""The same conformance table for other NDJSON readers: which files come out right, by rows and by values.

Run `python -m tests.conformance.peers [--python PYTHON] [--write docs/conformance.md]`. PYTHON is an interpreter that
has the peers installed (those that it lacks are left out). Every reader runs in processes of its own, which may crash
or hang.

A file's rows are right if the reader returns as many as the file has valid records (either answer counts where the
corpus leaves it open), or an error where the file is damaged. Its values are right if moreover each record, put as JSON
without null members, is the source line, numbers compared as decimals; a string that was read as the same point in time
counts as right.
"""

import argparse
import json
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.conformance.peer_readers import READERS

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "data" / "adversarial"
SECONDS = 30.0


@dataclass(frozen=True)
class Case:
    """One file, how many rows are right, whether an error is, and the records that must come back."""

    path: Path
    rows_min: int
    rows_max: int
    error_is_right: bool
    records: list[Any]
    open_lines: int


@dataclass
class Score:
    """One reader's results over one corpus."""

    version: str = ""
    rows: int = 0
    values: int = 0
    failed: int = 0
    crashed: int = 0


def shared_cases() -> Iterator[Case]:
    """The shared adversarial corpus."""
    from tests.conformance.reading import bare, loads
    from tests.unit.convert.harness import File

    from headsaw.convert.decode import Decode
    from headsaw.errors import SourceUnreadable

    expected = json.loads((SHARED / "expected.json").read_text())["files"] if SHARED.is_dir() else {}
    for name, facts in expected.items():
        open_ = {n for ranges in facts["implementation_defined"].values() for a, b in ranges for n in range(a, b + 1)}
        bad = {n for ranges in facts["must_quarantine"].values() for a, b in ranges for n in range(a, b + 1)}
        valid = facts["lines"] - len(bad - open_) - sum(b - a + 1 for a, b in facts["blank_lines"])
        records = []
        try:
            data = b"".join(Decode(File(SHARED / name).chunks())).removeprefix(b"\xef\xbb\xbf")
        except SourceUnreadable:
            data = b""
        for number, line in enumerate(data.split(b"\n"), 1):
            if number not in bad | open_ and line.strip(b" \t\r"):
                records.append(bare(loads(line.decode())))
        error_is_right = "stream" in facts or "file_level" in facts
        yield Case(SHARED / name, valid - len(open_), valid, error_is_right, records, len(open_))


def generated_cases(directory: Path) -> Iterator[Case]:
    """Our own corpus, one file for each class of line and of damage, written to the directory."""
    from tests.conformance.reading import bare, loads
    from tests.conformance.test_generated import LINES, REJECTED, ROW

    good = [b'{"id":%d,"name":"n%d"}' % (number, number) for number in range(20)]
    for number, (line, kind) in enumerate(LINES):
        lines = [*good[:10], line, *good[10:]]
        path = directory / f"line_{number:02}.ndjson"
        path.write_bytes(b"\n".join(lines) + b"\n")
        records = [bare(loads(item.decode())) for item in lines if item is not line or kind == ROW]
        open_ = int(kind in ("duplicate_key", "lone_surrogate", "too_deep") and not line.endswith(b"["))
        yield Case(path, len(records), len(records) + open_, False, records, open_)
    for number, (_, data, _) in enumerate(REJECTED):
        path = directory / f"damaged_{number:02}{'.gz' if data[:2] == bytes([0x1F, 0x8B]) else '.ndjson'}"
        path.write_bytes(data)
        yield Case(path, 0, 0, True, [], 0)


class Reader:
    """A reader's process: asked for one file after the other, and started again when it died."""

    def __init__(self, name: str, python: str) -> None:
        self._command = [python, "-m", "tests.conformance.peer_readers", name]
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, request: str) -> dict[str, Any] | None:
        """Its answer; None if it crashed or took too long."""
        process = self._process or subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT
        )
        self._process = process
        assert process.stdin is not None
        assert process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            try:
                process.stdin.write(request.encode() + b"\n")
                process.stdin.flush()
                answer = process.stdout.readline() if selector.select(SECONDS) else b""
            except BrokenPipeError:
                answer = b""
        if not answer:
            self.close()
            return None
        return dict(json.loads(answer))

    def close(self) -> None:
        """The process is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def score(reader: Reader, cases: list[Case], directory: Path) -> Score | None:
    """How the reader does over the cases; None if it isn't installed."""
    hello = reader.ask("version")
    if hello is None or "version" not in hello:
        return None
    result = Score(hello["version"])
    output = directory / "records.json"
    for case in cases:
        answer = reader.ask(f"{case.path}\t{output}")
        if answer is None:
            result.crashed += 1
        elif "error" in answer:
            result.failed += 1
            result.rows += case.error_is_right
            result.values += case.error_is_right
        elif case.rows_min <= answer["rows"] <= case.rows_max:
            result.rows += 1
            result.values += _values_right(case, output)
    reader.close()
    return result


def _values_right(case: Case, output: Path) -> bool:
    from tests.conformance.reading import bare, loads

    found = [bare(loads(line)) for line in output.read_text().split("\n") if line]
    if len(found) == len(case.records):
        return all(map(same, found, case.records))
    if not case.open_lines:
        return False
    remaining = iter(found)  # rows of lines that the corpus leaves open may stand between
    return all(any(same(record, wanted) for record in remaining) for wanted in case.records)


def same(found: Any, wanted: Any) -> bool:
    """Whether the value that came back is the one that was written."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        return found.keys() == wanted.keys() and all(same(found[key], wanted[key]) for key in wanted)
    if isinstance(found, list) and isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(same, found, wanted))
    if isinstance(found, str) and isinstance(wanted, str) and found != wanted:
        return _instant(found) is not None and _instant(found) == _instant(wanted)
    return type(found) is type(wanted) and bool(found == wanted)


def _instant(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text.replace(" ", "T")).replace(tzinfo=None)
    except ValueError:
        return None


def table(title: str, cases: list[Case], python: str, directory: Path, say: Callable[[str], object]) -> str:
    """The corpus's table as Markdown."""
    head = "| reader | version | rows right | rows and values right | error | crash or hang |"
    lines = [f"## {title}: {len(cases)} files", "", head, "|---|---|---|---|---|---|"]
    for name in READERS:
        result = score(Reader(name, sys.executable if name == "headsaw" else python), cases, directory)
        if result is None:
            say(f"{name} isn't installed: left out")
            continue
        cells = (name, result.version, result.rows, result.values, result.failed, result.crashed)
        lines.append("| " + " | ".join(map(str, cells)) + " |")
        say(lines[-1])
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the tables, and write them if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="interpreter that has the peers")
    parser.add_argument("--write", type=Path, help="Markdown file for the tables")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        corpora = {"Generated corpus": list(generated_cases(directory)), "Adversarial corpus": list(shared_cases())}
        say = sys.stdout.write
        tables = [
            table(title, cases, arguments.python, directory, lambda text: say(text + "\n"))
            for title, cases in corpora.items()
            if cases
        ]
    if arguments.write:
        text = (__doc__ or "").split("\n\n", 2)[2].strip()
        arguments.write.write_text("# Conformance of NDJSON readers\n\n" + text + "\n\n" + "\n".join(tables))


if __name__ == "__main__":
    main()
