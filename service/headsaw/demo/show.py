"""The demo from start to end: land events, run real workers over them, wait until all is drained, audit.

It knows AWS only through the ports that the composition root hands in, and the service only as processes.
"""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rich.console import Console

from headsaw.core.model import Batch, BatchState
from headsaw.core.table_schema import TableSchema
from headsaw.demo.feed import Truth, feed
from headsaw.demo.fleet import Fleet
from headsaw.demo.outcome import IdCheck, Outcome, check_ids, collect, download
from headsaw.demo.plan import Plan
from headsaw.demo.view import Progress, View, showing
from headsaw.errors import HeadsawError
from headsaw.ports import Ledger, ObjectStore, Queue

WATCH_SECONDS = 0.5
KILL_SECONDS = (0.3, 1.5)
KILLS_MAX = 25


class Findings(Protocol):
    """What an audit of one dataset found."""

    @property
    def pending(self) -> int:
        """Not done yet, which nothing may be once the demo is drained."""
        ...

    @property
    def missing(self) -> int:
        """Not where it should be."""
        ...

    @property
    def duplicated(self) -> int:
        """There more than once."""
        ...

    @property
    def miscounted(self) -> int:
        """Lines that don't add up."""
        ...


@dataclass(frozen=True, slots=True)
class Site:
    """The demo's own view of AWS, and how to audit a dataset there."""

    queue: Queue
    ledger: Ledger
    store: ObjectStore
    audit: Callable[[str], Awaitable[Findings]]


@dataclass(frozen=True, slots=True)
class Shown:
    """Everything that the demo has to tell."""

    plan: Plan
    truth: Truth
    outcome: Outcome
    ids: IdCheck | None
    audits: dict[str, Findings]
    schemas: dict[str, TableSchema]
    parquet: list[Path]
    metrics: list[str]
    exit_statuses: list[int]
    fleet: Fleet
    seconds: float
    dead_letters: int

    @property
    def missing(self) -> int:
        """Lines or files that should be there and aren't, by the audit or by the ids."""
        return sum(a.missing + a.pending for a in self.audits.values()) + (self.ids.missing if self.ids else 0)

    @property
    def duplicated(self) -> int:
        """Rows that are there more than once."""
        return sum(a.duplicated for a in self.audits.values()) + (self.ids.duplicated if self.ids else 0)

    @property
    def miscounted(self) -> int:
        """Counts that don't add up, among them the generator's truth against the lake."""
        counted = self.outcome.counts
        expected = [(c.rows, c.quarantined, c.blank) for c in self.truth.counts.values()]
        wrong = 0
        if expected:
            found = (counted.rows, counted.quarantined, counted.blank)
            wrong = sum(abs(a - sum(column)) for a, column in zip(found, zip(*expected, strict=True), strict=True))
        return wrong + sum(a.miscounted for a in self.audits.values()) + (self.ids.unexpected if self.ids else 0)

    @property
    def wrong_rejections(self) -> int:
        """Generated files that were rejected and shouldn't be, or the other way round."""
        if self.plan.input_folder is not None:
            return 0
        return len(self.truth.rejected ^ {rejected["file"] for rejected in self.outcome.rejected})

    @property
    def clean(self) -> bool:
        """Nothing was found, and every worker ended well."""
        found = self.missing + self.duplicated + self.miscounted + self.wrong_rejections + self.outcome.failed
        return found == 0 and not any(self.exit_statuses)


class NotDrained(HeadsawError):  # noqa: N818 - said to people
    """The demo ran out of time, or a worker died; the logs say more."""


async def show(plan: Plan, site: Site, dlq: Queue, fleet: Fleet, console: Console) -> Shown:
    """Runs the demo and audits it. Raises NotDrained; no worker is left running."""
    truth = Truth()
    progress = Progress(truth, fleet)
    began = time.monotonic()
    try:
        await fleet.start()
        async with _feeding(plan, site, truth) as feeding:
            with showing(console, progress) as view:
                await _until_drained(plan, site, progress, view, feeding)
        seconds = time.monotonic() - began
        await fleet.all_answer()
        metrics = await fleet.metrics()
        statuses = [] if plan.serve else await fleet.stop()
        return await _examine(plan, site, dlq, fleet, truth, metrics, statuses, seconds)
    except BaseException:
        fleet.kill_all()
        raise


@asynccontextmanager
async def _feeding(plan: Plan, site: Site, truth: Truth) -> AsyncIterator["asyncio.Task[None]"]:
    task = asyncio.create_task(feed(plan, site.store, site.queue, truth))
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _until_drained(plan: Plan, site: Site, progress: Progress, view: View, feeding: "asyncio.Task[None]") -> None:
    """Everything has landed, the queue is empty and every batch is terminal."""
    chaos = asyncio.create_task(_kill_at_random(plan, progress.fleet)) if plan.chaos else None
    deadline = time.monotonic() + plan.timeout_seconds
    try:
        while not (feeding.done() and await _drained(site, progress)):
            if feeding.done():
                feeding.result()
            if not plan.chaos and (dead := progress.fleet.dead()):
                raise NotDrained(f"worker {dead[0].number} died: see {progress.fleet.logs}")
            if time.monotonic() > deadline:
                raise NotDrained(f"not drained after {plan.timeout_seconds:g} s: {progress.line}")
            view.refresh()
            await asyncio.sleep(WATCH_SECONDS)
        feeding.result()
        view.refresh()
    finally:
        if chaos is not None:
            chaos.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await chaos


async def _drained(site: Site, progress: Progress) -> bool:
    depth = await site.queue.depth()
    batches = [batch async for batch in site.ledger.batches()]
    progress.queued, progress.in_flight = depth.visible + depth.delayed, depth.in_flight
    progress.states = Counter(batch.state for batch in batches)
    done = [batch for batch in batches if batch.state is BatchState.DONE]
    progress.files_done = sum(batch.files for batch in done)
    progress.rows = sum(batch.rows or 0 for batch in done)
    return not progress.queued and not progress.in_flight and all(_over(batch) for batch in batches)


def _over(batch: Batch) -> bool:
    return batch.state.terminal


async def _kill_at_random(plan: Plan, fleet: Fleet) -> None:
    """Workers die by SIGKILL at random moments, and are restarted; bounded, so that the end can be reached."""
    chance = random.Random()  # noqa: S311 - chaos, not secrets
    while fleet.kills < KILLS_MAX:
        await asyncio.sleep(chance.uniform(*KILL_SECONDS))
        await fleet.kill_and_restart(chance.choice(fleet.workers), chance.uniform(0.0, 0.5))


async def _examine(
    plan: Plan,
    site: Site,
    dlq: Queue,
    fleet: Fleet,
    truth: Truth,
    metrics: list[str],
    statuses: list[int],
    seconds: float,
) -> Shown:
    outcome = await collect(site.ledger, site.store, truth)
    lake = plan.output / "lake"
    parquet = await download(site.store, lake)
    ids = await asyncio.to_thread(check_ids, lake, truth) if truth.ids else None
    audits = {name: await site.audit(name) for name in plan.datasets}
    schemas = {name: await site.ledger.schema_head(name) for name in plan.datasets}
    letters = await dlq.depth()
    return Shown(
        plan=plan,
        truth=truth,
        outcome=outcome,
        ids=ids,
        audits=audits,
        schemas=schemas,
        parquet=parquet,
        metrics=metrics,
        exit_statuses=statuses,
        fleet=fleet,
        seconds=seconds,
        dead_letters=letters.visible,
    )
