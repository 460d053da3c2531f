"""Trying again, boundedly: passes over the cluster and the driver's own calls. What outlasts it ends the run.

A worker then decides what becomes of the batch: an outage costs it nothing but time.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from headsaw.core.commit import PendingUpload
from headsaw.core.delegation import GaveUp, Trouble
from headsaw.core.retry import Backoff
from headsaw.errors import HeadsawError, Outage, UsageError
from headsaw.spark.work import Converted, Failed, Looked, Outcome, Rehearsed, Task, Work

T = TypeVar("T")
Result = TypeVar("Result", bound=Rehearsed | Looked | Converted)

BACKOFF = Backoff(base_seconds=2.0, cap_seconds=60.0, floor_seconds=1.0)
"""Before a call or a task that met an outage is tried again."""

OUTAGE_SECONDS_MAX = 720.0
"""Of pauses, until an outage ends the run: most are over by then, and a cluster that waits costs money."""

START_SECONDS_MAX = 60.0
"""The same before a driver has registered: nothing is lost yet."""

REPORT_SECONDS_MAX = 3600.0
"""The same of the report: all of the run would be lost with it."""

DATA_TRIES_MAX = 2
"""Tries of a task that fails for no outage: another executor may do better, a third won't."""


@dataclass(frozen=True, slots=True)
class Told:
    """Told about a run's progress: a constant message, and data."""

    message: str
    fields: dict[str, object]


class GivingUp(HeadsawError):  # noqa: N818 - what is happening
    """The run ends without a result."""

    def __init__(self, trouble: Trouble, reason: str) -> None:
        self.why = GaveUp(trouble, reason)
        super().__init__(reason)


class Cluster(Protocol):
    """Runs tasks side by side."""

    @property
    def cores(self) -> int:
        """Tasks that run at a time."""
        ...

    def run(self, work: Work, tasks: Sequence[Task]) -> list[Outcome]:
        """`tasks.perform` of each, in order, each with a number of its own; raises GivingUp."""
        ...


class Rounds:
    """`pause` sleeps, `chance` is random in [0, 1). `uploads` has what all tasks so far have left pending."""

    def __init__(
        self,
        cluster: Cluster,
        tell: Callable[[Told], None],
        chance: Callable[[], float],
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._cluster = cluster
        self._tell = tell
        self._chance = chance
        self._pause = pause
        self.uploads: list[PendingUpload] = []
        self.cpu_seconds = 0.0

    @property
    def cores(self) -> int:
        """Of the cluster."""
        return self._cluster.cores

    def say(self, message: str, **fields: object) -> None:
        """Told."""
        self._tell(Told(message, fields))

    def retried(self, call: Callable[[], T], seconds_max: float = OUTAGE_SECONDS_MAX) -> T:
        """The call's result; raises GivingUp once the pauses would take longer."""
        patience = _Patience(seconds_max)
        while True:
            try:
                return call()
            except Outage as outage:
                self._wait(patience, GaveUp(Trouble.OUTAGE, f"{type(outage).__name__}: {outage}"))
            except UsageError as error:  # an operator must act
                raise GivingUp(Trouble.OUTAGE, f"{type(error).__name__}: {error}") from error

    def run(
        self, work: Work, tasks: Sequence[Task], kind: type[Result], seconds_max: float = OUTAGE_SECONDS_MAX
    ) -> list[Result]:
        """Every task's result, in order; those that failed were tried again, with pauses. Raises GivingUp.

        As long as some tasks succeed, the outage that others meet costs no patience.
        """
        results: dict[int, Result] = {}
        failures = Counter[int]()
        patience = _Patience(seconds_max)
        while waiting := [at for at in range(len(tasks)) if at not in results]:
            failed: dict[int, Failed] = {}
            for at, outcome in zip(waiting, self._cluster.run(work, [tasks[at] for at in waiting]), strict=True):
                self.cpu_seconds += outcome.cpu_seconds
                if isinstance(outcome, Failed):
                    failed[at] = outcome
                    continue
                if not isinstance(outcome, kind):
                    raise TypeError(f"a task was asked for {kind.__name__} and answered {type(outcome).__name__}")
                results[at] = outcome
                self.uploads += outcome.uploads if isinstance(outcome, Converted) else ()
            if len(failed) < len(waiting):
                patience = _Patience(seconds_max)
            self._judge(failed, failures)
            if failed:
                first = min(failed.values(), key=lambda item: item.trouble is Trouble.DATA)
                self._wait(patience, GaveUp(first.trouble, first.reason))
        return [results[at] for at in range(len(tasks))]

    def _judge(self, failed: Mapping[int, Failed], failures: Counter[int]) -> None:
        """Those that the data may have caused are counted, by task; raises GivingUp where one has failed too often."""
        for at, item in failed.items():
            self.say("task failed", trouble=item.trouble.value, reason=item.reason, task=at)
            failures[at] += item.trouble is Trouble.DATA
            if failures[at] >= DATA_TRIES_MAX:
                raise GivingUp(Trouble.DATA, item.reason)

    def _wait(self, patience: "_Patience", why: GaveUp) -> None:
        """A pause is over; raises GivingUp instead if there were enough."""
        seconds = patience.pause(self._chance())
        if seconds is None:
            raise GivingUp(why.trouble, why.reason)
        self._pause(seconds)


class _Patience:
    """Growing pauses, up to so many seconds in all."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds
        self._tried = 0

    def pause(self, chance: float) -> float | None:
        """How long the next one is to be; None if that would be too long."""
        seconds = BACKOFF.wait(self._tried, chance)
        if seconds > self._left:
            return None
        self._left -= seconds
        self._tried += 1
        return seconds
