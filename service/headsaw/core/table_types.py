"""The types that a column can have, and their text form: `int64`, `decimal(12,2)`, `list<struct<id:int64>>`.

The text form is what hints, ledger and reports use. A name that isn't a plain identifier is written as a JSON string.
"""

import json
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

NESTING_MAX = 64
"""Types nested deeper than this are refused when read from text."""


class Kind(StrEnum):
    """Types without parameters."""

    BOOL = "bool"
    INT64 = "int64"
    FLOAT64 = "float64"
    STRING = "string"
    DATE = "date"
    TIMESTAMP = "timestamp"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Scalar:
    """A type without parameters. `timestamp` reads RFC 3339 text; `json` keeps any value as JSON text."""

    kind: Kind

    def __str__(self) -> str:
        """Its text form."""
        return self.kind.value


@dataclass(frozen=True, slots=True)
class Decimal:
    """Exact decimal numbers of at most `precision` digits (1 to 38), `scale` of them after the point."""

    precision: int
    scale: int

    def __str__(self) -> str:
        """Its text form."""
        return f"decimal({self.precision},{self.scale})"


@dataclass(frozen=True, slots=True)
class Epoch:
    """A timestamp that is written as a number: seconds, milliseconds or microseconds since 1970-01-01 UTC."""

    unit: Literal["s", "ms", "us"]

    def __str__(self) -> str:
        """Its text form."""
        return f"timestamp({self.unit})"


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list of one element type."""

    element: "DataType"

    def __str__(self) -> str:
        """Its text form."""
        return f"list<{self.element}>"


@dataclass(frozen=True, slots=True)
class MapOf:
    """An object with arbitrary keys and one value type."""

    value: "DataType"

    def __str__(self) -> str:
        """Its text form."""
        return f"map<string,{self.value}>"


@dataclass(frozen=True, slots=True)
class Field:
    """A column of the table or a member of a struct."""

    name: str
    type: "DataType"

    def __str__(self) -> str:
        """Its text form, as it stands inside `struct<...>`."""
        return f"{quoted(self.name)}:{self.type}"


@dataclass(frozen=True, slots=True)
class StructOf:
    """An object with known members, at least one."""

    fields: tuple[Field, ...]

    def __str__(self) -> str:
        """Its text form."""
        return f"struct<{','.join(map(str, self.fields))}>"


DataType = Scalar | Decimal | Epoch | ListOf | MapOf | StructOf

BOOL = Scalar(Kind.BOOL)
INT64 = Scalar(Kind.INT64)
FLOAT64 = Scalar(Kind.FLOAT64)
STRING = Scalar(Kind.STRING)
DATE = Scalar(Kind.DATE)
TIMESTAMP = Scalar(Kind.TIMESTAMP)
JSON = Scalar(Kind.JSON)


def quoted(name: str) -> str:
    """The name itself if it is a plain identifier, else as a JSON string."""
    return name if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) else json.dumps(name, ensure_ascii=False)


def leaves(type_: DataType) -> int:
    """How many Parquet columns the type makes."""
    match type_:
        case ListOf(inner):
            return leaves(inner)
        case MapOf(inner):
            return 1 + leaves(inner)
        case StructOf(fields):
            return sum(leaves(field.type) for field in fields)
        case _:
            return 1


def parse_type(text: str) -> DataType:
    """The type that `text` writes; raises ValueError that says what is expected."""
    reader = _Reader(text)
    type_ = reader.type(0)
    reader.expect("")
    return type_


_TOKEN = re.compile(r'\s*(?:([A-Za-z_][A-Za-z0-9_]*)|(\d+)|("(?:[^"\\]|\\.)*")|([<>(),:])|(\Z))')


class _Reader:
    """Recursive descent over one type text, bounded by NESTING_MAX."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def type(self, depth: int) -> DataType:
        if depth > NESTING_MAX:
            raise ValueError(f"types nest at most {NESTING_MAX} deep")
        word = self._next()
        match word:
            case "list":
                self.expect("<")
                list_type = ListOf(self.type(depth + 1))
                self.expect(">")
                return list_type
            case "map":
                for token in ("<", "string", ","):
                    self.expect(token)
                map_type = MapOf(self.type(depth + 1))
                self.expect(">")
                return map_type
            case "struct":
                return self._struct(depth)
            case "decimal":
                return self._decimal()
            case "timestamp" if self._accept("("):
                return self._epoch()
            case _ if word in {kind.value for kind in Kind}:
                return Scalar(Kind(word))
            case _:
                raise ValueError(
                    f"{word!r} is no type: use bool, int64, float64, string, decimal(p,s), date, timestamp, "
                    "timestamp(s|ms|us), json, list<type>, map<string,type> or struct<name:type,...>"
                )

    def expect(self, token: str) -> None:
        found = self._next()
        if found != token:
            raise ValueError(f"{token or 'end'!r} expected instead of {found or 'end'!r} in {self._text!r}")

    def _accept(self, token: str) -> bool:
        before = self._at
        if self._next() == token:
            return True
        self._at = before
        return False

    def _next(self) -> str:
        match = _TOKEN.match(self._text, self._at)
        if match is None:
            raise ValueError(f"{self._text[self._at :]!r} can't be read in type {self._text!r}")
        self._at = match.end()
        return match[0].strip()

    def _name(self) -> str:
        token = self._next()
        if token.startswith('"'):
            return str(json.loads(token))
        if not re.fullmatch(r"[A-Za-z_]\w*", token):
            raise ValueError(f"a member's name expected instead of {token or 'end'!r} in {self._text!r}")
        return token

    def _struct(self, depth: int) -> StructOf:
        self.expect("<")
        fields: list[Field] = []
        while True:
            name = self._name()
            self.expect(":")
            fields.append(Field(name, self.type(depth + 1)))
            if not self._accept(","):
                break
        self.expect(">")
        if len({field.name.lower() for field in fields}) != len(fields):
            raise ValueError(f"two members of one name in {self._text!r}")
        return StructOf(tuple(fields))

    def _decimal(self) -> Decimal:
        self.expect("(")
        precision = int(self._next())
        self.expect(",")
        scale = int(self._next())
        self.expect(")")
        if not 1 <= precision <= 38 or not 0 <= scale <= precision:
            raise ValueError("decimal(precision,scale) needs 1 <= precision <= 38 and 0 <= scale <= precision")
        return Decimal(precision, scale)

    def _epoch(self) -> Epoch:
        unit = self._next()
        self.expect(")")
        match unit:
            case "s" | "ms" | "us":
                return Epoch(unit)
            case _:
                raise ValueError("timestamp(unit) needs the unit s, ms or us")
