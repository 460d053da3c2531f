"""The log sink's rules: what each fact looks like as a line, and how important it is.

Messages are constant and lower-case, data goes into fields. Fields hold no object key and no record content; what might
is `detail`, which is written at DEBUG only. A fact without a rule here fails the type check.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

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
from headsaw.telemetry.privacy import code_of

Fields = Mapping[str, str | int | float]

DEBUG, INFO, WARNING, ERROR = logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR


@dataclass(frozen=True, slots=True)
class Entry:
    """One log line; `detail` may name object keys and is written at DEBUG only."""

    level: int
    message: str
    fields: Fields
    detail: str = ""


def entry(fact: Fact) -> Entry:
    """The line that tells `fact`."""
    match fact:
        case MessagesReceived() | MessagesSettled() | FilesSeen():
            return _intake(fact)
        case BatchClaimed() | BatchTaken() | BatchReleased() | LeaseWasLost():
            return _holding(fact)
        case BatchRouted() | BatchDelegated() | RunUndone() | EngineHealth():
            return _routing(fact)
        case BatchConverted() | BatchCommitted() | BatchDone() | BatchFailed() | BatchUnpublishable():
            return _outcome(fact)
        case OutageMet() | BacklogSampled():
            return _surroundings(fact)
        case WorkerStarted() | NativePassedOver() | DrainBegan() | TaskDied() | WorkerStopped():
            return _worker(fact)
        case _:
            assert_never(fact)


def _intake(fact: MessagesReceived | MessagesSettled | FilesSeen) -> Entry:
    match fact:
        case MessagesReceived(count, oldest_seconds):
            return Entry(DEBUG, "messages received", {"count": count, "oldest_seconds": _rounded(oldest_seconds)})
        case MessagesSettled(fate, count, reason):
            level = WARNING if fate is MessageFate.DEAD_LETTERED else DEBUG
            return Entry(level, "messages settled", {"fate": fate.value, "count": count} | _code(reason=reason), reason)
        case FilesSeen(outcome, count, dataset):
            return Entry(DEBUG, "files seen", _code(outcome=outcome) | {"count": count, "dataset": dataset})
        case _:
            assert_never(fact)


def _holding(fact: BatchClaimed | BatchTaken | BatchReleased | LeaseWasLost) -> Entry:
    named = _named(fact.batch)
    match fact:
        case BatchClaimed(batch, cause):
            size = {"files": batch.files, "bytes": batch.bytes}
            return Entry(DEBUG, "batch claimed", named | size | _code(cause=cause))
        case BatchTaken(_, from_state):
            return Entry(INFO, "batch taken over", named | _code(from_state=from_state))
        case BatchReleased(_, reason):
            return Entry(INFO, "batch released", named | _code(reason=reason), reason)
        case LeaseWasLost(_, during):
            return Entry(WARNING, "lease lost", named | _code(during=during))
        case _:
            assert_never(fact)


def _routing(fact: BatchRouted | BatchDelegated | RunUndone | EngineHealth) -> Entry:
    match fact:
        case BatchRouted(batch, engine, route):
            level = INFO if engine == "later" else DEBUG
            return Entry(level, "batch routed", _named(batch) | {"engine": engine, "route": route})
        case BatchDelegated(batch, engine, route):
            return Entry(INFO, "batch delegated", _named(batch) | {"engine": engine, "route": route})
        case RunUndone(batch, engine, reason):
            return Entry(WARNING, "spark run undone", _named(batch) | {"engine": engine}, reason)
        case EngineHealth(engine, health, failures, pause_seconds):
            level = WARNING if health is Health.OPEN else INFO
            state: Fields = {"engine": engine, "health": health.value, "failures": failures}
            return Entry(level, "engine health", {**state, "pause_seconds": _rounded(pause_seconds)})
        case _:
            assert_never(fact)


def _outcome(fact: BatchConverted | BatchCommitted | BatchDone | BatchFailed | BatchUnpublishable) -> Entry:
    named = _named(fact.batch)
    match fact:
        case BatchConverted():
            times = {"seconds": _rounded(fact.seconds), "cpu_seconds": _rounded(fact.cpu_seconds)}
            return Entry(DEBUG, "batch converted", named | _counted(fact) | times)
        case BatchCommitted():
            return Entry(DEBUG, "batch committed", named)
        case BatchDone():
            rest = {"rejected": fact.rejected, "age_seconds": _rounded(fact.age_seconds)}
            batch = fact.batch
            where = {"engine": batch.run.engine if batch.run else "inline", "route": batch.route or ""}
            return Entry(INFO, "batch done", named | _counted(fact) | rest | where)
        case BatchFailed(batch, outcome, reason):
            # The reason may quote a record: the ledger keeps it, `headsaw describe` shows it, no log does.
            level = ERROR if outcome == "failed" else WARNING
            return Entry(
                level, "batch failed", named | {"failures": batch.failures} | _code(outcome=outcome, reason=reason)
            )
        case BatchUnpublishable(_, missing):
            return Entry(ERROR, "batch unpublishable", named | {"missing": missing})
        case _:
            assert_never(fact)


def _surroundings(fact: OutageMet | BacklogSampled) -> Entry:
    match fact:
        case OutageMet(where, kind, detail):
            return Entry(WARNING, "outage met", {"where": where.value} | _code(kind=kind), detail)
        case BacklogSampled():
            queue = {"visible": fact.visible, "in_flight": fact.in_flight, "delayed": fact.delayed}
            batches = {"unfinished": fact.unfinished, "held": fact.held, "buffered": fact.buffered}
            return Entry(DEBUG, "backlog sampled", queue | batches)
        case _:
            assert_never(fact)


def _worker(fact: WorkerStarted | NativePassedOver | DrainBegan | TaskDied | WorkerStopped) -> Entry:
    match fact:
        case WorkerStarted(version, _, datasets, conversions, parser):
            fields: Fields = {"version": version, "datasets": datasets, "conversions": conversions, "parser": parser}
            return Entry(INFO, "worker started", fields)
        case NativePassedOver(reason):
            return Entry(WARNING, "native parser passed over", {"reason": reason})
        case DrainBegan(held, buffered, grace_seconds):
            return Entry(INFO, "drain began", {"held": held, "buffered": buffered, "grace_seconds": grace_seconds})
        case TaskDied(task, kind, detail):
            return Entry(ERROR, "worker task died", {"task": task, "kind": kind}, detail)
        case WorkerStopped(finished, released):
            return Entry(INFO, "worker stopped", {"finished": finished, "released": released})
        case _:
            assert_never(fact)


def _named(batch: Batch) -> dict[str, str | int | float]:
    """Which batch, which attempt, under which lease."""
    return {
        "batch": batch.id,
        "dataset": batch.dataset,
        "attempt": batch.attempt,
        "lease_epoch": batch.lease.epoch,
    }


def _counted(fact: BatchConverted | BatchDone) -> dict[str, str | int | float]:
    """Where the batch's lines and bytes went."""
    counts = fact.counts
    return {
        "files": fact.batch.files,
        "lines": counts.lines,
        "rows": counts.rows,
        "quarantined": counts.quarantined,
        "blank": counts.blank,
        "filtered": counts.filtered,
        "rescued_values": fact.rescued_values,
        "bytes_in": fact.bytes_in,
        "bytes_out": fact.bytes_out,
        "outputs": fact.outputs,
    }


def _code(**texts: str) -> dict[str, str | int | float]:
    """Those of the fields that are codes; prose is left out, as it may quote what it speaks about."""
    return {name: code for name, text in texts.items() if (code := code_of(text)) is not None}


def _rounded(seconds: float) -> float:
    """Milliseconds are enough for people."""
    return round(seconds, 3)
