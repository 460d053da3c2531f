"""The circuit breaker of a Spark engine: an engine that only ever fails is left alone for a while, then tried once.

    CLOSED ──failures in a row──▶ OPEN ──after a pause──▶ HALF_OPEN (one trial) ──its driver is at work──▶ CLOSED
                                   ▲                          │
                                   └──────── a failure ───────┘   each time with a longer pause, up to a cap

A failure is the engine's: no answer, no capacity, a run that it lost, stopped, or let end before the driver had begun.
What a driver makes of its data proves the engine sound. Each worker has its own breakers, in memory.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from headsaw.core.delegation import GaveUp, RunState, RunStatus, SparkReport, Trouble
from headsaw.core.model import SparkRun
from headsaw.core.retry import Backoff

FAILURES_MAX = 3
"""In a row, until the engine is left alone."""

PAUSE = Backoff(base_seconds=30.0, cap_seconds=900.0, floor_seconds=15.0)
TRIAL_SECONDS = 600.0
"""A trial that nobody heard of for so long may be repeated: its batch may have gone to another worker."""

WAIT_SECONDS_MIN = 5.0
"""Whoever is sent away comes back no sooner."""


class Health(StrEnum):
    """What a worker thinks of an engine."""

    CLOSED = "closed"
    """It is sound: batches go to it."""

    HALF_OPEN = "half_open"
    """One batch tries it, the others wait."""

    OPEN = "open"
    """It is left alone."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """See the module. `failures` and `openings` are in a row; `until` ends the pause, or the patience with a trial."""

    health: Health = Health.CLOSED
    failures: int = 0
    openings: int = 0
    until: float = 0.0
    trial: str = ""

    def wait(self, now: float) -> float | None:
        """How long the engine is to be left alone; None if it may be asked now.

        While a trial is under way, its result may come at any moment: so others ask again soon.
        """
        if self.health is Health.CLOSED or now >= self.until:
            return None
        left = self.until - now if self.health is Health.OPEN else min(self.until - now, PAUSE.base_seconds)
        return max(WAIT_SECONDS_MIN, left)

    def asked(self, job: str, now: float) -> "Breaker":
        """That job goes to the engine; if there was a pause, it is the trial."""
        if self.health is Health.CLOSED:
            return self
        return replace(self, health=Health.HALF_OPEN, trial=job, until=now + TRIAL_SECONDS)

    def failed(self, now: float, chance: float) -> "Breaker":
        """The engine's fault, once more. During a pause nothing is made of it: that is about what began before."""
        if self.health is Health.OPEN and now < self.until:
            return self
        failures = self.failures + 1
        if self.health is Health.CLOSED and failures < FAILURES_MAX:
            return replace(self, failures=failures)
        until = now + PAUSE.wait(self.openings, chance)
        return Breaker(Health.OPEN, failures, self.openings + 1, until)

    def at_work(self, job: str) -> "Breaker":
        """The job's driver has registered. If that was the trial, others may follow; one more failure ends that."""
        if self.health is not Health.HALF_OPEN or job != self.trial:
            return self
        return Breaker(Health.CLOSED, FAILURES_MAX - 1, self.openings)

    def delivered(self) -> "Breaker":
        """A run came to an end of its own: the engine is sound."""
        return Breaker()


def engine_to_blame(run: SparkRun, status: RunStatus | None, report: SparkReport | GaveUp | None) -> bool:
    """Whether a run ended by the fault of the engine, or of what it was given: capacity, permissions, packages."""
    match report:
        case SparkReport() | GaveUp(Trouble.DATA):
            return False
        case GaveUp():  # it may lack a permission that workers have: left alone in the end, they take what they can
            return True
        case None:
            pass
    stopped = status is not None and status.state in (RunState.STOPPED, RunState.GONE)
    return stopped or run.driver is None
