"""Delegated batches for tests: claimed and handed over in a ledger, converted by a driver, read back from the store."""

import io
import json
import random
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import zstandard

from headsaw.adapters.clock import SystemClock
from headsaw.adapters.inline import InlineConverter
from headsaw.adapters.ledger import TableLedger
from headsaw.adapters.memory.object_store import MemoryObjectStore
from headsaw.adapters.memory.table import MemoryTable
from headsaw.core.commit import PendingUpload
from headsaw.core.conversion import FileCounts, OutputKind
from headsaw.core.delegation import GaveUp, Manifest, SparkReport, read_report
from headsaw.core.lifecycle import Delegate, Event, advance
from headsaw.core.model import (
    Batch,
    BatchId,
    BatchState,
    DatasetName,
    Lease,
    Source,
    SourceFile,
    SourceSpan,
    WorkerId,
)
from headsaw.core.naming import report_name
from headsaw.core.settings import DatasetSettings, S3Prefix
from headsaw.core.table_schema import BATCH, SOURCE_FILE, SOURCE_LINE, TableSchema
from headsaw.errors import SourceUnreadable
from headsaw.ports import Accepted, Claimed, CompleteResult
from headsaw.spark.driver import Driver, Ending
from headsaw.spark.reach import Connection, Reach, Site
from headsaw.spark.rounds import Cluster, Rounds, Told
from headsaw.spark.tasks import perform
from headsaw.spark.work import Outcome, Rehearse, Task, Work

NOW = 1_795_417_200.0
RETENTION = 90 * 86400.0
TOKEN = "driver-1"
ROWS = 2000
CONTROL = S3Prefix(bucket="control", prefix="headsaw/")
QUARANTINE = S3Prefix(bucket="control", prefix="quarantine/")


class MemorySite:
    """A world in this process."""

    def __init__(self) -> None:
        clock = SystemClock()
        self.store = MemoryObjectStore(clock, ["landing", "lake", "control"])
        self.ledger = TableLedger(MemoryTable(clock), clock, random.Random(1).random, RETENTION)
        self.reach = Reach(self.store, self.ledger, clock)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Reach]:
        yield self.reach


@dataclass
class HereCluster:
    """Tasks one after the other in this process. `before` may answer in a task's place, or raise.

    The rehearsal is neither asked of it nor counted as a pass.
    """

    before: Callable[[Task, int], Outcome | None] = lambda _task, _number: None
    cores: int = 2
    number: int = 0
    passes: list[Sequence[Task]] = field(default_factory=list)

    def run(self, work: Work, tasks: Sequence[Task]) -> list[Outcome]:
        if all(isinstance(task, Rehearse) for task in tasks):
            return [perform(work, task, 1) for task in tasks]
        self.passes.append(tasks)
        return [self._perform(work, task) for task in tasks]

    def _perform(self, work: Work, task: Task) -> Outcome:
        self.number += 1
        return self.before(task, self.number) or perform(work, task, self.number)


@dataclass(frozen=True)
class Content:
    """What readers would see, in an order of its own: rows by place, quarantined lines by place."""

    rows: Any
    quarantined: list[dict[str, Any]]
    files: dict[int, FileCounts]
    rejections: dict[int, str]
    rescued_values: int
    bytes_in: int
    schema: TableSchema


