"""What it means that the native parser agrees with the reference, and the form of a fuzzer's input.

`python -m tests.property.differential [FILE_OR_FOLDER...]` compares both parsers on such inputs.
"""

import math
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Self

from headsaw.convert.native import NativeParser
from headsaw.convert.parser import Lines, Parsed, ParseRules
from headsaw.convert.reference import ReferenceParser
from headsaw.core.inference import Rules, Seen, grow
from headsaw.core.settings import SchemaSettings
from headsaw.core.table_schema import TableSchema
from headsaw.core.table_types import DataType, Field, Kind, ListOf, MapOf, Scalar, StructOf, parse_type


@dataclass(slots=True)
class Compared:
    """How much `compare` was given so far: lines that aren't blank, counted once a block, and blocks under schemas."""

    documents: int = 0
    blocks: int = 0
    _last: bytes = b""

    def add(self, block: bytes, documents: int) -> None:
        self.blocks += 1
        if block != self._last:
            self.documents += documents
            self._last = block


COMPARED = Compared()


def columns(**types: str) -> TableSchema:
    return TableSchema(1, tuple(Field(name, parse_type(text)) for name, text in types.items()))


def grown(seen: Seen, **rules: Any) -> TableSchema:
    return grow(TableSchema(), seen, Rules.of(SchemaSettings.model_validate(rules)))


def shown(seen: Seen) -> Any:
    """With the order of members, on which the order of new columns depends."""
    members = [(key, shown(member)) for key, member in seen.members.items()]
    element = seen.element and shown(seen.element)
    counts = (seen.bools, seen.ints, seen.reals, seen.strings, seen.timestamps, seen.lists, seen.objects, seen.keys)
    return (*counts, seen.overflow, element, members)


def exact(value: Any) -> Any:
    """The value with doubles as their bits' text, since -0.0 equals 0.0."""
    if isinstance(value, float):
        return (math.copysign(1, value), value)
    if isinstance(value, dict):
        return {key: exact(member) for key, member in value.items()}
    return [exact(item) for item in value] if isinstance(value, list) else value


def same_batch(ours: Parsed, theirs: Parsed) -> None:
    ours.batch.validate(full=True)
    assert ours.batch.schema.equals(theirs.batch.schema, check_metadata=True)
    if not ours.batch.equals(theirs.batch):
        for name, left, right in zip(ours.batch.schema.names, ours.batch.columns, theirs.batch.columns, strict=True):
            assert left.to_pylist() == right.to_pylist(), name
    else:
        for left, right in zip(ours.batch.columns, theirs.batch.columns, strict=True):
            if "double" in str(left.type):
                assert exact(left.to_pylist()) == exact(right.to_pylist())


def compare(block: bytes, schema: TableSchema, rules: ParseRules | None = None, *, left_to_reference: int = 0) -> Seen:
    """Both parsers agree on everything; returns what they saw."""
    rules = rules or ParseRules()
    lines, apart = Lines.of(block), scattered(block)
    fast, slow = NativeParser(rules), ReferenceParser(rules)
    seen = slow.observe(lines, schema)
    assert shown(fast.observe(apart, schema)) == shown(seen)
    ours, theirs = fast.parse(lines, schema), slow.parse(lines, schema)
    assert fast.left_to_reference == left_to_reference
    same(ours, theirs)
    if not left_to_reference:
        same(fast.parse(apart, schema), ours)
    COMPARED.add(block, theirs.lines - len(theirs.blanks))
    return seen


def scattered(block: bytes) -> Lines:
    """The lines in parts that lie within larger bytes, some without the newline that the next part makes up for."""
    lines = re.findall(rb"[^\n]*\n|[^\n]+$", block)
    parts = [line.removesuffix(b"\n") if at % 3 == 1 and line != b"\n" else line for at, line in enumerate(lines)]
    return Lines([(b"[\n" + part + b"\n]", 2, 2 + len(part)) for part in parts if part])


def same(ours: Parsed, theirs: Parsed) -> None:
    same_batch(ours, theirs)
    assert list(ours.row_lines) == list(theirs.row_lines)
    assert list(ours.rejects) == list(theirs.rejects)
    assert list(ours.blanks) == list(theirs.blanks)
    assert (ours.lines, ours.rescued_values) == (theirs.lines, theirs.rescued_values)
    assert list(ours.unknown_rows) == list(theirs.unknown_rows)
    assert shown(ours.unknown) == shown(theirs.unknown)


