"""Reads converted rows back with another engine than the one that wrote them, and puts the JSON together again."""

import json
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import duckdb
from tests.unit.convert.harness import Bytes, Done, File

from headsaw.convert.decode import Decode
from headsaw.core.table_schema import RESERVED, TableSchema
from headsaw.core.table_types import DataType, Kind, ListOf, MapOf, Scalar, StructOf

Place = tuple[str, int]


def loads(text: str) -> Any:
    """JSON with every number as the decimal number that its text says; as the text itself beyond what Decimal holds."""
    return json.loads(text, parse_int=_number, parse_float=_number)


def _number(text: str) -> Decimal | str:
    try:
        return Decimal(text)
    except InvalidOperation:
        return f"number {text}"


def bare(value: Any) -> Any:
    """The value without null members; nulls in lists stay."""
    if isinstance(value, dict):
        return {key: bare(member) for key, member in value.items() if member is not None}
    return [bare(item) for item in value] if isinstance(value, list) else value


def check_values(source: Bytes | File, done: Done, directory: Path) -> None:
    """Every row, read by the second engine, is its source line as JSON without null members."""
    paths = [directory / f"{number}.parquet" for number in range(len(done.outputs.tables))]
    for path, table in zip(paths, done.outputs.tables, strict=True):
        path.write_bytes(table.data)
    records = read_back(paths, done.report.schema)
    data = b"".join(Decode(source.chunks())).removeprefix(b"\xef\xbb\xbf")
    quarantined = done.reasons()
    rows = 0
    for number, line in enumerate(data.split(b"\n"), 1):
        if number in quarantined or not line.strip(b" \t\r"):
            continue
        rows += 1
        assert records.get((source.name, number)) == bare(loads(line.decode())), f"line {number}"
    assert rows == len(records) == done.report.counts.rows


def read_back(paths: list[Path], schema: TableSchema) -> dict[Place, Any]:
    """The JSON of every row by source and line: its columns, with its rescued data put back in place."""
    records: dict[Place, Any] = {}
    with duckdb.connect() as connection:
        for path in paths:
            cursor = connection.execute("select * from read_parquet(?, hive_partitioning=false)", [str(path)])
            names = [column[0] for column in cursor.description]
            while rows := cursor.fetchmany(1000):
                for row in rows:
                    collect(dict(zip(names, row, strict=True)), schema, records)
    return records


def collect(row: dict[str, Any], schema: TableSchema, records: dict[Place, Any]) -> None:
    """The row's JSON is added to the records."""
    record = {
        column.name: _json(row[column.name], column.type)
        for column in schema.columns
        if row.get(column.name) is not None
    }
    for pointer, value in loads(row["_rescued_data"] or "{}").items():
        _put(record, [step.replace("~1", "/").replace("~0", "~") for step in pointer[1:].split("/")], value)
    assert set(row) - set(RESERVED) <= {column.name for column in schema.columns}
    place = (row["_source_file"], row["_source_line"])
    assert place not in records
    records[place] = bare(record)


def _put(value: Any, steps: list[str], rescued: Any) -> None:
    for step in steps[:-1]:
        value = value[int(step)] if isinstance(value, list) else value[step]
    if isinstance(value, list):
        assert value[int(steps[-1])] is None
        value[int(steps[-1])] = rescued
    else:
        assert value.get(steps[-1]) is None
        value[steps[-1]] = rescued


def _json(value: Any, type_: DataType) -> Any:
    """A value that the engine read, as the JSON that it was."""
    if value is None:
        return None
    match type_:
        case StructOf(fields):
            return {
                field.name: _json(value[field.name], field.type) for field in fields if value[field.name] is not None
            }
        case ListOf(element):
            return [_json(item, element) for item in value]
        case MapOf(inner):
            return {key: _json(item, inner) for key, item in value.items()}
        case Scalar(Kind.JSON):
            return loads(value)
        case Scalar(Kind.INT64):
            return Decimal(value)
        case Scalar(Kind.FLOAT64):
            return Decimal(repr(value))
    return value
