"""`headsaw backfill`, `redrive` and `retry`: work put back in."""

from dataclasses import asdict
from typing import Annotated

import typer

from headsaw.adapters.connect import connect
from headsaw.cli.display import count, count_of, plain, progress_bar
from headsaw.cli.shared import FOUND, ConfigOption, JsonOption, err, load_config, out, print_json, run_async
from headsaw.config import ServiceSettings
from headsaw.core.model import Batch
from headsaw.core.settings import format_duration
from headsaw.operate.arguments import parse_rate, parse_time, parse_uri
from headsaw.operate.backfill import Backfilled, Selection, backfill, retention_remedy
from headsaw.operate.redrive import Redriven, redrive
from headsaw.operate.retry import retry

DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only count; send nothing.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("backfill")(backfill_command)
    app.command("redrive")(redrive_command)
    app.command("retry")(retry_command)


# ----------------------------------------------------------------------------------------------------------- backfill


def backfill_command(
    prefix: Annotated[str, typer.Argument(metavar="s3://BUCKET/PREFIX", help="Where.", show_default=False)],
    config: ConfigOption = None,
    include: Annotated[
        list[str] | None, typer.Option(help="Only keys that match (what follows PREFIX).", show_default=False)
    ] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="No keys that match.", show_default=False)] = None,
    since: Annotated[
        str | None, typer.Option(help="Landed since: 2026-11-23, or 2h for two hours ago.", show_default=False)
    ] = None,
    until: Annotated[str | None, typer.Option(help="Landed before that time.", show_default=False)] = None,
    rate: Annotated[str | None, typer.Option(metavar="N/s", help="At most so many files.", show_default=False)] = None,
    reprocess: Annotated[
        bool, typer.Option("--reprocess", help="Also objects that the ledger may have forgotten.")
    ] = False,
    rejected: Annotated[
        bool, typer.Option("--rejected", help="Also files that were rejected or failed before.")
    ] = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Enqueue existing objects that the ledger doesn't know, as if they had just landed. It can be repeated."""
    settings = load_config(config)
    place = parse_uri(prefix)
    limit = parse_rate("--rate", rate) if rate is not None else None
    done = Backfilled()

    async def work() -> None:
        async with connect(settings) as aws:
            now = aws.clock.now()
            selection = Selection(
                place,
                tuple(include or ()),
                tuple(exclude or ()),
                parse_time("--since", since, now) if since is not None else None,
                parse_time("--until", until, now) if until is not None else None,
                reprocess,
                rejected,
            )
            with progress_bar() as progress:
                await backfill(settings, aws, selection, dry_run=dry_run, rate=limit, progress=progress, done=done)

    try:
        run_async(work())
    except KeyboardInterrupt:
        err.print(f"Stopped; {count_of(done.enqueued, 'file')} enqueued. Run it again: it leaves out what is known.")
        raise
    if as_json:
        print_json({"dry_run": dry_run, **asdict(done)})
    else:
        _show_backfill(settings, done, dry_run=dry_run)
    raise typer.Exit(FOUND if done.too_old else 0)


def _show_backfill(settings: ServiceSettings, done: Backfilled, *, dry_run: bool) -> None:
    datasets = ", ".join(f"{name} {count(number)}" for name, number in done.datasets.items())
    verb = "Would enqueue" if dry_run else "Enqueued"
    out.print(
        f"{verb} {count(done.enqueued)} of {count_of(done.listed, 'object')}{f' ({datasets})' if datasets else ''}."
    )
    known = {"known: they have a batch": done.known, "rejected or failed before: --rejected takes them": done.rejected}
    for what, number in known.items():
        if number:
            out.print(f"{count(number)} {what}.")
    left_out = {
        "by --include, --exclude, --since or --until": done.filtered,
        "by the dataset's globs": done.excluded,
        "because no dataset has them": done.foreign,
    }
    for why, number in left_out.items():
        if number:
            out.print(f"{count(number)} left out {why}.")
    if done.too_old:
        out.print(f"[red]{count(done.too_old)} refused[/red]: {retention_remedy(settings)}.")


# ------------------------------------------------------------------------------------------------------------ redrive


def redrive_command(
    config: ConfigOption = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many messages.", show_default=False)] = None,
    reason: Annotated[
        str | None, typer.Option(help="Only messages whose reason begins with this.", show_default=False)
    ] = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Move what the DLQ holds now back into the source queue. Exit 1 if the queue refused some."""
    settings = load_config(config)
    done = Redriven()

    async def work() -> None:
        async with connect(settings) as aws:
            with progress_bar() as progress:
                await redrive(
                    settings.control, aws, limit=limit, reason=reason, dry_run=dry_run, progress=progress, done=done
                )

    try:
        run_async(work())
    except KeyboardInterrupt:
        err.print(f"Stopped; {count_of(done.redriven, 'message')} redriven, the others stay in the DLQ.")
        raise
    if as_json:
        print_json({"dry_run": dry_run, **asdict(done)})
    else:
        _show_redrive(done, dry_run=dry_run)
    raise typer.Exit(FOUND if done.refused else 0)


def _show_redrive(done: Redriven, *, dry_run: bool) -> None:
    out.print(f"{'Would redrive' if dry_run else 'Redrove'} {count_of(done.redriven, 'message')}.")
    for name, number in sorted(done.reasons.items(), key=lambda item: -item[1]):
        out.print(f"  {count(number)} x {plain(name)}", soft_wrap=True)
    stay = {
        "have another reason": done.left,
        "came since it began (a file that is still bad comes back)": done.later,
        "hold only the place of a body that was deleted from the control bucket": done.unusable,
    }
    for why, number in stay.items():
        if number:
            out.print(f"{count(number)} stay: they {why}.")
    if done.refused:
        out.print(f"[red]{count(done.refused)} stay[/red]: the source queue refused them; look at them by hand.")


# -------------------------------------------------------------------------------------------------------------- retry


def retry_command(
    batch_id: Annotated[str, typer.Argument(metavar="BATCH_ID", help="A FAILED batch.", show_default=False)],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a FAILED batch start afresh. Exit 1 if it isn't its turn, or its file has gone elsewhere."""
    settings = load_config(config)

    async def work() -> Batch:
        async with connect(settings) as aws:
            return await retry(settings, aws, batch_id)

    batch = run_async(work())
    if as_json:
        print_json({"batch": batch.id, "state": batch.state.value, "attempt": batch.attempt})
    else:
        soon = format_duration(settings.lease_seconds / 2)
        out.print(f"Batch {batch.id} is {batch.state.value} again: a running worker takes it within {soon}.")
