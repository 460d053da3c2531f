"""The native parser: `headsaw_native` where it is installed, in exact agreement with the reference.

It types lines and finds those that are no records. The reference parser says why a line is none, and parses whole
blocks that the native one leaves to it: over 512 MiB, a zero with an exponent of a billion, a type nested over 128.
"""

import importlib
from functools import lru_cache
from typing import Protocol, cast

import pyarrow as pa

from headsaw.convert.exact import BadLine, decode
from headsaw.convert.parser import Lines, Parsed, ParseRules, Reject
from headsaw.convert.reference import ReferenceParser
from headsaw.core.conversion import LineReason
from headsaw.core.inference import Seen
from headsaw.core.table_schema import TableSchema
from headsaw.core.table_types import DataType, Decimal, Epoch, Field, ListOf, MapOf, Scalar, StructOf

VERSION = "0.2.0"
"""Of `headsaw_native`, whose interface goes with this module; another version isn't used."""

_Counts = tuple[int, int, int, int, int, int]
_Shown = tuple[_Counts, tuple[int, int, bool, "_Shown | None", list[tuple[str, "_Shown"]]]]
_MICROSECONDS = {"s": 1_000_000, "ms": 1_000, "us": 1}


class _Block(Protocol):
    """A parsed block; also an Arrow record batch by the PyCapsule interface."""

    row_lines: list[int] | None
    rejects: list[tuple[int, int, int]]
    blanks: list[int]
    lines: int
    rescued_values: int
    unknown: _Shown
    unknown_rows: list[int]


class _Plan(Protocol):
    """A table schema, ready to parse with."""

    def parse(
        self, parts: list[tuple[bytes, int, int]], depth_max: int, infer_timestamps: bool, observe_only: bool, /
    ) -> _Block | None:
        """The block as the schema sees it, or only its `unknown`; None where it is the reference parser's."""
        ...


class TableFile(Protocol):
    """A Parquet file being written; after an error it is good for nothing."""

    held: int
    """Bytes that the open row group takes."""

    def write(self, batch: pa.RecordBatch, /) -> None:
        """The batch's rows are in the open row group."""
        ...

    def end_row_group(self) -> None:
        """The rows so far are in closed row groups."""
        ...

    def take(self) -> bytes:
        """The bytes of the file that weren't taken before."""
        ...

    def finish(self, metadata: list[tuple[str, str]], /) -> None:
        """All bytes can be taken, the last of them the footer with that metadata."""
        ...


class Module(Protocol):
    """`headsaw_native`."""

    __version__: str

    def Plan(self, columns: object, /) -> _Plan:  # noqa: N802 - a class
        """The plan for these columns; raises ValueError for what it doesn't know."""
        ...

    def TableFile(  # noqa: N802 - a class
        self,
        schema: pa.Schema,
        *,
        codec: str,
        level: int,
        dictionary: list[str],
        delta: list[str],
        unbounded: list[str],
        sorted_by: list[int],
        bloom_filters: list[tuple[str, int, float]],
        threads: int,
    ) -> TableFile:
        """A Parquet file of that schema; columns go by their Parquet paths."""
        ...

    def newlines(self, data: bytes, start: int, end: int, /) -> int:
        """How many line feeds there are between two places."""
        ...


@lru_cache(maxsize=1)
def _module() -> Module | None:
    try:
        module = cast("Module", importlib.import_module("headsaw_native"))
    except ImportError:
        return None
    return module if module.__version__ == VERSION else None


def available() -> bool:
    """`headsaw_native` is installed, in the version that goes with this one."""
    return _module() is not None


def installed() -> Module:
    """The module, which is `available`."""
    module = _module()
    if module is None:
        raise ValueError("headsaw_native isn't installed")
    return module


def newlines(data: bytes, start: int, end: int) -> int:
    """How many line feeds there are between two places."""
    module = _module()
    return data.count(b"\n", start, end) if module is None else module.newlines(data, start, end)


class NativeParser:
    """Parses block by block; remembers nothing but the plans of the last schemas."""

    name = "native"
    parallel = True
    block_bytes = 8 * 1024**2  # with hundreds of columns, a smaller block has only few values of each

    def __init__(self, rules: ParseRules) -> None:
        self._rules = rules
        self._latest: tuple[TableSchema, _Plan | None] | None = None
        self.left_to_reference = 0
        """Blocks that the reference parser parsed."""

    def observe(self, block: Lines, schema: TableSchema) -> Seen:
        """The counts of the values under keys that the schema lacks."""
        found = self._parse(block, schema, observe_only=True)
        return ReferenceParser(self._rules).observe(block, schema) if found is None else _seen(found.unknown)

    def parse(self, block: Lines, schema: TableSchema) -> Parsed:
        """The block as the schema sees it."""
        found = self._parse(block, schema, observe_only=False)
        rejects = None if found is None else self._rejects(block, found.rejects)
        if found is None or rejects is None:
            self.left_to_reference += 1
            return ReferenceParser(self._rules).parse(block, schema)
        unknown_rows = found.unknown_rows
        row_lines = found.row_lines
        return Parsed(
            batch=pa.record_batch(found),
            row_lines=range(found.lines) if row_lines is None else row_lines,
            rejects=rejects,
            blanks=found.blanks,
            lines=found.lines,
            rescued_values=found.rescued_values,
            unknown=_seen(found.unknown) if unknown_rows else Seen(),
            unknown_rows=unknown_rows,
        )

    def _parse(self, block: Lines, schema: TableSchema, *, observe_only: bool) -> _Block | None:
        plan = self._plan(schema)
        rules = self._rules
        if plan is None:
            return None
        return plan.parse(block.parts, rules.depth_max, rules.infer_timestamps, observe_only)

    def _plan(self, schema: TableSchema) -> _Plan | None:
        """The schema's plan; block after block has the same schema, and hashing a wide one takes long."""
        latest = self._latest
        if latest is None or latest[0] is not schema:
            latest = self._latest = schema, _plan(schema)
        return latest[1]

    def _rejects(self, block: Lines, places: list[tuple[int, int, int]]) -> list[Reject] | None:
        """Why each of the lines is no record; None if one is after all."""
        rejects: list[Reject] = []
        data = block.joined() if places else b""
        for line, offset, length in places:
            reason, detail = LineReason.INVALID_UTF8, ""
            try:
                decode(data[offset : offset + length].decode(), self._rules.depth_max)
                return None
            except UnicodeDecodeError:
                pass
            except BadLine as bad:
                reason, detail = bad.reason, bad.detail
            rejects.append(Reject(line, offset, length, reason, detail))
        return rejects


@lru_cache(maxsize=64)
def _plan(schema: TableSchema) -> _Plan | None:
    module = _module()
    if module is None:
        return None
    try:
        return module.Plan([_field(column) for column in schema.columns])
    except ValueError:
        return None


def _field(field: Field) -> tuple[str, tuple[object, ...]]:
    return field.name, _type(field.type)


def _type(type_: DataType) -> tuple[object, ...]:
    match type_:
        case Scalar(kind):
            return (kind.value,)
        case Decimal(precision, scale):
            return "decimal", precision, scale
        case Epoch(unit):
            return "epoch", _MICROSECONDS[unit]
        case ListOf(element):
            return "list", _type(element)
        case MapOf(value):
            return "map", _type(value)
        case StructOf(fields):
            return "struct", [_field(field) for field in fields]


def _seen(shown: _Shown) -> Seen:
    counts, (objects, keys, overflow, element, members) = shown
    below = {key: _seen(member) for key, member in members}
    return Seen(*counts, objects, keys, overflow, element and _seen(element), below)
