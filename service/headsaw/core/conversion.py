"""What a conversion takes and tells: the boundary between `headsaw.convert` and everyone who calls it.

`convert` reads sources through `SourceStream`, agrees on the table schema through `SchemaBook`, writes through
`Outputs` and returns a `ConversionReport`. It is plain synchronous code that runs in a thread, a Spark task or a
command; whoever calls it decides where bytes come from and go to. All of these calls may block, and any may raise
`Outage` (try later), or `LeaseLost` (stop at once): both pass through the conversion unchanged after it has aborted its
open outputs.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from headsaw.core.table_schema import TableSchema


class RejectReason(StrEnum):
    """Why a source file can't be read as NDJSON at all: listed in the commit record and sent to the DLQ."""

    MISSING = "missing"
    SUPERSEDED = "superseded"
    ACCESS_DENIED = "access_denied"
    CORRUPT_STREAM = "corrupt_stream"
    TRUNCATED_STREAM = "truncated_stream"
    UNSUPPORTED_FORMAT = "unsupported_format"
    UTF16 = "utf16"
    UTF32 = "utf32"
    EXPANSION_LIMIT = "expansion_limit"
    ERROR_BUDGET = "error_budget"
    STRICT_SCHEMA = "strict_schema"


class LineReason(StrEnum):
    """Why a line is no valid record: kept byte for byte in quarantine."""

    NOT_JSON = "not_json"
    NOT_AN_OBJECT = "not_an_object"
    INVALID_UTF8 = "invalid_utf8"
    LONE_SURROGATE = "lone_surrogate"
    DUPLICATE_KEY = "duplicate_key"
    TOO_DEEP = "too_deep"
    TOO_LONG = "too_long"
    EXPRESSION_FAILED = "expression_failed"


@dataclass(frozen=True, slots=True)
class FileCounts:
    """Where the lines of one source went; they are conserved (G5)."""

    lines: int = 0
    rows: int = 0
    quarantined: int = 0
    blank: int = 0
    filtered: int = 0

    @property
    def conserved(self) -> bool:
        """Every line is accounted for once."""
        return self.lines == self.rows + self.quarantined + self.blank + self.filtered

    def __add__(self, other: "FileCounts") -> "FileCounts":
        """Total of both."""
        return FileCounts(
            self.lines + other.lines,
            self.rows + other.rows,
            self.quarantined + other.quarantined,
            self.blank + other.blank,
            self.filtered + other.filtered,
        )


@dataclass(frozen=True, slots=True)
class Rejection:
    """One source that can't be read, with its reason; none of its lines is counted and nothing of it is published."""

    index: int
    reason: RejectReason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something odd about a source that is no reason to reject it, such as bytes after its last gzip member."""

    index: int
    detail: str


class OutputKind(StrEnum):
    """What an output file holds."""

    TABLE = "table"
    QUARANTINE = "quarantine"


@dataclass(frozen=True, slots=True)
class OutputFile:
    """One finished output: the name that `Outputs.open` gave it, its Hive partition path, and what it holds.

    The path looks like `ts_day=2026-11-23`, or is empty.
    """

    name: str
    kind: OutputKind
    partition: str
    rows: int
    bytes: int
    schema_version: int


@dataclass(frozen=True, slots=True)
class ConversionReport:
    """What a conversion did. `files` counts by source index, without the rejected ones.

    `bytes_in` is decompressed NDJSON.
    """

    files: dict[int, FileCounts]
    rejections: tuple[Rejection, ...]
    outputs: tuple[OutputFile, ...]
    schema: TableSchema
    rescued_values: int
    bytes_in: int
    notices: tuple[Notice, ...] = ()

    @property
    def counts(self) -> FileCounts:
        """Totals over the files that were read."""
        return sum(self.files.values(), FileCounts())


class SourceStream(Protocol):
    """One source, readable again from its start."""

    @property
    def name(self) -> str:
        """As lineage and quarantine name it: `s3://bucket/key` or `message:<id>`."""
        ...

    @property
    def key(self) -> str:
        """The object key that partition regexes match; empty for a record message."""
        ...

    def chunks(self) -> Iterator[bytes]:
        """Its stored bytes, in pieces of any size, from the start; raises SourceUnreadable if it can't be had."""
        ...


@dataclass(frozen=True, slots=True)
class SourcePart:
    """Whole lines of a plain source, as a stream of their own: `stream` has these bytes and no others.

    `line` (from 0) and `offset` say where they begin in the source. Nothing is found out by content: a middle that
    looks like gzip or like a byte order mark is lines all the same. Its counts are a part of the source's.
    """

    stream: SourceStream
    line: int
    offset: int

    @property
    def name(self) -> str:
        """The source's."""
        return self.stream.name

    @property
    def key(self) -> str:
        """The source's."""
        return self.stream.key

    def chunks(self) -> Iterator[bytes]:
        """The lines' bytes."""
        return self.stream.chunks()


class Output(Protocol):
    """A file that nobody sees until its batch is committed."""

    @property
    def name(self) -> str:
        """Unique within the conversion; ends up in the report."""
        ...

    def write(self, data: bytes) -> None:
        """The bytes are handed over; may block while earlier ones are uploaded."""
        ...

    def close(self) -> None:
        """Every byte is stored, still invisible."""
        ...

    def abort(self) -> None:
        """Nothing of it will ever be visible. Never raises; also allowed after close."""
        ...


class Outputs(Protocol):
    """Opens output files."""

    def open(self, kind: OutputKind, partition: str) -> Output:
        """A new output under that partition path."""
        ...


class SchemaBook(Protocol):
    """The dataset's table schema, as all conversions of all workers agree on it."""

    def head(self) -> TableSchema:
        """The newest version; version 0 without columns where none exists yet."""
        ...

    def propose(self, schema: TableSchema) -> TableSchema:
        """Accept `schema` (whose version is one above the head it grew from), or say who won.

        Returns the accepted schema: the proposal, or the head that another conversion wrote meanwhile, from which the
        caller grows again and retypes. Rows typed with a version may be flushed only after it was accepted.
        """
        ...
