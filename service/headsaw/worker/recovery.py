"""Recovery: every worker walks the due index's shards and takes over what nobody advances. There is no leader.

A full cycle takes at most half a lease, from a random shard; within a page the order is random, so workers rarely race
for the same batch, and when they do the ledger lets one win.
"""

from headsaw.core.facts import BatchTaken, OutageMet, Where
from headsaw.core.lifecycle import Take, advance
from headsaw.core.model import Batch, BatchId, BatchState
from headsaw.errors import HeadsawError, ProtocolViolation
from headsaw.ports import DUE_SHARDS, Accepted
from headsaw.uninterrupted import uninterrupted
from headsaw.worker.context import Context
from headsaw.worker.expected import Expected
from headsaw.worker.leases import LeaseKeeper
from headsaw.worker.runner import Runner

PAGE_BATCHES = 25
HELD_MAX = 64
"""Batches that a worker rolls forward at once: each has its commit record in memory."""


class Recovery:
    """The sweep. It reads the index, then the batch itself, and believes only the latter."""

    def __init__(self, context: Context, keeper: LeaseKeeper, runner: Runner, expected: Expected) -> None:
        self._context = context
        self._keeper = keeper
        self._runner = runner
        self._expected = expected

    async def run(self) -> None:
        """For ever: one shard after another."""
        shard = self._context.random.randrange(DUE_SHARDS)
        pause = self._context.limits.lease_seconds / 2 / DUE_SHARDS
        while True:
            try:
                await self.sweep(shard)
            except HeadsawError as error:
                self._context.tell(OutageMet(Where.LEDGER, type(error).__name__, str(error)))
            shard = (shard + 1) % DUE_SHARDS
            await self._context.world.clock.sleep(pause)

    async def run_expected(self) -> None:
        """For ever: what this worker gave back, as soon as it is due."""
        while True:
            batch_id = await self._expected.next()
            try:
                if batch_id not in self._keeper:
                    await self._try_to_take(batch_id)
            except HeadsawError as error:  # a sweep will find it
                self._context.tell(OutageMet(Where.LEDGER, type(error).__name__, str(error)))

    async def sweep(self, shard: int) -> None:
        """Every due batch of the shard was looked at once."""
        cursor: object | None = None
        while True:
            now = self._context.world.clock.now()
            page = await self._context.world.ledger.due(shard, now, cursor, PAGE_BATCHES)
            candidates = list(page.batches)
            self._context.random.shuffle(candidates)
            for batch_id in candidates:
                if batch_id not in self._keeper:
                    await self._try_to_take(batch_id)
            cursor = page.cursor
            if cursor is None:
                return

    async def _try_to_take(self, batch_id: BatchId) -> None:
        if self._context.observed.left_to_others(batch_id):
            return
        try:
            batch = await self._context.world.ledger.batch(batch_id)
        except ProtocolViolation as newer:
            self._context.tell(OutageMet(Where.LEDGER, "ProtocolViolation", str(newer)))
            return
        now = self._context.world.clock.now()
        if batch is None or batch.due_at is None or batch.due_at > now or batch.lease.held(now):
            return
        if not self._wanted(batch):
            return
        await uninterrupted(self._take(batch))

    async def _take(self, batch: Batch) -> None:
        """Ours, and worked on, or somebody else's; never ours and forgotten."""
        taken = advance(batch, Take(self._context.worker, self._context.lease_until()))
        result = await self._context.world.ledger.apply(batch, taken)
        if isinstance(result, Accepted):
            self._context.tell(BatchTaken(result.batch, batch.state.value))
            self._runner.take(result.batch, recovered=True)

    def _wanted(self, batch: Batch) -> bool:
        """What only rolls forward, or looks at a Spark run, within a bound; a conversion if it could soon start."""
        match batch.state:
            case BatchState.PUBLISHING | BatchState.FAILING | BatchState.DELEGATED:
                return len(self._keeper) < HELD_MAX
            case _:
                return self._runner.has_room_for_recovered
