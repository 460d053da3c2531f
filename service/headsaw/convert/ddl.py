"""How a query engine is told of a dataset's table: every file of every schema version, as one table.

Files of older versions lack the newer columns; each engine fills them with null in its own way. Partition columns are
strings, since a directory is.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import pyarrow as pa

from headsaw.convert.expressions import Expressions
from headsaw.convert.layout import Layout
from headsaw.core.settings import DatasetSettings
from headsaw.core.table_schema import TableSchema

_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Engine(StrEnum):
    """Who reads."""

    ATHENA = "athena"
    TRINO = "trino"
    SPARK = "spark"
    DUCKDB = "duckdb"
    POLARS = "polars"
    PYARROW = "pyarrow"


@dataclass(frozen=True, slots=True)
class Table:
    """What a statement is made of: the files' columns without partitions, the partition directories, the location."""

    name: str
    columns: pa.Schema
    partitions: tuple[str, ...]
    location: str


def table_of(settings: DatasetSettings, schema: TableSchema, location: str | None = None) -> Table:
    """The table of a dataset with that schema; `location` instead of its destination, ending in a slash."""
    files = Layout(Expressions(settings), lineage=settings.lineage).file_schema(schema)
    plain = [pa.field(item.name, pa.string() if pa.types.is_dictionary(item.type) else item.type) for item in files]
    name = settings.name.replace("-", "_")
    where = location or f"{str(settings.destination).rstrip('/')}/"
    return Table(name, pa.schema(plain), tuple(level.directory for level in settings.partition_by), where)


def ddl(table: Table, engine: Engine) -> str:
    """The statement, or the Python code, by which the engine reads the table."""
    return _STATEMENTS[engine](table)


_SPARK_SQL = {
    "bool": "BOOLEAN",
    "int64": "BIGINT",
    "double": "DOUBLE",
    "string": "STRING",
    "date32[day]": "DATE",
    "timestamp[us, tz=UTC]": "TIMESTAMP",
    "timestamp[us]": "TIMESTAMP_NTZ",
}
_HIVE = {name: type_.lower().removesuffix("_ntz") for name, type_ in _SPARK_SQL.items()}
_TRINO = {**_HIVE, "string": "varchar", "timestamp[us, tz=UTC]": "timestamp(3)", "timestamp[us]": "timestamp(3)"}
_DUCKDB = {
    **_SPARK_SQL,
    "string": "VARCHAR",
    "timestamp[us, tz=UTC]": "TIMESTAMP WITH TIME ZONE",
    "timestamp[us]": "TIMESTAMP",
}
_POLARS = {
    "bool": "pl.Boolean",
    "int64": "pl.Int64",
    "double": "pl.Float64",
    "string": "pl.String",
    "date32[day]": "pl.Date",
    "timestamp[us, tz=UTC]": 'pl.Datetime("us", "UTC")',
    "timestamp[us]": 'pl.Datetime("us")',
}
_PYARROW = {
    "bool": "pa.bool_()",
    "int64": "pa.int64()",
    "double": "pa.float64()",
    "string": "pa.string()",
    "date32[day]": "pa.date32()",
    "timestamp[us, tz=UTC]": 'pa.timestamp("us", "UTC")',
    "timestamp[us]": 'pa.timestamp("us")',
}


@dataclass(frozen=True, slots=True)
class _Dialect:
    """How an engine writes types."""

    plain: Mapping[str, str]
    decimal: str
    list: str
    map: str
    struct: str
    member: Callable[[str, str], str]

    def type(self, type_: pa.DataType) -> str:
        """The type's text."""
        if pa.types.is_decimal(type_):
            return self.decimal.format(type_.precision, type_.scale)
        if pa.types.is_list(type_):
            return self.list.format(self.type(type_.value_type))
        if pa.types.is_map(type_):
            return self.map.format(self.plain["string"], self.type(type_.item_type))
        if pa.types.is_struct(type_):
            members = [self.member(item.name, self.type(item.type)) for item in type_]
            return self.struct.format(", ".join(members))
        return self.plain[str(type_)]


