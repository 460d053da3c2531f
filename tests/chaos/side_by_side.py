"""Recoveries take seconds of waiting each, so those that a run of tests asks for go on side by side."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import pytest

from headsaw.demo.emulator import Endpoint

T = TypeVar("T")


@asynccontextmanager
async def side_by_side(
    request: pytest.FixtureRequest,
    parameter: str,
    emulator: Endpoint,
    at_once: int,
    recover: Callable[[int, str], Awaitable[T]],
) -> AsyncIterator[dict[str, "asyncio.Task[T]"]]:
    """`recover(number, value)` is under way for each value of the parameter that this module's chosen tests have.

    Meanwhile this process speaks to the emulator, and to no other AWS.
    """
    asked = [getattr(item, "callspec", None) for item in request.session.items if item.path == request.path]
    values = [value for spec in asked if spec and (value := spec.params.get(parameter))]
    gate = asyncio.Semaphore(at_once)

    async def gated(number: int, value: str) -> T:
        async with gate:
            return await recover(number, value)

    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in emulator.env.items():
            patch.setenv(name, value)
        tasks = {value: asyncio.create_task(gated(number, value)) for number, value in enumerate(values)}
        yield tasks
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
