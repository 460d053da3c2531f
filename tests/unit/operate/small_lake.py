"""A whole lake in memory: buckets, queues and ledger, and batches that the real converter turns into real Parquet."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from headsaw.adapters.inline import InlineConverter
from headsaw.adapters.ledger import TableLedger
from headsaw.adapters.memory.clock import VirtualClock
from headsaw.adapters.memory.object_store import MemoryObjectStore
from headsaw.adapters.memory.queue import MemoryQueue
from headsaw.adapters.memory.table import MemoryTable
from headsaw.config import ServiceSettings
from headsaw.core import lifecycle
from headsaw.core.commit import CommitRecord, RejectedSource, digest, violations
from headsaw.core.ids import new_id
from headsaw.core.lifecycle import Commit, Fail, Finish, GiveUp, Start, Take, advance
from headsaw.core.model import (
    Batch,
    BatchId,
    BatchState,
    CommitPointer,
    DatasetName,
    FileMark,
    Lease,
    RecordRange,
    Source,
    SourceFile,
    SourceSpan,
    WorkerId,
)
from headsaw.core.naming import commit_record_name
from headsaw.core.notification import synthetic_event
from headsaw.core.settings import DatasetSettings
from headsaw.ports import Accepted, Claimed, ConvertedBatch, Outgoing, Published, Refused
from headsaw.worker.publisher import UploadPublisher

DAY = 86400.0
HOUR = 3600.0


def configured(*datasets: dict[str, Any], **settings: Any) -> ServiceSettings:
    """A configuration of these datasets; by default of one, called clicks."""
    base = {
        "queue_url": "https://sqs.eu-west-1.amazonaws.com/111122223333/landing",
        "dlq_url": "https://sqs.eu-west-1.amazonaws.com/111122223333/dead",
        "control": "s3://control/headsaw/",
        "quarantine": "s3://control/quarantine/",
        "datasets": [
            {"source": f"s3://landing/{given['name']}/", "destination": f"s3://lake/{given['name']}/", **given}
            for given in datasets or [{"name": "clicks"}]
        ],
    }
    return ServiceSettings.model_validate({**base, **settings}, by_alias=True)


@dataclass
class Lake:
    """See the module. Time is virtual and starts at the clock's."""

    config: ServiceSettings = field(default_factory=configured)
    clock: VirtualClock = field(default_factory=VirtualClock)

    def __post_init__(self) -> None:
        self.store = MemoryObjectStore(self.clock, ["landing", "lake", "control"])
        self.queue = MemoryQueue(self.clock, "landing")
        self.dlq = MemoryQueue(self.clock, "dead")
        self.table = MemoryTable(self.clock)
        self.ledger = TableLedger(self.table, self.clock, Random(1).random, self.config.ledger_retention)
        self.random = Random(2)
        self.converter = InlineConverter(
            self.store,
            self.ledger,
            self.clock,
            self.config.quarantine,
            new_token=lambda: f"{self.random.getrandbits(64):016x}",
            threads=1,
            memory_bytes=64 * 1024**2,
        )
        self.publisher = UploadPublisher(self.store)

    @property
    def queues(self) -> Sequence[MemoryQueue]:
        return (self.queue,)

    @property
    def dataset(self) -> DatasetSettings:
        return self.config.datasets[0]

    async def close(self) -> None:
        await self.converter.close()

    # --- landing

    async def land(self, key: str, body: bytes | str, *, notified: bool = False) -> SourceFile:
        """The object is there; with `notified`, a message about it is queued."""
        data = body.encode() if isinstance(body, str) else body
        await self.store.put("landing", key, data)
        head = await self.store.head("landing", key)
        assert head is not None
        file = SourceFile("landing", key, head.etag, head.size)
        if notified:
            assert await self.queue.send([Outgoing("n", synthetic_event(file), {})]) == []
        return file

    async def spool(self, message_id: str, body: str) -> RecordRange:
        """A record message, spooled."""
        key = f"headsaw/spool/{message_id}.ndjson"
        data = body.encode()
        await self.store.put("control", key, b"x" * 7 + data + b"\n")
        return RecordRange(message_id, "control", key, 7, len(data))

    # --- batches

    async def claim(self, *sources: Source, dataset: DatasetSettings | None = None, owner: str = "w1") -> Batch:
        """A READY batch, held by `owner`."""
        settings = dataset or self.dataset
        await self.ledger.put_settings(settings)
        batch_id = BatchId(new_id(self.clock.now(), self.random.getrandbits(80)))
        until = self.clock.now() + 60
        batch = Batch(
            id=batch_id,
            dataset=DatasetName(settings.name),
            settings=settings.hash,
            state=BatchState.READY,
            span=SourceSpan(batch_id, 0, len(sources)),
            bytes=sum(source.stored_bytes for source in sources),
            chunks=1,
            created_at=self.clock.now(),
            lease=Lease(WorkerId(owner), 1, until),
            due_at=until,
        )
        result = await self.ledger.claim(batch, sources)
        assert isinstance(result, Claimed), result
        return result.batch

    async def move(self, batch: Batch, event: lifecycle.Event) -> Batch:
        result = await self.ledger.apply(batch, advance(batch, event))
        assert isinstance(result, Accepted), result
        return result.batch

    async def convert(self, batch: Batch) -> tuple[Batch, ConvertedBatch]:
        """RUNNING, with its pending uploads."""
        settings = await self.ledger.settings(batch.settings)
        assert settings is not None
        running = await self.move(batch, Start())
        return running, await self.converter.convert(running, settings, await self.ledger.sources(batch))

    async def commit(self, batch: Batch) -> tuple[Batch, CommitRecord]:
        """PUBLISHING, nothing completed yet."""
        running, converted = await self.convert(batch)
        report = converted.report
        record = CommitRecord(
            batch=running.id,
            dataset=running.dataset,
            attempt=running.attempt,
            lease_epoch=running.lease.epoch,
            engine="inline",
            settings=running.settings,
            schema_version=report.schema.version,
            sources=await self.ledger.sources(running),
            files=report.files,
            rejected=tuple(RejectedSource(r.index, r.reason, r.detail) for r in report.rejections),
            uploads=converted.uploads,
            oldest_upload_at=converted.oldest_upload_at,
            rescued_values=report.rescued_values,
            bytes_in=report.bytes_in,
        )
        assert violations(record, running) == []
        key = self.config.control.key(commit_record_name(running))
        await self.store.put("control", key, record.to_json())
        pointer = CommitPointer(key, digest(record.to_json()))
        return await self.move(running, Commit(pointer, record.counts.rows, record.schema_version)), record

    async def publish(self, *sources: Source, dataset: DatasetSettings | None = None) -> tuple[Batch, CommitRecord]:
        """DONE: claimed, converted, committed, published; rejected files are marked."""
        batch, record = await self.commit(await self.claim(*sources, dataset=dataset))
        assert isinstance(await self.publisher.publish(record), Published)
        for rejected in record.rejected:
            source = record.sources[rejected.index]
            await self.ledger.mark(source, batch.span.root, FileMark.REJECTED, rejected.reason.value)
        return await self.move(batch, Finish(self.clock.now())), record

    async def fail(self, source: SourceFile) -> Batch:
        """FAILED, with its message in the DLQ."""
        batch = await self.claim(source)
        batch = await self.move(await self.move(batch, Start()), Fail(self.clock.now(), "poison"))
        batch = await self.move(batch, Take(WorkerId("w2"), self.clock.now() + 60))
        batch = await self.move(batch, GiveUp("poison"))
        await self.ledger.mark(source, batch.span.root, FileMark.FAILED, "poison")
        attributes = {"reason": "poison", "dataset": batch.dataset, "batch": batch.id}
        assert await self.dlq.send([Outgoing("d", synthetic_event(source), attributes)]) == []
        return await self.move(batch, Finish(self.clock.now()))

    async def split(self, *sources: Source) -> tuple[Batch, Batch, Batch]:
        """SPLIT into two READY children."""
        batch = await self.claim(*sources)
        batch = await self.move(await self.move(batch, Start()), Fail(self.clock.now(), "poison"))
        batch = await self.move(batch, Take(WorkerId("w2"), self.clock.now() + 60))
        ids = [BatchId(new_id(self.clock.now(), self.random.getrandbits(80))) for _ in range(2)]
        ended, left, right = lifecycle.split(batch, (ids[0], ids[1]), self.clock.now(), failures=2)
        assert not isinstance(await self.ledger.split(batch, ended, (left, right)), Refused)
        return ended, left, right

    async def take(self, batch: Batch, owner: str = "w3") -> Batch:
        return await self.move(batch, Take(WorkerId(owner), self.clock.now() + 60))

    # --- looking, and tampering

    def tables(self, prefix: str = "clicks/") -> dict[str, bytes]:
        return self.store.visible("lake", prefix)

    def quarantine(self, prefix: str = "quarantine/") -> dict[str, bytes]:
        return self.store.visible("control", prefix)

    async def pass_time(self, seconds: float) -> None:
        await self.clock.advance(seconds)


def lines(*numbers: int) -> str:
    """NDJSON with these numbers."""
    return "".join(f'{{"id":{number}}}\n' for number in numbers)


def without_lineage(dataset: DatasetSettings) -> DatasetSettings:
    return dataset.model_copy(update={"lineage": False})