def _backticked(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _double_quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


_py = json.dumps

_ATHENA_TYPES = _Dialect(_HIVE, "decimal({},{})", "array<{}>", "map<{},{}>", "struct<{}>", lambda n, t: f"{n}:{t}")
_TRINO_TYPES = _Dialect(
    _TRINO, "decimal({},{})", "array({})", "map({},{})", "row({})", lambda n, t: f"{_double_quoted(n)} {t}"
)
_SPARK_TYPES = _Dialect(
    _SPARK_SQL, "DECIMAL({},{})", "ARRAY<{}>", "MAP<{},{}>", "STRUCT<{}>", lambda n, t: f"{_backticked(n)}: {t}"
)
_DUCKDB_TYPES = _Dialect(
    _DUCKDB, "DECIMAL({},{})", "{}[]", "MAP({},{})", "STRUCT({})", lambda n, t: f"{_double_quoted(n)} {t}"
)
_POLARS_TYPES = _Dialect(
    _POLARS, "pl.Decimal({},{})", "pl.List({})", "pl.Map({},{})", "pl.Struct({{{}}})", lambda n, t: f"{_py(n)}: {t}"
)
_PYARROW_TYPES = _Dialect(
    _PYARROW,
    "pa.decimal128({},{})",
    "pa.list_({})",
    "pa.map_({},{})",
    "pa.struct([{}])",
    lambda n, t: f"({_py(n)}, {t})",
)


def _columns(table: Table, dialect: _Dialect, quote: Callable[[str], str]) -> list[str]:
    return [f"  {quote(item.name)} {dialect.type(item.type)}" for item in table.columns]


def _athena(table: Table) -> str:
    """Hive's struct types know plain names only; a member of another name can't be declared, and isn't visible."""
    left_out: list[str] = []
    types = [(item.name, _hive_type(item.type, item.name, left_out)) for item in table.columns]
    declared = pa.schema([pa.field(name, type_) for name, type_ in types if type_ is not None])
    shown = Table(table.name, declared, table.partitions, table.location)
    lines = ",\n".join(_columns(shown, _ATHENA_TYPES, _backticked))
    partitions = ", ".join(f"{_backticked(name)} string" for name in table.partitions)
    notes = "".join(f"-- not declared, since Hive's types can't name it: {path!r}\n" for path in left_out)
    return (
        f"{notes}CREATE EXTERNAL TABLE {_backticked(table.name)} (\n{lines}\n)\n"
        + (f"PARTITIONED BY ({partitions})\n" if partitions else "")
        + f"STORED AS PARQUET\nLOCATION {_literal(table.location)};\n"
    )


def _hive_type(type_: pa.DataType, path: str, left_out: list[str]) -> pa.DataType | None:
    """The type without members that can't be named; None if nothing is left."""
    if pa.types.is_list(type_):
        element = _hive_type(type_.value_type, path, left_out)
        return element and pa.list_(element)
    if pa.types.is_map(type_):
        value = _hive_type(type_.item_type, path, left_out)
        return value and pa.map_(pa.string(), value)
    if not pa.types.is_struct(type_):
        return type_
    members = []
    for item in type_:
        member = _hive_type(item.type, f"{path}.{item.name}", left_out) if _PLAIN_NAME.fullmatch(item.name) else None
        if member is not None:
            members.append(pa.field(item.name, member))
        elif not _PLAIN_NAME.fullmatch(item.name):
            left_out.append(f"{path}.{item.name}")
    return pa.struct(members) if members else None


def _trino(table: Table) -> str:
    lines = _columns(table, _TRINO_TYPES, _double_quoted)
    lines += [f"  {_double_quoted(name)} varchar" for name in table.partitions]
    keys = ", ".join(map(_literal, table.partitions))
    options = [f"external_location = {_literal(table.location)}", "format = 'PARQUET'"]
    options += [f"partitioned_by = ARRAY[{keys}]"] if keys else []
    body, properties = ",\n".join(lines), ", ".join(options)
    return f"CREATE TABLE {_double_quoted(table.name)} (\n{body}\n)\nWITH ({properties});\n"


def _spark(table: Table) -> str:
    lines = _columns(table, _SPARK_TYPES, _backticked)
    lines += [f"  {_backticked(name)} STRING" for name in table.partitions]
    keys = ", ".join(map(_backticked, table.partitions))
    return (
        f"CREATE TABLE {_backticked(table.name)} (\n"
        + ",\n".join(lines)
        + "\n)\nUSING PARQUET\n"
        + (f"PARTITIONED BY ({keys})\n" if keys else "")
        + f"LOCATION {_literal(table.location)};\n"
    )


def _duckdb(table: Table) -> str:
    casts = [
        f"  {_double_quoted(item.name)}::{_DUCKDB_TYPES.type(item.type)} AS {_double_quoted(item.name)}"
        for item in table.columns
    ]
    casts += [f"  {_double_quoted(name)}::VARCHAR AS {_double_quoted(name)}" for name in table.partitions]
    hive = "true" if table.partitions else "false"
    return (
        f"CREATE OR REPLACE VIEW {_double_quoted(table.name)} AS SELECT\n"
        + ",\n".join(casts)
        + f"\nFROM read_parquet({_literal(table.location + '**/*.parquet')}, union_by_name = true, "
        f"hive_partitioning = {hive}, hive_types_autocast = false);\n"
    )


def _polars(table: Table) -> str:
    lines = "".join(f"        {_py(item.name)}: {_POLARS_TYPES.type(item.type)},\n" for item in table.columns)
    hive = "".join(f"{_py(name)}: pl.String, " for name in table.partitions)
    return (
        f"import polars as pl\n\n{table.name} = pl.scan_parquet(\n    {_py(table.location)},\n"
        f"    schema={{\n{lines}    }},\n"
        + (f"    hive_partitioning=True,\n    hive_schema={{{hive.removesuffix(', ')}}},\n" if hive else "")
        + '    missing_columns="insert",\n'
        '    cast_options=pl.ScanCastOptions(missing_struct_fields="insert"),\n)\n'
    )


def _pyarrow(table: Table) -> str:
    keys = "".join(f"        ({_py(name)}, pa.string()),\n" for name in table.partitions)
    lines = "".join(f"        ({_py(item.name)}, {_PYARROW_TYPES.type(item.type)}),\n" for item in table.columns)
    partitioning = f'ds.partitioning(pa.schema([\n{keys}    ]), flavor="hive")' if keys else "None"
    return (
        "import pyarrow as pa\nimport pyarrow.dataset as ds\n\n"
        f"{table.name} = ds.dataset(\n    {_py(table.location)},\n    schema=pa.schema([\n{lines}{keys}    ]),\n"
        f"    partitioning={partitioning},\n)\n"
    )


_STATEMENTS: dict[Engine, Callable[[Table], str]] = {
    Engine.ATHENA: _athena,
    Engine.TRINO: _trino,
    Engine.SPARK: _spark,
    Engine.DUCKDB: _duckdb,
    Engine.POLARS: _polars,
    Engine.PYARROW: _pyarrow,
}
