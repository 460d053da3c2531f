"""How each column of a Parquet file is encoded, decided by a sample of its first rows.

A dictionary pays where values repeat; tried on others, it costs a hash of every value and is abandoned when its page
is full. Integers without one are delta-encoded, which is both smaller and cheaper than plain.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from headsaw.core.table_schema import SOURCE_LINE

ROWS_MIN = 8192
"""Fewer rows make a dictionary for every column: it is cheap, and never too large."""

SAMPLED_BATCHES = 8
SAMPLED_VALUES = range(128, 1025)
"""Values of a column that are looked at in each of the sampled batches: fewer where there are many columns."""

COLUMNS = 64
"""Columns of which the most values are looked at."""

REPEATS = 4
"""A dictionary is made where values occur at least so often on average."""

DICTIONARY_BYTES = 1024**2
"""A larger dictionary would be abandoned by the library."""


class Column(NamedTuple):
    """A Parquet column: its path, its type, some of its values, and whether a row may have several."""

    path: str
    type: pa.DataType
    values: Sequence[pa.Array]
    repeated: bool


@dataclass(frozen=True, slots=True)
class Encodings:
    """Parquet paths of the columns with a dictionary, and of those that are delta-encoded; others are plain.

    `unbounded` columns have no statistics: they are within lists and maps, whose values no reader leaves out by them.
    """

    dictionary: tuple[str, ...]
    delta: tuple[str, ...]
    unbounded: tuple[str, ...]


def encodings(table: pa.Table) -> Encodings:
    """What suits the table's values."""
    few = table.num_rows < ROWS_MIN
    width = sum(1 for _ in columns(table.schema))
    count = min(max(SAMPLED_VALUES[-1] * COLUMNS // max(width, 1), SAMPLED_VALUES[0]), SAMPLED_VALUES[-1])
    batches = [] if few else _spread(table.to_batches(), count)
    dictionary: list[str] = []
    delta: list[str] = []
    for path, type_, values, _ in columns(table.schema, batches):
        if pa.types.is_boolean(type_):
            continue
        if path != SOURCE_LINE and (few or _repeats(type_, values, table.num_rows)):
            dictionary.append(path)
        elif pa.types.is_integer(type_) or pa.types.is_timestamp(type_):
            delta.append(path)
    unbounded = [column.path for column in columns(table.schema) if column.repeated]
    return Encodings(tuple(dictionary), tuple(delta), tuple(unbounded))


def columns(schema: pa.Schema, batches: Sequence[pa.RecordBatch] = ()) -> Iterator[Column]:
    """The columns that Parquet makes of a schema, with the batches' values in them."""
    for at, field in enumerate(schema):
        yield from _leaves(field.name, field.type, [batch.column(at) for batch in batches])


def _spread(batches: Sequence[pa.RecordBatch], rows: int) -> list[pa.RecordBatch]:
    """Some rows from everywhere."""
    step = max(len(batches) // SAMPLED_BATCHES, 1)
    return [batch.slice(0, rows) for batch in batches[::step]]


def _leaves(path: str, type_: pa.DataType, arrays: Sequence[pa.Array], *, repeated: bool = False) -> Iterator[Column]:
    if pa.types.is_struct(type_):
        for at, member in enumerate(type_):
            values = [array.field(at) for array in arrays]
            yield from _leaves(f"{path}.{member.name}", member.type, values, repeated=repeated)
    elif pa.types.is_list(type_):
        values = [_first(array.flatten()) for array in arrays]
        yield from _leaves(f"{path}.list.element", type_.value_type, values, repeated=True)
    elif pa.types.is_map(type_):
        keys, values = [_first(array.keys) for array in arrays], [_first(array.items) for array in arrays]
        yield from _leaves(f"{path}.key_value.key", type_.key_type, keys, repeated=True)
        yield from _leaves(f"{path}.key_value.value", type_.item_type, values, repeated=True)
    else:
        yield Column(path, type_, arrays, repeated)


def _first(values: pa.Array) -> pa.Array:
    return values.slice(0, SAMPLED_VALUES[-1])


def _repeats(type_: pa.DataType, samples: Sequence[pa.Array], rows: int) -> bool:
    """A dictionary of the values would be small, and each be used often."""
    if pa.types.is_dictionary(type_):
        return True
    values = pa.chunked_array(samples, type_).drop_null()
    if not len(values):
        return True
    share = len(values) / sum(map(len, samples))
    distinct = _distinct(len(values), pc.count_distinct(values).as_py())
    return distinct * REPEATS <= rows * share and distinct * values.nbytes / len(values) <= DICTIONARY_BYTES


def _distinct(sample: int, found: int) -> float:
    """How many equally frequent values there are if that many were found in a sample: d = D (1 - exp(-n/D))."""
    low, high = float(found), float(found) * sample
    for _ in range(40):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if middle * -math.expm1(-sample / middle) > found else (middle, high)
    return high
