"""What all commands share: options, errors in plain words, JSON as the last line, and an event loop."""

import asyncio
import gc
import json
import os
import shlex
import shutil
import sys
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
import uvloop
from rich.console import Console

from headsaw.config import CONFIG_VARIABLE, ServiceSettings, load
from headsaw.convert import check_expressions
from headsaw.errors import ConfigError, HeadsawError, UsageError

T = TypeVar("T")

GARBAGE_THRESHOLDS = (100_000, 50, 100)
"""A quarter of the reference parser's time went into collections that found nothing."""

FOUND = 1
"""Exit status: the check found something, or the work could not be done."""
USAGE = 2
"""Exit status: usage or configuration."""

ConfigOption = Annotated[
    Path | None,
    typer.Option("-c", "--config", envvar=CONFIG_VARIABLE, help="The configuration file.", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line, for machines.")]

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def load_config(path: Path | None) -> ServiceSettings:
    """The configuration, or ConfigError with every problem."""
    if path is None and not any(name.startswith("HEADSAW_") for name in os.environ):
        raise UsageError(f"no configuration: give -c FILE, or set {CONFIG_VARIABLE}")
    config = load(path, os.environ)
    problems = [
        replace(problem, path=f"datasets[{i}].{problem.path}")
        for i, dataset in enumerate(config.datasets)
        for problem in check_expressions(dataset)
    ]
    if problems:
        raise ConfigError(problems)
    return config


def print_json(document: Mapping[str, Any]) -> None:
    """One object with `"format": 1`, on one line."""
    sys.stdout.write(json.dumps({"format": 1, **document}, separators=(",", ":"), default=str) + "\n")
    sys.stdout.flush()


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """The coroutine's result, on uvloop. Garbage is rarely looked for: parsing makes many objects, hardly a cycle."""
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def command_name() -> str:
    """How this very headsaw is called from a shell in any folder."""
    called = Path(sys.argv[0])
    if called.name != "headsaw":  # python -m headsaw
        return f"{shlex.quote(sys.executable)} -m headsaw"
    found = shutil.which("headsaw")
    if found is not None and (not called.exists() or Path(found).samefile(called)):
        return "headsaw"
    return shlex.quote(str(called.absolute()))


def explain(error: HeadsawError) -> int:
    """The error in plain words on stderr; returns the exit status."""
    if isinstance(error, ConfigError):
        err.print(f"[red]The configuration has {len(error.problems)} problem(s):[/red]")
        for problem in error.problems:
            err.print(f"  [bold]{_plain(problem.path)}[/bold]: {_plain(problem.message)}")
            if problem.remedy:
                err.print(f"      {_plain(problem.remedy)}")
        return USAGE
    err.print(f"[red]headsaw:[/red] {_plain(str(error))}")
    return USAGE if isinstance(error, UsageError) else FOUND


def _plain(text: str) -> str:
    """Square brackets are text here, not markup."""
    return text.replace("[", r"\[")
