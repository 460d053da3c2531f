"""Held batches: every transition of a batch that this worker holds goes through here, one at a time.

A lease is renewed at a third of its length. A lease that was refused to us cancels the work that it covered. A timer is
proof of nothing: a worker that slept past its lease renews it if nobody took the batch, and otherwise learns so from
the ledger; its transitions are fenced by lease_epoch all the same.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from headsaw.core.facts import LeaseWasLost, OutageMet, Where
from headsaw.core.lifecycle import Event, Renew, advance
from headsaw.core.model import Batch, BatchId
from headsaw.errors import HeadsawError, LeaseLost, ProtocolViolation
from headsaw.ports import Accepted, Refused
from headsaw.uninterrupted import uninterrupted
from headsaw.worker.context import Context


@dataclass(slots=True, eq=False)
class Held:
    """A batch whose lease this worker believes to hold. `work` is the task that the lease covers."""

    context: Context
    batch: Batch
    work: asyncio.Task[None] | None = None
    lost: bool = False
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def advance(self, event: Event) -> Batch:
        """The ledger and this value have made the transition. LeaseLost if it was refused: `batch` is then what the
        ledger holds. On an Outage nothing is known, and `batch` is unchanged. A cancellation waits for the write, so
        that what happened is known."""
        return await uninterrupted(self._advance(event))

    async def _advance(self, event: Event) -> Batch:
        async with self._one_at_a_time:
            if self.lost:
                raise LeaseLost(self.batch.id)
            if isinstance(event, Renew) and self.batch.lease.owner is None:
                return self.batch  # finished or given back while the renewal waited for its turn
            match await self.context.world.ledger.apply(self.batch, advance(self.batch, event)):
                case Accepted(batch):
                    self.batch = batch
                    return batch
                case Refused(current):
                    self.lost = True
                    self.batch = current or self.batch
                    raise LeaseLost(self.batch.id)

    async def renew(self) -> None:
        """The lease lasts longer, unless a transition is under way (which is as good), or the batch needs no lease."""
        if self._one_at_a_time.locked() or self.batch.lease.owner is None:
            return
        await self.advance(Renew(self.context.lease_until()))

    def cancel_work(self) -> None:
        """Whatever the lease covered stops."""
        if self.work is not None:
            self.work.cancel()


class LeaseKeeper:
    """All batches that this worker holds, and the task that renews them."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._held: dict[BatchId, Held] = {}

    def __len__(self) -> int:
        """How many are held."""
        return len(self._held)

    def __contains__(self, batch_id: BatchId) -> bool:
        """Whether this one is held."""
        return batch_id in self._held

    def hold(self, batch: Batch) -> Held:
        """The batch is renewed from now on."""
        if batch.id in self._held or batch.lease.owner != self._context.worker:
            raise ProtocolViolation(f"batch {batch.id} is held already, or isn't this worker's")
        held = self._held[batch.id] = Held(self._context, batch)
        return held

    def drop(self, held: Held) -> None:
        """The batch isn't renewed any more: it was released, finished or lost."""
        if self._held.get(held.batch.id) is held:
            del self._held[held.batch.id]

    def all(self) -> Iterable[Held]:
        """A snapshot."""
        return tuple(self._held.values())

    async def run(self) -> None:
        """For ever: looks at every lease often enough to renew it at a third of its length."""
        lease_seconds = self._context.limits.lease_seconds
        async with asyncio.TaskGroup() as renewals:  # one that hangs must not delay the others
            while True:
                await self._context.world.clock.sleep(lease_seconds / 6)
                now = self._context.world.clock.now()
                for held in self.all():
                    if not held.lost and held.batch.lease.until - now < lease_seconds * 2 / 3:
                        renewals.create_task(self._renew(held))

    async def _renew(self, held: Held) -> None:
        try:
            await held.renew()
        except LeaseLost:
            self._context.tell(LeaseWasLost(held.batch, "renewal"))
            held.cancel_work()
        except HeadsawError as error:
            self._context.tell(OutageMet(Where.LEDGER, type(error).__name__, str(error)))
