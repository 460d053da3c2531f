"""The boundary between bytes and Arrow: whole lines and a table schema in; a batch, rejects, growth and counts out.

Whatever implements `Parser` must agree with `ReferenceParser` to the last byte. A parser knows nothing of files,
partitions or versions in the making: lines and offsets are relative to the block that it is given.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from headsaw.core.conversion import LineReason
from headsaw.core.inference import Seen
from headsaw.core.table_schema import TableSchema


@dataclass(frozen=True, slots=True)
class ParseRules:
    """What of a dataset's settings a parser needs."""

    depth_max: int = 256
    infer_timestamps: bool = False


@dataclass(frozen=True, slots=True)
class Reject:
    """A line that is no valid record: its number (from 0) and its bytes [offset, offset + length) in the block."""

    line: int
    offset: int
    length: int
    reason: LineReason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Parsed:
    """A block as the table schema sees it.

    `batch` has the schema's columns and `_rescued_data`; `row_lines` tells the line (from 0, rising) of each row. Every
    line is a row, a reject or blank. `unknown` counts the values under keys that the schema lacks, which stand in
    `_rescued_data`; `unknown_rows` are the rows that have any.
    """

    batch: pa.RecordBatch
    row_lines: Sequence[int]
    rejects: Sequence[Reject]
    blanks: Sequence[int]
    lines: int
    rescued_values: int
    unknown: Seen
    unknown_rows: Sequence[int] = ()
    filtered: Sequence[int] = ()
    """Lines that `where` left out; no parser sets it."""


class Parser(Protocol):
    """Turns blocks of whole lines into record batches. A block ends with a newline, or with its file's last line."""

    @property
    def name(self) -> str:
        """What reports and logs call it."""
        ...

    def observe(self, block: bytes, schema: TableSchema) -> Seen:
        """The counts of the values under keys that the schema lacks, and nothing else: cheaper than `parse`."""
        ...

    def parse(self, block: bytes, schema: TableSchema) -> Parsed:
        """The block as the schema sees it. Raises for no content whatever."""
        ...
