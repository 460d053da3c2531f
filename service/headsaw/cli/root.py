"""The root command: its subcommands, its version, and how errors end it."""

import sys
from typing import Annotated

import typer

from headsaw.app import headsaw_version
from headsaw.cli import config, convert, demo, operate, schema, service
from headsaw.cli.shared import explain
from headsaw.convert import parser_choice
from headsaw.errors import HeadsawError

app = typer.Typer(
    name="headsaw",
    help="NDJSON that lands in S3 becomes exactly-once Parquet.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"headsaw {headsaw_version()} (parser: {parser_choice()})")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """NDJSON that lands in S3 becomes exactly-once Parquet."""


service.register(app)
demo.register(app)
config.register(app)
schema.register(app)
convert.register(app)
operate.register(app)


def main() -> None:
    """The console script: errors that headsaw raises on purpose are explained, not traced."""
    try:
        app()
    except HeadsawError as error:
        sys.exit(explain(error))
    except KeyboardInterrupt:
        sys.exit(130)
