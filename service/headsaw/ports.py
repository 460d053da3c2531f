"""What the worker needs of the world: narrow protocols that speak the project's own values.

Every call may raise `Outage` (throttling, no answer, access denied) after its adapter's bounded retries; whether the
call took effect is then unknown unless its docstring says otherwise. One contract suite (tests/contract) runs over
every implementation.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from headsaw.core.commit import CommitRecord, PendingUpload, UploadedPart
from headsaw.core.conversion import ConversionReport
from headsaw.core.delegation import RunStatus
from headsaw.core.model import (
    Batch,
    BatchId,
    FileIdentity,
    FileMark,
    FileRecord,
    SettingsHash,
    Source,
)
from headsaw.core.settings import DatasetSettings
from headsaw.core.table_schema import TableSchema

# ---------------------------------------------------------------------------------------------------------------- Clock


class Clock(Protocol):
    """Time as the ledger sees it."""

    def now(self) -> float:
        """Unix seconds, corrected by the ledger's own Date headers, so that workers with wrong clocks agree."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back, for durations."""
        ...

    async def sleep(self, seconds: float) -> None:
        """At least that long."""
        ...


# ---------------------------------------------------------------------------------------------------------------- Queue


@dataclass(frozen=True, slots=True)
class Message:
    """A received message. `receipt` names this delivery and dies with the visibility timeout; `sent_at` in seconds."""

    id: str
    body: str
    attributes: Mapping[str, str]
    receipt: str
    sent_at: float
    receive_count: int


MESSAGE_BYTES_MAX = 1024**2
"""Most bytes of a message, attributes included. Source: Amazon SQS message quotas (1 MiB since August 2025)."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to send. `id` is stable over retries, for people: standard queues don't deduplicate."""

    id: str
    body: str
    attributes: Mapping[str, str]

    @property
    def size(self) -> int:
        """Bytes that count towards MESSAGE_BYTES_MAX: the body, and each attribute's name, type and value."""
        texts = [self.body, *(f"{name}String{value}" for name, value in self.attributes.items())]
        return sum(len(text.encode(errors="surrogatepass")) for text in texts)


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """Approximate numbers of messages."""

    visible: int
    in_flight: int
    delayed: int


@dataclass(frozen=True, slots=True)
class QueueTraits:
    """How a queue is set up, as far as the service depends on it. None where there is no redrive policy."""

    visibility_seconds: float
    retention_seconds: float
    max_receive_count: int | None


class Queue(Protocol):
    """One SQS queue. Batch calls take any number of entries and succeed or fail per entry."""

    async def receive(self, *, limit: int, wait_seconds: float, visibility_seconds: float) -> list[Message]:
        """Up to `limit` (≤ 10) messages, invisible to others for `visibility_seconds`; empty after `wait_seconds`."""
        ...

    async def delete(self, receipts: Sequence[str]) -> list[str]:
        """Gone for good, except the receipts returned (retry, or let them be redelivered)."""
        ...

    async def set_visibility(self, receipts: Sequence[str], seconds: float) -> list[str]:
        """Invisible for `seconds` from now (0: deliver again at once), except the receipts returned."""
        ...

    async def send(self, messages: Sequence[Outgoing]) -> list[str]:
        """Stored for good, except the ids returned; those that no queue takes (see MESSAGE_BYTES_MAX) always are."""
        ...

    async def depth(self) -> QueueDepth:
        """Approximate backlog."""
        ...

    async def traits(self) -> QueueTraits:
        """The queue's attributes; raises UsageError where there is no such queue."""
        ...


# --------------------------------------------------------------------------------------------------------------- Ledger


@dataclass(frozen=True, slots=True)
class Claimed:
    """All of the sources are this batch's, which exists as `batch` says.

    Where an earlier call had succeeded unheard, somebody may have taken the batch over since: its lease then tells so,
    and the caller must not work on it.
    """

    batch: Batch


@dataclass(frozen=True, slots=True)
class Overlap:
    """Nothing was claimed: these sources (by position) belong to the batches named. Drop them and claim the rest."""

    owners: Mapping[int, BatchId]


@dataclass(frozen=True, slots=True)
class Accepted:
    """The ledger holds `batch`."""

    batch: Batch


@dataclass(frozen=True, slots=True)
class Refused:
    """The condition failed: nothing changed. `current` is a consistent read (None: no such batch)."""

    current: Batch | None


@dataclass(frozen=True, slots=True)
class DuePage:
    """Some unfinished batches of a shard that are due; `cursor` continues, None at the end. Eventually consistent."""

    batches: tuple[BatchId, ...]
    cursor: object | None


