"""`headsaw run`: the service."""

import typer

from headsaw.app import run_service
from headsaw.cli.shared import ConfigOption, load_config, run_async


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("run")(run)


def run(config: ConfigOption = None) -> None:
    """Run the worker until SIGTERM; a second SIGTERM stops it at once."""
    raise typer.Exit(run_async(run_service(load_config(config))))
