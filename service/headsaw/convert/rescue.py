"""Values that a table schema can't hold: where they stand in their row, and the `_rescued_data` text that keeps them.

A row's rescued data is a JSON object from JSON Pointer (RFC 6901) to the value as it was written, sorted by pointer.
"""

import json
from bisect import bisect_right
from collections.abc import Sequence
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from headsaw.convert.exact import Json, dumps


def pointer_step(key: str) -> str:
    """One step of a JSON Pointer."""
    return "/" + key.replace("~", "~0").replace("/", "~1")


def count_rescued(texts: pa.Array) -> int:
    """How many values a `_rescued_data` column has."""
    return sum(len(json.loads(text)) for text in pc.drop_null(texts).to_pylist())


class Place(Protocol):
    """Tells of the values of one node of the schema in which row they stand, and where in it."""

    def find(self, index: int) -> tuple[int, str]:
        """The row and the JSON Pointer of the node's value number `index`."""
        ...


class Rows:
    """The place of whole rows."""

    def find(self, index: int) -> tuple[int, str]:
        """The row itself."""
        return index, ""


class Present:
    """The place of values from which missing ones were left out: `indices` are theirs among all."""

    def __init__(self, parent: Place, indices: Sequence[int]) -> None:
        self._parent = parent
        self._indices = indices

    def find(self, index: int) -> tuple[int, str]:
        """The place among all values."""
        return self._parent.find(self._indices[index])


class Member:
    """The place of one member of objects."""

    def __init__(self, parent: Place, key: str) -> None:
        self._parent = parent
        self._step = pointer_step(key)

    def find(self, index: int) -> tuple[int, str]:
        """The object's place and the member's name."""
        row, pointer = self._parent.find(index)
        return row, pointer + self._step


class Elements:
    """The place of the elements of lists or maps, laid end to end; `starts` has one entry more than there are lists."""

    def __init__(self, parent: Place, starts: Sequence[int], keys: Sequence[str] | None = None) -> None:
        self._parent = parent
        self._starts = starts
        self._keys = keys

    def find(self, index: int) -> tuple[int, str]:
        """The list's place and the element's number, or the map's place and the key."""
        at = bisect_right(self._starts, index) - 1
        row, pointer = self._parent.find(at)
        step = f"/{index - self._starts[at]}" if self._keys is None else pointer_step(self._keys[index])
        return row, pointer + step


class Rescued:
    """Collects the rescued values of one block of rows."""

    def __init__(self) -> None:
        self._rows: dict[int, list[tuple[str, Json]]] = {}
        self.unknown_rows: set[int] = set()
        self.values = 0

    def add(self, place: Place, index: int, value: Json) -> None:
        """The value at that place is kept."""
        row, pointer = place.find(index)
        self._rows.setdefault(row, []).append((pointer, value))
        self.values += 1

    def add_unknown(self, place: Place, index: int, key: str, value: Json) -> None:
        """The member `key` of the object at that place, which the schema doesn't know, is kept."""
        row, pointer = place.find(index)
        self._rows.setdefault(row, []).append((pointer + pointer_step(key), value))
        self.unknown_rows.add(row)
        self.values += 1

    def texts(self, rows: int) -> list[str | None] | None:
        """The `_rescued_data` of each row; None if no row has any."""
        if not self._rows:
            return None
        column: list[str | None] = [None] * rows
        for row, entries in self._rows.items():
            column[row] = dumps(dict(sorted(entries, key=lambda entry: entry[0])))
        return column
