"""The boundary between bytes and Arrow: whole lines and a table schema in; a batch, rejects, growth and counts out.

Whatever implements `Parser` must agree with `ReferenceParser` to the last byte. A parser knows nothing of files,
partitions or versions in the making: lines and offsets are relative to the block that it is given.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import pyarrow as pa

from headsaw.core.conversion import LineReason
from headsaw.core.inference import Seen
from headsaw.core.table_schema import TableSchema


@dataclass(slots=True, eq=False)
class Lines:
    """The lines of a block, where they were decompressed: parts of whole lines, each (bytes, start, end).

    A part's last line may lack its newline; places in the block are told as if it had one.
    """

    parts: list[tuple[bytes, int, int]] = field(default_factory=list)

    @classmethod
    def of(cls, data: bytes) -> "Lines":
        """The lines of these bytes."""
        return cls([(data, 0, len(data))] if data else [])

    def joined(self) -> bytes:
        """The lines in one piece, each with its newline; they are held so from then on."""
        if len(self.parts) != 1 or self.parts[0] != (self.parts[0][0], 0, len(self.parts[0][0])):
            ended = (_ended(data[start:end]) for data, start, end in self.parts)
            self.parts = [(whole := b"".join(ended), 0, len(whole))]
        return self.parts[0][0]


def _ended(data: bytes) -> bytes:
    return data if data.endswith(b"\n") else data + b"\n"


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
    """Turns blocks of whole lines into record batches. Threads may share one."""

    @property
    def name(self) -> str:
        """What reports and logs call it."""
        ...

    @property
    def parallel(self) -> bool:
        """Threads can parse at the same time: the interpreter's lock is released."""
        ...

    @property
    def block_bytes(self) -> int:
        """How large it likes its blocks: at most a few times this is held."""
        ...

    def observe(self, block: Lines, schema: TableSchema) -> Seen:
        """The counts of the values under keys that the schema lacks, and nothing else: cheaper than `parse`."""
        ...

    def parse(self, block: Lines, schema: TableSchema) -> Parsed:
        """The block as the schema sees it. Raises for no content whatever."""
        ...
