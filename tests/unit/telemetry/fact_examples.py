"""One example of every fact, once as the worker tells it and once with an object key wherever a text may stand."""

from headsaw.core.breaker import Health
from headsaw.core.conversion import FileCounts
from headsaw.core.facts import (
    BacklogSampled,
    BatchClaimed,
    BatchCommitted,
    BatchConverted,
    BatchDelegated,
    BatchDone,
    BatchFailed,
    BatchReleased,
    BatchRouted,
    BatchTaken,
    BatchUnpublishable,
    DrainBegan,
    EngineHealth,
    Fact,
    FilesSeen,
    LeaseWasLost,
    MessageFate,
    MessagesReceived,
    MessagesSettled,
    NativePassedOver,
    OutageMet,
    RunUndone,
    TaskDied,
    Where,
    WorkerStarted,
    WorkerStopped,
)
from headsaw.core.model import Batch, BatchId, BatchState, DatasetName, Lease, SettingsHash, SourceSpan

KEY = "s3://landing/clicks/customer-4711.ndjson"

BATCH = Batch(
    id=BatchId("01batch"),
    dataset=DatasetName("clicks"),
    settings=SettingsHash("5e771465"),
    state=BatchState.RUNNING,
    span=SourceSpan(BatchId("01batch"), 0, 3),
    bytes=4096,
    chunks=1,
    created_at=100.0,
    lease=Lease(None, epoch=4, until=160.0),
    attempt=2,
    failures=1,
    reason=KEY,
)
COUNTS = FileCounts(lines=10, rows=6, quarantined=2, blank=1, filtered=1)


def examples(text: str = "code", label: str = "code") -> list[Fact]:
    """Every fact; `text` stands where a reason does, `label` where a single word is expected."""
    return [
        MessagesReceived(10, 2.5),
        MessagesSettled(MessageFate.CLAIMED, 9, text),
        FilesSeen(label, 9, "clicks"),
        BatchClaimed(BATCH, label),
        BatchRouted(BATCH, "inline", "est. 3.1 MB (0.6 MB stored x 5.2) < spark.min_bytes 2GiB"),
        BatchDelegated(BATCH, "glue", "est. 3.1 GB (0.6 GB stored x 5.2) >= spark.min_bytes 2GiB"),
        RunUndone(BATCH, "glue", text),
        EngineHealth("glue", Health.OPEN, 3, pause_seconds=45.0),
        BatchTaken(BATCH, label),
        BatchReleased(BATCH, text),
        BatchFailed(BATCH, "retry", text),
        BatchConverted(BATCH, COUNTS, 5, 1000, 400, 2, seconds=1.5, cpu_seconds=1.25),
        BatchCommitted(BATCH),
        BatchDone(BATCH, COUNTS, 1, 5, 1000, 400, 2, age_seconds=12.34567),
        BatchUnpublishable(BATCH, 1),
        LeaseWasLost(BATCH, label),
        OutageMet(Where.LEDGER, label, text),
        BacklogSampled(7, 6, 5, 4, 3, 2),
        WorkerStarted("1.2.3", "worker-1", 2, 4, "native"),
        NativePassedOver("headsaw_native 0.0.9 is installed and 0.1.0 is needed"),
        DrainBegan(1, 2, 50.0),
        TaskDied("the task recovery ended", "ZeroDivisionError", "division by zero"),
        WorkerStopped(3, 4),
    ]
