"""`where` and `select` on a parsed block: what they leave out is counted, what they fail on is quarantined."""

from dataclasses import replace
from itertools import accumulate

import pyarrow as pa

from headsaw.convert.blocks import Block
from headsaw.convert.expressions import Expressions
from headsaw.convert.parser import Parsed, Reject
from headsaw.convert.rescue import count_rescued
from headsaw.core.conversion import LineReason
from headsaw.core.table_schema import RESCUED


def evaluated(expressions: Expressions, block: Block, parsed: Parsed) -> tuple[Parsed, pa.Table | None]:
    """The block with only the rows that are kept, and what was computed for them."""
    if not expressions.needed or not parsed.batch.num_rows:
        return parsed, None
    result = expressions.evaluate(parsed.batch)
    if len(result.kept) == parsed.batch.num_rows:
        return parsed, result.computed
    lines = parsed.row_lines
    renumbered = {row: at for at, row in enumerate(result.kept)}
    rejects = _failed(block, [(lines[row], message) for row, message in result.failed])
    batch = parsed.batch.take(pa.array(result.kept, pa.int64()))
    kept = replace(
        parsed,
        batch=batch,
        rescued_values=count_rescued(batch.column(RESCUED)),
        row_lines=[lines[row] for row in result.kept],
        rejects=sorted([*parsed.rejects, *rejects], key=lambda reject: reject.line),
        filtered=[lines[row] for row in result.filtered],
        unknown_rows=[renumbered[row] for row in parsed.unknown_rows if row in renumbered],
    )
    return kept, result.computed


def _failed(block: Block, failed: list[tuple[int, str]]) -> list[Reject]:
    if not failed:
        return []
    lengths = list(map(len, block.text.joined().split(b"\n")))
    offsets = list(accumulate((length + 1 for length in lengths), initial=0))
    return [
        Reject(line, offsets[line], lengths[line], LineReason.EXPRESSION_FAILED, message) for line, message in failed
    ]
