"""The metric sink's rules: which number each fact moves. A fact without a rule here fails the type check.

Labels are bounded: a text that is no code, or one too many, counts as `other`.
"""

from collections.abc import Iterable
from typing import assert_never

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from headsaw.core.breaker import Health
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
    WorkerStarted,
    WorkerStopped,
)
from headsaw.core.model import Batch
from headsaw.telemetry.instruments import (
    API_CALLS,
    BATCHES_HELD,
    BATCHES_UNFINISHED,
    MESSAGE_AGE,
    QUEUE_MESSAGES,
    WRITE_UNITS,
    Instruments,
)
from headsaw.telemetry.privacy import code_of

__all__ = [
    "API_CALLS",
    "BATCHES_HELD",
    "BATCHES_UNFINISHED",
    "MESSAGE_AGE",
    "QUEUE_MESSAGES",
    "WRITE_UNITS",
    "Metrics",
    "api_calls",
    "single_value",
]

OTHER = "other"

LABEL_VALUES_MAX = 100
"""Distinct values of a label whose values the code doesn't enumerate."""

DATASETS_MAX = 1000
"""Distinct datasets; their names come with batches and messages, so they are bounded too."""

BATCH_OUTCOMES = (
    "claimed",
    "done",
    "failed",
    "split",
    "retried",
    "released",
    "taken",
    "unpublishable",
    "delegated",
    "undone",
)
LINE_FATES = ("row", "quarantined", "blank", "filtered")
QUEUE_STATES = ("visible", "in_flight", "delayed")

_FAILURE_OUTCOMES = {"retry": "retried"}


