"""Batches that this worker gave back and will look at again when they are due, instead of leaving them to a sweep.

A sweep would find them up to half a lease later: too long for a Spark run that is looked at every few seconds, and for
a batch that fails and is split down to the one file that can't be converted. What an outage made a worker give back
isn't expected: the trouble may be this worker's own, and another one shall have the same chance.
"""

import asyncio
from heapq import heappop, heappush

from headsaw.core.model import Batch, BatchId
from headsaw.ports import Clock
from headsaw.worker.inboxes import first_done

EXPECTED_MAX = 1000
"""More are left to the sweep."""


class Expected:
    """See the module. Whoever else takes such a batch first has it; nothing here is more than a reminder."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._soonest: list[tuple[float, BatchId]] = []
        self._added = asyncio.Event()

    def add(self, batch: Batch) -> None:
        """The batch is looked at when it is due, if it is anybody's and there is room."""
        if batch.due_at is None or batch.lease.owner is not None or len(self._soonest) >= EXPECTED_MAX:
            return
        heappush(self._soonest, (batch.due_at, batch.id))
        self._added.set()

    async def next(self) -> BatchId:
        """The next one that is due, when it is."""
        while True:
            self._added.clear()
            if not self._soonest:
                await self._added.wait()
                continue
            pause = self._soonest[0][0] - self._clock.now()
            if pause <= 0:
                return heappop(self._soonest)[1]
            await first_done([asyncio.ensure_future(wait) for wait in (self._clock.sleep(pause), self._added.wait())])
