"""Work beside the conversion's own thread: calls that hold no interpreter lock, in threads, or at once without any.

What comes out doesn't depend on the threads: results are taken in the order of the calls.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Background:
    """Up to `threads` calls at a time; with one thread, each call is done before `submit` returns."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="convert") if threads > 1 else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """No call is under way."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def submit(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        """What the call will have returned or raised."""
        if self._pool is not None:
            return self._pool.submit(call, *args, **kwargs)
        done: Future[T] = Future()
        try:
            done.set_result(call(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - whoever takes the result gets it
            done.set_exception(error)
        return done
