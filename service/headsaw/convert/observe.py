"""What rows hold that the table schema doesn't know, counted for `core.inference`."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from headsaw.convert.exact import Json
from headsaw.core.inference import DEPTH_MAX, NODES_MAX, Seen
from headsaw.core.table_schema import TableSchema
from headsaw.core.table_types import DataType, Field, ListOf, MapOf, StructOf

Object = dict[str, Json]


def observe(rows: Sequence[Object], schema: TableSchema, looks_timed: "LooksTimed") -> Seen:
    """The counts of all values under keys that the schema lacks; a Seen without members if there are none."""
    seen = Seen()
    _known_members(schema.columns, rows, seen, looks_timed)
    return seen


class LooksTimed:
    """Counts the strings that are timestamps, where a dataset infers them; none otherwise."""

    def __init__(self, pattern: str | None) -> None:
        self._match = re.compile(pattern).fullmatch if pattern else None

    def count(self, texts: Iterable[Json]) -> int:
        """How many of the texts are timestamps."""
        return 0 if self._match is None else sum(type(text) is str and self._match(text) is not None for text in texts)


def _known_members(fields: Sequence[Field], rows: Sequence[Object], seen: Seen, timed: LooksTimed) -> None:
    keys = set[str]().union(*rows)
    for field in fields:
        keys.discard(field.name)
        if isinstance(field.type, StructOf | ListOf | MapOf):
            values = [row[field.name] for row in rows if field.name in row]
            member = Seen()
            _known(field.type, values, member, timed)
            if member.members or member.element is not None:
                seen.members[field.name] = member
    if keys:
        _unknown_members(rows, keys, seen, timed, 0)


def _known(type_: DataType, values: Iterable[Json], seen: Seen, timed: LooksTimed) -> None:
    """Unknown members within values of a known type."""
    match type_:
        case StructOf(fields):
            _known_members(fields, [value for value in values if type(value) is dict], seen, timed)
        case ListOf(inner) if isinstance(inner, StructOf | ListOf | MapOf):
            elements = [element for value in values if type(value) is list for element in value]
            _known_element(inner, elements, seen, timed)
        case MapOf(inner) if isinstance(inner, StructOf | ListOf | MapOf):
            elements = [element for value in values if type(value) is dict for element in value.values()]
            _known_element(inner, elements, seen, timed)


def _known_element(inner: DataType, elements: list[Json], seen: Seen, timed: LooksTimed) -> None:
    element = Seen()
    _known(inner, elements, element, timed)
    if element.members or element.element is not None:
        seen.element = element


def _unknown_members(rows: Sequence[Object], keys: set[str], seen: Seen, timed: LooksTimed, depth: int) -> None:
    groups: dict[str, list[Json]] = {}
    for row in rows:
        counted = 0
        for key, value in row.items():
            if key in keys:
                counted += 1
                if key in groups:
                    groups[key].append(value)
                elif len(groups) < NODES_MAX:
                    groups[key] = [value]
                else:
                    seen.overflow = True
        if counted:
            seen.objects += 1
            seen.keys += counted
    for key, values in groups.items():
        member = Seen()
        _count(values, member, timed, depth + 1)
        if member != _NOTHING:
            seen.members[key] = member


_NOTHING = Seen()


def _count(values: Sequence[Json], seen: Seen, timed: LooksTimed, depth: int) -> None:
    """All values counted, and what is below them as far as columns go."""
    counts = Counter(map(type, values))
    seen.bools = counts[bool]
    seen.strings = counts[str]
    seen.lists = counts[list]
    if counts[str]:
        seen.timestamps = timed.count(values)
    seen.ints = counts[int]
    if counts[bytes]:
        seen.reals = sum(type(value) is bytes and not value.lstrip(b"-").isdigit() for value in values)
        seen.ints += counts[bytes] - seen.reals
    seen.objects = counts[dict]
    if depth > DEPTH_MAX:
        return
    if counts[list]:
        elements = [element for value in values if type(value) is list for element in value]
        if elements:
            seen.element = Seen()
            _count(elements, seen.element, timed, depth + 1)
    if counts[dict]:
        objects = [value for value in values if type(value) is dict]
        _unknown_members(objects, set().union(*objects), seen, timed, depth)
        seen.objects = counts[dict]
