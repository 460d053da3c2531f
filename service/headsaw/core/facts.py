"""What happened, as frozen facts. Logs, metrics and traces are functions of these, so they can't disagree.

Only `detail` and `reason` fields may quote an error's words; sinks keep those, and with them any object key, out of
what is logged at INFO or above. Seconds and bytes are base units.
"""

from dataclasses import dataclass
from enum import StrEnum

from headsaw.core.breaker import Health
from headsaw.core.conversion import FileCounts
from headsaw.core.model import Batch


class MessageFate(StrEnum):
    """What became of a received message."""

    CLAIMED = "claimed"
    DUPLICATE = "duplicate"
    ACKNOWLEDGED = "acknowledged"
    DEAD_LETTERED = "dead_lettered"
    RETURNED = "returned"


class Where(StrEnum):
    """Which part of the world an outage concerns."""

    QUEUE = "queue"
    LEDGER = "ledger"
    BUCKET = "bucket"
    ENGINE = "engine"
    DLQ = "dlq"


@dataclass(frozen=True, slots=True)
class MessagesReceived:
    """A poll brought messages; `oldest_seconds` is the age of the oldest."""

    count: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True)
class MessagesSettled:
    """Messages left the worker's hands."""

    fate: MessageFate
    count: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class FilesSeen:
    """Notified files by what the claim said: new, duplicate, excluded, foreign; or removals."""

    outcome: str
    count: int
    dataset: str = ""


@dataclass(frozen=True, slots=True)
class BatchClaimed:
    """A batch exists; everything it holds is in the ledger."""

    batch: Batch
    cause: str


@dataclass(frozen=True, slots=True)
class BatchTaken:
    """A batch that somebody else left was taken over."""

    batch: Batch
    from_state: str


@dataclass(frozen=True, slots=True)
class BatchReleased:
    """A batch was given back, nothing being wrong with its data."""

    batch: Batch
    reason: str


@dataclass(frozen=True, slots=True)
class BatchFailed:
    """An attempt failed on the data: `outcome` is retry, split or failed."""

    batch: Batch
    outcome: str
    reason: str


@dataclass(frozen=True, slots=True)
class BatchRouted:
    """It was decided where the batch is converted: `inline`, on an engine, or `later`. `route` is why: numbers only."""

    batch: Batch
    engine: str
    route: str


@dataclass(frozen=True, slots=True)
class BatchDelegated:
    """A Spark engine is to have the batch; `route` is why."""

    batch: Batch
    engine: str
    route: str


@dataclass(frozen=True, slots=True)
class RunUndone:
    """Nothing came of a Spark run, or none could be started: the batch is due again."""

    batch: Batch
    engine: str
    reason: str


@dataclass(frozen=True, slots=True)
class EngineHealth:
    """This worker's circuit breaker for an engine opened, let a trial through, or closed.

    `failures` in a row; `pause_seconds` is for how long it stays open.
    """

    engine: str
    health: Health
    failures: int
    pause_seconds: float


@dataclass(frozen=True, slots=True)
class BatchConverted:
    """An attempt's outputs are complete, and still invisible."""

    batch: Batch
    counts: FileCounts
    rescued_values: int
    bytes_in: int
    bytes_out: int
    outputs: int
    seconds: float
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class BatchCommitted:
    """The commit point was passed."""

    batch: Batch


@dataclass(frozen=True, slots=True)
class BatchDone:
    """The canonical line of a batch: it is published, its rejected files are in the DLQ."""

    batch: Batch
    counts: FileCounts
    rejected: int
    rescued_values: int
    bytes_in: int
    bytes_out: int
    outputs: int
    age_seconds: float


@dataclass(frozen=True, slots=True)
class BatchUnpublishable:
    """An accepted commit lacks an upload: an operator must run `headsaw repair`."""

    batch: Batch
    missing: int


@dataclass(frozen=True, slots=True)
class LeaseWasLost:
    """The worker stopped work on a batch that may be another's now."""

    batch: Batch
    during: str


@dataclass(frozen=True, slots=True)
class OutageMet:
    """Something around the data failed; the work is tried again."""

    where: Where
    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class BacklogSampled:
    """The queue's and the ledger's backlog, and what this worker holds."""

    visible: int
    in_flight: int
    delayed: int
    unfinished: int
    held: int
    buffered: int


@dataclass(frozen=True, slots=True)
class WorkerStarted:
    """The worker is polling."""

    version: str
    worker: str
    datasets: int
    conversions: int
    parser: str


@dataclass(frozen=True, slots=True)
class NativePassedOver:
    """The native parser is installed, wanted, and can't be used; the slower reference parser is."""

    reason: str


@dataclass(frozen=True, slots=True)
class DrainBegan:
    """SIGTERM: no new work; `grace_seconds` to finish."""

    held: int
    buffered: int
    grace_seconds: float


@dataclass(frozen=True, slots=True)
class TaskDied:
    """One of the worker's tasks ended, which none should: the worker stops with an error."""

    task: str
    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class WorkerStopped:
    """Nothing is held any more."""

    finished: int
    released: int


Fact = (
    MessagesReceived
    | MessagesSettled
    | FilesSeen
    | BatchClaimed
    | BatchTaken
    | BatchReleased
    | BatchFailed
    | BatchRouted
    | BatchDelegated
    | RunUndone
    | EngineHealth
    | BatchConverted
    | BatchCommitted
    | BatchDone
    | BatchUnpublishable
    | LeaseWasLost
    | OutageMet
    | BacklogSampled
    | WorkerStarted
    | NativePassedOver
    | DrainBegan
    | TaskDied
    | WorkerStopped
)
