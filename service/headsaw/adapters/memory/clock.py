"""Clocks that tests rule: one that stands still until it is moved, and one that follows a virtual-time event loop."""

import asyncio
import heapq
import itertools
from typing import Final

START: Final = 1_795_000_000.0
"""Where virtual time begins: November 2026, in Unix seconds."""

_SETTLE_TURNS = 25
"""Turns of the event loop that woken tasks get before time moves on: enough for the longest chain of plain awaits."""


class VirtualClock:
    """Time that passes only when it is told to, on any event loop. Sleepers wake in the order of their times."""

    def __init__(self, start: float = START) -> None:
        self._now = start
        self._start = start
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> float:
        """Unix seconds."""
        return self._now

    def monotonic(self) -> float:
        """Seconds since the start."""
        return self._now - self._start

    async def sleep(self, seconds: float) -> None:
        """Returns once the clock was moved that far; at once, after one turn of the loop, for nothing."""
        wake_at = self._now + seconds
        if wake_at <= self._now:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (wake_at, next(self._order), woken))
        await woken

    @property
    def next_wakeup(self) -> float | None:
        """When the next sleeper wakes, in Unix seconds; None if nobody sleeps."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else None

    def move_to(self, now: float) -> None:
        """It is `now`, and everyone who slept until then or earlier is woken. Time never goes back."""
        self._now = max(self._now, now)
        while (wakeup := self.next_wakeup) is not None and wakeup <= self._now:
            heapq.heappop(self._sleepers)[2].set_result(None)

    async def advance(self, seconds: float) -> None:
        """Time has passed, step by step: whoever woke within it has run, and may have slept and woken again."""
        until = self._now + seconds
        await _settle()
        while (wakeup := self.next_wakeup) is not None and wakeup <= until:
            self.move_to(wakeup)
            await _settle()
        self.move_to(until)
        await _settle()


class LoopClock:
    """Time as the running event loop tells it: under a virtual-time loop, virtual. `skew` makes it a wrong clock."""

    def __init__(self, start: float = START, skew: float = 0.0) -> None:
        self._start = start
        self.skew = skew

    def now(self) -> float:
        """Unix seconds."""
        return self._start + self.skew + self.monotonic()

    def monotonic(self) -> float:
        """The loop's seconds."""
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        """The loop's sleep."""
        await asyncio.sleep(max(0.0, seconds))


async def _settle() -> None:
    for _ in range(_SETTLE_TURNS):
        await asyncio.sleep(0)
