"""An event loop in which waiting costs nothing: when nothing is ready, time jumps to the next timer.

A scenario that draws its chances from one seeded generator takes the same course whenever it is run: nothing here asks
the machine for the time, and tasks hash by their number, so that a set of tasks has one order.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

VIRTUAL_SECONDS_MAX = 30 * 86400.0


class _Jumping(selectors.BaseSelector):
    """A selector that never waits: it moves the loop's time by what it was asked to wait for."""

    def __init__(self) -> None:
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("deadlock: nothing is ready and no timer is set")
        if timeout > 0.0:
            self.now += timeout
            if self.now > VIRTUAL_SECONDS_MAX:
                raise RuntimeError("the scenario never ends")
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
    """Its time is the selector's."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        self._tasks = 0
        super().__init__(self._jumping)
        self.set_task_factory(self._make_task)

    def time(self) -> float:
        return self._jumping.now

    def _make_task(self, loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> _Numbered:
        self._tasks += 1
        return _Numbered(self._tasks, coro, loop, **options)


def run(scenario: Coroutine[Any, Any, T]) -> T:
    """The scenario's result, in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(scenario)
