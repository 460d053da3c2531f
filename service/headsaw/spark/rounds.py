"""Trying again, boundedly: passes over the cluster and the driver's own calls. What outlasts it ends the run.

A worker then decides what becomes of the batch: an outage costs it nothing but time.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from headsaw.core.commit import PendingUpload
from headsaw.core.delegation import GaveUp, Trouble
from headsaw.core.retry import OUTAGE_BACKOFF
from headsaw.errors import HeadsawError, Outage
from headsaw.spark.work import Converted, Failed, Looked, Outcome, Task, Work

T = TypeVar("T")
Result = TypeVar("Result", bound=Looked | Converted)

ROUNDS_MAX = 6
"""Tries of what an outage hinders; the pauses between them add up to a minute at most."""

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

    def retried(self, call: Callable[[], T]) -> T:
        """The call's result; raises GivingUp."""
        tried = 0
        while True:
            try:
                return call()
            except Outage as outage:
                tried += 1
                if tried == ROUNDS_MAX:
                    raise GivingUp(Trouble.OUTAGE, f"{type(outage).__name__}: {outage}") from outage
                self._wait(tried)

    def run(self, work: Work, tasks: Sequence[Task], kind: type[Result]) -> list[Result]:
        """Every task's result, in order; those that failed were tried again. Raises GivingUp."""
        results: dict[int, Result] = {}
        tried = 0
        while waiting := [at for at in range(len(tasks)) if at not in results]:
            failed: list[Failed] = []
            for at, outcome in zip(waiting, self._cluster.run(work, [tasks[at] for at in waiting]), strict=True):
                self.cpu_seconds += outcome.cpu_seconds
                if isinstance(outcome, Failed):
                    failed.append(outcome)
                    continue
                if not isinstance(outcome, kind):
                    raise TypeError(f"a task was asked for {kind.__name__} and answered {type(outcome).__name__}")
                results[at] = outcome
                self.uploads += outcome.uploads if isinstance(outcome, Converted) else ()
            tried += 1
            self._judge(failed, tried)
        return [results[at] for at in range(len(tasks))]

    def _judge(self, failed: Sequence[Failed], tried: int) -> None:
        """What failed may be tried again, after a pause; raises GivingUp if it may not."""
        for item in failed:
            self.say("task failed", trouble=item.trouble.value, reason=item.reason, round=tried)
            if tried >= (DATA_TRIES_MAX if item.trouble is Trouble.DATA else ROUNDS_MAX):
                raise GivingUp(item.trouble, item.reason)
        if failed:
            self._wait(tried)

    def _wait(self, tried: int) -> None:
        self._pause(OUTAGE_BACKOFF.wait(tried - 1, self._chance()))
