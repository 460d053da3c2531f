"""Decoded rows → Arrow arrays of the table schema's types; what doesn't fit is rescued, and its place is null.

Each node of the schema works on all of its values at once: the usual case (every value of the expected Python type) is
decided by the set of their types and handed to Arrow whole; only otherwise is each value looked at.
"""

import re
from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal as Number
from decimal import InvalidOperation
from itertools import accumulate, chain
from typing import TypeVar, cast

import pyarrow as pa
import pyarrow.compute as pc

from headsaw.convert.arrow_types import UTC_MICROSECONDS as _UTC
from headsaw.convert.arrow_types import arrow_type
from headsaw.convert.exact import INT64_MAX, INT64_MIN, Json, dumps
from headsaw.convert.rescue import Elements, Member, Place, Present, Rescued
from headsaw.core.table_types import DataType, Decimal, Epoch, Field, Kind, ListOf, MapOf, Scalar, StructOf

Values = Sequence[Json]
Object = dict[str, Json]
_NOTHING = type(None)
T = TypeVar("T")
YEAR_1 = -62_135_596_800_000_000
YEAR_10000 = 253_402_300_800_000_000
"""Microseconds since 1970; readers know years of four digits."""
_MICROSECONDS = {"s": 1_000_000, "ms": 1_000, "us": 1}

TIMESTAMP_FORM = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T"
    r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])$"
)
"""RFC 3339 with `T`, at most microseconds, no leap second, and an offset."""
_DATE_FORM = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def struct_columns(fields: Sequence[Field], rows: Sequence[Object], place: Place, rescued: Rescued) -> list[pa.Array]:
    """One array for each field, over all objects; members that no field names are rescued."""
    known = {field.name for field in fields}
    keys = set[str]().union(*rows)
    if not keys <= known:
        _rescue_unknown(keys - known, rows, place, rescued)
    return [
        build(field.type, [row.get(field.name) for row in rows], Member(place, field.name), rescued)
        if field.name in keys
        else pa.nulls(len(rows), arrow_type(field.type))
        for field in fields
    ]


def _rescue_unknown(unknown: set[str], rows: Sequence[Object], place: Place, rescued: Rescued) -> None:
    for index, row in enumerate(rows):
        if not unknown.isdisjoint(row):
            for key, value in row.items():
                if value is not None and key in unknown:
                    rescued.add_unknown(place, index, key, value)


def build(type_: DataType, values: Values, place: Place, rescued: Rescued) -> pa.Array:
    """An array of that type with one entry for each value."""
    match type_:
        case StructOf(fields):
            return _structs(type_, fields, values, place, rescued)
        case ListOf(element):
            return _lists(element, values, place, rescued)
        case MapOf(value):
            return _maps(value, values, place, rescued)
        case Decimal(precision, scale):
            numbers = _each(lambda value: _decimal(value, precision, scale), values, place, rescued)
            return pa.array(numbers, arrow_type(type_))
        case Epoch(unit):
            instants = _each(lambda value: _epoch(value, _MICROSECONDS[unit]), values, place, rescued)
            return pa.array(instants, pa.int64()).cast(arrow_type(type_))
        case Scalar(kind):
            return _BUILDERS[kind](values, place, rescued)


def _jsons(values: Values, _place: Place, _rescued: Rescued) -> pa.Array:
    return pa.array([None if value is None else dumps(value) for value in values], pa.string())


def _strings(values: Values, place: Place, rescued: Rescued) -> pa.Array:
    return pa.array(_only(str, values, place, rescued), pa.string())


def _bools(values: Values, place: Place, rescued: Rescued) -> pa.Array:
    return pa.array(_only(bool, values, place, rescued), pa.bool_())


def _only(wanted: type, values: Values, place: Place, rescued: Rescued) -> Values:
    """The values, those of another type rescued."""
    if set(map(type, values)) <= {wanted, _NOTHING}:
        return values
    kept: list[Json] = []
    for index, value in enumerate(values):
        if value is None or type(value) is wanted:
            kept.append(value)
        else:
            rescued.add(place, index, value)
            kept.append(None)
    return kept


def _each(convert: Callable[[Json], T | None], values: Values, place: Place, rescued: Rescued) -> list[T | None]:
    """What `convert` makes of each value; those of which it makes nothing are rescued."""
    converted: list[T | None] = []
    for index, value in enumerate(values):
        result = None if value is None else convert(value)
        if result is None and value is not None:
            rescued.add(place, index, value)
        converted.append(result)
    return converted


def _int64s(values: Values, place: Place, rescued: Rescued) -> pa.Array:
    if set(map(type, values)) <= {int, _NOTHING}:
        try:
            return pa.array(values, pa.int64())
        except (OverflowError, pa.ArrowInvalid):
            pass
    return pa.array(_each(_int64, values, place, rescued), pa.int64())


def _int64(value: Json) -> int | None:
    if type(value) is bytes:
        number = _decimal(value, 19, 0)
        value = None if number is None else int(number)
    return value if type(value) is int and INT64_MIN <= value <= INT64_MAX else None


def _float64s(values: Values, place: Place, rescued: Rescued) -> pa.Array:
    texts = [value for value in values if value is not None]
    if set(map(type, texts)) == {bytes}:
        numbers = list(map(float, cast("list[bytes]", texts)))
        if list(map(str.encode, map(repr, numbers))) == texts:
            if len(texts) == len(values):
                return pa.array(numbers, pa.float64())
            found = iter(numbers)
            return pa.array([None if value is None else next(found) for value in values], pa.float64())
    return pa.array(_each(_float64, values, place, rescued), pa.float64())


