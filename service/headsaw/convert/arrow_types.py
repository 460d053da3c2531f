"""The table schema's types as Arrow and Parquet have them."""

from functools import lru_cache

import pyarrow as pa

from headsaw.core.table_schema import RESCUED, TableSchema
from headsaw.core.table_types import DataType, Decimal, Epoch, Field, Kind, ListOf, MapOf, Scalar, StructOf

UTC_MICROSECONDS = pa.timestamp("us", "UTC")

_SCALARS = {
    Kind.BOOL: pa.bool_(),
    Kind.INT64: pa.int64(),
    Kind.FLOAT64: pa.float64(),
    Kind.STRING: pa.string(),
    Kind.DATE: pa.date32(),
    Kind.TIMESTAMP: UTC_MICROSECONDS,
    Kind.JSON: pa.string(),
}


@lru_cache(maxsize=4096)
def arrow_type(type_: DataType) -> pa.DataType:
    """The Arrow type that holds the column; json is a string."""
    match type_:
        case Scalar(kind):
            return _SCALARS[kind]
        case Decimal(precision, scale):
            return pa.decimal128(precision, scale)
        case Epoch():
            return UTC_MICROSECONDS
        case ListOf(element):
            return pa.list_(pa.field("element", arrow_type(element)))
        case MapOf(value):
            return pa.map_(pa.string(), pa.field("value", arrow_type(value)))
        case StructOf(fields):
            return pa.struct([arrow_field(field) for field in fields])


def arrow_field(field: Field) -> pa.Field:
    """The nullable Arrow field of a column or member."""
    return pa.field(field.name, arrow_type(field.type))


@lru_cache(maxsize=64)
def table_fields(schema: TableSchema) -> tuple[pa.Field, ...]:
    """The columns of parsed rows: the table schema's and `_rescued_data`."""
    return (*map(arrow_field, schema.columns), pa.field(RESCUED, pa.string()))
