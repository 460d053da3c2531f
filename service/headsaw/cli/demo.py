"""`headsaw demo`: the whole service on this machine, and what happened."""

from pathlib import Path
from typing import Annotated, Any

import polars as pl
import typer
from pydantic_core import PydanticCustomError
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from headsaw.app_demo import run_bench, run_demo
from headsaw.cli.display import count_of, plain
from headsaw.cli.shared import JsonOption, command_name, err, out, print_json, run_async
from headsaw.config import SPARK_PYTHON_VARIABLE
from headsaw.convert import parser_choice
from headsaw.core.settings import format_size, parse_size
from headsaw.demo.outcome import sample, schema_document
from headsaw.demo.plan import Plan
from headsaw.demo.show import Shown
from headsaw.errors import UsageError
from headsaw.telemetry.metrics import api_calls

SAMPLE_COLUMNS = 4
SAMPLE_CHARS = 26
"""Of a value: a time with its zone fits."""
CELL_CHARS = 3
"""What a column takes beside its values: a border and two spaces."""
SERVICES = ("sqs", "dynamodb", "s3")
GENERATED_OVER_MAX = 100 * 1000**2


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("demo")(demo)
    app.command("bench-e2e", hidden=True)(bench)


def bench(output: Annotated[Path, typer.Option()] = Path("headsaw-demo")) -> None:
    """Measure one worker against a backlog of 10,000 small files (BENCH_FILES) on the embedded AWS."""
    out.print(run_async(run_bench(output, err)), soft_wrap=True)


def demo(
    files: Annotated[int, typer.Option(min=1, help="How many source files to generate.")] = 300,
    workers: Annotated[int, typer.Option(min=1, max=64, help="How many worker processes to run.")] = 2,
    input_folder: Annotated[
        Path | None, typer.Option("--input", help="Feed the NDJSON files of this folder instead.", show_default=False)
    ] = None,
    chaos: Annotated[bool, typer.Option("--chaos", help="Kill -9 and restart workers at random moments.")] = False,
    spark_over: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Hand batches from this size on (5MB) to local Spark.", show_default=False),
    ] = None,
    spark_python: Annotated[
        str | None,
        typer.Option(envvar=SPARK_PYTHON_VARIABLE, help="A Python that has pyspark and headsaw.", show_default=False),
    ] = None,
    endpoint_url: Annotated[
        str | None, typer.Option(help="Use this AWS-compatible endpoint, not the embedded one.", show_default=False)
    ] = None,
    serve: Annotated[bool, typer.Option("--serve", help="Keep everything running until Ctrl-C.")] = False,
    output: Annotated[Path, typer.Option(help="Where to put a copy of the Parquet, and the logs.")] = Path(
        "headsaw-demo"
    ),
    as_json: JsonOption = False,
) -> None:
    """Run it all on this machine: embedded AWS, realistic events, real workers, an audit. Exit 1 if it finds fault."""
    plan = Plan(
        *(files, workers, input_folder, chaos, serve),
        endpoint_url=endpoint_url,
        output=output,
        spark_over=None if spark_over is None else _spark_over(spark_over, generated=input_folder is None),
        spark_python=spark_python,
    )
    console = err if as_json else out

    def shown(result: Shown) -> None:
        _show(console, result)
        if as_json:
            print_json(_document(result))

    raise typer.Exit(run_async(run_demo(plan, console, shown, command_name())))


def _spark_over(text: str, *, generated: bool) -> int:
    """Bytes; raises UsageError."""
    try:
        size = parse_size(text)
    except PydanticCustomError as error:
        raise UsageError(f"--spark-over: {error}; {(error.context or {}).get('remedy')}") from None
    if not size:
        raise UsageError("--spark-over: from 0 bytes on is everything; give a size such as 5MB")
    if generated and size > GENERATED_OVER_MAX:
        raise UsageError(
            f"--spark-over {text}: generated files don't get larger than {format_size(GENERATED_OVER_MAX)}; "
            "give a smaller size, or files of your own with --input"
        )
    return size


def _document(result: Shown) -> dict[str, Any]:
    outcome, counts, used = result.outcome, result.outcome.counts, result.fleet.used()
    return {
        "files": outcome.files,
        "rejected_files": outcome.rejected,
        "lines": counts.lines,
        "rows": counts.rows,
        "quarantined": counts.quarantined,
        "blank": counts.blank,
        "filtered": counts.filtered,
        "rescued_values": outcome.rescued_values,
        "bytes_in": outcome.bytes_in,
        "bytes_out": outcome.bytes_out,
        "outputs": outcome.outputs,
        "quarantine": outcome.quarantine,
        "schema": schema_document(result.schemas),
        "seconds": round(result.seconds, 3),
        "cpu_seconds": round(used.cpu_seconds, 3),
        "peak_rss_bytes": used.peak_rss_bytes,
        "parser": parser_choice().name,
        "batches": outcome.batches,
        "workers": result.plan.workers,
        "kills": result.fleet.kills,
        "api_calls": _calls(result.metrics),
        "audit": {"missing": result.missing, "duplicated": result.duplicated, "miscounted": result.miscounted},
        "engines": {"inline": outcome.engines["inline"], "local": outcome.engines["local"]},
        "latency_seconds": outcome.latency_seconds,
    }