class Ledger(Protocol):
    """The table of files, chunks, batches, leases, schemas and settings.

    Every write is conditional and safe to repeat; what an unanswered write did is found out by consistent reads before
    it returns. If even that fails, `Outage` is raised, and the caller must read before it believes anything.
    """

    async def claim(self, batch: Batch, sources: Sequence[Source]) -> Claimed | Overlap:
        """Claim the batch's first chunk (≤ 98 sources) together with the batch itself: all of it, or nothing."""
        ...

    async def extend(self, batch: Batch, sources: Sequence[Source], lease_until: float) -> Claimed | Overlap | Refused:
        """Claim one more chunk for an OPEN batch whose lease the caller holds, and renew the lease with it."""
        ...

    async def batch(self, batch_id: BatchId) -> Batch | None:
        """A consistent read."""
        ...

    async def sources(self, batch: Batch) -> tuple[Source, ...]:
        """The batch's sources in order, from the chunks of its root."""
        ...

    async def apply(self, before: Batch, after: Batch) -> Accepted | Refused:
        """Write the difference if state, lease_epoch, owner and attempt are still those of `before`."""
        ...

    async def split(self, before: Batch, after: Batch, children: Sequence[Batch]) -> Accepted | Refused:
        """`apply`, together with the creation of the children, in one transaction."""
        ...

    async def retry(self, before: Batch, after: Batch, source: Source) -> Accepted | Refused:
        """`apply` for a FAILED batch, if its file is still its own and marked: one transaction clears the mark."""
        ...

    async def register_driver(self, batch_id: BatchId, attempt: int, driver: str, run_id: str | None) -> Batch | None:
        """The Spark driver of that token is the attempt's only one, now or by an earlier call; returns the batch.

        None: another driver was first, or the batch doesn't wait for this attempt's run (any more). `run_id` is the
        engine's name for the driver's run, where the driver knows it.
        """
        ...

    async def due(self, shard: int, now: float, cursor: object | None, limit: int) -> DuePage:
        """A page of the shard's batches with due_at ≤ now, earliest first."""
        ...

    async def unfinished(self) -> int:
        """How many batches aren't terminal, as far as the due index knows."""
        ...

    async def mark(self, source: Source, root: BatchId, mark: FileMark, reason: str) -> bool:
        """The file may be claimed again, if it is still `root`'s; False if another batch has claimed it since."""
        ...

    async def file(self, identity: FileIdentity) -> FileRecord | None:
        """A consistent read."""
        ...

    def files(self, scope: str) -> AsyncIterator[FileRecord]:
        """Every version of one bucket/key or message."""
        ...

    def batches(self) -> AsyncIterator[Batch]:
        """Every batch, in no order; a scan, for operators only."""
        ...

    async def put_settings(self, settings: DatasetSettings) -> SettingsHash:
        """The snapshot is stored under its hash, for good."""
        ...

    async def settings(self, settings_hash: SettingsHash) -> DatasetSettings | None:
        """The snapshot of that hash."""
        ...

    async def schema_head(self, dataset: str) -> TableSchema:
        """The newest version; version 0 where there is none. Consistent."""
        ...

    async def schema_history(self, dataset: str) -> tuple[TableSchema, ...]:
        """All versions, oldest first."""
        ...

    async def add_schema(self, dataset: str, schema: TableSchema) -> bool:
        """`schema.version` now exists with this content; False if the version was taken by another."""
        ...

    async def ping(self) -> None:
        """The table can be reached and has the shape that is expected; raises UsageError where it doesn't."""
        ...


DUE_SHARDS = 8
"""Shards of the due index: far more writes than a worker fleet makes fit into one, so eight leave room."""

CHUNK_SOURCES_MAX = 98
"""Sources claimed in one transaction: with chunk and batch items 100, DynamoDB's limit on a transaction."""

# ---------------------------------------------------------------------------------------------------------- ObjectStore


@dataclass(frozen=True, slots=True)
class ObjectHead:
    """What a HEAD or a listing tells. Metadata is empty in listings; `modified_at` in Unix seconds."""

    key: str
    size: int
    etag: str
    modified_at: float
    metadata: Mapping[str, str]


class ReadFailure(StrEnum):
    """Why an object can't be read, by its own fault."""

    MISSING = "missing"
    SUPERSEDED = "superseded"
    ACCESS_DENIED = "access_denied"


class CompleteResult(StrEnum):
    """What became of completing an upload."""

    COMPLETED = "completed"
    NO_SUCH_UPLOAD = "no_such_upload"


