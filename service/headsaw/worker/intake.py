"""From messages to claimed batches. A message is deleted only after each of its files is settled (G1).

Pollers fill per-dataset buffers with notifications; a flusher claims what is due. A delivery counts down its unsettled
sources; when none is left, the message is deleted, or, if it spoke of a prefix that no dataset here names, returned
with a delay until it is old enough for the DLQ. Nothing here waits for a conversion, and nothing holds data.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from headsaw.core.batching import Buffer, Entry, FlushCause
from headsaw.core.facts import (
    BatchClaimed,
    FilesSeen,
    MessageFate,
    MessagesReceived,
    MessagesSettled,
    OutageMet,
    Where,
)
from headsaw.core.model import Batch, DatasetName, Source, SourceFile
from headsaw.core.notification import Landed, Nothing, Records, Unreadable, parse_notification
from headsaw.core.retry import POLL_BACKOFF
from headsaw.core.routing import Excluded, Foreign, Routes
from headsaw.core.settings import DatasetSettings
from headsaw.errors import Outage
from headsaw.ports import Message, Queue
from headsaw.worker.claiming import ClaimOutcome, claim
from headsaw.worker.context import Context
from headsaw.worker.dead_letters import ORIGINAL_MESSAGE_ID, send_dead_letter
from headsaw.worker.spool import RecordBody, spool

RECEIVE_MAX = 10
FOREIGN_SECONDS_MIN = 2.0
FOREIGN_SECONDS_MAX = 300.0
OUTAGE_DELAY_SECONDS = 30.0
BUFFERED_FACTOR = 2


@dataclass(slots=True, eq=False)
class Delivery:
    """One received message on its way to being settled."""

    message: Message
    queue: Queue
    unsettled: int = 0
    foreign: bool = False
    fate: MessageFate = MessageFate.DUPLICATE


@dataclass(frozen=True, slots=True)
class Inbox:
    """A dataset's two buffers: source files, and record messages by their message id."""

    settings: DatasetSettings
    files: Buffer[Delivery]
    records: "list[tuple[RecordBody, Delivery]]"


