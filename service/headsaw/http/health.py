"""When a worker is ready, and when it lives: the rules, without HTTP. The clock is an argument.

Ready means that everything it needs was reached recently and that it isn't draining. One failed call changes
nothing: the work is retried, and only silence for `stale_seconds` makes a check fail. Alive means that no supervised
task has died.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headsaw.core.facts import Where
from headsaw.telemetry.privacy import code_of

REQUIRED = (Where.QUEUE, Where.LEDGER, Where.BUCKET)
"""What a worker can't do without. An engine or the DLQ may be away for a while."""


@dataclass(frozen=True, slots=True)
class Check:
    """Whether one part of the world was reached recently. Times since, in seconds; None for never."""

    where: Where
    ok: bool
    seconds_since_success: float | None
    seconds_since_failure: float | None
    failure: str | None

    def why(self, stale_seconds: float) -> str:
        """One sentence for people."""
        if self.seconds_since_success is None:
            reason = f"{self.where.value} was not reached yet"
        else:
            since, limit = f"{self.seconds_since_success:.0f} s", f"{stale_seconds:.0f} s"
            reason = f"{self.where.value} was last reached {since} ago (limit {limit})"
        return f"{reason}; last failure: {self.failure}" if self.failure else reason


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether work may be expected of this worker, and if not, every reason."""

    ready: bool
    draining: bool
    checks: tuple[Check, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Liveness:
    """Whether the process is worth keeping, and which of its tasks died."""

    alive: bool
    dead_tasks: tuple[str, ...]


class Health:
    """What a worker knows of its own state. `monotonic` never goes back; a check is stale after `stale_seconds`."""

    def __init__(
        self, monotonic: Callable[[], float], stale_seconds: float, required: Sequence[Where] = REQUIRED
    ) -> None:
        self._monotonic = monotonic
        self._stale_seconds = stale_seconds
        self._required = tuple(required)
        self._reached: dict[Where, float] = {}
        self._failed: dict[Where, tuple[float, str]] = {}
        self._draining = False
        self._dead: list[str] = []

    def reached(self, where: Where) -> None:
        """A call to it has just succeeded."""
        self._reached[where] = self._monotonic()

    def failed(self, where: Where, kind: str) -> None:
        """A call to it has just failed; `kind` is the error's name, never its text."""
        self._failed[where] = (self._monotonic(), code_of(kind) or "other")

    def draining(self) -> None:
        """The worker takes no more work, from now on."""
        self._draining = True

    def died(self, task: str) -> None:
        """A supervised task ended though it never should; there is no way back."""
        self._dead.append(task)

    def liveness(self) -> Liveness:
        """Whether the process is worth keeping."""
        return Liveness(not self._dead, tuple(self._dead))

    def verdict(self) -> Readiness:
        """Whether work may be expected of this worker now."""
        checks = tuple(self._check(where) for where in self._required)
        reasons = [check.why(self._stale_seconds) for check in checks if not check.ok]
        if self._draining:
            reasons.insert(0, "the worker is draining")
        reasons += [f"task {task} died" for task in self._dead]
        return Readiness(not reasons, self._draining, checks, tuple(reasons))

    def _check(self, where: Where) -> Check:
        now = self._monotonic()
        success = now - self._reached[where] if where in self._reached else None
        failed_at, kind = self._failed.get(where, (None, None))
        failure = None if failed_at is None else now - failed_at
        return Check(where, success is not None and success <= self._stale_seconds, success, failure, kind)
