"""Retry policies return decisions; nothing sleeps here, and chance is an argument."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Capped exponential backoff with full jitter: the n-th wait is uniform in [floor, min(cap, base * 2^n)].

    Source: "Exponential Backoff And Jitter", AWS Architecture Blog. The floor keeps a lucky draw from spinning.
    """

    base_seconds: float
    cap_seconds: float
    floor_seconds: float = 0.05

    def wait(self, attempt: int, chance: float) -> float:
        """Seconds to wait before try `attempt` + 1 (attempt counts from 0); `chance` in [0, 1)."""
        ceiling = min(self.cap_seconds, self.base_seconds * 2.0 ** min(attempt, 32))
        return self.floor_seconds + max(0.0, ceiling - self.floor_seconds) * chance


CALL_BACKOFF = Backoff(base_seconds=0.05, cap_seconds=2.0)
"""Between tries of one ledger or queue call that answered "later"."""

OUTAGE_BACKOFF = Backoff(base_seconds=2.0, cap_seconds=300.0, floor_seconds=1.0)
"""Before a batch is tried again after an outage: for ever. The shell caps it at a lease, if that is less."""

POLL_BACKOFF = Backoff(base_seconds=0.5, cap_seconds=30.0, floor_seconds=0.2)
"""Between polls of a queue that doesn't answer."""

CALL_TRIES_MAX = 8
"""Tries of one call before it is an outage."""