class Metrics:
    """Facts as numbers. Series of the known datasets and engines exist from the start: the first event is a change."""

    def __init__(self, datasets: Iterable[str] = (), engines: Iterable[str] = ()) -> None:
        self._all = Instruments()
        self._codes: dict[str, set[str]] = {}
        self._datasets: set[str] = set()
        for fate in MessageFate:
            self._all.messages.labels(fate.value)
        for state in QUEUE_STATES:
            self._all.queue_messages.labels(state)
        for dataset in map(self._dataset, datasets):
            for outcome in BATCH_OUTCOMES:
                self._all.batches.labels(dataset, outcome)
            for fate_of_line in LINE_FATES:
                self._all.lines.labels(dataset, fate_of_line)
        for engine in engines:
            self._set_health(engine, Health.CLOSED)

    # --- facts

    def tell(self, fact: Fact) -> None:
        """Every number that the fact moves has moved."""
        match fact:
            case MessagesReceived() | MessagesSettled() | FilesSeen():
                self._intake(fact)
            case BatchClaimed() | BatchTaken() | BatchReleased() | LeaseWasLost():
                self._holding(fact)
            case BatchRouted() | BatchDelegated() | RunUndone() | EngineHealth():
                self._routing(fact)
            case BatchConverted() | BatchCommitted() | BatchDone() | BatchFailed() | BatchUnpublishable():
                self._outcome(fact)
            case OutageMet() | BacklogSampled():
                self._surroundings(fact)
            case WorkerStarted():
                self._all.worker.labels(fact.version).set(1)
            case NativePassedOver() | DrainBegan() | TaskDied() | WorkerStopped():
                pass  # the log tells them; whoever scrapes sees the worker go
            case _:
                assert_never(fact)

    def _intake(self, fact: MessagesReceived | MessagesSettled | FilesSeen) -> None:
        match fact:
            case MessagesReceived(count, oldest_seconds):
                self._all.messages_received.inc(count)
                self._all.message_age.set(oldest_seconds)
            case MessagesSettled(fate, count):
                self._all.messages.labels(fate.value).inc(count)
            case FilesSeen(outcome, count, dataset):
                self._all.files.labels(self._dataset(dataset), self._code("files", outcome)).inc(count)
            case _:
                assert_never(fact)

    def _holding(self, fact: BatchClaimed | BatchTaken | BatchReleased | LeaseWasLost) -> None:
        match fact:
            case BatchClaimed(batch):
                self._count_batch(batch, "claimed")
            case BatchTaken(batch):
                self._count_batch(batch, "taken")
            case BatchReleased(batch):
                self._count_batch(batch, "released")
            case LeaseWasLost(_, during):
                self._all.leases_lost.labels(self._code("during", during)).inc()
            case _:
                assert_never(fact)

    def _routing(self, fact: BatchRouted | BatchDelegated | RunUndone | EngineHealth) -> None:
        match fact:
            case BatchRouted(batch, engine):
                self._all.batches_routed.labels(self._dataset(batch.dataset), self._code("engine", engine)).inc()
            case EngineHealth(engine, health):
                self._set_health(engine, health)
            case BatchDelegated(batch):
                self._count_batch(batch, "delegated")
            case RunUndone(batch):
                self._count_batch(batch, "undone")
            case _:
                assert_never(fact)

    def _outcome(self, fact: BatchConverted | BatchCommitted | BatchDone | BatchFailed | BatchUnpublishable) -> None:
        match fact:
            case BatchConverted():
                self._all.conversion.observe(fact.seconds)
                self._all.conversion_cpu.inc(max(0.0, fact.cpu_seconds))
            case BatchCommitted():
                pass  # done follows, or the batch stays unfinished, which is counted
            case BatchDone():
                self._count_done(fact)
            case BatchFailed(batch, outcome):
                self._count_batch(batch, _FAILURE_OUTCOMES.get(outcome, outcome))
            case BatchUnpublishable(batch):
                self._count_batch(batch, "unpublishable")
            case _:
                assert_never(fact)

    def _surroundings(self, fact: OutageMet | BacklogSampled) -> None:
        match fact:
            case OutageMet(where, kind):
                self._all.outages.labels(where.value, self._code("kind", kind)).inc()
            case BacklogSampled():
                for state, count in zip(QUEUE_STATES, (fact.visible, fact.in_flight, fact.delayed), strict=True):
                    self._all.queue_messages.labels(state).set(count)
                self._all.batches_unfinished.set(fact.unfinished)
                self._all.batches_held.set(fact.held)
                self._all.files_buffered.set(fact.buffered)
            case _:
                assert_never(fact)

    def _count_done(self, fact: BatchDone) -> None:
        """Lines and bytes are counted here, once for each batch: attempts that roll back count nothing."""
        self._count_batch(fact.batch, "done")
        self._all.batch_age.observe(fact.age_seconds)
        counts = (fact.counts.rows, fact.counts.quarantined, fact.counts.blank, fact.counts.filtered)
        dataset = self._dataset(fact.batch.dataset)
        for fate, count in zip(LINE_FATES, counts, strict=True):
            self._all.lines.labels(dataset, fate).inc(count)
        self._all.rescued_values.inc(fact.rescued_values)
        self._all.rejected_files.inc(fact.rejected)
        self._all.bytes_in.inc(fact.bytes_in)
        self._all.bytes_out.inc(fact.bytes_out)

    def _set_health(self, engine: str, health: Health) -> None:
        for each in Health:
            self._all.engine_health.labels(self._code("engine", engine), each.value).set(each is health)

    def _count_batch(self, batch: Batch, outcome: str) -> None:
        self._all.batches.labels(self._dataset(batch.dataset), self._code("batches", outcome)).inc()

    # --- what isn't a fact

    def count_api_call(self, service: str, operation: str) -> None:
        """One request to AWS was made."""
        self._all.api_calls.labels(service, operation).inc()

    def count_write_units(self, units: float) -> None:
        """A write to the ledger consumed that much."""
        self._all.write_units.inc(units)

    def count_lost_line(self) -> None:
        """A log line could not be written."""
        self._all.log_lines_lost.inc()

    # --- reading

    def snapshot(self) -> dict[str, dict[str, int]]:
        """API calls so far, by service and operation."""
        return api_calls(self._all.api_calls.collect())

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """Body and content type of a scrape, in the format that its Accept header asks for."""
        return self._all.exposition(accept)

    # --- labels

    def _code(self, label: str, text: str) -> str:
        return _bounded(self._codes.setdefault(label, set()), code_of(text) or OTHER, LABEL_VALUES_MAX)

    def _dataset(self, name: str) -> str:
        return _bounded(self._datasets, name, DATASETS_MAX)


def api_calls(scraped: str | Iterable[Metric]) -> dict[str, dict[str, int]]:
    """API calls by service and operation, from the text of a scrape or from the metrics themselves."""
    families = text_string_to_metric_families(scraped) if isinstance(scraped, str) else scraped
    calls: dict[str, dict[str, int]] = {}
    for family in families:
        for sample in family.samples:
            if sample.name == API_CALLS:
                calls.setdefault(sample.labels["service"], {})[sample.labels["operation"]] = int(sample.value)
    return calls


def single_value(scraped: str, name: str) -> float:
    """The value of a metric without labels, from the text of a scrape; 0 where it isn't there."""
    for family in text_string_to_metric_families(scraped):
        for sample in family.samples:
            if sample.name == name:
                return float(sample.value)
    return 0.0


def _bounded(known: set[str], value: str, most: int) -> str:
    """The value while there is room for it, `other` afterwards."""
    if value not in known and len(known) >= most:
        return OTHER
    known.add(value)
    return value
