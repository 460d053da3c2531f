"""`headsaw convert`: one conversion, now, with the converter of the service."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from headsaw.app_convert import Conversion, Request, run_conversion
from headsaw.cli.display import count, count_of, plain, progress_bar
from headsaw.cli.shared import FOUND, JsonOption, load_config, out, print_json, run_async
from headsaw.config import ServiceSettings
from headsaw.convert import parser_choice
from headsaw.core.settings import DatasetSettings
from headsaw.errors import UsageError

REJECTED_SHOWN = 20
RATED_BYTES_MIN = 1_000_000
SETTINGS_NAME_MAX = 63


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("convert")(convert_command)


def convert_command(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="SRC... DEST", help="Files, directories or s3:// URIs; last, a directory or s3:// prefix."
        ),
    ],
    config: Annotated[
        Path | None, typer.Option("-c", "--config", help="A configuration that has the dataset.", show_default=False)
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Convert as this dataset of the configuration would.", show_default=False)
    ] = None,
    append: Annotated[
        bool, typer.Option("--append", help="Add to a DEST that holds Parquet already; without it that is refused.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Convert NDJSON to Parquet once. Exit 1 if a file was rejected."""
    if len(paths) < 2:
        raise UsageError("convert: name at least one source, and where to write: headsaw convert SRC... DEST")
    *sources, destination = paths
    service, settings = _settings(config, dataset, destination)
    with progress_bar() as progress:
        result = run_async(run_conversion(Request(tuple(sources), destination, settings, service, append), progress))
    if as_json:
        print_json(document(result))
    else:
        _show(result)
    raise typer.Exit(FOUND if result.report.rejections else 0)


def _settings(
    config: Path | None, dataset: str | None, destination: str
) -> tuple[ServiceSettings | None, DatasetSettings]:
    """The configured dataset's settings, or the defaults under the destination's name."""
    if config is None:
        if dataset is not None:
            raise UsageError(f"--dataset {dataset}: give the configuration that has it with -c FILE")
        return None, default_settings(destination)
    service = load_config(config)
    if dataset is None and len(service.datasets) > 1:
        names = ", ".join(known.name for known in service.datasets)
        raise UsageError(f"{config} has several datasets: choose one with --dataset ({names})")
    return service, service.dataset(dataset or service.datasets[0].name)


def default_settings(destination: str) -> DatasetSettings:
    """A dataset that is named after the destination and has every default; its prefixes are never used."""
    last = destination.rstrip("/").rsplit("/", 1)[-1].lower()
    name = re.sub(r"[^a-z0-9_-]+", "-", last).strip("-_")[:SETTINGS_NAME_MAX] or "convert"
    here = {"source": "s3://local/source/", "destination": "s3://local/destination/"}
    return DatasetSettings.model_validate({"name": name, **here})


def document(result: Conversion) -> Mapping[str, Any]:
    """As `--json` prints it, described in docs/commands.md."""
    report = result.report
    return {
        "files": len(result.sources),
        "rejected_files": [
            {"file": result.sources[r.index], "reason": r.reason.value, "detail": r.detail} for r in report.rejections
        ],
        "lines": report.counts.lines,
        "rows": report.counts.rows,
        "quarantined": report.counts.quarantined,
        "blank": report.counts.blank,
        "filtered": report.counts.filtered,
        "rescued_values": report.rescued_values,
        "bytes_in": report.bytes_in,
        "bytes_out": sum(output.bytes for output in report.outputs),
        "outputs": list(result.outputs),
        "quarantine": list(result.quarantine),
        "schema": [{"name": column.name, "type": str(column.type)} for column in report.schema.columns],
        "seconds": round(result.seconds, 3),
        "cpu_seconds": round(result.cpu_seconds, 3),
        "peak_rss_bytes": result.peak_rss_bytes,
        "parser": parser_choice().name,
    }


def _show(result: Conversion) -> None:
    report = result.report
    counts = report.counts
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row("files", count(len(result.sources)), f"{count(len(report.rejections))} rejected")
    table.add_row("lines", count(counts.lines), _lines(result))
    fast = report.bytes_in > RATED_BYTES_MIN and result.cpu_seconds
    rate = f", {report.bytes_in / result.cpu_seconds / 1e6:.0f} MB/CPU-s" if fast else ""
    table.add_row("NDJSON", _mb(report.bytes_in), f"{result.seconds:.1f} s{rate}")
    bytes_out = sum(output.bytes for output in report.outputs)
    table.add_row("written", _mb(bytes_out), count_of(len(result.outputs), "Parquet file"))
    table.add_row("memory", f"{result.peak_rss_bytes / 2**20:,.0f} MiB", "at its highest")
    out.print(table)
    for name in (*result.outputs[:3], *result.quarantine):
        out.print(f"  {plain(name)}", soft_wrap=True)
    if len(result.outputs) > 3:
        out.print(f"  ... and {count(len(result.outputs) - 3)} more")
    for rejection in report.rejections[:REJECTED_SHOWN]:
        detail = f" ({plain(rejection.detail)})" if rejection.detail else ""
        reason = f"[red]rejected[/red]: {rejection.reason.value}{detail}"
        out.print(f"{plain(result.sources[rejection.index])}: {reason}", soft_wrap=True)
    if len(report.rejections) > REJECTED_SHOWN:
        out.print(f"... and {count(len(report.rejections) - REJECTED_SHOWN)} more rejected files; --json has them all")


def _lines(result: Conversion) -> str:
    counts = result.report.counts
    parts = {"quarantined": counts.quarantined, "blank": counts.blank, "filtered": counts.filtered}
    rest = "".join(f" + {count(number)} {name}" for name, number in parts.items() if number)
    rescued = f"; {count(result.report.rescued_values)} values rescued" if result.report.rescued_values else ""
    return f"= {count(counts.rows)} rows{rest}{rescued}"


def _mb(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 100_000 else f"{size:,} bytes"