def _float64(value: Json) -> float | None:
    """The double whose shortest form is the same decimal number."""
    if type(value) is bytes:
        number = float(value)
        shortest = repr(number)
        return number if shortest.encode() == value or Number(shortest) == _number(value.decode()) else None
    if type(value) is not int:
        return None
    if -(2**53) <= value <= 2**53:
        return float(value)
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if Number(repr(number)) == value else None


def _number(text: str) -> Number | None:
    """The exact number; None for exponents that Decimal doesn't hold."""
    try:
        return Number(text)
    except InvalidOperation:
        return None


def _decimal(value: Json, precision: int, scale: int) -> Number | None:
    """The number, if it has at most `scale` digits after the point and `precision` in all."""
    number = _number(value.decode()) if type(value) is bytes else Number(value) if type(value) is int else None
    if number is None or (number.adjusted() >= precision - scale and number):
        return None
    sign, digits, exponent = number.as_tuple()
    if not number:
        return Number(0)
    excess = -cast("int", exponent) - scale
    if excess <= 0:
        return number
    if excess >= len(digits) or any(digits[-excess:]):
        return None
    return Number((sign, digits[:-excess], -scale))


def _epoch(value: Json, microseconds: int) -> int | None:
    """Microseconds since 1970, if the number says them exactly and the year has four digits."""
    number = _decimal(value, 25, 6)
    if number is None:
        return None
    ratio = number.as_integer_ratio()
    instant, rest = divmod(ratio[0] * microseconds, ratio[1])
    return instant if rest == 0 and YEAR_1 <= instant < YEAR_10000 else None


def _dates(values: Values, place: Place, rescued: Rescued) -> pa.Array:
    return pa.array(_each(_date, values, place, rescued), pa.date32())


def _date(value: Json) -> date | None:
    if type(value) is not str or not _DATE_FORM.fullmatch(value):
        return None
    try:
        return date.fromisoformat(value)
    except ValueError:
        return None


def _timestamps(values: Values, place: Place, rescued: Rescued) -> pa.Array:
    texts = pa.array(_only(str, values, place, rescued), pa.string())
    try:
        if pc.all(pc.match_substring_regex(texts, TIMESTAMP_FORM), min_count=0).as_py():
            return _instants(texts)
    except pa.ArrowInvalid:
        pass
    instants = _each(_timestamp, texts.to_pylist(), place, rescued)
    return pa.array(instants, pa.int64()).cast(_UTC)


def _timestamp(value: Json) -> int | None:
    text = pa.array([value], pa.string())
    try:
        if pc.match_substring_regex(text, TIMESTAMP_FORM)[0].as_py():
            return cast("int", _instants(text).cast(pa.int64())[0].as_py())
    except pa.ArrowInvalid:
        pass
    return None


def _instants(texts: pa.Array) -> pa.Array:
    """The texts' instants; raises ArrowInvalid for a day that no calendar has, or a year outside 1 to 9999 in UTC."""
    instants = texts.cast(_UTC)
    bounds = pc.min_max(instants.cast(pa.int64()))
    if bounds["min"].is_valid and not YEAR_1 <= bounds["min"].as_py() <= bounds["max"].as_py() < YEAR_10000:
        raise pa.ArrowInvalid("year out of range")
    return instants


def _structs(type_: DataType, fields: Sequence[Field], values: Values, place: Place, rescued: Rescued) -> pa.Array:
    arrow_fields = list(arrow_type(type_))
    objects = _only(dict, values, place, rescued)
    if None not in objects:
        columns = struct_columns(fields, cast("Sequence[Object]", objects), place, rescued)
        return pa.StructArray.from_arrays(columns, fields=arrow_fields)
    present = [index for index, value in enumerate(objects) if value is not None]
    if not present:
        return pa.nulls(len(values), arrow_type(type_))
    some = cast("Sequence[Object]", [objects[index] for index in present])
    columns = struct_columns(fields, some, Present(place, present), rescued)
    rank: list[int | None] = [None] * len(values)
    for at, index in enumerate(present):
        rank[index] = at
    return pa.StructArray.from_arrays(columns, fields=arrow_fields).take(pa.array(rank, pa.int32()))


def _lists(element: DataType, values: Values, place: Place, rescued: Rescued) -> pa.Array:
    lists = cast("Sequence[list[Json] | None]", _only(list, values, place, rescued))
    starts = [0, *accumulate(0 if items is None else len(items) for items in lists)]
    flat = list(chain.from_iterable(items for items in lists if items is not None))
    elements = build(element, flat, Elements(place, starts), rescued)
    return pa.ListArray.from_arrays(
        pa.array(starts, pa.int32()), elements, type=arrow_type(ListOf(element)), mask=_missing(lists)
    )


def _maps(value: DataType, values: Values, place: Place, rescued: Rescued) -> pa.Array:
    objects = cast("Sequence[Object | None]", _only(dict, values, place, rescued))
    starts = [0, *accumulate(0 if members is None else len(members) for members in objects)]
    keys = list(chain.from_iterable(members for members in objects if members is not None))
    flat = list(chain.from_iterable(members.values() for members in objects if members is not None))
    items = build(value, flat, Elements(place, starts, keys), rescued)
    return pa.MapArray.from_arrays(
        pa.array(starts, pa.int32()),
        pa.array(keys, pa.string()),
        items,
        arrow_type(MapOf(value)),
        mask=_missing(objects),
    )


def _missing(values: Sequence[object]) -> pa.Array | None:
    return pa.array([value is None for value in values], pa.bool_()) if None in values else None


_BUILDERS: dict[Kind, Callable[[Values, Place, Rescued], pa.Array]] = {
    Kind.BOOL: _bools,
    Kind.INT64: _int64s,
    Kind.FLOAT64: _float64s,
    Kind.STRING: _strings,
    Kind.DATE: _dates,
    Kind.TIMESTAMP: _timestamps,
    Kind.JSON: _jsons,
}
