"""Buffered notifications, by dataset, and the task that turns them into claimed batches.

A dataset has two buffers: source files (notifications only, never data) and record messages (their bodies, bounded in
bytes). The flusher claims what is due; when the buffers are full before anything is due, it claims the fullest one.

In a backlog, the files of a dataset that has a Spark engine are gathered in bulk: one batch in place of many.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from headsaw.core.batching import Buffer, Entry, FlushCause
from headsaw.core.facts import BatchClaimed, FilesSeen, OutageMet, Where
from headsaw.core.model import Batch, DatasetName, Source, SourceFile
from headsaw.core.settings import DatasetSettings
from headsaw.errors import HeadsawError
from headsaw.worker.claiming import ClaimOutcome, claim
from headsaw.worker.context import Context
from headsaw.worker.settling import Delivery, Settling
from headsaw.worker.spool import SPOOL_BYTES_MAX, RecordBody, spool

OUTAGE_DELAY_SECONDS = 30.0
BUFFERED_FACTOR = 2
BUFFERED_MAX = 50_000
"""Notifications that a worker buffers at the most, over all datasets: 120 MB with their messages."""


@dataclass(frozen=True, slots=True)
class Inbox:
    """A dataset's buffers. A spool object is cut at its own size, since records wait in memory."""

    settings: DatasetSettings
    files: Buffer[SourceFile, Delivery]
    records: Buffer[RecordBody, Delivery]

    @classmethod
    def of(cls, settings: DatasetSettings) -> "Inbox":
        """Empty."""
        return cls(settings, Buffer(settings.batch), Buffer(settings.batch, bytes_max=SPOOL_BYTES_MAX))

    @property
    def buffers(self) -> tuple[Buffer[SourceFile, Delivery], Buffer[RecordBody, Delivery]]:
        """Both."""
        return self.files, self.records