class ObjectStore(Protocol):
    """S3. Reads of sources raise SourceUnreadable (`missing`, `superseded`) as facts about that object."""

    def read(
        self,
        bucket: str,
        key: str,
        *,
        etag: str | None = None,
        version_id: str | None = None,
        start: int = 0,
        length: int | None = None,
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The object's bytes in chunks, pinned to the version or eTag; `length` None means to the end."""
        ...

    async def read_all(
        self,
        bucket: str,
        key: str,
        *,
        etag: str | None = None,
        version_id: str | None = None,
        start: int = 0,
        length: int | None = None,
    ) -> bytes:
        """The same, whole; for small objects."""
        ...

    async def put(self, bucket: str, key: str, body: bytes, *, if_absent: bool = False) -> bool:
        """Stored whole; False (only with `if_absent`) if the key exists."""
        ...

    async def head(self, bucket: str, key: str) -> ObjectHead | None:
        """None if there is no such object."""
        ...

    def list(self, bucket: str, prefix: str) -> AsyncIterator[ObjectHead]:
        """Every object under the prefix, in key order."""
        ...

    async def create_upload(self, bucket: str, key: str, metadata: Mapping[str, str]) -> str:
        """A new multipart upload; returns its id. Invisible to readers."""
        ...

    async def upload_part(self, bucket: str, key: str, upload_id: str, number: int, body: bytes) -> UploadedPart:
        """The part is stored, checksummed in transit; repeating it replaces it."""
        ...

    async def complete_upload(self, upload: PendingUpload) -> CompleteResult:
        """The object is visible. NO_SUCH_UPLOAD may be an earlier success: the caller must HEAD. Safe to repeat."""
        ...

    async def abort_upload(self, bucket: str, key: str, upload_id: str) -> None:
        """The upload is gone, or had gone before. Only for uploads that this process created."""
        ...

    async def remove(self, bucket: str, key: str) -> None:
        """No reader sees an object there any more (a versioned bucket keeps it). Safe to repeat. Only repairs do it."""
        ...

    async def ping(self, bucket: str) -> None:
        """The bucket can be reached; raises UsageError where there is none."""
        ...


# ----------------------------------------------------------------------------------- Converter, Publisher, SparkJobs


@dataclass(frozen=True, slots=True)
class ConvertedBatch:
    """A finished conversion, still invisible: the report, and the pending uploads of its outputs."""

    report: ConversionReport
    uploads: tuple[PendingUpload, ...]
    oldest_upload_at: float
    cpu_seconds: float
    seconds: float


class Converter(Protocol):
    """Turns a claimed batch into pending uploads."""

    async def convert(self, batch: Batch, settings: DatasetSettings, sources: Sequence[Source]) -> ConvertedBatch:
        """Everything is uploaded and nothing is visible. On any error, and when cancelled, its uploads are aborted."""
        ...

    async def discard(self, converted: ConvertedBatch) -> None:
        """Its uploads are aborted: for an attempt that provably can't commit."""
        ...


@dataclass(frozen=True, slots=True)
class Published:
    """Every upload of the record is visible."""


@dataclass(frozen=True, slots=True)
class Unpublishable:
    """An upload of an accepted commit is gone and its object isn't there: `headsaw repair` must rebuild it."""

    keys: tuple[str, ...]


class Publisher(Protocol):
    """Makes a committed batch visible; object stores today, table formats later."""

    async def publish(self, record: CommitRecord) -> Published | Unpublishable:
        """Safe to repeat and to run twice at once."""
        ...


@dataclass(frozen=True, slots=True)
class SparkJob:
    """What to run: the manifest's URI. `bytes` estimates the NDJSON in it, by which engines choose their size."""

    batch: BatchId
    attempt: int
    dataset: str
    manifest: str
    bytes: int

    @property
    def name(self) -> str:
        """The same for every start of the attempt, and for no other: engines that take a client token get this one."""
        return f"headsaw-{self.batch}-{self.attempt}"


@dataclass(frozen=True, slots=True)
class Busy:
    """The engine takes no run now: too many at once, or no capacity. Nothing was started."""

    reason: str


class SparkJobs(Protocol):
    """Runs delegated batches on one engine. Where a call raises Outage, whether a run was started is unknown."""

    async def start(self, job: SparkJob) -> str | Busy:
        """A run was started; returns its id. Called twice, it may start two, of whose drivers one registers."""
        ...

    async def find(self, job: SparkJob) -> str | None:
        """A run that was started for this very job, as far as the engine tells; None is no proof that there is none."""
        ...

    async def status(self, run_id: str) -> RunStatus:
        """Where that run stands."""
        ...

    async def cancel(self, run_id: str) -> None:
        """Asked to stop; may finish all the same. Also for runs that are over or unknown."""
        ...
