"""`headsaw status`, `batches` and `describe`: what the ledger, the queues and the buckets hold."""

from typing import Annotated

import typer
from rich.table import Table

from headsaw.adapters.connect import connect
from headsaw.cli import look_json
from headsaw.cli.display import age, count, moment, plain
from headsaw.cli.shared import ConfigOption, JsonOption, load_config, out, print_json, run_async
from headsaw.config import ServiceSettings
from headsaw.core.model import Batch, BatchState
from headsaw.core.settings import format_size
from headsaw.errors import UsageError
from headsaw.operate.arguments import parse_object
from headsaw.operate.describe import (
    MESSAGE,
    BatchStory,
    FileStory,
    SourceStory,
    VersionStory,
    describe_batch,
    describe_file,
    describe_message,
)
from headsaw.operate.look import Status, batches, status

SHOWN = 10


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("status")(status_command)
    app.command("batches")(batches_command)
    app.command("describe")(describe_command)


# ------------------------------------------------------------------------------------------------------------- status


def status_command(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show queue depths, and batches by dataset and state. Reads the whole ledger."""
    settings = load_config(config)

    async def look() -> Status:
        async with connect(settings) as aws:
            return await status(settings, aws)

    seen = run_async(look())
    if as_json:
        print_json(look_json.status(seen))
        return
    queues = Table(title="Queues", title_justify="left", box=None, pad_edge=False)
    for heading in ("name", "visible", "in flight", "delayed"):
        queues.add_column(heading, justify="left" if heading == "name" else "right", overflow="fold")
    for name, queue in [*(("source", queue) for queue in seen.queues), ("DLQ", seen.dlq)]:
        depth = queue.depth
        label = f"{plain(queue.url.rsplit('/', 1)[-1])} ({name})"
        queues.add_row(label, count(depth.visible), count(depth.in_flight), count(depth.delayed))
    out.print(queues, "")
    table = Table(title="Datasets", title_justify="left", box=None, pad_edge=False)
    for heading in ("dataset", "batches", "unfinished", "failed", "claimed", "rows", "oldest", "last done"):
        table.add_column(heading, justify="left" if heading == "dataset" else "right", overflow="fold")
    for dataset in seen.datasets:
        unfinished = sum(number for state, number in dataset.states.items() if not state.terminal)
        oldest = dataset.oldest_unfinished_at
        table.add_row(
            dataset.name + ("" if dataset.configured else " (removed)"),
            count(dataset.states.total()),
            count(unfinished),
            count(dataset.states[BatchState.FAILED]),
            count(dataset.files),
            count(dataset.rows),
            age(seen.checked_at - oldest if oldest is not None else None) or "-",
            _ago(seen.checked_at, dataset.last_done_at),
        )
    out.print(table, "")
    states = ", ".join(f"{number} {state.value}" for state, number in sorted(seen.states.items()) if number)
    out.print(f"Batches: {states or 'none'}.")
    if seen.engines:
        out.print(f"On Spark: {', '.join(f'{number} on {engine}' for engine, number in sorted(seen.engines.items()))}.")
    if seen.oldest is not None:
        waiting = age(seen.checked_at - seen.oldest.created_at)
        out.print(f"Oldest unfinished: {seen.oldest.id}, {seen.oldest.state.value} for {waiting} in all.")


def _ago(now: float, at: float | None) -> str:
    return f"{age(now - at)} ago" if at is not None else "never"


# ------------------------------------------------------------------------------------------------------------ batches


def batches_command(
    config: ConfigOption = None,
    state: Annotated[str | None, typer.Option(help="Only batches in this state.", show_default=False)] = None,
    dataset: Annotated[str | None, typer.Option(help="Only batches of this dataset.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many, newest first.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """List batches, newest first. Reads the whole ledger."""
    settings = load_config(config)
    wanted = _state(state) if state is not None else None

    async def look() -> tuple[float, list[Batch]]:
        async with connect(settings) as aws:
            found = await batches(aws, state=wanted, dataset=dataset, limit=limit)
            if dataset is not None and not found and not await batches(aws, dataset=dataset, limit=1):
                settings.dataset(dataset)  # a removed one that the ledger knows is fine
            return aws.clock.now(), found

    now, found = run_async(look())
    if as_json:
        print_json({"batches": [look_json.batch(batch) for batch in found]})
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("batch", "dataset", "state", "files", "rows", "age", "reason"):
        table.add_column(heading, justify="right" if heading in ("files", "rows", "age") else "left", overflow="fold")
    table.columns[0].no_wrap = True
    for batch in found:
        rows = count(batch.rows) if batch.rows is not None else "-"
        reason = plain(_on_spark(batch) or batch.reason or "")
        since = age(now - batch.created_at)
        table.add_row(batch.id, batch.dataset, batch.state.value, count(batch.files), rows, since, reason)
    out.print(table if found else "No such batches.")


def _on_spark(batch: Batch) -> str | None:
    """What a DELEGATED batch waits for."""
    if batch.state is not BatchState.DELEGATED or batch.run is None:
        return None
    return f"{batch.run.engine}: {batch.run.known_id or 'starting'}"


def _state(text: str) -> BatchState:
    try:
        return BatchState(text.upper())
    except ValueError:
        raise UsageError(f"--state {text}: no such state; choose one of {', '.join(BatchState)}") from None


# ----------------------------------------------------------------------------------------------------------- describe


def describe_command(
    what: Annotated[
        str,
        typer.Argument(metavar="BATCH_ID|s3://BUCKET/KEY", help="A batch, a file, or message:ID.", show_default=False),
    ],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell a batch's or a file's whole story. Exit 1 if nobody knows of it."""
    settings = load_config(config)
    now, story = run_async(_describe(settings, what))
    if as_json:
        print_json(look_json.batch_story(story) if isinstance(story, BatchStory) else look_json.file_story(story))
    elif isinstance(story, BatchStory):
        _show_batch(now, story)
    else:
        _show_file(now, story)


async def _describe(settings: ServiceSettings, what: str) -> tuple[float, BatchStory | FileStory]:
    if not what.removeprefix(MESSAGE):
        raise UsageError("describe: name a batch by its id, a file as s3://bucket/key, or a message as message:ID")
    place = parse_object(what) if what.startswith("s3://") else None
    async with connect(settings) as aws:
        if place is not None:
            return aws.clock.now(), await describe_file(settings, aws, place)
        if what.startswith(MESSAGE):
            return aws.clock.now(), await describe_message(settings, aws, what.removeprefix(MESSAGE))
        return aws.clock.now(), await describe_batch(settings, aws, what)


def _grid(title: str) -> Table:
    table = Table(title=title, title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _show_batch(now: float, story: BatchStory) -> None:
    batch = story.batch
    grid = _grid(f"Batch {batch.id}")
    for name, value in (_batch_facts(now, batch) | _run_facts(now, story)).items():
        grid.add_row(name, plain(value))
    if story.trouble is not None:
        grid.add_row("trouble", f"[red]{plain(story.trouble)}[/red]")
    if story.record is not None:
        counts = story.record.counts
        parts = f"{count(counts.rows)} rows + {count(counts.quarantined)} quarantined + {count(counts.blank)} blank"
        grid.add_row("lines", f"{count(counts.lines)} = {parts} + {count(counts.filtered)} filtered")
        grid.add_row("converted by", f"{story.record.engine}, table schema version {story.record.schema_version}")
    out.print(grid)
    for output in story.outputs[:SHOWN]:
        upload = output.upload
        seen = "" if output.visible else " [red]not visible[/red]"
        size = f"{count(upload.rows)} {'rows' if upload.kind.value == 'table' else 'lines'}, {count(upload.size)} bytes"
        out.print(f"  -> s3://{plain(upload.bucket)}/{plain(upload.key)} ({size}){seen}", soft_wrap=True)
    _more(len(story.outputs), "outputs")
    for source in story.sources[:SHOWN]:
        out.print(f"  <- {plain(source.source.name)} {_outcome(source)}", soft_wrap=True)
    _more(len(story.sources), "sources")


def _batch_facts(now: float, batch: Batch) -> dict[str, str]:
    lease = batch.lease
    held = f"{lease.owner} until {moment(lease.until)}" if lease.held(now) else "nobody"
    due_at = batch.due_at if batch.state is not BatchState.DELEGATED else None  # that is its next look
    facts = {
        "dataset": f"{batch.dataset} (settings {batch.settings})",
        "state": batch.state.value,
        "sources": f"{count(batch.files)} files, {format_size(batch.bytes)} stored",
        "attempt": f"{batch.attempt}, {batch.failures} failures",
        "held by": f"{held} (epoch {lease.epoch})",
        "reason": batch.reason or "",
        "claimed": f"{moment(batch.created_at)}, {age(now - batch.created_at)} ago",
        "due": moment(due_at) if due_at is not None else "",
        "finished": f"{moment(batch.finished_at)}" if batch.finished_at is not None else "",
        "commit record": batch.commit.key if batch.commit is not None else "",
        "route": batch.route or "",
        "parent": batch.parent or "",
        "children": ", ".join(batch.children),
    }
    return {name: value for name, value in facts.items() if value}


def _run_facts(now: float, story: BatchStory) -> dict[str, str]:
    """Of the Spark run that the batch waits for, or that converted it."""
    batch = story.batch
    run = batch.run
    if run is None:
        return {}
    facts = {
        "engine": run.engine,
        "spark run": run.known_id or "its start isn't known to have been answered",
        "since": f"{moment(run.since)}, {age(now - run.since)} ago",
        "driver": f"registered as {run.driver}" if run.driver is not None else "not registered yet",
    }
    if run.id is not None and run.driver_run is not None and run.id != run.driver_run:
        facts["another run"] = f"{run.id}: was started too, and does nothing"
    if batch.state is BatchState.DELEGATED:
        facts["report"] = "written, and taken at the next look" if story.reported else "not written yet"
        facts["next look"] = moment(batch.due_at) if batch.due_at is not None else ""
    return facts


def _more(number: int, things: str) -> None:
    if number > SHOWN:
        out.print(f"  ... and {count(number - SHOWN)} more {things}; --json has them all")


def _outcome(source: SourceStory) -> str:
    if source.rejected is not None:
        return f"[red]rejected[/red]: {plain(source.rejected)}"
    if source.counts is None:
        return "not converted yet"
    counts = source.counts
    parts = {"quarantined": counts.quarantined, "blank": counts.blank, "filtered": counts.filtered}
    rest = "".join(f" + {count(number)} {name}" for name, number in parts.items() if number)
    return f"{count(counts.lines)} lines = {count(counts.rows)} rows{rest}"


def _show_file(now: float, story: FileStory) -> None:
    out.print(f"[bold]{plain(story.name)}[/bold]", soft_wrap=True)
    if story.head is not None:
        out.print(
            f"  in the bucket: {count(story.head.size)} bytes, eTag {story.head.etag}, {moment(story.head.modified_at)}"
        )
    elif not story.name.startswith(MESSAGE):
        out.print("  not in the bucket any more")
    if not story.name.startswith(MESSAGE):
        out.print(f"  dataset: {story.dataset or 'none has this prefix'}")
    for version in story.versions:
        _show_version(now, version)
    if not story.versions:
        out.print("  the ledger has never heard of it: still queued, never notified, or forgotten")


def _show_version(now: float, version: VersionStory) -> None:
    record = version.record
    grid = _grid(f"Version {record.identity.version}")
    grid.add_row("claimed", f"{moment(record.claimed_at)}, {age(now - record.claimed_at)} ago, by batch {record.batch}")
    if record.mark is not None:
        grid.add_row("marked", f"{record.mark.value} ({plain(record.reason or '')}): a redrive may claim it again")
    if version.holder is not None:
        through = "" if version.holder.id == record.batch else " (its batch was split)"
        grid.add_row("held by", f"batch {version.holder.id}{through}, {version.holder.state.value}")
    if version.story is not None:
        grid.add_row("outcome", _outcome(version.story))
    if version.trouble is not None:
        grid.add_row("trouble", f"[red]{plain(version.trouble)}[/red]")
    out.print(grid)
    for output in version.outputs[:SHOWN]:
        out.print(f"  -> {plain(output)}", soft_wrap=True)
    _more(len(version.outputs), "outputs")
