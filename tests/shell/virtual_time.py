"""An event loop in which waiting costs nothing: when nothing is ready, time jumps to the next timer.

A scenario that draws its chances from one seeded generator takes the same course whenever it is run: nothing here asks
the machine for the time, and tasks hash by their number, so that a set of tasks has one order.
"""

import asyncio
import contextvars
import heapq
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

VIRTUAL_SECONDS_MAX = 30 * 86400.0


class _Idle(selectors.BaseSelector):
    """A selector that is never asked: there are no files."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return selectors.SelectorKey(fileobj, 0, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return selectors.SelectorKey(fileobj, 0, 0, None)

    def get_map(self) -> Any:
        return {}


class _Numbered(asyncio.Task[Any]):
    """A task whose hash is the same in every run."""

    def __init__(self, number: int, coro: Any, loop: asyncio.AbstractEventLoop, **options: Any) -> None:
        self._number = number
        super().__init__(coro, loop=loop, **options)

    def __hash__(self) -> int:
        return self._number


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its time moves to the next timer when nothing is ready; timers of one time come in the order of their making.

    The parts of asyncio's loop that every step needs are written anew, without what only real time and real files need:
    a simulation spends most of its time in them.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._tasks = 0
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._timers_made = 0
        super().__init__(_Idle())
        self.set_task_factory(self._make_task)

    def time(self) -> float:
        return self.now

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        self._timers_made += 1
        heapq.heappush(self._timers, (when, self._timers_made, timer))
        return timer

    def _run_once(self) -> None:
        """One turn: everything that is ready, after what is due by now."""
        ready, timers = self._ready, self._timers
        while timers and timers[0][2]._cancelled:
            heapq.heappop(timers)
        if not ready and not self._stopping:
            self._jump()
        while timers and timers[0][0] <= self.now:
            ready.append(heapq.heappop(timers)[2])
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()

    def _jump(self) -> None:
        if not self._timers:
            raise RuntimeError("deadlock: nothing is ready and no timer is set")
        self.now = max(self.now, self._timers[0][0])
        if self.now > VIRTUAL_SECONDS_MAX:
            raise RuntimeError("the scenario never ends")

    def _make_task(self, loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> _Numbered:
        self._tasks += 1
        return _Numbered(self._tasks, coro, loop, **options)


def run(scenario: Coroutine[Any, Any, T]) -> T:
    """The scenario's result, in virtual time. What it leaves running is cancelled.

    Not by asyncio.Runner: its handling of signals puts the finished task into words, with all that it returned.
    """
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(scenario)
    finally:
        loop.run_until_complete(_end_what_is_left(loop))
        loop.close()


async def _end_what_is_left(loop: asyncio.AbstractEventLoop) -> None:
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    await loop.shutdown_asyncgens()
