"""How a table schema grows: what was seen of keys that it lacks, and the columns that this becomes.

`Seen` counts; `grow` decides, from the counts alone, so that the order in which data came doesn't matter beyond the
order of the new columns. A column is made once a value says what type it has: nulls, `{}` and `[]` don't.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice

from headsaw.core.settings import SchemaSettings
from headsaw.core.table_schema import RESERVED, TableSchema
from headsaw.core.table_types import (
    BOOL,
    FLOAT64,
    INT64,
    JSON,
    STRING,
    TIMESTAMP,
    DataType,
    Decimal,
    Field,
    ListOf,
    MapOf,
    StructOf,
    leaves,
    parse_type,
)

DOMINANCE = 10
"""A kind of value types a column when all other kinds together are at most one in this many; otherwise it is json."""

DEPTH_MAX = 16
"""Values nested deeper than this many objects and lists become json columns."""

MAP_KEYS_MIN = 200
"""An object with more distinct keys than this, of which each instance has under a tenth, is map-like: json."""

NODES_MAX = 50_000
"""Distinct paths that one conversion keeps count of; keys beyond are rescued."""

NAME_BYTES_MAX = 255
"""Longer keys are rescued: the Glue catalog takes no longer column names."""

INFERRED_DECIMAL = Decimal(38, 9)
"""What `numbers: decimal` makes of a number column."""

UNNAMEABLE = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(slots=True)
class Seen:
    """Counts of the values seen at one path, nulls left out, and what was seen below it."""

    bools: int = 0
    ints: int = 0
    reals: int = 0
    strings: int = 0
    timestamps: int = 0
    """How many of the strings are RFC 3339 timestamps; counted where a dataset infers them."""
    lists: int = 0
    objects: int = 0
    keys: int = 0
    """Members of all objects together."""
    overflow: bool = False
    """Members were left out: there are more than NODES_MAX, or so many that they are data, not names."""
    element: "Seen | None" = None
    members: dict[str, "Seen"] = field(default_factory=dict)

    @property
    def nodes(self) -> int:
        """How many paths are counted from here on down."""
        below = sum(member.nodes for member in self.members.values())
        return 1 + below + (self.element.nodes if self.element else 0)

    def merge(self, other: "Seen") -> None:
        """The counts of both."""
        self.bools += other.bools
        self.ints += other.ints
        self.reals += other.reals
        self.strings += other.strings
        self.timestamps += other.timestamps
        self.lists += other.lists
        self.objects += other.objects
        self.keys += other.keys
        self.overflow |= other.overflow
        if other.element is not None:
            if self.element is None:
                self.element = Seen()
            self.element.merge(other.element)
        for key, member in other.members.items():
            if key not in self.members:
                if len(self.members) >= NODES_MAX:
                    self.overflow = True
                    continue
                self.members[key] = Seen()
            self.members[key].merge(member)

    def limit(self, nodes_max: int) -> None:
        """At most so many paths are left, those nearest to the top, in the order in which they were seen.

        What is left out has no column yet, and may have one later. A map-like object stays one, so it needs no members.
        """
        if self.nodes <= nodes_max:
            return
        left = nodes_max - 1
        level = [self]
        while level:
            below: list[Seen] = []
            for seen in level:
                if seen is not self and _map_like(seen, 0):
                    seen.overflow, seen.members = True, {}
                if seen.element is not None and left == 0:
                    seen.element = None
                left -= seen.element is not None
                seen.members = dict(islice(seen.members.items(), left))
                left -= len(seen.members)
                below += [*([seen.element] if seen.element is not None else []), *seen.members.values()]
            level = below


@dataclass(slots=True)
class Rules:
    """What a dataset's settings say about growth. `reserved`: headsaw's own columns and the partition directories."""

    settings: SchemaSettings
    hints: Mapping[tuple[str, ...], DataType]
    reserved: frozenset[str]

    @classmethod
    def of(cls, settings: SchemaSettings, directories: Iterable[str] = ()) -> "Rules":
        """The rules of a dataset; raises ValueError for a hint that is no type."""
        hints = {hint_path(path): parse_type(text) for path, text in settings.hints.items()}
        return cls(settings, hints, frozenset(name.lower() for name in (*RESERVED, *directories)))


def hint_path(text: str) -> tuple[str, ...]:
    """The steps of a hint's path: `a.b` and `items[].price` by dots, or a JSON Pointer if it begins with a slash.

    A list's elements and a map's values are the step `[]`.
    """
    if text.startswith("/"):
        return tuple(step.replace("~1", "/").replace("~0", "~") for step in text[1:].split("/"))
    return tuple(step for step in text.replace("[]", ".[]").split(".") if step)


def grow(schema: TableSchema, seen: Seen, rules: Rules) -> TableSchema:
    """The next version with columns for what was seen, or `schema` itself if there is nothing to add.

    The first version is always grown; later ones only where the mode is `evolve`.
    """
    if schema.version > 0 and rules.settings.mode != "evolve":
        return schema
    growth = _Growth(rules, rules.settings.max_columns - schema.leaves)
    columns = growth.fields(schema.columns, seen, ())
    return schema if columns is schema.columns else schema.next(columns)


class _Growth:
    """One growth: spends the columns that are left, in the order in which keys were first seen."""

    def __init__(self, rules: Rules, columns_left: int) -> None:
        self._rules = rules
        self._left = columns_left

    def fields(self, old: tuple[Field, ...], seen: Seen, path: tuple[str, ...]) -> tuple[Field, ...]:
        """The fields of a table or struct, grown; `old` itself if nothing is added."""
        grown = [self._grown(item, seen.members.get(item.name), path) for item in old]
        names = {item.name.lower() for item in old}
        for key, member in seen.members.items():
            if not self._nameable(key, names, top=not path):
                continue
            type_ = self._new(member, (*path, key))
            if type_ is not None:
                grown.append(Field(key, type_))
                names.add(key.lower())
        changed = len(grown) > len(old) or any(a is not b for a, b in zip(grown, old, strict=False))
        return tuple(grown) if changed else old

    def _nameable(self, key: str, taken: set[str], *, top: bool) -> bool:
        folded = key.lower()
        if not key or folded in taken or (top and folded in self._rules.reserved):
            return False
        return len(key.encode()) <= NAME_BYTES_MAX and not UNNAMEABLE.search(key)

    def _grown(self, item: Field, seen: Seen | None, path: tuple[str, ...]) -> Field:
        if seen is None:
            return item
        type_ = self._grown_type(item.type, seen, (*path, item.name))
        return item if type_ is item.type else Field(item.name, type_)

    def _grown_type(self, type_: DataType, seen: Seen, path: tuple[str, ...]) -> DataType:
        match type_:
            case StructOf(old):
                if _map_like(seen, len(old)):
                    return type_
                fields = self.fields(old, seen, path)
                return type_ if fields is old else StructOf(fields)
            case ListOf(inner) if seen.element is not None:
                element = self._grown_type(inner, seen.element, (*path, "[]"))
                return type_ if element is inner else ListOf(element)
            case MapOf(inner) if seen.element is not None:
                value = self._grown_type(inner, seen.element, (*path, "[]"))
                return type_ if value is inner else MapOf(value)
            case _:
                return type_

    def _new(self, seen: Seen, path: tuple[str, ...]) -> DataType | None:
        """The type of a new column, whose leaves are then spent; None where it can't be said or no column is left."""
        kinds = {
            "bool": seen.bools,
            "number": seen.ints + seen.reals,
            "string": seen.strings,
            "list": seen.lists,
            "object": seen.objects,
        }
        total = sum(kinds.values())
        if total == 0 or self._left <= 0:
            return None
        hint = self._rules.hints.get(path)
        if hint is not None:
            return self._spend(hint)
        kind = max(kinds, key=lambda name: kinds[name])
        nested = kind in ("list", "object")
        if (total - kinds[kind]) * DOMINANCE > total or (nested and len(path) >= DEPTH_MAX):
            return self._spend(JSON)
        match kind:
            case "bool":
                return self._spend(BOOL)
            case "number":
                return self._spend(self._number(seen))
            case "string":
                return self._spend(TIMESTAMP if 0 < seen.strings == seen.timestamps else STRING)
            case "list":
                element = self._new(seen.element, (*path, "[]")) if seen.element else None
                return element and ListOf(element)
            case _ if _map_like(seen, 0):
                return self._spend(JSON)
            case _:
                members = self.fields((), seen, path)
                return StructOf(members) if members else None

    def _number(self, seen: Seen) -> DataType:
        match self._rules.settings.numbers:
            case "decimal":
                return INFERRED_DECIMAL
            case "float64":
                return FLOAT64
            case "int64":
                return FLOAT64 if seen.reals else INT64

    def _spend(self, type_: DataType) -> DataType | None:
        cost = leaves(type_)
        if cost > self._left:
            return None
        self._left -= cost
        return type_


def _map_like(seen: Seen, known: int) -> bool:
    """Keys are data, not names: too many distinct ones for how few each object has."""
    distinct = len(seen.members)
    return seen.overflow or (known + distinct > MAP_KEYS_MIN and distinct > 10 * seen.keys / max(seen.objects, 1))
