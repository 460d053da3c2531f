"""A batch that an operator's command holds: its lease is renewed while the work lasts, and its loss stops the work.

Like a worker's, the lease is only a courtesy: every transition is fenced by lease_epoch all the same.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from headsaw.core.lifecycle import Event, Release, Renew, advance
from headsaw.core.model import Batch
from headsaw.errors import LeaseLost, Outage
from headsaw.ports import Accepted, Clock, Ledger

T = TypeVar("T")


class Held:
    """The batch as the ledger holds it, as far as this command knows."""

    def __init__(self, ledger: Ledger, clock: Clock, batch: Batch, lease_seconds: float) -> None:
        self._ledger = ledger
        self._clock = clock
        self._lease_seconds = lease_seconds
        self._one_at_a_time = asyncio.Lock()
        self.batch = batch
        self.lost = False

    @property
    def released(self) -> bool:
        """Given back, or done with."""
        return self.batch.lease.owner is None

    async def advance(self, event: Event) -> Batch:
        """The transition is made. LeaseLost if it was refused: `batch` is then what the ledger holds, `lost` is set."""
        async with self._one_at_a_time:
            if self.lost:
                raise LeaseLost(f"batch {self.batch.id} isn't held any more")
            result = await self._ledger.apply(self.batch, advance(self.batch, event))
            if isinstance(result, Accepted):
                self.batch = result.batch
                return result.batch
            self.lost, self.batch = True, result.current or self.batch
            raise LeaseLost(f"batch {self.batch.id} was taken over by {self.batch.lease.owner or 'somebody'}")

    async def during(self, work: Coroutine[Any, Any, T]) -> T:
        """What the work returns; the lease is renewed meanwhile. If it is lost, the work is stopped: LeaseLost."""
        working = asyncio.create_task(work)
        renewing = asyncio.create_task(self._renew())
        try:
            await asyncio.wait({working, renewing}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                renewing.result()  # raises LeaseLost
            return await working
        finally:
            for task in (working, renewing):
                task.cancel()
            await asyncio.gather(working, renewing, return_exceptions=True)

    async def _renew(self) -> None:
        while True:
            await self._clock.sleep(self._lease_seconds / 3)
            if self.released:
                return
            try:
                await self.advance(Renew(self._clock.now() + self._lease_seconds))
            except Outage:
                continue  # tried again in a third; if it stays so, the lease ends, and the fence decides

    async def release(self, reason: str | None = None) -> None:
        """Due at once, if it is still held; otherwise its lease ends by itself."""
        if self.lost or self.released:
            return
        try:
            await self.advance(Release(self._clock.now(), reason))
        except (LeaseLost, Outage):
            return