class Bench:
    """One site, connected: batches are delegated there, and converted by whom a test likes."""

    def __init__(self, site: Site, prefix: str = "") -> None:
        self.site = site
        self.prefix = prefix
        self.connection = Connection(site)
        self.reach = self.connection.reach
        self.collect: Callable[[Iterable[tuple[str, bytes]]], Any] = rows
        self.told: list[Told] = []
        self.pauses: list[float] = []

    def settings(self, dataset: str = "clicks", **settings: Any) -> DatasetSettings:
        places = {"source": f"s3://{self.prefix}landing/", "destination": f"s3://{self.prefix}lake/{dataset}/"}
        return DatasetSettings.model_validate({"name": dataset, **(places | settings)})

    def land(self, files: Mapping[str, bytes]) -> list[Source]:
        """The files are in the landing bucket."""
        return [self._landed(key, body) for key, body in files.items()]

    def _landed(self, key: str, body: bytes) -> SourceFile:
        store, bucket = self.reach.store, f"{self.prefix}landing"
        self.connection.call(store.put(bucket, key, body))
        head = self.connection.call(store.head(bucket, key))
        assert head is not None
        return SourceFile(bucket, key, head.etag, head.size)

    def delegate(self, name: str, sources: Sequence[Source], settings: DatasetSettings, attempt: int = 1) -> Manifest:
        """A batch of the sources waits for a driver."""
        first = sources[:98]  # the manifest has them all
        claim = self.reach.ledger.claim(_batch(name, first, settings, attempt), first)
        answer = self.connection.call(claim)
        assert isinstance(answer, Claimed)
        self.apply(answer.batch, Delegate("local", NOW))
        return Manifest(
            batch=BatchId(name),
            attempt=attempt,
            ingested_at=NOW,
            settings=settings,
            sources=tuple(sources),
            control=self.control,
            quarantine=S3Prefix(bucket=f"{self.prefix}control", prefix="quarantine/"),
            ledger_table="ledger",
            ledger_retention_seconds=RETENTION,
            region=None,
        )

    @property
    def control(self) -> S3Prefix:
        return S3Prefix(bucket=f"{self.prefix}control", prefix="headsaw/")

    def apply(self, before: Batch, event: Event) -> Batch:
        answer = self.connection.call(self.reach.ledger.apply(before, advance(before, event)))
        assert isinstance(answer, Accepted)
        return answer.batch

    def batch(self, manifest: Manifest) -> Batch:
        found = self.connection.call(self.reach.ledger.batch(manifest.batch))
        assert found is not None
        return found

    def drive(self, manifest: Manifest, cluster: Cluster, split_bytes: int | None = None, token: str = TOKEN) -> Ending:
        rounds = Rounds(cluster, self.told.append, lambda: 0.5, self.pauses.append)
        return Driver(manifest, token, "run-1", self.site, self.connection, rounds, split_bytes_max=split_bytes).run()

    def report(self, manifest: Manifest, token: str = TOKEN) -> SparkReport | GaveUp | None:
        """What the driver of that token wrote."""
        key = manifest.control.key(report_name(manifest.batch, manifest.attempt, token))
        try:
            return read_report(self.connection.call(self.reach.store.read_all(manifest.control.bucket, key)))
        except SourceUnreadable:
            return None

    def by_spark(self, manifest: Manifest, cluster: Cluster, split_bytes: int | None = None) -> Content:
        """Converted by a driver, and published."""
        assert self.drive(manifest, cluster, split_bytes) is Ending.REPORTED
        return self.published(manifest)

    def published(self, manifest: Manifest) -> Content:
        """What the batch's report names is visible."""
        report = self.report(manifest)
        assert isinstance(report, SparkReport)
        assert all(counts.conserved for counts in report.files.values())
        head = self.connection.call(self.reach.ledger.schema_head(DatasetName(manifest.settings.name)))
        assert report.schema_version == head.version
        rejections = {item.index: item.reason.value for item in report.rejections}
        return self._content(report.uploads, report.files, rejections, report.rescued_values, report.bytes_in, head)

    def inline(self, name: str, sources: Sequence[Source], settings: DatasetSettings) -> Content:
        """Converted as a worker does, and published."""

        async def converted() -> Any:
            made = InlineConverter(
                self.reach.store,
                self.reach.ledger,
                SystemClock(),
                S3Prefix(bucket=f"{self.prefix}control", prefix="quarantine/"),
                lambda: f"{random.getrandbits(64):x}",
                threads=1,
                memory_bytes=128 << 20,
            )
            try:
                return await made.convert(_batch(name, sources, settings, 1), settings, sources)
            finally:
                await made.close()

        done = self.connection.call(converted())
        rejections = {item.index: item.reason.value for item in done.report.rejections}
        return self._content(
            done.uploads,
            done.report.files,
            rejections,
            done.report.rescued_values,
            done.report.bytes_in,
            done.report.schema,
        )

    def _content(
        self,
        uploads: Iterable[PendingUpload],
        files: dict[int, FileCounts],
        rejections: dict[int, str],
        rescued_values: int,
        bytes_in: int,
        schema: TableSchema,
    ) -> Content:
        tables: list[tuple[str, bytes]] = []
        quarantined: list[dict[str, Any]] = []
        for upload in uploads:
            assert self.connection.call(self.reach.store.complete_upload(upload)) is CompleteResult.COMPLETED
            body = self.connection.call(self.reach.store.read_all(upload.bucket, upload.key))
            if upload.kind is OutputKind.TABLE:
                tables.append((upload.partition, body))
            else:
                text = zstandard.ZstdDecompressor().decompressobj().decompress(body)
                quarantined += [json.loads(line) for line in text.decode().split("\n") if line]
        return Content(
            self.collect(tables),
            sorted(quarantined, key=lambda line: (line["file"], line["line"])),
            dict(sorted(files.items())),
            rejections,
            rescued_values,
            bytes_in,
            schema,
        )


def rows(tables: Iterable[tuple[str, bytes]]) -> list[dict[str, Any]]:
    """All rows by place, with their partition and without batch and nulls."""
    found = [
        {key: value for key, value in {**row, "partition": partition, "_batch": None}.items() if value is not None}
        for partition, body in tables
        for row in pq.read_table(io.BytesIO(body)).to_pylist()
    ]
    return sorted(found, key=lambda row: (row["_source_file"], row["_source_line"]))


def by_source(tables: Iterable[tuple[str, bytes]]) -> dict[str, pa.Table]:
    """The rows of each source by line, in those of the columns of which it has any value: for large corpora."""
    parts: dict[str, list[pa.Table]] = {}
    for _, body in tables:
        file = pq.ParquetFile(io.BytesIO(body))
        for batch in file.iter_batches(ROWS):
            names = batch.column(SOURCE_FILE).dictionary_encode()
            for index in pc.unique(names.indices).to_pylist():
                mine = pa.Table.from_batches([batch.filter(pc.equal(names.indices, index))])
                parts.setdefault(names.dictionary[index].as_py(), []).append(_with_values(mine))
    whole = {name: pa.concat_tables(found, promote_options="default") for name, found in sorted(parts.items())}
    return {
        name: table.select(sorted(table.column_names)).sort_by(SOURCE_LINE).combine_chunks()
        for name, table in whole.items()
    }


def _with_values(table: pa.Table) -> pa.Table:
    hidden = (SOURCE_FILE, BATCH)
    return table.select(
        [name for name in table.column_names if name not in hidden and table.column(name).null_count < table.num_rows]
    )


def _batch(name: str, sources: Sequence[Source], settings: DatasetSettings, attempt: int) -> Batch:
    batch_id = BatchId(name)
    return Batch(
        id=batch_id,
        dataset=DatasetName(settings.name),
        settings=settings.hash,
        state=BatchState.READY,
        span=SourceSpan(batch_id, 0, len(sources)),
        bytes=sum(source.stored_bytes for source in sources),
        chunks=1,
        created_at=NOW,
        lease=Lease(WorkerId("w1"), 1, NOW + 60),
        attempt=attempt,
        due_at=NOW + 60,
    )
