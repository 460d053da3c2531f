"""The reference parser: the standard library's JSON decoder with hooks, and columns built from Python values.

It favours being obviously right; it is the oracle of every faster parser.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import AnyStr

import pyarrow as pa

from headsaw.convert.arrow_types import table_fields
from headsaw.convert.columns import TIMESTAMP_FORM, struct_columns
from headsaw.convert.exact import SPACE, BadLine, Json, allow_depth, decode, needs_care, scan, too_deep
from headsaw.convert.observe import LooksTimed, observe
from headsaw.convert.parser import Lines, Parsed, ParseRules, Reject
from headsaw.convert.rescue import Rescued, Rows
from headsaw.core.conversion import LineReason
from headsaw.core.inference import Seen
from headsaw.core.table_schema import TableSchema

Object = dict[str, Json]


@dataclass(slots=True)
class _Decoded:
    """A block's records, and where they stand."""

    rows: list[Object] = field(default_factory=list)
    row_lines: list[int] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    blanks: list[int] = field(default_factory=list)
    lines: int = 0


class ReferenceParser:
    """Parses block by block; it remembers the last block's records, since `observe` is often followed by `parse`."""

    name = "reference"
    parallel = False
    block_bytes = 2 * 1024**2  # as Python objects, lines take ten times their bytes

    def __init__(self, rules: ParseRules) -> None:
        self._depth_max = rules.depth_max
        self._timed = LooksTimed(TIMESTAMP_FORM if rules.infer_timestamps else None)
        self._last: tuple[Lines, _Decoded] | None = None
        allow_depth(rules.depth_max)

    def observe(self, block: Lines, schema: TableSchema) -> Seen:
        """The counts of the values under keys that the schema lacks."""
        return observe(self._decoded(block).rows, schema, self._timed)

    def parse(self, block: Lines, schema: TableSchema) -> Parsed:
        """The block as the schema sees it."""
        decoded = self._decoded(block)
        self._last = None
        rescued = Rescued()
        rows = decoded.rows
        columns = struct_columns(schema.columns, rows, Rows(), rescued)
        texts = rescued.texts(len(rows))
        columns.append(pa.nulls(len(rows), pa.string()) if texts is None else pa.array(texts, pa.string()))
        return Parsed(
            batch=pa.RecordBatch.from_arrays(columns, schema=pa.schema(table_fields(schema))),
            row_lines=decoded.row_lines,
            rejects=decoded.rejects,
            blanks=decoded.blanks,
            lines=decoded.lines,
            rescued_values=rescued.values,
            unknown=observe(rows, schema, self._timed) if rescued.unknown_rows else Seen(),
            unknown_rows=sorted(rescued.unknown_rows),
        )

    def _decoded(self, block: Lines) -> _Decoded:
        if self._last is None or self._last[0] is not block:
            self._last = (block, self._decode(block.joined()))
        return self._last[1]

    def _decode(self, block: bytes) -> _Decoded:
        decoded = _Decoded()
        try:
            text = block.decode()
        except UnicodeDecodeError:
            lines: Sequence[str | None] = [_text(line) for line in _split(block, b"\n")]
            careful = True
        else:
            careful = needs_care(text)
            lines = _split(text, "\n")
            del text  # a line may be large
        decoded.lines = len(lines)
        odd = self._scan_lines(lines, decoded, careful=careful)
        if odd:
            self._judge(block, lines, odd, decoded)
        return decoded

    def _scan_lines(self, lines: Sequence[str | None], decoded: _Decoded, *, careful: bool) -> list[int]:
        """The plain records among the lines are decoded; the numbers of all other lines are returned."""
        add_row, add_line = decoded.rows.append, decoded.row_lines.append
        short = 2 * self._depth_max
        odd: list[int] = []
        for number, line in enumerate(lines):
            try:
                if line is None or (len(line) > short and too_deep(line, self._depth_max)):
                    odd.append(number)
                    continue
                value, end = scan(line, 0)
            except (StopIteration, ValueError):
                odd.append(number)
                continue
            whole = end == len(line) or not line[end:].strip(SPACE)
            if whole and type(value) is dict and not (careful and needs_care(line)):
                add_row(value)
                add_line(number)
            else:
                odd.append(number)
        return odd

    def _judge(self, block: bytes, lines: Sequence[str | None], odd: Sequence[int], decoded: _Decoded) -> None:
        """Each odd line is a row, a blank or a reject after all, with its reason."""
        lengths = list(map(len, _split(block, b"\n")))
        offsets = list(accumulate((length + 1 for length in lengths), initial=0))
        late: dict[int, Object] = {}
        for number in odd:
            line = lines[number]
            reason, detail = LineReason.INVALID_UTF8, ""
            if line is not None:
                if not line.strip(SPACE):
                    decoded.blanks.append(number)
                    continue
                try:
                    late[number] = decode(line, self._depth_max)
                    continue
                except BadLine as bad:
                    reason, detail = bad.reason, bad.detail
            decoded.rejects.append(Reject(number, offsets[number], lengths[number], reason, detail))
        if late:
            rows = dict(zip(decoded.row_lines, decoded.rows, strict=True)) | late
            decoded.row_lines = sorted(rows)
            decoded.rows = [rows[number] for number in decoded.row_lines]


def _split(block: AnyStr, newline: AnyStr) -> list[AnyStr]:
    lines = block.split(newline)
    if not lines[-1]:
        lines.pop()
    return lines


def _text(line: bytes) -> str | None:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return None
