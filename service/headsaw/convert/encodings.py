"""How each column of a Parquet file is encoded, decided by a sample of its first rows.

A dictionary pays where values repeat; tried on others, it costs a hash of every value and is abandoned when its page
is full. Integers without one are delta-encoded, which is both smaller and cheaper than plain.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from headsaw.core.table_schema import SOURCE_LINE

ROWS_MIN = 8192
"""Fewer rows make a dictionary for every column: it is cheap, and never too large."""

SAMPLE_VALUES = 1024
"""Values looked at in each of the sampled batches."""

REPEATED = 0.5
"""A sample with at most this share of distinct values has a dictionary; integers are cheap without: a fifth of it."""

DELTA = "DELTA_BINARY_PACKED"


@dataclass(frozen=True, slots=True)
class Encodings:
    """Parquet paths of the columns with a dictionary, and what others have instead of the plain encoding."""

    dictionary: tuple[str, ...]
    other: dict[str, str]


def encodings(table: pa.Table) -> Encodings:
    """What suits the table's values."""
    few = table.num_rows < ROWS_MIN
    batches = [] if few else _spread(table.to_batches())
    dictionary: list[str] = []
    other: dict[str, str] = {}
    for at, field in enumerate(table.schema):
        samples = [batch.column(at).slice(0, SAMPLE_VALUES) for batch in batches]
        for path, type_, values in _leaves(field.name, field.type, samples):
            integer = pa.types.is_integer(type_) or pa.types.is_timestamp(type_)
            if path == SOURCE_LINE or not (few or _repeats(values, REPEATED / 5 if integer else REPEATED)):
                if integer:
                    other[path] = DELTA
            elif not pa.types.is_boolean(type_):
                dictionary.append(path)
    return Encodings(tuple(dictionary), other)


def _spread(batches: Sequence[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """The first, the middle and the last."""
    return [batches[at] for at in sorted({0, len(batches) // 2, len(batches) - 1})]


def _leaves(
    path: str, type_: pa.DataType, arrays: Sequence[pa.Array]
) -> Iterator[tuple[str, pa.DataType, Sequence[pa.Array]]]:
    """The columns that Parquet makes of one: path, type, sampled values."""
    if pa.types.is_struct(type_):
        for at, member in enumerate(type_.fields):
            yield from _leaves(f"{path}.{member.name}", member.type, [array.flatten()[at] for array in arrays])
    elif pa.types.is_list(type_):
        elements = [array.flatten().slice(0, SAMPLE_VALUES) for array in arrays]
        yield from _leaves(f"{path}.list.element", type_.value_type, elements)
    elif pa.types.is_map(type_):
        for name, values_type in (("key", type_.key_type), ("value", type_.item_type)):
            values = [getattr(array, f"{name}s" if name == "key" else "items") for array in arrays]
            yield from _leaves(f"{path}.key_value.{name}", values_type, [v.slice(0, SAMPLE_VALUES) for v in values])
    else:
        yield path, type_, arrays


def _repeats(samples: Sequence[pa.Array], share: float) -> bool:
    """At most that share of the values are distinct; of none, none are."""
    whole = pa.chunked_array(samples) if samples else None
    if whole is None or pa.types.is_dictionary(whole.type):
        return True
    count = len(whole) - whole.null_count
    return bool(pc.count_distinct(whole).as_py() <= share * count)