class Inboxes:
    """See the module. `claimed` receives every batch that this worker claims."""

    def __init__(
        self, context: Context, datasets: Sequence[DatasetSettings], settling: Settling, claimed: "asyncio.Queue[Batch]"
    ) -> None:
        self._context = context
        self._inboxes = {dataset.name: Inbox.of(dataset) for dataset in datasets}
        self._settling = settling
        self._claimed = claimed
        self._changed = asyncio.Event()
        self.gathering = asyncio.Event()
        """Set while a buffer is to be filled beyond its dataset's own limits."""
        self.has_space = asyncio.Event()
        self.has_space.set()
        self.failures = 0
        """Claims in a row that met an outage."""
        self._claimed_at = 0.0

    def __len__(self) -> int:
        """Sources that wait to be claimed."""
        return sum(len(buffer) for inbox in self._inboxes.values() for buffer in inbox.buffers)

    @property
    def _buffered_max(self) -> int:
        return min(BUFFERED_MAX, BUFFERED_FACTOR * sum(inbox.files.capacity for inbox in self._inboxes.values()))

    @property
    def _full(self) -> bool:
        """Claims can't keep up: polling pauses, so memory is bounded (G7)."""
        record_bytes = sum(inbox.records.bytes for inbox in self._inboxes.values())
        return len(self) >= self._buffered_max or record_bytes >= BUFFERED_FACTOR * SPOOL_BYTES_MAX

    def add_file(self, dataset: DatasetName, file: SourceFile, delivery: Delivery, now: float) -> bool:
        """The file waits to be claimed; False if it did already."""
        delivery.unsettled += 1
        return self._inboxes[dataset].files.add(file, delivery, now)

    def add_record(self, dataset: DatasetName, record: RecordBody, delivery: Delivery, now: float) -> bool:
        """The record message waits to be spooled and claimed; False if no dataset here has that name."""
        inbox = self._inboxes.get(dataset)
        if inbox is None:
            return False
        delivery.unsettled += 1
        inbox.records.add(record, delivery, now)
        return True

    def changed(self) -> None:
        """Something was added: the flusher looks again."""
        if self._full:
            self.has_space.clear()
        self._changed.set()

    async def return_all(self) -> None:
        """Drain: every buffered message can be received by another worker at once."""
        waiting: list[Delivery] = []
        for inbox in self._inboxes.values():
            waiting += [delivery for file in inbox.files.clear() for delivery in file.receipts]
            waiting += [delivery for record in inbox.records.clear() for delivery in record.receipts]
        await self._settling.give_back(waiting, 0)

    # --- flushing

    async def flush_when_due(self, stopping: asyncio.Event) -> None:
        """Until `stopping`: claims each buffer when it is due. A claim that is under way is finished."""
        while not stopping.is_set():
            self._changed.clear()  # before looking: what arrives while claims are under way is looked at again
            self._gather()
            for inbox in self._inboxes.values():
                await self._flush_due(inbox, stopping)
            if self._full and not stopping.is_set():
                await self._flush_fullest()
                continue
            self.has_space.set()
            await self._wait_for_change(stopping)

    def _gather(self) -> None:
        """Each buffer of files waits for as much as the backlog asks for."""
        observed, buffered, any_bulk = self._context.observed, len(self), False
        for inbox in self._inboxes.values():
            bulk = observed.bulk(inbox.settings, buffered)
            inbox.files.gather(bulk)
            any_bulk = any_bulk or bulk is not None
        if any_bulk:
            self.gathering.set()
        else:
            self.gathering.clear()

    async def _flush_due(self, inbox: Inbox, stopping: asyncio.Event) -> None:
        now = self._context.world.clock.now()
        while not stopping.is_set() and (cause := inbox.files.due(now)) is not None:
            await self._claim(inbox.settings, inbox.files.take(), cause)
        while not stopping.is_set() and (cause := inbox.records.due(now)) is not None:
            await self._claim_records(inbox.settings, inbox.records.take(), cause)

    async def _flush_fullest(self) -> None:
        inbox = max(self._inboxes.values(), key=lambda inbox: len(inbox.files) + len(inbox.records))
        if len(inbox.files) >= len(inbox.records):
            await self._claim(inbox.settings, inbox.files.take(), FlushCause.SPACE)
        else:
            await self._claim_records(inbox.settings, inbox.records.take(), FlushCause.SPACE)

    async def _wait_for_change(self, stopping: asyncio.Event) -> None:
        waits: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(self._changed.wait()),
            asyncio.ensure_future(stopping.wait()),
        ]
        due = [at for inbox in self._inboxes.values() for b in inbox.buffers if (at := b.due_at()) is not None]
        if due:
            pause = max(0.0, min(due) - self._context.world.clock.now())
            waits.append(asyncio.ensure_future(self._context.world.clock.sleep(pause)))
        await first_done(waits)

    async def _claim_records(
        self, settings: DatasetSettings, entries: Sequence[Entry[RecordBody, Delivery]], cause: FlushCause
    ) -> None:
        """Stored first, so that the claim can name byte ranges."""
        try:
            ranges = await spool(self._context, [entry.source for entry in entries])
        except HeadsawError as error:
            await self._postpone(entries, Where.BUCKET, error)
            return
        claimable = [Entry[Source, Delivery](r, e.since, e.receipts) for r, e in zip(ranges, entries, strict=True)]
        await self._claim(settings, claimable, cause)

    async def _claim(
        self, settings: DatasetSettings, entries: "Sequence[Entry[Any, Delivery]]", cause: FlushCause
    ) -> None:
        try:
            outcome = await claim(self._context, settings.name, settings.hash, [entry.source for entry in entries])
        except HeadsawError as error:
            self.failures += 1
            await self._postpone(entries, Where.LEDGER, error)
            return
        except Exception as error:  # noqa: BLE001 - one odd source must not stop every worker that receives it
            await self._isolate(settings, entries, cause, error)
            return
        self.failures = 0
        self._claimed_at = self._context.world.clock.now()
        self._tell_claim(settings, outcome, cause)
        if outcome.batch is not None:
            await self._claimed.put(outcome.batch)
        await self._settle(entries, outcome)

    async def _isolate(
        self, settings: DatasetSettings, entries: "Sequence[Entry[Any, Delivery]]", cause: FlushCause, error: Exception
    ) -> None:
        """The ledger can't take one of these: halves are claimed apart, down to the culprit, which goes to the DLQ.

        Only if the ledger took something else since the culprit was sent, or it has been tried for long: otherwise it
        may be the ledger that is odd.
        """
        if len(entries) > 1:
            middle = len(entries) // 2
            await self._claim(settings, entries[:middle], cause)
            await self._claim(settings, entries[middle:], cause)
            return
        now = self._context.world.clock.now()
        for delivery in dict.fromkeys(entries[0].receipts):
            sent_at = delivery.message.sent_at
            if self._claimed_at >= sent_at or now - sent_at > self._context.limits.foreign_seconds:
                await self._settling.dead_letter(delivery, f"can't be claimed: {type(error).__name__}")
            else:
                await self._settling.give_back([delivery], OUTAGE_DELAY_SECONDS)
        self._context.tell(OutageMet(Where.LEDGER, type(error).__name__, str(error)))

    async def _postpone(self, entries: "Sequence[Entry[Any, Delivery]]", where: Where, error: HeadsawError) -> None:
        """Unclaimed as far as we know: the messages come back later. What was claimed unheard is recovered."""
        self._context.tell(OutageMet(where, type(error).__name__, str(error)))
        await self._settling.give_back([d for entry in entries for d in entry.receipts], OUTAGE_DELAY_SECONDS)

    def _tell_claim(self, settings: DatasetSettings, outcome: ClaimOutcome, cause: FlushCause) -> None:
        for word, positions in (("new", outcome.claimed), ("duplicate", outcome.duplicates)):
            if positions:
                self._context.tell(FilesSeen(word, len(positions), settings.name))
        if outcome.batch is not None:
            self._context.tell(BatchClaimed(outcome.batch, cause.value))

    async def _settle(self, entries: "Sequence[Entry[Any, Delivery]]", outcome: ClaimOutcome) -> None:
        def receipts(positions: Sequence[int]) -> Iterator[Delivery]:
            return (delivery for position in positions for delivery in entries[position].receipts)

        for delivery in receipts(outcome.claimed):
            delivery.claimed()
        await self._settling.count_down(receipts((*outcome.claimed, *outcome.duplicates)))
        await self._settling.give_back(receipts(outcome.unsettled), OUTAGE_DELAY_SECONDS)


async def first_done(waits: "Sequence[asyncio.Future[Any]]") -> None:
    """One of them is done; the others are cancelled."""
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
