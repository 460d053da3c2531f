"""What the service speaks about: source files, batches, leases. Immutable values, no behaviour beyond naming."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType

BatchId = NewType("BatchId", str)
WorkerId = NewType("WorkerId", str)
DatasetName = NewType("DatasetName", str)
SettingsHash = NewType("SettingsHash", str)

FORMAT = 1
"""The `format` of every ledger item and JSON object that this version writes; newer ones are left alone."""


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """What makes two notifications speak of the same source: the ledger's key of a file item.

    `scope` is `bucket/key` or `message/<id>`; `version` is the eTag, or `-` where the identity is the key alone.
    """

    scope: str
    version: str


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One object that landed in S3. `size` in stored bytes, None where the notification didn't say."""

    bucket: str
    key: str
    etag: str
    size: int | None = None
    version_id: str | None = None
    by_key: bool = False
    """True for datasets with `identity: key`: the eTag isn't part of the identity."""

    @property
    def identity(self) -> FileIdentity:
        """The ledger key."""
        return FileIdentity(f"{self.bucket}/{self.key}", "-" if self.by_key else self.etag)

    @property
    def name(self) -> str:
        """As people and the `_source_file` column name it."""
        return f"s3://{self.bucket}/{self.key}"

    @property
    def stored_bytes(self) -> int:
        """Bytes to read; 0 where unknown."""
        return self.size or 0


@dataclass(frozen=True, slots=True)
class RecordRange:
    """One record message: bytes [offset, offset + length) of the spool object that holds its body."""

    message_id: str
    bucket: str
    key: str
    offset: int
    length: int

    @property
    def identity(self) -> FileIdentity:
        """The ledger key."""
        return FileIdentity(f"message/{self.message_id}", "-")

    @property
    def name(self) -> str:
        """As people and the `_source_file` column name it."""
        return f"message:{self.message_id}"

    @property
    def stored_bytes(self) -> int:
        """Bytes to read."""
        return self.length


Source = SourceFile | RecordRange


class BatchState(StrEnum):
    """Where a batch stands; the arrows between the states are `core.lifecycle`'s."""

    OPEN = "OPEN"
    READY = "READY"
    RUNNING = "RUNNING"
    DELEGATED = "DELEGATED"
    PUBLISHING = "PUBLISHING"
    DONE = "DONE"
    SPLIT = "SPLIT"
    FAILING = "FAILING"
    FAILED = "FAILED"

    @property
    def terminal(self) -> bool:
        """No transition leaves it."""
        return self in _TERMINAL


_TERMINAL = frozenset({BatchState.DONE, BatchState.SPLIT, BatchState.FAILED})


@dataclass(frozen=True, slots=True)
class Lease:
    """The right of `owner` to advance one batch until `until` (ledger time, seconds). `epoch` is the fencing token."""

    owner: WorkerId | None
    epoch: int
    until: float

    def held(self, now: float) -> bool:
        """Somebody holds it, as far as a clock can tell; expiry only permits a takeover to be tried."""
        return self.owner is not None and now < self.until


@dataclass(frozen=True, slots=True)
class CommitPointer:
    """The commit point's content: which commit record was accepted."""

    key: str
    sha256: str


@dataclass(frozen=True, slots=True)
class SparkRun:
    """The Spark run of a batch's present attempt, from the intent to start it on.

    `id` is the engine's name for it, None until the answer to its start is known. `driver` is the token under which a
    driver registered, None until one has: that driver's report counts, no other's. `driver_run` is the engine's name
    for the registered driver's run, where the driver can know it: after a start that happened twice it may differ.
    """

    engine: str
    since: float
    id: str | None = None
    driver: str | None = None
    driver_run: str | None = None

    @property
    def known_id(self) -> str | None:
        """The run to ask about: the registered driver's, else the one that was started."""
        return self.driver_run or self.id


@dataclass(frozen=True, slots=True)
class SourceSpan:
    """Which sources a batch holds: [start, stop) of the files that batch `root`'s chunks list, in order.

    A claimed batch is its own root; the children of a SPLIT name ranges of the root's files, so no file item changes.
    """

    root: BatchId
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch as the ledger holds it (the item stays under 1 KB). `bytes` in stored bytes, times in ledger seconds."""

    id: BatchId
    dataset: DatasetName
    settings: SettingsHash
    state: BatchState
    span: SourceSpan
    bytes: int
    chunks: int
    created_at: float
    lease: Lease
    attempt: int = 1
    failures: int = 0
    due_at: float | None = None
    schema_version: int = 0
    commit: CommitPointer | None = None
    parent: BatchId | None = None
    children: tuple[BatchId, ...] = field(default=())
    reason: str | None = None
    finished_at: float | None = None
    rows: int | None = None
    run: SparkRun | None = None
    route: str | None = None
    """Why it is converted where it is, for people."""

    @property
    def files(self) -> int:
        """How many sources it holds."""
        return self.span.stop - self.span.start


class FileMark(StrEnum):
    """A file item that a redrive may claim again, and why."""

    REJECTED = "rejected"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class FileRecord:
    """What the ledger knows of one source: the root batch that claimed it, and whether it may be claimed again."""

    identity: FileIdentity
    batch: BatchId
    claimed_at: float
    mark: FileMark | None = None
    reason: str | None = None
