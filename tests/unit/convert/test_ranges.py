"""A file in ranges is the file: the same rows, lineage, quarantine and counts, wherever it is cut."""

import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from tests.unit.convert.harness import Book, Bytes, Done, Memory, dataset, run

from headsaw.convert import Observer, RangeLines, range_begins
from headsaw.core.conversion import FileCounts, SourcePart
from headsaw.core.inference import Rules, grow
from headsaw.core.splits import Found, LineRun, Range, align
from headsaw.core.table_schema import TableSchema
from headsaw.core.table_types import INT64, STRING, Field

SCHEMA = TableSchema(1, (Field("a", INT64), Field("b", STRING)))
LIMIT = 40
Content = tuple[list[dict[str, Any]], list[dict[str, Any]], FileCounts]
LONG = b'{"b":"' + b"x" * 60 + b'"}'

PLAIN = b'{"a":1}\n{"a":2,"b":"zwei"}\n{"a":"drei"}\nbroken\n{"a":5,"c":[1]}\n'
FILES = {
    "ended": PLAIN,
    "not ended": PLAIN + b'{"a":6}',
    "carriage returns": PLAIN.replace(b"\n", b"\r\n"),
    "byte order mark": b"\xef\xbb\xbf" + PLAIN,
    "byte order mark in the middle": PLAIN + b"\xef\xbb\xbf" + PLAIN,
    "nothing but a byte order mark": b"\xef\xbb\xbf",
    "blank lines": b"\n\n" + PLAIN + b" \n\r\n\t\n\n" + PLAIN + b"\n\n",
    "nothing but line feeds": b"\n\n\n",
    "a long line": PLAIN + LONG + b"\n" + PLAIN,
    "a long blank line": PLAIN + b" " * 60 + b"\n" + PLAIN,
    "a long last line": PLAIN + LONG,
    "one long line": LONG,
    "bytes like gzip": PLAIN + gzip.compress(b"x", mtime=0) + b"\n" + PLAIN,
    "bytes like UTF-16": PLAIN + '{"a":1}\n'.encode("utf-16") + b"\n" + PLAIN,
    "a cut character": PLAIN + b'{"b":"\xc3"}\n' + '{"b":"ä€😀"}\n'.encode(),
}


@dataclass
class Slice(Bytes):
    """Bytes [start, stop) of a source."""

    start: int = 0
    stop: int | None = None

    def chunks(self) -> Iterator[bytes]:
        yield from Bytes(self.data[self.start : self.stop], self.name, self.piece).chunks()


def looked(data: bytes, ranges: Sequence[Range], piece: int) -> list[Found]:
    found = []
    for item in ranges:
        lines = RangeLines(Slice(data, "", piece, range_begins(item.start)).chunks(), item.start, item.stop)
        begin = b"".join(lines)
        assert lines.found.lines == begin.count(b"\n") + (not begin.endswith(b"\n") and begin != b"")
        found.append(lines.found)
    return found


def ranges_at(*cuts: int) -> list[Range]:
    starts = sorted({0, *cuts})
    return [Range(0, start, stop) for start, stop in zip(starts, [*starts[1:], None], strict=True)]


