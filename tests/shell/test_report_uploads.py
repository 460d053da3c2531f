"""What a Spark run uploaded stays pending until its report is committed, however many workers fail to commit it."""

import asyncio
from collections import Counter
from typing import Any

from tests.shell.test_delegation import Works
from tests.shell.virtual_time import run
from tests.shell.world import Around, Running, ToyConverter

from headsaw.adapters.memory.spark import Behaviour
from headsaw.core.facts import LeaseWasLost, OutageMet
from headsaw.core.lifecycle import Take, Wait
from headsaw.core.model import BatchState, WorkerId
from headsaw.core.naming import COMMITS
from headsaw.errors import Unreachable


class WithoutRecords(Around):
    """A bucket that takes no commit record, so that whoever wants to commit meets an outage just before."""

    async def put(self, bucket: str, key: str, body: bytes, **options: Any) -> bool:
        if COMMITS in key:
            raise Unreachable("no answer")
        stored: bool = await self.port.put(bucket, key, body, **options)
        return stored


class SlowRecords(Around):
    """A bucket that takes its time to answer to a commit record."""

    async def put(self, bucket: str, key: str, body: bytes, **options: Any) -> bool:
        stored: bool = await self.port.put(bucket, key, body, **options)
        if COMMITS in key:
            await asyncio.sleep(1.0)
        return stored


def test_a_report_that_could_not_be_committed_is_taken_again_with_all_its_uploads() -> None:
    async def scenario() -> None:
        works = Works(Behaviour(seconds=30.0))
        await works.site.land("clicks/a", "row")
        converter = ToyConverter(works.site.store, works.site.clock, works.site.random)
        async with Running(works.worker("first", store=WithoutRecords(works.site.store), converter=converter)):
            while not works.told(OutageMet):
                await works.site.clock.sleep(1.0)
        assert len(works.site.store.pending_uploads("lake")) == 1
        async with Running(works.worker("second")):
            await works.site.settled()
        assert works.site.published() == Counter(["row"])
        assert (len(works.spark.runs), (await works.batch()).attempt) == (1, 1)

    run(scenario())


def test_a_zombie_that_took_a_report_leaves_its_uploads_to_whoever_holds_the_batch_now() -> None:
    async def scenario() -> None:
        works = Works(Behaviour(seconds=30.0))
        await works.site.land("clicks/a", "row")
        converter = ToyConverter(works.site.store, works.site.clock, works.site.random)
        async with Running(works.worker("zombie", store=SlowRecords(works.site.store), converter=converter)):
            await works.in_state(BatchState.DELEGATED)
            await works.spark.finished()
            while (batch := await works.batch()).lease.owner != "zombie":
                await works.site.clock.sleep(0.1)
            taken = await works.site.apply(batch, Take(WorkerId("other"), works.site.clock.now() + 100.0))
            while not works.told(LeaseWasLost):
                await works.site.clock.sleep(0.1)
            assert len(works.site.store.pending_uploads("lake")) == 1
        await works.site.apply(taken, Wait(works.site.clock.now()))
        async with Running(works.worker("third")):
            await works.site.settled()
        assert works.site.published() == Counter(["row"])
        assert (len(works.spark.runs), (await works.batch()).attempt) == (1, 1)

    run(scenario())
