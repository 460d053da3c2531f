"""Feeds the demo: lands objects and sends the messages that S3, EventBridge, SNS and producers would send.

What was fed is remembered as truth: what must be found in the end, by dataset, and when each object was announced.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from headsaw.core.conversion import FileCounts
from headsaw.core.model import SourceFile
from headsaw.demo.landing import Landing
from headsaw.demo.notifications import QueueMessage, record_message, s3_test_event, traffic
from headsaw.demo.plan import INPUT, LANDING, Plan
from headsaw.errors import UsageError
from headsaw.ports import ObjectStore, Outgoing, Queue

PUTS_AT_ONCE = 16
RECORD_MESSAGE_SHARE = 0.05
LARGE_FILES = 2
"""Each of them more than enough for Spark; the second is compressed, which Spark can't split."""
LARGE_SHARE = 1.1
TAKEN_SECONDS = 60.0
TAKEN_CHECK_SECONDS = 0.2


@dataclass(slots=True)
class Truth:
    """What was fed. `counts` and `ids` only of generated events; a corrupt file counts nowhere but in `rejected`."""

    files: int = 0
    messages: int = 0
    rejected: set[str] = field(default_factory=set)
    counts: dict[str, FileCounts] = field(default_factory=dict)
    ids: dict[str, set[str]] = field(default_factory=dict)
    landed_at: dict[str, float] = field(default_factory=dict)
    finished: bool = False

    def add(self, dataset: str, counts: FileCounts, ids: Iterator[str]) -> None:
        """These lines must be accounted for, and these ids found once each."""
        self.counts[dataset] = self.counts.get(dataset, FileCounts()) + counts
        self.ids.setdefault(dataset, set()).update(ids)


async def feed(plan: Plan, store: ObjectStore, queue: Queue, truth: Truth) -> None:
    """Everything has landed and been announced, some of it twice; `truth` knows."""
    await _send(queue, [QueueMessage(s3_test_event(LANDING, at=_now()))], truth)
    if plan.input_folder is None:
        await _feed_generated(plan, store, queue, truth)
    else:
        await _feed_folder(plan.input_folder, plan, store, queue, truth)
    truth.finished = True


async def _feed_generated(plan: Plan, store: ObjectStore, queue: Queue, truth: Truth) -> None:
    landing = Landing(plan.files, plan.file_bytes, plan.seed, plan.datasets)
    rng = Random(plan.seed)  # noqa: S311 - reproducible, not secret
    window: list[SourceFile] = []
    gate = asyncio.Semaphore(PUTS_AT_ONCE)
    async with asyncio.TaskGroup() as group:
        for file in landing:
            await gate.acquire()
            source = file.source(LANDING)
            put = group.create_task(store.put(LANDING, file.key, file.body))
            put.add_done_callback(lambda _: gate.release())
            truth.add(file.dataset, file.counts, file.event_ids())
            if file.corrupt:
                truth.rejected.add(source.name)
            window.append(source)
            if len(window) == PUTS_AT_ONCE * 4:
                await put
                await _announce(window, rng, queue, truth)
                window = []
    await _announce(window, rng, queue, truth)
    records = list(landing.record_messages(max(2, int(plan.files * RECORD_MESSAGE_SHARE))))
    for record in records:
        truth.add(record.dataset, record.counts, record.event_ids())
    await _send(queue, [record_message(record) for record in records], truth)
    if plan.spark_over is not None:
        await _feed_large(landing, plan.spark_over, rng, store, queue, truth)


async def _feed_large(landing: Landing, over: int, rng: Random, store: ObjectStore, queue: Queue, truth: Truth) -> None:
    """When what landed before is in batches of its own, large files land one by one."""
    stored = int(over * LARGE_SHARE)
    for index in range(LARGE_FILES):
        file = await asyncio.to_thread(landing.large, index, stored, compressed=index == 1)
        await _taken(queue)
        await store.put(LANDING, file.key, file.body)
        truth.add(file.dataset, file.counts, file.event_ids())
        await _announce([file.source(LANDING)], rng, queue, truth)


async def _taken(queue: Queue) -> None:
    """Workers have claimed all that was announced, or take longer over it than anybody wants to wait."""
    for _ in range(int(TAKEN_SECONDS / TAKEN_CHECK_SECONDS)):
        depth = await queue.depth()
        if not depth.visible + depth.in_flight + depth.delayed:
            return
        await asyncio.sleep(TAKEN_CHECK_SECONDS)


async def _announce(files: list[SourceFile], rng: Random, queue: Queue, truth: Truth) -> None:
    for file in files:
        truth.landed_at.setdefault(file.name, time.time())
    truth.files += len(files)
    await _send(queue, list(traffic(files, rng, _now())), truth)


async def _feed_folder(folder: Path, plan: Plan, store: ObjectStore, queue: Queue, truth: Truth) -> None:
    rng = Random(plan.seed)  # noqa: S311 - reproducible, not secret
    async for source in _landed_folder(folder, store):
        await _announce([source], rng, queue, truth)
    if not truth.files:
        raise UsageError(f"--input {folder}: no files in there")


async def _landed_folder(folder: Path, store: ObjectStore) -> AsyncIterator[SourceFile]:
    for path in await asyncio.to_thread(_files_of, folder):
        body = await asyncio.to_thread(path.read_bytes)
        key = f"{INPUT}/{path.relative_to(folder).as_posix()}"
        await store.put(LANDING, key, body)
        head = await store.head(LANDING, key)
        if head is None:
            raise UsageError(f"{key} was put and isn't there: this endpoint isn't an S3")
        yield SourceFile(LANDING, key, head.etag, head.size)


def _files_of(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UsageError(f"--input {folder}: no such folder; give one that holds NDJSON files")
    return sorted(path for path in folder.rglob("*") if path.is_file())


async def _send(queue: Queue, messages: list[QueueMessage], truth: Truth) -> None:
    outgoing = [Outgoing(str(n), message.body, message.attributes) for n, message in enumerate(messages)]
    refused = await queue.send(outgoing)
    if refused:
        raise UsageError(f"the queue refused {len(refused)} messages of {len(messages)}")
    truth.messages += len(messages)


def _now() -> datetime:
    return datetime.now(UTC)