class Parts:
    """Converts a file in ranges; cuts within one line make the same runs of lines, which are converted once."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._done: dict[LineRun, Content] = {}

    def converted(self, ranges: Sequence[Range], piece: int) -> Content:
        runs = align(ranges, looked(self.data, ranges, piece))
        whole = [Slice(self.data, start=item.start, stop=item.stop, piece=piece) for item in runs]
        assert b"".join(b"".join(part.chunks()) for part in whole) == self.data
        for part, item in zip(whole, runs, strict=True):
            if item not in self._done:
                self._done[item] = content(convert(SourcePart(part, item.line, item.start)))
        parts = [self._done[item] for item in runs]
        rows, quarantined = [row for part in parts for row in part[0]], [line for part in parts for line in part[1]]
        return rows, quarantined, sum((part[2] for part in parts), FileCounts())


def convert(source: Any) -> Done:
    return run(source, book=Book([SCHEMA]), line={"max_bytes": LIMIT}, schema={"mode": "rescue"})


def content(done: Done) -> Content:
    quarantined = sorted(done.outputs.quarantined(), key=lambda line: line["line"])
    return done.outputs.rows(), quarantined, done.report.files[0]


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_at_any_byte_has_the_same_rows(name: str) -> None:
    data = FILES[name]
    parts, expected = Parts(data), content(convert(Bytes(data)))
    for cut in range(1, len(data) + 2):
        assert parts.converted(ranges_at(cut), piece=1 + cut % 19) == expected, f"cut at {cut}"


@pytest.mark.parametrize("name", FILES)
def test_a_file_in_very_many_ranges_has_the_same_rows(name: str) -> None:
    data = FILES[name]
    parts, expected = Parts(data), content(convert(Bytes(data)))
    for step in (1, 7, 30):
        assert parts.converted(ranges_at(*range(step, len(data), step)), piece=16) == expected


def test_a_range_reads_no_further_than_its_last_line() -> None:
    read = 0

    def chunks() -> Iterator[bytes]:
        nonlocal read
        for start in range(9, len(PLAIN), 4):
            read = start + 4
            yield PLAIN[start : start + 4]

    assert b"".join(RangeLines(chunks(), 10, 30)) == b'{"a":"drei"}\n'
    assert read <= PLAIN.index(b"broken") + 4


def test_a_range_within_a_line_reads_no_further_than_its_own_end() -> None:
    read = 0

    def endless() -> Iterator[bytes]:
        nonlocal read
        while True:
            read += 10
            yield b"x" * 10

    lines = RangeLines(endless(), 101, 200)
    assert list(lines) == []
    assert lines.found == Found(None, 0)
    assert read <= 110


@pytest.mark.parametrize("name", FILES)
def test_ranges_are_observed_like_the_whole_file(name: str) -> None:
    data = FILES[name]
    settings = dataset(line={"max_bytes": LIMIT})
    whole = Observer(settings, TableSchema())
    whole.take([Bytes(data)])
    parts = Observer(settings, TableSchema())
    for item in ranges_at(*range(11, len(data), 11)):
        chunks = Slice(data, "", 8, range_begins(item.start)).chunks()
        parts.take_range(RangeLines(chunks, item.start, item.stop), item.start)
    assert parts.seen == whole.seen
    rules = Rules.of(settings.table_schema)
    assert grow(TableSchema(), parts.seen, rules) == run(Bytes(data), line={"max_bytes": LIMIT}).report.schema


def test_nothing_is_observed_in_a_small_file_that_is_rejected() -> None:
    observer = Observer(dataset(), TableSchema())
    observer.take([Bytes(gzip.compress(PLAIN)[:-9]), Bytes(b'{"x":1}\n')])
    assert list(observer.seen.members) == ["x"]


def test_an_outage_while_observing_passes_through() -> None:
    observer = Observer(dataset(), TableSchema())
    with pytest.raises(TimeoutError):
        observer.take([_Broken()])


class _Broken(Bytes):
    def __init__(self) -> None:
        super().__init__(b"")

    def chunks(self) -> Iterator[bytes]:
        raise TimeoutError
        yield b""


def test_a_part_is_judged_alone_and_leaves_no_output_when_it_is_rejected() -> None:
    part = SourcePart(Bytes(b'{"new":1}\n'), 5, 100)
    outputs = Memory()
    done = run(part, book=Book([SCHEMA]), outputs=outputs, schema={"mode": "strict"})  # type: ignore[arg-type]
    assert [item.reason for item in done.report.rejections] == ["strict_schema"]
    assert outputs.visible == []


def test_a_run_of_lines_says_which_bytes_it_has() -> None:
    assert align(ranges_at(9), looked(PLAIN, ranges_at(9), 4)) == [LineRun(0, 0, 27, 0), LineRun(0, 27, None, 2)]