class Intake:
    """See the module. `claimed` receives every batch that this worker claims."""

    def __init__(
        self,
        context: Context,
        datasets: Sequence[DatasetSettings],
        default_dataset: str | None,
        claimed: "asyncio.Queue[Batch]",
        has_room: asyncio.Event,
    ) -> None:
        self._context = context
        self._routes = Routes(datasets)
        self._default_dataset = default_dataset
        self._inboxes = {d.name: Inbox(d, Buffer(d.batch), []) for d in datasets}
        self._record_since: dict[DatasetName, float] = {}
        self._claimed = claimed
        self._has_room = has_room
        self._changed = asyncio.Event()
        self._has_space = asyncio.Event()
        self._has_space.set()
        self._buffered_max = BUFFERED_FACTOR * max(d.batch.max_files for d in datasets)
        self._failures = 0

    @property
    def buffered(self) -> int:
        """Sources that wait to be claimed."""
        return sum(len(inbox.files) + len(inbox.records) for inbox in self._inboxes.values())

    # --- polling

    async def poll(self, queue: Queue, stopping: asyncio.Event) -> None:
        """Until `stopping`: receives and buffers, pausing while the worker has more than it can soon start."""
        failures = 0
        limits = self._context.limits
        while not stopping.is_set():
            await _first_of(self._has_room, stopping)
            await _first_of(self._has_space, stopping)
            if stopping.is_set():
                return
            try:
                messages = await queue.receive(
                    limit=RECEIVE_MAX,
                    wait_seconds=limits.poll_seconds,
                    visibility_seconds=limits.visibility_seconds,
                )
                failures = 0
            except Outage as outage:
                self._context.tell(OutageMet(Where.QUEUE, type(outage).__name__, str(outage)))
                pause = POLL_BACKOFF.wait(failures, self._context.random.random())
                failures += 1
                await self._context.world.clock.sleep(pause)
                continue
            if stopping.is_set():
                await self.give_back([Delivery(message, queue) for message in messages], 0)
                return
            await self._accept(queue, messages)
            if self._failures:
                await self._context.world.clock.sleep(POLL_BACKOFF.wait(self._failures, self._context.random.random()))

    async def _accept(self, queue: Queue, messages: Sequence[Message]) -> None:
        now = self._context.world.clock.now()
        oldest = min((message.sent_at for message in messages), default=now)
        self._context.tell(MessagesReceived(len(messages), max(0.0, now - oldest)))
        if not messages:
            return
        settled = []
        for message in messages:
            delivery = Delivery(message, queue)
            await self._understand(delivery, now)
            if delivery.unsettled == 0:
                settled.append(delivery)
        self._watch_space()
        self._changed.set()
        await self._settle(settled)

    def _watch_space(self) -> None:
        """Pollers pause while claims can't keep up, so the buffers' size is bounded (G7)."""
        if self.buffered >= self._buffered_max:
            self._has_space.clear()
        else:
            self._has_space.set()

    async def _understand(self, delivery: Delivery, now: float) -> None:
        message = delivery.message
        match parse_notification(message.body, message.attributes, self._default_dataset):
            case Landed(files, removals):
                self._count("removed", removals)
                for file in files:
                    self._buffer_file(delivery, file, now)
            case Nothing(_, removals):
                self._count("removed", removals)
                delivery.fate = MessageFate.ACKNOWLEDGED
            case Records(dataset, body):
                await self._buffer_records(delivery, dataset, body, now)
            case Unreadable(reason):
                await self._dead_letter(delivery, reason)

    def _buffer_file(self, delivery: Delivery, file: SourceFile, now: float) -> None:
        match self._routes.route(file.bucket, file.key):
            case Foreign():
                delivery.foreign = True
                self._count("foreign")
            case Excluded(dataset):
                self._count("excluded", dataset=dataset)
            case dataset:
                source = _identified(file, dataset)
                delivery.unsettled += 1
                if not self._inboxes[dataset.name].files.add(source, delivery, now):
                    self._count("duplicate", dataset=dataset.name)

    async def _buffer_records(self, delivery: Delivery, dataset: str, body: str, now: float) -> None:
        inbox = self._inboxes.get(DatasetName(dataset))
        if inbox is None:
            delivery.foreign = True
            return
        message = delivery.message
        identity = message.attributes.get(ORIGINAL_MESSAGE_ID, message.id)
        delivery.unsettled = 1
        if not inbox.records:
            self._record_since[inbox.settings.name] = now
        inbox.records.append((RecordBody(identity, body), delivery))

    def _count(self, outcome: str, count: int = 1, dataset: str = "") -> None:
        if count:
            self._context.tell(FilesSeen(outcome, count, dataset))

    # --- flushing

    async def flush_when_due(self, stopping: asyncio.Event) -> None:
        """Until `stopping`: claims each buffer when it is due. A claim that is under way is finished."""
        while not stopping.is_set():
            now = self._context.world.clock.now()
            for inbox in self._inboxes.values():
                while (cause := inbox.files.due(now)) is not None:
                    await self._flush_files(inbox, cause)
                if (cause := self._records_due(inbox, now)) is not None:
                    await self._flush_records(inbox, cause)
            await self._wait_for_change(stopping)

    async def _wait_for_change(self, stopping: asyncio.Event) -> None:
        due = [at for inbox in self._inboxes.values() if (at := inbox.files.due_at()) is not None]
        due += [
            self._record_since[name] + inbox.settings.batch.max_age
            for name, inbox in self._inboxes.items()
            if inbox.records
        ]
        self._changed.clear()
        waits: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(self._changed.wait()),
            asyncio.ensure_future(stopping.wait()),
        ]
        if due:
            pause = max(0.0, min(due) - self._context.world.clock.now())
            waits.append(asyncio.ensure_future(self._context.world.clock.sleep(pause)))
        await _first_done(waits)

    def _records_due(self, inbox: Inbox, now: float) -> FlushCause | None:
        limits = inbox.settings.batch
        if not inbox.records:
            return None
        if len(inbox.records) >= limits.max_files:
            return FlushCause.FILES
        if sum(len(record.body) for record, _ in inbox.records) >= min(limits.max_bytes, SPOOL_BYTES_MAX):
            return FlushCause.BYTES
        return FlushCause.AGE if now - self._record_since[inbox.settings.name] >= limits.max_age else None

    async def _flush_files(self, inbox: Inbox, cause: FlushCause) -> None:
        await self._claim(inbox.settings, inbox.files.take(), cause)

    async def _flush_records(self, inbox: Inbox, cause: FlushCause) -> None:
        waiting = list(inbox.records)
        inbox.records.clear()
        try:
            ranges = await spool(self._context, [record for record, _ in waiting])
        except Outage as outage:
            self._context.tell(OutageMet(Where.BUCKET, type(outage).__name__, str(outage)))
            await self.give_back([delivery for _, delivery in waiting], OUTAGE_DELAY_SECONDS)
            return
        entries: dict[object, Entry[Delivery]] = {}
        for source, (_, delivery) in zip(ranges, waiting, strict=True):
            entries.setdefault(source.identity, Entry(source, 0.0)).receipts.append(delivery)
        await self._claim(inbox.settings, list(entries.values()), cause)

    async def _claim(self, settings: DatasetSettings, entries: Sequence[Entry[Delivery]], cause: FlushCause) -> None:
        self._watch_space()
        sources: list[Source] = [entry.source for entry in entries]
        try:
            outcome = await claim(self._context, settings.name, settings.hash, sources)
        except Outage as outage:
            self._failures += 1
            self._context.tell(OutageMet(Where.LEDGER, type(outage).__name__, str(outage)))
            await self.give_back([d for entry in entries for d in entry.receipts], OUTAGE_DELAY_SECONDS)
            return
        self._failures = 0
        self._count("new", len(outcome.claimed), settings.name)
        self._count("duplicate", len(outcome.duplicates), settings.name)
        if outcome.batch is not None:
            self._context.tell(BatchClaimed(outcome.batch, cause.value))
            await self._claimed.put(outcome.batch)
        await self._settle_claim(entries, outcome)

    # --- settling

    async def _settle_claim(self, entries: Sequence[Entry[Delivery]], outcome: ClaimOutcome) -> None:
        for position in outcome.claimed:
            for delivery in entries[position].receipts:
                delivery.fate = MessageFate.CLAIMED
        done: list[Delivery] = []
        for position in (*outcome.claimed, *outcome.duplicates):
            for delivery in entries[position].receipts:
                delivery.unsettled -= 1
                if delivery.unsettled == 0:
                    done.append(delivery)
        await self._settle(done)
        await self.give_back([d for p in outcome.unsettled for d in entries[p].receipts], OUTAGE_DELAY_SECONDS)

    async def _settle(self, deliveries: Sequence[Delivery]) -> None:
        """Deleted, or returned for another configuration's workers. If that fails, a redelivery is a duplicate."""
        now = self._context.world.clock.now()
        ours = [d for d in deliveries if not d.foreign]
        foreign = [d for d in deliveries if d.foreign]
        for queue, group in _by_queue(ours):
            await self._quietly_delete(queue, group)
        for fate in (MessageFate.CLAIMED, MessageFate.DUPLICATE, MessageFate.ACKNOWLEDGED):
            if count := sum(1 for d in ours if d.fate is fate):
                self._context.tell(MessagesSettled(fate, count))
        for delivery in foreign:
            age = now - delivery.message.sent_at
            if age < self._context.limits.foreign_seconds:
                await self.give_back([delivery], min(max(age, FOREIGN_SECONDS_MIN), FOREIGN_SECONDS_MAX))
            else:
                await self._dead_letter(delivery, "no dataset has this prefix or name")
                if not delivery.foreign:
                    await self._quietly_delete(delivery.queue, [delivery])

    async def _quietly_delete(self, queue: Queue, deliveries: Sequence[Delivery]) -> None:
        try:
            await queue.delete([delivery.message.receipt for delivery in deliveries])
        except Outage as outage:
            self._context.tell(OutageMet(Where.QUEUE, type(outage).__name__, str(outage)))

    async def give_back(self, deliveries: Iterable[Delivery], delay_seconds: float) -> None:
        """They are delivered again after the delay; at the visibility timeout if even this fails."""
        for queue, group in _by_queue(dict.fromkeys(deliveries)):
            delay = min(delay_seconds, self._context.limits.visibility_seconds)
            try:
                await queue.set_visibility([d.message.receipt for d in group], delay)
            except Outage as outage:
                self._context.tell(OutageMet(Where.QUEUE, type(outage).__name__, str(outage)))
            self._context.tell(MessagesSettled(MessageFate.RETURNED, len(group)))

    async def return_all(self) -> None:
        """Drain: every buffered message can be received by another worker at once."""
        waiting: list[Delivery] = []
        for inbox in self._inboxes.values():
            waiting += [d for entry in inbox.files.clear() for d in entry.receipts]
            waiting += [delivery for _, delivery in inbox.records]
            inbox.records.clear()
        await self.give_back(waiting, 0)

    async def _dead_letter(self, delivery: Delivery, reason: str) -> None:
        """In the DLQ, and settled; if the DLQ can't take it now, left to be redelivered."""
        message = delivery.message
        ours = {"reason": reason, ORIGINAL_MESSAGE_ID: message.attributes.get(ORIGINAL_MESSAGE_ID, message.id)}
        if not await send_dead_letter(self._context, message.id, message.body, ours, message.attributes):
            delivery.unsettled = 1  # never settles: the message comes back after its visibility timeout
            return
        delivery.foreign = False
        delivery.fate = MessageFate.DEAD_LETTERED
        self._context.tell(MessagesSettled(MessageFate.DEAD_LETTERED, 1, reason))


SPOOL_BYTES_MAX = 32 * 1024**2
"""Record messages wait in memory, unlike notifications: a spool object is cut at this size."""


def _identified(file: SourceFile, dataset: DatasetSettings) -> SourceFile:
    if dataset.identity == "etag":
        return file
    return SourceFile(file.bucket, file.key, file.etag, file.size, file.version_id, by_key=True)


def _by_queue(deliveries: Iterable[Delivery]) -> list[tuple[Queue, list[Delivery]]]:
    groups: dict[int, tuple[Queue, list[Delivery]]] = {}
    for delivery in deliveries:
        groups.setdefault(id(delivery.queue), (delivery.queue, []))[1].append(delivery)
    return list(groups.values())


async def _first_of(one: asyncio.Event, other: asyncio.Event) -> None:
    """At least one of the events is set."""
    if not (one.is_set() or other.is_set()):
        await _first_done([asyncio.ensure_future(event.wait()) for event in (one, other)])


async def _first_done(waits: "Sequence[asyncio.Future[Any]]") -> None:
    """One of them is done; the others are cancelled."""
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
