"""A world in memory with any number of workers in it: the real core, ledger protocol and shell; a simple converter.

The converter is a toy on purpose: a line is a row, a line `bad` is quarantined, a file `corrupt` is rejected, a file
`poison` makes the conversion fail. What it writes is what it read, so that a test can count every line; into several
outputs if there are more than `output_rows_max` rows, named as if `tasks` had written them, from `first_task` on.
"""

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from headsaw.adapters.ledger import TableLedger
from headsaw.adapters.memory.clock import LoopClock
from headsaw.adapters.memory.object_store import MemoryObjectStore
from headsaw.adapters.memory.queue import MemoryQueue
from headsaw.adapters.memory.table import MemoryTable
from headsaw.adapters.table import Table
from headsaw.core.commit import TOKEN_METADATA, PendingUpload
from headsaw.core.conversion import (
    ConversionReport,
    FileCounts,
    OutputFile,
    OutputKind,
    Rejection,
    RejectReason,
)
from headsaw.core.facts import Fact
from headsaw.core.lifecycle import Event, advance
from headsaw.core.model import Batch, BatchState, RecordRange, Source, SourceFile, WorkerId
from headsaw.core.naming import output_stem
from headsaw.core.notification import synthetic_event
from headsaw.core.settings import DatasetSettings, S3Prefix
from headsaw.core.table_schema import TableSchema
from headsaw.errors import ConversionFailed, SourceUnreadable
from headsaw.ports import Accepted, Clock, ConvertedBatch, ObjectStore, Outgoing
from headsaw.worker.claiming import claim
from headsaw.worker.context import Context, Limits, Place, World
from headsaw.worker.publisher import UploadPublisher
from headsaw.worker.service import Worker

CONTROL = S3Prefix(bucket="control", prefix="headsaw/")
QUARANTINE = S3Prefix(bucket="control", prefix="quarantine/")
LIMITS = Limits(lease_seconds=12.0, drain_seconds=10.0, visibility_seconds=60.0, poll_seconds=5.0, pollers=2)


def dataset(name: str = "clicks", **batch: Any) -> DatasetSettings:
    return DatasetSettings.model_validate(
        {
            "name": name,
            "source": f"s3://landing/{name}/",
            "destination": f"s3://lake/{name}/",
            "batch": {"max_files": 10, "max_age": 2.0, **batch},
        }
    )


@dataclass
class ToyConverter:
    """`ports.Converter`: see the module. `seconds` is how long a conversion takes."""

    store: ObjectStore
    clock: Clock
    random: Random
    seconds: float = 0.5
    output_rows_max: int = 1_000_000
    first_task: int = 0
    tasks: int = 1

    async def convert(self, batch: Batch, settings: DatasetSettings, sources: Sequence[Source]) -> ConvertedBatch:
        counts: dict[int, FileCounts] = {}
        rejections: list[Rejection] = []
        rows: list[str] = []
        bad: list[str] = []
        for index, source in enumerate(sources):
            try:
                lines = await self._lines(source)
            except SourceUnreadable as error:
                rejections.append(Rejection(index, RejectReason(error.reason)))
                continue
            good = [line for line in lines if not line.startswith("bad")]
            rows += good
            bad += [line for line in lines if line.startswith("bad")]
            counts[index] = FileCounts(len(lines), len(good), len(lines) - len(good))
        started = self.clock.now()
        uploads: list[PendingUpload] = []
        try:
            for kind, content in ((OutputKind.TABLE, rows), (OutputKind.QUARANTINE, bad)):
                for at in range(0, len(content), self.output_rows_max):
                    part = content[at : at + self.output_rows_max]
                    uploads.append(await self._upload(batch, settings, kind, part, len(uploads)))
            await self.clock.sleep(self.seconds)
        except BaseException:
            await self._abort(uploads)
            raise
        outputs = tuple(OutputFile(u.key, u.kind, "", u.rows, u.size, 1) for u in uploads)
        report = ConversionReport(counts, tuple(rejections), outputs, TableSchema(), 0, 0)
        return ConvertedBatch(report, tuple(uploads), started, 0.0, self.clock.now() - started)

    async def _lines(self, source: Source) -> list[str]:
        match source:
            case SourceFile(bucket, key, etag, _, version_id):
                body = await self.store.read_all(bucket, key, etag=etag, version_id=version_id)
            case RecordRange(_, bucket, key, offset, length):
                body = await self.store.read_all(bucket, key, start=offset, length=length)
        if body.startswith(b"corrupt"):
            raise SourceUnreadable(RejectReason.CORRUPT_STREAM)
        if body.startswith(b"poison"):
            raise ConversionFailed("poison")
        return body.decode().splitlines()

    async def _upload(
        self, batch: Batch, settings: DatasetSettings, kind: OutputKind, lines: list[str], number: int
    ) -> PendingUpload:
        place = settings.destination if kind is OutputKind.TABLE else QUARANTINE
        task, of_task = self.first_task + number % self.tasks, number // self.tasks
        key = place.key(f"{output_stem(batch, task, of_task)}.txt")
        token = f"{self.random.getrandbits(64):016x}"
        upload_id = await self.store.create_upload(place.bucket, key, {TOKEN_METADATA: token})
        part = await self.store.upload_part(place.bucket, key, upload_id, 1, "\n".join(lines).encode())
        return PendingUpload(place.bucket, key, upload_id, token, (part,), kind, "", len(lines), 1)

    async def discard(self, converted: ConvertedBatch) -> None:
        await self._abort(converted.uploads)

    async def _abort(self, uploads: Sequence[PendingUpload]) -> None:
        for upload in uploads:
            await self.store.abort_upload(upload.bucket, upload.key, upload.upload_id)


