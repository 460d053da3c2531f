"""What holds for any input: conservation, exact values, and rows that don't depend on how lines fall into files."""

import base64
import json
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.conformance.reading import bare, collect, loads
from tests.unit.convert.harness import Book, Bytes, Done, run

from headsaw.convert.frame import Framer, Run
from headsaw.core.conversion import LineReason

QUICK = settings(max_examples=60, deadline=None)

numbers = st.one_of(
    st.integers(-(2**70), 2**70).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.from_regex(r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?", fullmatch=True),
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
keys = st.one_of(st.sampled_from(["a", "b", "c", "A", "a.b", "", "a/b", "~", "_batch"]), texts)
scalars = st.one_of(
    st.none().map(lambda _: "null"),
    st.booleans().map(json.dumps),
    numbers,
    texts.map(json.dumps),
    texts.map(lambda text: json.dumps(text, ensure_ascii=False)),
)


def _object(members: dict[str, str]) -> str:
    return "{" + ",".join(f"{json.dumps(key)}:{value}" for key, value in members.items()) + "}"


values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda items: "[" + ",".join(items) + "]"),
        st.dictionaries(keys, inner, max_size=4).map(_object),
    ),
    max_leaves=12,
)
objects = st.dictionaries(keys, values, max_size=5).map(_object)


def _records(done: Done) -> dict[tuple[str, int], Any]:
    records: dict[tuple[str, int], Any] = {}
    for row in done.outputs.rows():
        collect(row, done.report.schema, records)
    return records


@QUICK
@given(st.lists(objects, min_size=1, max_size=8), st.sampled_from(["int64", "float64", "decimal"]))
def test_any_json_object_comes_back_as_it_was(lines: list[str], numbers_as: str) -> None:
    done = run("\n".join(lines), schema={"numbers": numbers_as, "max_columns": 12})
    assert done.report.counts.rows == len(lines)
    expected = {("s3://landing/clicks/0000.ndjson", at): bare(loads(line)) for at, line in enumerate(lines, 1)}
    assert _records(done) == expected


@QUICK
@given(st.lists(st.lists(objects, max_size=4), min_size=1, max_size=5))
def test_any_json_object_comes_back_whatever_the_schema_was_before(batches: list[list[str]]) -> None:
    book = Book()
    for lines in batches:
        done = run("\n".join(lines), book=book)
        expected = {("s3://landing/clicks/0000.ndjson", at): bare(loads(line)) for at, line in enumerate(lines, 1)}
        assert _records(done) == expected
    for older, newer in zip(book.versions, book.versions[1:], strict=False):
        assert newer.extends(older)


_PARTS = b'{|}|[|]|"|\\|u|d800|:|,|a|1|-|e|.|0| |\r|\n|\xff|\xc3|\xa9|\x00|null|true|NaN'.split(b"|")
jsonish = st.lists(st.sampled_from([*_PARTS, b'{"a":1}', b'{"a":{"b":[1,"x"]}}']), max_size=60).map(b"".join)


@QUICK
@given(jsonish | st.binary(max_size=200), st.integers(1, 20))
@example(b'{"a":"\\ud800"}', 1)
@example(b"[" * 5000, 1)
def test_any_byte_string_is_rows_blanks_and_quarantined_lines(data: bytes, piece: int) -> None:
    done = run(Bytes(data, piece=piece))
    if done.report.rejections:
        assert done.outputs.files == []
        return
    body = data.removeprefix(b"\xef\xbb\xbf")
    lines = body.split(b"\n")
    if not lines[-1] and data != b"\xef\xbb\xbf":
        lines.pop()
    counts = done.report.counts
    assert counts.lines == len(lines)
    assert counts.blank == sum(not line.strip(b" \t\r") for line in lines)
    for item in done.outputs.quarantined():
        kept = item["text"].encode() if "text" in item else base64.b64decode(item["base64"])
        assert kept == lines[item["line"] - 1]
        assert data[item["offset"] :].startswith(kept)
        assert item["reason"] in list(LineReason)
    for place, record in _records(done).items():
        assert record == bare(loads(lines[place[1] - 1].decode()))


@QUICK
@given(st.lists(objects, min_size=2, max_size=10), st.data())
def test_with_a_given_schema_rows_do_not_depend_on_how_lines_fall_into_files(lines: list[str], data: Any) -> None:
    book = Book()
    run("\n".join(lines), book=book)
    cut = data.draw(st.integers(1, len(lines) - 1))
    ends = [line + "\n" for line in lines]
    together = run("".join(ends), book=Book([book.head()]), schema={"mode": "rescue"}).rows()
    apart = run("".join(ends[:cut]), "".join(ends[cut:]), book=Book([book.head()]), schema={"mode": "rescue"}).rows()
    assert together == apart


@QUICK
@given(st.binary(max_size=300) | jsonish, st.integers(1, 40), st.integers(1, 50))
def test_framing_keeps_every_byte_whatever_the_pieces(data: bytes, piece: int, line_bytes_max: int) -> None:
    pieces = [data[start : start + piece] for start in range(0, len(data), piece)]
    body = data.removeprefix(b"\xef\xbb\xbf")
    shift = len(data) - len(body)
    lines = body.split(b"\n")
    ends = [line + b"\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])
    seen = 0
    for framed in Framer(pieces, line_bytes_max):
        assert framed.line == seen
        if not isinstance(framed, Run):
            assert not ends or len(ends[seen].rstrip(b"\n")) > line_bytes_max
            seen += 1
            continue
        text = framed.piece[framed.start : framed.end]
        assert body[framed.offset - shift :].startswith(text)
        count = framed.newlines + framed.cut
        assert text == b"".join(ends[seen : seen + count])
        assert all(len(line.rstrip(b"\n")) <= line_bytes_max for line in ends[seen : seen + count])
        seen += count
    assert seen == max(len(ends), int(bool(shift)))
