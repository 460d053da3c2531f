"""Reads a batch's published outputs back: Parquet with Polars (pyarrow wrote it), quarantine as NDJSON.

With the lineage columns, every row says which line of which file it is, so that a line that is there twice is found
wherever it stands. Memory is bounded: rows are looked at a few million at a time.
"""

import json
import sys
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import TextIOWrapper
from pathlib import Path

import polars as pl
import zstandard

SOURCE_FILE = "_source_file"
SOURCE_LINE = "_source_line"
ROWS_AT_ONCE = 2_000_000
REPEATED_MAX = 100
"""Repeated lines that are named; the rest is only counted."""

_READ_ERRORS = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)


@dataclass(frozen=True, slots=True)
class Repeated:
    """A line that was found more than once."""

    file: str
    line: int
    times: int


@dataclass(slots=True)
class ReadBack:
    """What is really there. `rows_by_file` is None where rows don't say where they come from.

    `unreadable` names the objects that couldn't be read, by position, with the reason.
    """

    rows: int = 0
    rows_by_file: Counter[str] | None = field(default_factory=Counter)
    quarantined_by_file: Counter[str] = field(default_factory=Counter)
    last_line: dict[str, int] = field(default_factory=dict)
    repeated: list[Repeated] = field(default_factory=list)
    repeated_lines: int = 0
    unreadable: dict[Path, str] = field(default_factory=dict)


def read_back(tables: Sequence[Path], quarantine: Sequence[Path], once: bool = True) -> ReadBack:
    """Everything that the objects hold, counted. `once`: look for lines that are there twice."""
    found = ReadBack()
    readable: list[pl.LazyFrame] = []
    for path in tables:
        try:
            rows = _count_table(path, found)
        except _READ_ERRORS as error:
            found.unreadable[path] = _brief(error)
            continue
        if rows is not None:
            readable.append(rows)
    for path in quarantine:
        try:
            readable.append(_count_quarantine(path, found))
        except (zstandard.ZstdError, ValueError, KeyError, TypeError) as error:
            found.unreadable[path] = _brief(error)
    if once and readable and found.rows_by_file is not None:
        _find_repeated(readable, found)
    return found


def _count_table(path: Path, found: ReadBack) -> pl.LazyFrame | None:
    """The rows' places, or None where the rows don't tell."""
    table = pl.scan_parquet(path, hive_partitioning=False)
    if not {SOURCE_FILE, SOURCE_LINE} <= set(table.collect_schema().names()):
        found.rows += table.select(pl.len()).collect(engine="streaming").item()
        found.rows_by_file = None
        return None
    places = table.select(
        pl.col(SOURCE_FILE).cast(pl.String).fill_null(""), pl.col(SOURCE_LINE).cast(pl.Int64).fill_null(0)
    )
    by_file = places.group_by(SOURCE_FILE).agg(pl.len().alias("rows"), pl.col(SOURCE_LINE).max().alias("last"))
    for file, rows, last in by_file.collect(engine="streaming").iter_rows():
        _seen(found, file, last)
        found.rows += rows
        if found.rows_by_file is not None:
            found.rows_by_file[file] += rows
    return places


def _count_quarantine(path: Path, found: ReadBack) -> pl.LazyFrame:
    files: list[str] = []
    lines = array("q")
    for file, line in _entries(path):
        files.append(sys.intern(file))
        lines.append(line)
    for file, line in zip(files, lines, strict=True):
        _seen(found, file, line)
        found.quarantined_by_file[file] += 1
    return pl.LazyFrame([pl.Series(SOURCE_FILE, files, pl.String), pl.Series(SOURCE_LINE, lines, pl.Int64)])


def _entries(path: Path) -> Iterator[tuple[str, int]]:
    """File and line of each entry."""
    with path.open("rb") as stored:
        plain = zstandard.ZstdDecompressor().stream_reader(stored, read_across_frames=True)
        for text in TextIOWrapper(plain, encoding="utf-8", newline="\n"):
            entry = json.loads(text)
            file, line = entry["file"], entry["line"]
            if not isinstance(file, str) or not isinstance(line, int):
                raise TypeError("an entry without file and line")
            yield file, line


def _seen(found: ReadBack, file: str, line: int) -> None:
    found.last_line[file] = max(found.last_line.get(file, 0), line)


def _find_repeated(places: Sequence[pl.LazyFrame], found: ReadBack) -> None:
    """The rows are dealt into buckets by line number, and each bucket is searched on its own."""
    every = pl.concat(places)
    total = found.rows + found.quarantined_by_file.total()
    buckets = 1 + total // ROWS_AT_ONCE
    for bucket in range(buckets):
        chosen = every.filter(pl.col(SOURCE_LINE) % buckets == bucket) if buckets > 1 else every
        times = chosen.group_by(SOURCE_FILE, SOURCE_LINE).agg(pl.len().alias("times")).filter(pl.col("times") > 1)
        repeated = times.sort(SOURCE_FILE, SOURCE_LINE).collect(engine="streaming")
        found.repeated_lines += repeated.height
        for file, line, count in repeated.head(REPEATED_MAX - len(found.repeated)).iter_rows():
            found.repeated.append(Repeated(file, line, count))


def _brief(error: BaseException) -> str:
    """The first line of the library's words: they never quote values."""
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