def _calls(pages: list[str]) -> dict[str, dict[str, int]]:
    """Requests by service and operation, summed over the workers that could still be asked."""
    total: dict[str, dict[str, int]] = {service: {} for service in SERVICES}
    for page in pages:
        for service, operations in api_calls(page).items():
            for operation, count in operations.items():
                place = total.setdefault(service, {})
                place[operation] = place.get(operation, 0) + count
    return total


def _show(console: Console, result: Shown) -> None:
    """What happened, in the order in which a person wonders."""
    console.print(_summary(result))
    _show_sample(console, result)
    _show_verdict(console, result)


def _summary(result: Shown) -> Table:
    outcome, counts, truth = result.outcome, result.outcome.counts, result.truth
    table = Table(box=None, show_header=False, pad_edge=False, title="What happened", title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    kills = f", {result.fleet.kills} of them killed with -9" if result.fleet.kills else ""
    announced = count_of(truth.messages, "message")
    table.add_row("landed", f"{count_of(truth.files, 'file')}, announced by {announced}")
    table.add_row("workers", f"{count_of(result.plan.workers, 'process', 'processes')}{kills}")
    table.add_row("batches", f"{outcome.batches} published in {result.seconds:.1f} s")
    if result.plan.spark_over is not None:
        inline, local = outcome.engines["inline"], outcome.engines["local"]
        runs = f"{local} by Spark on this machine, from {format_size(result.plan.spark_over)} on"
        table.add_row("  converted", f"{inline} by the workers, {runs}")
    table.add_row("lines", f"{counts.lines:,}")
    table.add_row("  rows", f"{counts.rows:,} in {count_of(len(outcome.outputs), 'Parquet file')}")
    kept = count_of(len(outcome.quarantine), "object")
    table.add_row("  quarantined", f"{counts.quarantined:,}, byte for byte in {kept}")
    table.add_row("  blank", f"{counts.blank:,}")
    letters = count_of(result.dead_letters, "message")
    table.add_row("rejected", f"{count_of(len(outcome.rejected), 'file')}, {letters} in the DLQ")
    latency = outcome.latency_seconds
    table.add_row("latency", f"p50 {latency['p50']:.1f} s, p99 {latency['p99']:.1f} s from landing to published")
    used = result.fleet.used()
    if used.peak_rss_bytes:  # /proc told
        table.add_row("cost", f"{used.cpu_seconds:.1f} s CPU, {used.peak_rss_bytes / 2**20:.0f} MiB the largest worker")
    return table


def _show_sample(console: Console, result: Shown) -> None:
    if not result.parquet:
        return
    console.print(f"\n[bold]The Parquet[/bold] is in {result.plan.output / 'lake'}, logs in {result.plan.output}")
    frame = sample(result.parquet)
    if frame is None:
        return
    console.print(f"\n{plain(result.parquet[0].name)}, first rows", soft_wrap=True)
    console.print(preview(frame, console.width))


def preview(frame: pl.DataFrame, width: int) -> Table:
    """The first flat columns, as many as fit whole side by side; a value too long for any place is cut."""
    table = Table()
    shown: list[str] = []
    left = width - 1
    for name, kind in frame.schema.items():
        if not name or name.startswith("_") or kind.is_nested():
            continue
        longest = max((cell_len(str(value)) for value in frame[name]), default=0)
        wanted = max(cell_len(name), min(SAMPLE_CHARS, longest))
        if wanted + CELL_CHARS > left or len(shown) == SAMPLE_COLUMNS:
            break
        left -= wanted + CELL_CHARS
        table.add_column(plain(name), no_wrap=True, overflow="ellipsis", width=wanted)
        shown.append(name)
    for row in frame.select(shown).iter_rows():
        table.add_row(*(plain(str(value)) for value in row))
    return table


def _show_verdict(console: Console, result: Shown) -> None:
    if result.ids is not None:
        ids = result.ids
        console.print(f"\n{ids.expected:,} event ids looked up in the Parquet with {ids.engine}.")
    found = {
        "missing": result.missing,
        "duplicated": result.duplicated,
        "miscounted": result.miscounted,
        "wrongly rejected": result.wrong_rejections,
        "failed": result.outcome.failed,
        "workers that ended badly": sum(map(bool, result.exit_statuses)),
    }
    text = ", ".join(f"{count} {name}" for name, count in found.items())
    if result.clean:
        console.print(f"[green]Audit: every line is a row or a quarantined line, once.[/green] ({text})")
    else:
        console.print(f"[red]The audit found fault:[/red] {text}. Logs: {result.plan.output}")
