"""What keeps a worker's readiness true while it has nothing to do: every part of the world is asked now and then."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import NoReturn

from headsaw.core.facts import Where
from headsaw.errors import HeadsawError
from headsaw.http.health import Health

Asks = Callable[[], Awaitable[object]]
"""A cheap call that succeeds if its part of the world can be reached; it has a timeout of its own."""


async def keep_checking(
    health: Health, checks: Mapping[Where, Asks], sleep: Callable[[float], Awaitable[None]], every_seconds: float
) -> None:
    """For ever: `health` knows how each check went, `every_seconds` after the last. A slow one delays no other."""
    async with asyncio.TaskGroup() as group:
        for where, ask in checks.items():
            group.create_task(_keep_asking(health, where, ask, sleep, every_seconds), name=f"check {where.value}")


async def _keep_asking(
    health: Health, where: Where, ask: Asks, sleep: Callable[[float], Awaitable[None]], every_seconds: float
) -> NoReturn:
    while True:
        try:
            await ask()
        except HeadsawError as error:  # an outage, or a table that somebody deleted: both are told, neither ends this
            health.failed(where, type(error).__name__)
        else:
            health.reached(where)
        await sleep(every_seconds)
