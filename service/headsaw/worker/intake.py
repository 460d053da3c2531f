"""From messages to buffered sources: long polls, and what each message means. Nothing here waits for a conversion."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from headsaw.core.facts import FilesSeen, MessageFate, MessagesReceived, OutageMet, Where
from headsaw.core.model import DatasetName, SourceFile
from headsaw.core.notification import (
    Landed,
    Nothing,
    Records,
    Unreadable,
    message_identity,
    parse_notification,
)
from headsaw.core.retry import POLL_BACKOFF
from headsaw.core.routing import Excluded, Foreign, Routes
from headsaw.core.settings import DatasetSettings
from headsaw.errors import HeadsawError
from headsaw.ports import Message, Queue
from headsaw.worker.context import Context
from headsaw.worker.inboxes import Inboxes, first_done
from headsaw.worker.settling import Delivery, Settling
from headsaw.worker.spool import RecordBody

RECEIVE_MAX = 10


class Intake:
    """See the module. `has_room` is set while the worker could soon start more."""

    def __init__(
        self,
        context: Context,
        datasets: Sequence[DatasetSettings],
        default_dataset: str | None,
        inboxes: Inboxes,
        settling: Settling,
        has_room: asyncio.Event,
    ) -> None:
        self._context = context
        self._routes = Routes(datasets)
        self._default_dataset = default_dataset
        self._inboxes = inboxes
        self._settling = settling
        self._has_room = has_room

    async def poll(self, queue: Queue, stopping: asyncio.Event) -> None:
        """Until `stopping`: receives and buffers, pausing while the worker has more than it can soon start.

        What is gathered for a Spark engine isn't for the worker to start.
        """
        failures = 0
        while not stopping.is_set():
            await _any(self._has_room, self._inboxes.gathering, stopping)
            await _any(self._inboxes.has_space, stopping)
            if stopping.is_set():
                return
            try:
                messages = await self._receive(queue)
            except HeadsawError as error:
                self._context.tell(OutageMet(Where.QUEUE, type(error).__name__, str(error)))
                await self._pause(failures)
                failures += 1
                continue
            failures = 0
            if stopping.is_set():
                await self._settling.give_back([Delivery(message, queue) for message in messages], 0)
                return
            await self._accept(queue, messages)
            if self._inboxes.failures:
                await self._pause(self._inboxes.failures)

    async def _receive(self, queue: Queue) -> list[Message]:
        limits = self._context.limits
        return await queue.receive(
            limit=RECEIVE_MAX, wait_seconds=limits.poll_seconds, visibility_seconds=limits.visibility_seconds
        )

    async def _pause(self, failures: int) -> None:
        await self._context.world.clock.sleep(POLL_BACKOFF.wait(failures, self._context.random.random()))

    async def _accept(self, queue: Queue, messages: Sequence[Message]) -> None:
        now = self._context.world.clock.now()
        oldest = min((message.sent_at for message in messages), default=now)
        self._context.tell(MessagesReceived(len(messages), max(0.0, now - oldest)))
        settled: list[Delivery] = []
        for message in messages:
            delivery = Delivery(message, queue)
            unreadable = self._understand(delivery, now)
            if unreadable is not None:
                await self._settling.dead_letter(delivery, unreadable)
            elif delivery.unsettled == 0:
                settled.append(delivery)
        if messages:
            self._inboxes.changed()
        await self._settling.settle(settled)

    def _understand(self, delivery: Delivery, now: float) -> str | None:
        """What the message speaks of is buffered; returns why it can't be understood, if it can't."""
        message = delivery.message
        match parse_notification(message.body, message.attributes, self._default_dataset):
            case Landed(files, removals):
                self._count("removed", removals)
                for file in files:
                    self._buffer(delivery, file, now)
            case Nothing(_, removals):
                self._count("removed", removals)
                delivery.fate = MessageFate.ACKNOWLEDGED
            case Records(dataset, body):
                record = RecordBody(message_identity(message.id, message.attributes), body)
                delivery.foreign = not self._inboxes.add_record(DatasetName(dataset), record, delivery, now)
            case Unreadable(reason):
                return reason
        return None

    def _buffer(self, delivery: Delivery, file: SourceFile, now: float) -> None:
        match self._routes.route(file.bucket, file.key):
            case Foreign():
                delivery.foreign = True
                self._count("foreign")
            case Excluded(dataset):
                self._count("excluded", dataset=dataset)
            case dataset:
                source = file if dataset.identity == "etag" else replace(file, by_key=True)
                if not self._inboxes.add_file(dataset.name, source, delivery, now):
                    self._count("duplicate", dataset=dataset.name)

    def _count(self, outcome: str, count: int = 1, dataset: str = "") -> None:
        if count:
            self._context.tell(FilesSeen(outcome, count, dataset))


async def _any(*events: asyncio.Event) -> None:
    """At least one of them is set."""
    if not any(event.is_set() for event in events):
        await first_done([asyncio.ensure_future(event.wait()) for event in events])
