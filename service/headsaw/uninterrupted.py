"""Steps that must not be cut in half: a cancellation waits until they are through, however often it is repeated."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def uninterrupted(step: Coroutine[Any, Any, T]) -> T:
    """The step's outcome. Cancelled meanwhile, the step still runs to its end, and then CancelledError is raised."""
    task = asyncio.ensure_future(step)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not task.cancelled():
            task.exception()  # retrieved: whoever is cancelled doesn't hear of it
        raise cancelled
    return task.result()