class Around:
    """A port whose calls go through, except those that a subclass defines."""

    def __init__(self, port: Any) -> None:
        self.port = port

    def __getattr__(self, name: str) -> Any:
        return getattr(self.port, name)


@dataclass
class Site:
    """Everything that outlives a worker: queues, buckets, ledger table; and the facts that all workers told."""

    datasets: Sequence[DatasetSettings] = field(default_factory=lambda: [dataset()])
    random: Random = field(default_factory=lambda: Random(1))
    clock: LoopClock = field(default_factory=LoopClock)
    facts: list[Fact] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.queue = MemoryQueue(self.clock, "landing")
        self.dlq = MemoryQueue(self.clock, "dlq")
        self.store = MemoryObjectStore(self.clock, ["landing", "lake", "control"])
        self.table: Table = MemoryTable(self.clock)
        self._names = itertools.count(1)

    def ledger(self, table: Table | None = None) -> TableLedger:
        return TableLedger(table or self.table, self.clock, self.random.random, 90 * 86400.0)

    def context(self, name: str = "", limits: Limits = LIMITS, **ports: Any) -> Context:
        converter = ToyConverter(self.store, self.clock, self.random)
        world = World(
            (self.queue,), self.dlq, self.ledger(), self.store, converter, UploadPublisher(self.store), self.clock
        )
        worker = WorkerId(name or f"worker-{next(self._names)}")
        return Context(
            worker, replace(world, **ports), limits, Place(CONTROL, QUARANTINE), self.facts.append, self.random
        )

    def worker(
        self, name: str = "", limits: Limits = LIMITS, datasets: Sequence[DatasetSettings] = (), **ports: Any
    ) -> Worker:
        return Worker(self.context(name, limits, **ports), datasets or self.datasets)

    async def land(self, key: str, *lines: str, notify: int = 1) -> SourceFile:
        body = "\n".join(lines).encode()
        await self.store.put("landing", key, body)
        head = await self.store.head("landing", key)
        assert head is not None
        source = SourceFile("landing", key, head.etag, head.size)
        for _ in range(notify):
            await self.send(synthetic_event(source))
        return source

    async def send(self, body: str, **attributes: str) -> None:
        assert await self.queue.send([Outgoing("m", body, attributes)]) == []

    async def claimed(self, worker: str, source: SourceFile) -> tuple[Context, Batch]:
        """A batch of that file, READY under the lease of a worker that isn't running, and that worker's context."""
        context = self.context(worker)
        await context.world.ledger.put_settings(self.datasets[0])
        outcome = await claim(context, self.datasets[0].name, self.datasets[0].hash, [source])
        assert outcome.batch is not None
        return context, outcome.batch

    async def apply(self, batch: Batch, *events: Event) -> Batch:
        """The batch after these transitions, which its holder makes."""
        for event in events:
            result = await self.ledger().apply(batch, advance(batch, event))
            assert isinstance(result, Accepted)
            batch = result.batch
        return batch

    def published(self, name: str = "clicks") -> Counter[str]:
        """Every row that a reader sees, and how often."""
        objects = self.store.visible("lake", f"{name}/").values()
        return Counter(line for body in objects for line in body.decode().splitlines())

    def quarantined(self) -> Counter[str]:
        objects = self.store.visible("control", "quarantine/").values()
        return Counter(line for body in objects for line in body.decode().splitlines())

    def dead_letters(self) -> list[dict[str, str]]:
        return [dict(message.attributes) for message in self.dlq.peek()]

    async def states(self) -> Counter[BatchState]:
        return Counter([batch.state async for batch in self.ledger().batches()])

    async def settled(self, seconds: float = 600.0) -> None:
        """Nothing is left in the queue, and every batch is terminal; fails after `seconds` of virtual time."""
        deadline = self.clock.now() + seconds
        while self.clock.now() < deadline:
            await self.clock.sleep(1.0)
            depth = await self.queue.depth()
            waiting = depth.visible + depth.in_flight + depth.delayed
            if not waiting and all(state.terminal for state in await self.states()):
                return
        raise AssertionError(f"not settled: {depth}, {await self.states()}, {json.dumps(self.dead_letters())}")


class Running:
    """Workers that run while the context lasts; left by exception or not, they are gone."""

    def __init__(self, *workers: Worker) -> None:
        self.workers = workers

    async def __aenter__(self) -> list["asyncio.Task[None]"]:
        self.tasks = [asyncio.create_task(worker.run()) for worker in self.workers]
        return self.tasks

    async def __aexit__(self, *_: object) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