NAMES = ("a", "b", "c", "", "a.b", "~", "a/b", '"q', "é", "seven77", "eight888", "fifteen_letters", "sixteen__letters")
DEPTHS = (1, 2, 3, 4, 5, 8, 16, 17, 32, 100)
NESTING_MAX = 8
JSON = Scalar(Kind.JSON)
LEAVES: dict[int, DataType] = {
    ord(letter): parse_type(text)
    for letter, text in {
        "b": "bool", "i": "int64", "f": "float64", "s": "string", "d": "date", "t": "timestamp", "j": "json",
        "x": "decimal(12,2)", "y": "decimal(38,9)", "z": "decimal(38,38)",
        "S": "timestamp(s)", "M": "timestamp(ms)", "U": "timestamp(us)",
    }.items()
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Case:
    """A block, and how it is to be read: what a fuzzer's input means. native/fuzz/src/case.rs reads the same form."""

    schema: TableSchema
    rules: ParseRules
    block: bytes

    @classmethod
    def read(cls, data: bytes) -> Self:
        """The case that these bytes are; any are one."""
        text, _, block = data.partition(b"\n")
        head = _Head(iter(text))
        members = head.members(0)
        return cls(TableSchema(1, members), ParseRules(head.depth_max, infer_timestamps=head.infer_timestamps), block)


@dataclass(slots=True)
class _Head:
    text: Iterator[int]
    depth_max: int = 256
    infer_timestamps: bool = False

    def members(self, depth: int) -> tuple[Field, ...]:
        return tuple(map(Field, NAMES, self._types(depth)))

    def _types(self, depth: int) -> Iterator[DataType]:
        for letter in self.text:
            if letter == ord(")") and depth:
                return
            if (type_ := self._type(letter, depth)) is not None:
                yield type_

    def _type(self, letter: int, depth: int) -> DataType | None:
        """The type that the letter begins, if it begins any."""
        match chr(letter):
            case "l" | "m" | "(" if depth == NESTING_MAX:
                return JSON
            case "l":
                return ListOf(self._inner(depth))
            case "m":
                return MapOf(self._inner(depth))
            case "(":
                members = self.members(depth + 1)
                return StructOf(members) if members else JSON
            case "?":
                self.infer_timestamps = True
            case digit if digit in "0123456789":
                self.depth_max = DEPTHS[int(digit)]
        return LEAVES.get(letter)

    def _inner(self, depth: int) -> DataType:
        return next((type_ for letter in islice(self.text, 1) if (type_ := self._type(letter, depth + 1))), JSON)


_ODD_ZERO = re.compile(rb"[:,\[ \t\r]-?0(\.0+)?[eE][+-]?[0-9]{10}")


def compare_case(data: bytes) -> None:
    """Both parsers agree on the case, also under the block's own schema; only zeros with huge exponents may be left."""
    case = Case.read(data)
    seen = ReferenceParser(case.rules).observe(Lines.of(case.block), TableSchema())
    for schema in (case.schema, grown(seen)):
        fast = NativeParser(case.rules)
        fast.parse(Lines.of(case.block), schema)
        assert not fast.left_to_reference or _ODD_ZERO.search(case.block)
        compare(case.block, schema, case.rules, left_to_reference=fast.left_to_reference)


def inputs(*places: Path) -> list[Path]:
    """The files in these folders and the folders within, and those named themselves."""
    return [file for place in places for file in (place, *sorted(place.rglob("*"))) if file.is_file()]


def main() -> None:
    """Compares every input that the arguments name; the first that the parsers differ on is named."""
    files = inputs(*map(Path, sys.argv[1:]))
    for file in files:
        try:
            compare_case(file.read_bytes())
        except BaseException:
            sys.stderr.write(f"the parsers differ on {file}\n")
            raise
    sys.stdout.write(f"{len(files)} inputs, {COMPARED.documents} documents: both parsers agree\n")


if __name__ == "__main__":
    main()
