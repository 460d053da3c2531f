"""The process's clock, and its correction by a server's Date headers so that workers with wrong clocks agree."""

import asyncio
import time

from headsaw.ports import Clock


class SystemClock:
    """The machine's own time."""

    def now(self) -> float:
        """Unix seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """At least that long."""
        await asyncio.sleep(seconds)


class ServerOffset:
    """How far a server's clock is ahead of ours, as narrowly as its answers tell.

    An answer dated D (whole seconds, cut off) to a request sent at t0 and received at t1 was made when the server's
    clock read D or later, and less than D + 1. So the offset lies between D - t1 and D + 1 - t0, and the estimate is
    moved into that interval by as little as possible: it settles, and follows drift and steps of either clock.
    """

    __slots__ = ("seconds",)

    def __init__(self) -> None:
        self.seconds = 0.0

    def observe(self, date: float, sent_at: float, received_at: float) -> None:
        """`seconds` now agrees with this answer. Times in Unix seconds; an answer before its request is ignored."""
        if received_at < sent_at:  # our own clock was set back meanwhile
            return
        self.seconds = min(max(self.seconds, date - received_at), date + 1.0 - sent_at)


class LedgerClock:
    """A clock (by default the machine's) that agrees with the server whose Date headers it observes."""

    def __init__(self, local: Clock | None = None) -> None:
        self._local = local or SystemClock()
        self._offset = ServerOffset()

    @property
    def offset_seconds(self) -> float:
        """How far the server is ahead of the local clock."""
        return self._offset.seconds

    def local(self) -> float:
        """Unix seconds, uncorrected."""
        return self._local.now()

    def observe(self, date: float, sent_at: float, received_at: float) -> None:
        """The server said `date` (whole Unix seconds) between these two local times."""
        self._offset.observe(date, sent_at, received_at)

    def now(self) -> float:
        """Unix seconds, corrected."""
        return self._local.now() + self._offset.seconds

    def monotonic(self) -> float:
        """Seconds that never go back, uncorrected."""
        return self._local.monotonic()

    async def sleep(self, seconds: float) -> None:
        """At least that long."""
        await self._local.sleep(seconds)
