"""`headsaw audit`: what landed against what the ledger holds and what is published."""

from typing import Annotated

import typer
from rich.table import Table

from headsaw.adapters.connect import connect
from headsaw.cli.display import count, plain, progress_bar
from headsaw.cli.shared import FOUND, ConfigOption, JsonOption, load_config, out, print_json, run_async
from headsaw.config import ServiceSettings
from headsaw.core.settings import format_duration
from headsaw.operate.arguments import parse_seconds, parse_time
from headsaw.operate.audit import AuditOptions, AuditReport, audit


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("audit")(audit_command)


def audit_command(
    dataset: Annotated[str, typer.Argument(help="The dataset to reconcile.", show_default=False)],
    config: ConfigOption = None,
    since: Annotated[
        str | None,
        typer.Option(help="Only what landed since: 2026-11-23, or 2h for two hours ago.", show_default=False),
    ] = None,
    grace: Annotated[
        str | None,
        typer.Option(
            help="How long after landing a file may be nowhere (2 x max_age + visibility).", show_default=False
        ),
    ] = None,
    reprocess: Annotated[
        bool, typer.Option("--reprocess", help="Judge objects older than the ledger's memory.")
    ] = False,
    fix: Annotated[bool, typer.Option("--fix", help="Enqueue what was never notified.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Reconcile landing bucket, ledger and Parquet. Exit 1 if anything is missing, duplicated or miscounted."""
    settings = load_config(config)
    settings.dataset(dataset)
    report = run_async(
        _audit(
            settings, dataset, since, parse_seconds("--grace", grace) if grace else None, reprocess=reprocess, fix=fix
        )
    )
    if as_json:
        print_json(report.document())
    else:
        _show(report)
    raise typer.Exit(0 if report.clean else FOUND)


async def _audit(
    settings: ServiceSettings, dataset: str, since: str | None, grace: float | None, *, reprocess: bool, fix: bool
) -> AuditReport:
    async with connect(settings) as aws:
        start = parse_time("--since", since, aws.clock.now()) if since is not None else None
        options = AuditOptions(start, grace, reprocess=reprocess, fix=fix)
        with progress_bar() as progress:
            return await audit(settings, aws, dataset, options, progress)


def _show(report: AuditReport) -> None:
    table = Table(title=f"Audit of {report.dataset}", title_justify="left", show_header=False, box=None)
    counts = report.counts
    files = [
        (report.done, "published"),
        (report.pending, "pending"),
        (report.rejected, "rejected"),
        (report.failed, "failed"),
    ]
    parts = [
        (counts.rows, "rows"),
        (counts.quarantined, "quarantined"),
        (counts.blank, "blank"),
        (counts.filtered, "filtered"),
    ]
    table.add_row("files landed", count(report.files), _sum(files))
    table.add_row("lines recounted", count(counts.lines), _sum(parts))
    notes = [f"{count(report.outputs)} objects read back"]
    notes += [f"{count(report.messages)} record messages"] if report.messages else []
    notes += [f"{count(report.not_recounted)} sources are gone: not recounted"] if report.not_recounted else []
    table.add_row("batches", count(report.batches), ", ".join(notes))
    if report.outside or report.excluded:
        table.add_row("not judged", "", f"{count(report.outside)} too old, {count(report.excluded)} excluded by globs")
    out.print(table)
    for finding in report.findings:
        out.print(f"[red]{finding.kind.value}[/red] {finding.what} {plain(finding.where)}", soft_wrap=True)
        out.print(f"    {plain(finding.why)}", soft_wrap=True)
        out.print(f"    [dim]{plain(finding.remedy)}[/dim]", soft_wrap=True)
    found = report.missing + report.duplicated + report.miscounted
    if found > len(report.findings):
        out.print(f"... and {count(found - len(report.findings))} more.")
    if report.fixed:
        out.print(f"Enqueued {count(report.fixed)} notifications; audit again when they are through.")
    verdict = "[green]In order[/green]" if report.clean else "[red]Not in order[/red]"
    numbers = f"{report.missing} missing, {report.duplicated} duplicated, {report.miscounted} miscounted"
    waiting = f", {report.pending} pending (grace {format_duration(report.grace_seconds)})" if report.pending else ""
    out.print(f"{verdict}: {numbers}{waiting}.")


def _sum(parts: list[tuple[int, str]]) -> str:
    """The parts that aren't nothing; the first in any case."""
    shown = [part for at, part in enumerate(parts) if at == 0 or part[0]]
    return "= " + " + ".join(f"{count(number)} {name}" for number, name in shown)
