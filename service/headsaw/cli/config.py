"""`headsaw config`: whether a configuration is sound, and what one may hold."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from headsaw.cli.display import plain
from headsaw.cli.shared import JsonOption, explain, load_config, out, print_json
from headsaw.config import CONFIG_VARIABLE, ServiceSettings, config_schema
from headsaw.core.settings import DatasetSettings, Partition, format_duration, format_size
from headsaw.errors import ConfigError

config_app = typer.Typer(name="config", help="Check a configuration, or show what one may hold.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(config_app)


@config_app.command("check")
def check(
    path: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", envvar=CONFIG_VARIABLE, help="The configuration file.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Validate FILE and the HEADSAW_... variables over it, asking nobody. Exit 2 with every problem at once."""
    try:
        config = load_config(path)
    except ConfigError as error:
        status = explain(error)
        if as_json:
            problems = [{"path": p.path, "message": p.message, "remedy": p.remedy} for p in error.problems]
            print_json({"valid": False, "problems": problems})
        raise typer.Exit(status) from None
    if as_json:
        datasets = [dataset.name for dataset in config.datasets]
        print_json({"valid": True, "problems": [], "datasets": datasets})
    else:
        _show(str(path or "The environment"), config)


@config_app.command("schema")
def schema() -> None:
    """Print the JSON Schema of the configuration, for editors."""
    json.dump(config_schema(), sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def _show(name: str, config: ServiceSettings) -> None:
    table = Table(title=f"{plain(name)} is sound", title_justify="left", box=None, pad_edge=False)
    for heading in ("dataset", "batch", "partitions", "schema"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "dataset")
    for dataset in config.datasets:
        table.add_row(dataset.name, _batch(dataset), _partitions(dataset), _schema(dataset))
    out.print(table)
    for dataset in config.datasets:
        out.print(f"{dataset.name}: {plain(str(dataset.source))} -> {plain(str(dataset.destination))}", soft_wrap=True)
    out.print(
        f"ledger {config.ledger_table}, remembers {format_duration(config.ledger_retention)}; "
        f"{config.pollers} pollers, {config.conversions} conversions, {format_size(config.memory_bytes)} of memory"
    )


def _batch(dataset: DatasetSettings) -> str:
    limits = dataset.batch
    return f"{limits.max_files} files, {format_size(limits.max_bytes)}, {format_duration(limits.max_age)}"


def _partitions(dataset: DatasetSettings) -> str:
    return "/".join(_level(level) for level in dataset.partition_by) or "none"


def _level(level: Partition) -> str:
    return f"{level.directory}=..."


def _schema(dataset: DatasetSettings) -> str:
    hints = f", {len(dataset.table_schema.hints)} hints" if dataset.table_schema.hints else ""
    return f"{dataset.table_schema.mode}, {dataset.table_schema.numbers}{hints}"
