"""A dataset's table schema: an ordered list of typed columns with a version, to which versions only ever add.

A newer version has every column of the older one, in the same order and with the same type; it may append columns, and
members to structs. `delta` is what a version adds; the ledger stores deltas, and `apply` puts them together again.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from headsaw.core.table_types import DataType, Field, ListOf, MapOf, StructOf, leaves, parse_type

RESCUED = "_rescued_data"
SOURCE_FILE = "_source_file"
SOURCE_LINE = "_source_line"
BATCH = "_batch"
RESERVED = (RESCUED, SOURCE_FILE, SOURCE_LINE, BATCH)
"""Columns that headsaw writes itself: a key of that name is rescued."""

Step = str | None
"""One step of a path into a type: a member's name, or None for a list's element or a map's value."""


class NotAnExtension(ValueError):  # noqa: N818 - it says what is wrong
    """A schema isn't what the other one can grow into."""


@dataclass(frozen=True, slots=True)
class Addition:
    """A field that a version adds at the end of the struct (or table: empty path) at `path`."""

    path: tuple[Step, ...]
    field: Field


@dataclass(frozen=True, slots=True)
class TableSchema:
    """Version 0 has no columns and is what a dataset has before its first data."""

    version: int = 0
    columns: tuple[Field, ...] = ()

    @property
    def leaves(self) -> int:
        """How many Parquet columns it makes."""
        return sum(leaves(column.type) for column in self.columns)

    @property
    def fingerprint(self) -> str:
        """Equal for equal columns: the first 32 hex digits of the SHA-256 of their text form."""
        text = "\n".join(map(str, self.columns))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def next(self, columns: Sequence[Field]) -> Self:
        """The version after this one; it raises NotAnExtension unless `columns` extend this version's."""
        grown = type(self)(self.version + 1, tuple(columns))
        grown.delta(self)
        return grown

    def delta(self, older: "TableSchema") -> tuple[Addition, ...]:
        """What this version has and `older` lacks; raises NotAnExtension if anything else differs."""
        return tuple(_added((), older.columns, self.columns))

    def extends(self, older: "TableSchema") -> bool:
        """Rows typed with `older` need only nulls to be rows of this schema."""
        try:
            self.delta(older)
        except NotAnExtension:
            return False
        return True

    def apply(self, delta: Sequence[Addition], version: int) -> Self:
        """This schema with the additions, as `version`; raises NotAnExtension where a path leads nowhere."""
        columns = self.columns
        for addition in delta:
            columns = _inserted(columns, addition.path, addition.field)
        return type(self)(version, columns)

    def to_json(self) -> str:
        """One JSON object: `{"version", "columns": [{"name", "type"}]}`."""
        columns = [{"name": column.name, "type": str(column.type)} for column in self.columns]
        return json.dumps({"version": self.version, "columns": columns}, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """What `to_json` wrote; raises ValueError if it isn't that."""
        body = json.loads(text)
        return cls(body["version"], tuple(Field(item["name"], parse_type(item["type"])) for item in body["columns"]))


def delta_to_json(delta: Sequence[Addition]) -> str:
    """A JSON list of `{"path", "name", "type"}`; a None step is written as null."""
    items = [{"path": list(item.path), "name": item.field.name, "type": str(item.field.type)} for item in delta]
    return json.dumps(items, ensure_ascii=False, separators=(",", ":"))


def delta_from_json(text: str | bytes) -> tuple[Addition, ...]:
    """What `delta_to_json` wrote."""
    return tuple(
        Addition(tuple(item["path"]), Field(item["name"], parse_type(item["type"]))) for item in json.loads(text)
    )


def _added(path: tuple[Step, ...], old: Sequence[Field], new: Sequence[Field]) -> Iterator[Addition]:
    if len(new) < len(old):
        raise NotAnExtension(f"{_shown(path)} lost {old[len(new)].name!r}")
    for before, after in zip(old, new, strict=False):
        if before.name != after.name:
            raise NotAnExtension(f"{_shown(path)} has {after.name!r} in the place of {before.name!r}")
        yield from _type_added((*path, before.name), before.type, after.type)
    for field in new[len(old) :]:
        yield Addition(path, field)


def _type_added(path: tuple[Step, ...], old: DataType, new: DataType) -> Iterator[Addition]:
    match old, new:
        case StructOf(before), StructOf(after):
            yield from _added(path, before, after)
        case (ListOf(before), ListOf(after)) | (MapOf(before), MapOf(after)):
            yield from _type_added((*path, None), before, after)
        case _ if old != new:
            raise NotAnExtension(f"{_shown(path)} was {old} and would become {new}")
        case _:
            pass


def _inserted(fields: tuple[Field, ...], path: tuple[Step, ...], added: Field) -> tuple[Field, ...]:
    if not path:
        return (*fields, added)
    names = [field.name for field in fields]
    if path[0] not in names:
        raise NotAnExtension(f"no member {path[0]!r} to add {added.name!r} to")
    at = names.index(path[0])
    grown = Field(names[at], _type_inserted(fields[at].type, path[1:], added))
    return (*fields[:at], grown, *fields[at + 1 :])


def _type_inserted(type_: DataType, path: tuple[Step, ...], added: Field) -> DataType:
    match type_:
        case StructOf(fields):
            return StructOf(_inserted(fields, path, added))
        case ListOf(inner) if path and path[0] is None:
            return ListOf(_type_inserted(inner, path[1:], added))
        case MapOf(inner) if path and path[0] is None:
            return MapOf(_type_inserted(inner, path[1:], added))
        case _:
            pass
    raise NotAnExtension(f"{type_} has no members to add {added.name!r} to")


def _shown(path: tuple[Step, ...]) -> str:
    return ".".join("[]" if step is None else step for step in path) or "the table"
