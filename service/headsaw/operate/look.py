"""What the ledger and the queues hold, at a glance. A scan of the ledger: for operators, not for workers."""

import heapq
from collections import Counter
from dataclasses import dataclass, field

from headsaw.config import ServiceSettings
from headsaw.core.model import Batch, BatchId, BatchState
from headsaw.operate.site import Ports
from headsaw.ports import QueueDepth


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """A queue and its approximate backlog."""

    url: str
    depth: QueueDepth


@dataclass(slots=True)
class DatasetStatus:
    """One dataset's batches. Times in ledger seconds; None where there is no such batch."""

    name: str
    configured: bool
    states: Counter[BatchState] = field(default_factory=Counter)
    files: int = 0
    rows: int = 0
    unfinished_files: int = 0
    oldest_unfinished_at: float | None = None
    last_done_at: float | None = None
    engines: Counter[str] = field(default_factory=Counter)
    """DELEGATED batches by engine."""

    def add(self, batch: Batch) -> None:
        """One batch more. A SPLIT one's files are its children's."""
        self.states[batch.state] += 1
        if batch.state is BatchState.DELEGATED and batch.run is not None:
            self.engines[batch.run.engine] += 1
        self.rows += batch.rows or 0
        self.files += batch.files if batch.state is not BatchState.SPLIT else 0
        if not batch.state.terminal:
            self.unfinished_files += batch.files
            self.oldest_unfinished_at = min(self.oldest_unfinished_at or batch.created_at, batch.created_at)
        if batch.state is BatchState.DONE and batch.finished_at is not None:
            self.last_done_at = max(self.last_done_at or 0.0, batch.finished_at)


@dataclass(frozen=True, slots=True)
class Status:
    """The whole service. `oldest` is the unfinished batch that was claimed first."""

    checked_at: float
    queues: tuple[QueueStatus, ...]
    dlq: QueueStatus
    datasets: tuple[DatasetStatus, ...]
    oldest: Batch | None

    @property
    def states(self) -> Counter[BatchState]:
        """Batches of all datasets by state."""
        return sum((dataset.states for dataset in self.datasets), Counter[BatchState]())

    @property
    def engines(self) -> Counter[str]:
        """DELEGATED batches of all datasets by engine."""
        return sum((dataset.engines for dataset in self.datasets), Counter[str]())

    @property
    def unfinished(self) -> int:
        """Batches that still have something to do."""
        return sum(count for state, count in self.states.items() if not state.terminal)


async def status(config: ServiceSettings, ports: Ports) -> Status:
    """Queues, DLQ, and every batch counted; also those of datasets that the configuration no longer has."""
    queues = tuple(
        [QueueStatus(url, await queue.depth()) for url, queue in zip(config.queue_urls, ports.queues, strict=True)]
    )
    dlq = QueueStatus(config.dlq_url, await ports.dlq.depth())
    datasets = {dataset.name: DatasetStatus(dataset.name, configured=True) for dataset in config.datasets}
    oldest: Batch | None = None
    async for batch in ports.ledger.batches():
        datasets.setdefault(batch.dataset, DatasetStatus(batch.dataset, configured=False)).add(batch)
        if not batch.state.terminal and (oldest is None or batch.created_at < oldest.created_at):
            oldest = batch
    return Status(ports.clock.now(), queues, dlq, tuple(datasets.values()), oldest)


async def batches(
    ports: Ports, *, state: BatchState | None = None, dataset: str | None = None, limit: int = 20
) -> list[Batch]:
    """The newest batches, newest first: ids sort by time."""
    newest: list[tuple[BatchId, Batch]] = []
    async for batch in ports.ledger.batches():
        if (state is None or batch.state is state) and (dataset is None or batch.dataset == dataset):
            entry = (batch.id, batch)
            if len(newest) < limit:
                heapq.heappush(newest, entry)
            else:
                heapq.heappushpop(newest, entry)
    return [batch for _, batch in sorted(newest, reverse=True)]
