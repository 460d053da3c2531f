"""Blocks: the lines of many small files, or of a part of a large one, that are parsed together."""

from bisect import bisect_right
from dataclasses import dataclass, field

from headsaw.convert.frame import BlankLine, LongLine, Run
from headsaw.convert.parser import Lines

SMALL_FILE_BYTES = 4 * 1024**2
"""A file of at most this many bytes is decoded to its end before any of its lines counts, and is in one block."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Lines of one file within a block: where they begin in the file and in the block."""

    source: int
    line: int
    offset: int
    block_line: int
    block_offset: int
    lines: int


@dataclass(slots=True)
class Block:
    """Lines to be parsed together, and what their files have besides."""

    text: Lines = field(default_factory=Lines)
    segments: list[Segment] = field(default_factory=list)
    overlong: list[tuple[int, LongLine]] = field(default_factory=list)
    blank: list[int] = field(default_factory=list)
    """The source of each overlong blank line."""
    ended: list[int] = field(default_factory=list)
    """Sources of which this block has the last lines."""
    size: int = 0
    """Bytes."""
    lines: int = 0

    @property
    def empty(self) -> bool:
        """Nothing to account for."""
        return not (self.segments or self.overlong or self.blank or self.ended)

    @property
    def sources(self) -> set[int]:
        """All sources that have anything in the block."""
        return {
            *(segment.source for segment in self.segments),
            *(source for source, _ in self.overlong),
            *self.blank,
            *self.ended,
        }

    def add(self, source: int, framed: Run | LongLine | BlankLine) -> None:
        """The lines are part of the block."""
        match framed:
            case LongLine():
                self.overlong.append((source, framed))
            case BlankLine():
                self.blank.append(source)
            case Run():
                lines = framed.newlines + framed.cut
                self.segments.append(Segment(source, framed.line, framed.offset, self.lines, self.size, lines))
                self.text.parts.append((framed.piece, framed.start, framed.end))
                self.size += framed.size + framed.cut
                self.lines += lines

    def segment_of(self, line: int) -> Segment:
        """The segment that has the block's line."""
        return self.segments[bisect_right(self.segments, line, key=lambda segment: segment.block_line) - 1]
