"""`headsaw schema`: a dataset's table schema, its history, its growth, and the statements by which engines read it."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from headsaw.adapters.connect import connect
from headsaw.cli.display import plain
from headsaw.cli.shared import ConfigOption, JsonOption, load_config, out, print_json, run_async
from headsaw.convert.ddl import Engine, ddl, table_of
from headsaw.core.json_schema import columns_from_json_schema
from headsaw.core.settings import DatasetSettings
from headsaw.core.table_schema import TableSchema
from headsaw.core.table_types import Field, parse_type
from headsaw.errors import UsageError
from headsaw.operate.schema import extend

schema_app = typer.Typer(
    name="schema", help="Show a table schema, its history and DDL; add columns.", no_args_is_help=True
)

DatasetArgument = Annotated[str, typer.Argument(metavar="DATASET", help="The dataset's name.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(schema_app)


@schema_app.command("show")
def show(dataset: DatasetArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show the newest version."""
    settings = load_config(config)
    head = _head(config, settings.dataset(dataset))
    if as_json:
        print_json({"dataset": dataset, "version": head.version, "schema": _columns(head.columns)})
        return
    _show(dataset, head)


@schema_app.command("history")
def history(dataset: DatasetArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show what each version added."""
    settings = load_config(config)
    name = settings.dataset(dataset).name

    async def read() -> tuple[TableSchema, ...]:
        async with connect(settings) as aws:
            return await aws.ledger.schema_history(name)

    versions = run_async(read())
    added = [
        (version.version, [(".".join(step or "[]" for step in (*a.path, a.field.name)), a.field.type) for a in delta])
        for before, version in zip((TableSchema(), *versions), versions, strict=False)
        if (delta := version.delta(before))
    ]
    if as_json:
        document = [{"version": v, "added": [{"name": n, "type": str(t)} for n, t in columns]} for v, columns in added]
        print_json({"dataset": dataset, "versions": document})
        return
    table = Table(title=f"{dataset}: {len(versions)} versions", title_justify="left", box=None, pad_edge=False)
    for heading in ("version", "added", "type"):
        table.add_column(heading, overflow="fold")
    for version, columns in added:
        for position, (column, type_) in enumerate(columns):
            table.add_row(str(version) if position == 0 else "", plain(column), plain(str(type_)))
    out.print(table)


@schema_app.command("set")
def set_columns(
    dataset: DatasetArgument,
    add: Annotated[
        list[str] | None, typer.Option("--add", metavar="NAME:TYPE", help="A column, such as 'price:decimal(12,2)'.")
    ] = None,
    json_schema: Annotated[
        Path | None, typer.Option("--json-schema", help="Take the columns of this JSON Schema.", show_default=False)
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add columns before the data has them. Columns are only ever added, and never change their type."""
    settings = load_config(config)
    chosen = settings.dataset(dataset)
    columns = [*(_column(text) for text in add or ()), *(_imported(json_schema) if json_schema else ())]
    if not columns:
        raise UsageError("schema set: nothing to add; give --add NAME:TYPE, or --json-schema FILE")

    async def grow() -> TableSchema:
        async with connect(settings) as aws:
            return await extend(aws.ledger, chosen, columns)

    head = run_async(grow())
    if as_json:
        print_json({"dataset": dataset, "version": head.version, "schema": _columns(head.columns)})
        return
    _show(dataset, head)


@schema_app.command("ddl")
def print_ddl(
    dataset: DatasetArgument,
    engine: Annotated[Engine, typer.Option("--for", help="Who will read the table.", show_default=False)],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the statement (or Python) that reads all files of all versions as one table."""
    settings = load_config(config)
    chosen = settings.dataset(dataset)
    statement = ddl(table_of(chosen, _head(config, chosen)), engine)
    if as_json:
        print_json({"dataset": dataset, "engine": engine.value, "ddl": statement})
    else:
        typer.echo(statement)


def _head(config: Path | None, dataset: DatasetSettings) -> TableSchema:
    async def read() -> TableSchema:
        async with connect(load_config(config)) as aws:
            return await aws.ledger.schema_head(dataset.name)

    return run_async(read())


def _columns(columns: tuple[Field, ...]) -> list[dict[str, str]]:
    return [{"name": column.name, "type": str(column.type)} for column in columns]


def _show(dataset: str, head: TableSchema) -> None:
    if not head.version:
        out.print(
            f"{dataset} has no table schema yet: its first data proposes version 1, or `headsaw schema set` does."
        )
        return
    title = f"{dataset}, version {head.version}"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for heading in ("column", "type"):
        table.add_column(heading, overflow="fold")
    for column in head.columns:
        table.add_row(plain(column.name), plain(str(column.type)))
    out.print(table)


def _column(text: str) -> Field:
    name, colon, type_ = text.partition(":")
    try:
        if not colon:
            raise ValueError("write it as NAME:TYPE")
        return Field(name.strip(), parse_type(type_.strip()))
    except ValueError as error:
        raise UsageError(f"--add {text!r}: {error}") from None


def _imported(path: Path) -> tuple[Field, ...]:
    try:
        return columns_from_json_schema(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UsageError(f"--json-schema {path}: {error}") from None
