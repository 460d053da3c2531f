"""How a batch is divided among Spark tasks: ranges of large plain sources, and other sources whole, many together.

Ranges are planned by bytes alone. Which lines are whose follows from one rule: a range has the lines that *begin* in
it, and a line that begins before its end is read to the line's end. Once a first look at every range has told where its
first line begins and how many it has, `align` makes runs of whole lines of them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

MEBIBYTE = 1024**2

SPLIT_BYTES_MIN = 32 * MEBIBYTE
"""Smaller splits would cost more to start than to convert, and leave small Parquet files."""

SPLIT_BYTES_MAX = 1024 * MEBIBYTE
"""Larger splits would lose more work with an executor than they save in files."""

WAVES = 3
"""Splits for each core: so many that none waits long for the slowest at the end."""

SPLIT_FILES_MAX = 5_000
"""Sources in one split, however small they are: each has its counts in the task's result."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """What planning needs to know of a source. `size` in stored bytes, None where unknown.

    `plain`: its stored bytes are NDJSON themselves, so that they can be read from anywhere.
    """

    size: int | None
    plain: bool = False


@dataclass(frozen=True, slots=True)
class Together:
    """Whole sources, by index within the batch."""

    sources: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """Bytes [start, stop) of one plain source; `stop` is None for the last one, whatever size the source has."""

    source: int
    start: int
    stop: int | None


@dataclass(frozen=True, slots=True)
class Found:
    """A first look at a range: where the first line that begins in it begins (None: none does), and how many do."""

    begin: int | None
    lines: int


@dataclass(frozen=True, slots=True)
class LineRun:
    """Whole lines of one plain source: bytes [start, stop), the first of which is line `line` (from 0)."""

    source: int
    start: int
    stop: int | None
    line: int


Split = Together | Range
Portion = Together | LineRun
"""What one conversion takes: a split whose lines are known."""


def split_bytes(total_bytes: int, cores: int) -> int:
    """The size of a split for so much work on so many cores."""
    return min(max(total_bytes // (max(cores, 1) * WAVES), SPLIT_BYTES_MIN), SPLIT_BYTES_MAX)


def divisible(size: int | None, bytes_max: int) -> bool:
    """The source is too large for one split, if it can be divided: whether it is plain is worth finding out."""
    return size is not None and size > bytes_max


def plan_splits(sources: Sequence[Weighed], bytes_max: int, files_max: int = SPLIT_FILES_MAX) -> list[Split]:
    """Every byte of every source is in one split, in the batch's order but for ranges, which come first.

    Ranges of one source are of one size, up to a byte. A source of unknown size is alone.
    """
    ranges: list[Split] = []
    others: list[int] = []
    for index, source in enumerate(sources):
        if source.plain and source.size is not None and divisible(source.size, bytes_max):
            ranges += _ranges(index, source.size, bytes_max)
        else:
            others.append(index)
    return [*ranges, *_together(sources, others, bytes_max, files_max)]


def _ranges(index: int, size: int, bytes_max: int) -> Iterable[Range]:
    count = -(-size // bytes_max)
    starts = [size * number // count for number in range(count)]
    return (Range(index, *ends) for ends in zip(starts, [*starts[1:], None], strict=True))


def _together(sources: Sequence[Weighed], others: Iterable[int], bytes_max: int, files_max: int) -> Iterable[Together]:
    held: list[int] = []
    size = 0
    for index in others:
        weight = sources[index].size
        weight = bytes_max if weight is None else weight
        if held and (size + weight > bytes_max or len(held) >= files_max):
            yield Together(tuple(held))
            held, size = [], 0
        held.append(index)
        size += weight
    if held:
        yield Together(tuple(held))


def align(ranges: Sequence[Range], found: Sequence[Found]) -> list[LineRun]:
    """The lines of one source's ranges, all of them and in order; a range in which no line begins makes none."""
    runs: list[LineRun] = []
    line = 0
    for range_, look in zip(ranges, found, strict=True):
        if look.begin is None:
            continue
        if runs:
            runs[-1] = replace(runs[-1], stop=look.begin)
        runs.append(LineRun(range_.source, look.begin, None, line))
        line += look.lines
    return runs
