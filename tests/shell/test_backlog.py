"""A backlog that workers can't take inline is gathered for Spark: one batch in place of many, claimed in many steps."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from tests.shell.test_delegation import SPARK, delegated
from tests.shell.virtual_time import run
from tests.shell.world import Around, Running, Site, ToyConverter, dataset

from headsaw.adapters.memory.spark import Behaviour, MemorySpark
from headsaw.core.breaker import FAILURES_MAX
from headsaw.core.facts import BatchClaimed, BatchTaken
from headsaw.core.lifecycle import Take, advance
from headsaw.core.model import Batch, BatchState, SourceFile, WorkerId
from headsaw.core.settings import DatasetSettings
from headsaw.errors import Unreachable
from headsaw.ports import CHUNK_SOURCES_MAX, Message
from headsaw.worker.claiming import claim
from headsaw.worker.context import Context
from headsaw.worker.inboxes import BUFFERED_MAX
from headsaw.worker.service import Worker

S = BatchState
BULK = {"min_bytes": "1GiB", "inline_max": "10s", "bulk_files": 500}
"""In ten seconds two conversions do a thousand files, as far as is known before any is done; then it turns out 400."""


class Distant(Around):
    """A queue at the other end of a network: so a worker has looked at its depth before it has read much of it."""

    async def receive(self, *, limit: int, wait_seconds: float, visibility_seconds: float) -> list[Message]:
        await asyncio.sleep(0.02)
        messages: list[Message] = await self.port.receive(
            limit=limit, wait_seconds=wait_seconds, visibility_seconds=visibility_seconds
        )
        return messages


class Backlog:
    """A site with so many files waiting, each with a row of its own, and workers that have a Spark engine."""

    def __init__(self, settings: DatasetSettings) -> None:
        self.site = Site([settings])
        converter = ToyConverter(self.site.store, self.site.clock, self.site.random)
        self.spark = MemorySpark(
            self.site.ledger(),
            self.site.store,
            self.site.clock,
            self.site.random,
            converter,
            lambda _job, _asked: Behaviour(seconds=20.0),
        )

    async def land(self, files: int) -> None:
        for n in range(files):
            await self.site.land(f"clicks/{n}", f"row-{n}")
        self.rows = Counter([f"row-{n}" for n in range(files)])

    def context(self, **ports: Any) -> Context:
        queue: Any = Distant(self.site.queue)
        return self.site.context("", SPARK, **{"queues": (queue,), "engines": {"local": self.spark}, **ports})

    def worker(self, **ports: Any) -> Worker:
        return Worker(self.context(**ports), self.site.datasets)

    async def batches(self) -> list[Batch]:
        return sorted([batch async for batch in self.site.ledger().batches()], key=lambda batch: -batch.files)

    def causes(self) -> Counter[str]:
        return Counter(fact.cause for fact in self.site.facts if isinstance(fact, BatchClaimed))


def by_engine(batches: Sequence[Batch]) -> Counter[str]:
    """Files by who converted them."""
    counted: Counter[str] = Counter()
    for batch in batches:
        counted[batch.run.engine if batch.run else "inline"] += batch.files
    return counted


def test_a_backlog_is_gathered_into_a_few_batches_for_the_engine() -> None:
    async def scenario() -> None:
        backlog = Backlog(delegated(BULK))
        await backlog.land(3000)
        async with Running(backlog.worker()):
            await backlog.site.settled()
        assert backlog.site.published() == backlog.rows
        batches = await backlog.batches()
        assert [batch.files for batch in batches][:4] == [500] * 4
        assert batches[0].chunks == 6
        assert "gathered in bulk" in (batches[0].route or "")
        assert by_engine(batches)["local"] >= 2000
        assert backlog.causes()["bulk"] >= 4

    run(scenario())


@pytest.mark.parametrize("spark", [{**BULK, "engine": "none"}, {**BULK, "engine": "glue"}])
def test_without_an_engine_that_the_worker_has_nothing_is_gathered(spark: Mapping[str, Any]) -> None:
    async def scenario() -> None:
        backlog = Backlog(delegated(spark))
        await backlog.land(1500)
        async with Running(backlog.worker(), backlog.worker()):
            await backlog.site.settled(3600.0)
        assert backlog.site.published() == backlog.rows
        batches = await backlog.batches()
        assert max(batch.files for batch in batches) == backlog.site.datasets[0].batch.max_files
        assert by_engine(batches) == Counter({"inline": 1500})
        assert "bulk" not in backlog.causes()

    run(scenario())


def test_nothing_is_gathered_for_an_engine_that_is_left_alone() -> None:
    async def scenario() -> None:
        backlog = Backlog(delegated(BULK))
        await backlog.land(1500)
        context = backlog.context()
        for _ in range(FAILURES_MAX + 5):
            context.observed.engine_failed("local")
        async with Running(Worker(context, backlog.site.datasets)):
            await backlog.site.clock.sleep(10.0)
            assert (await backlog.batches())[0].files == backlog.site.datasets[0].batch.max_files
        assert "bulk" not in backlog.causes()

    run(scenario())


def test_a_queue_that_workers_can_take_inline_is_not_gathered() -> None:
    async def scenario() -> None:
        backlog = Backlog(delegated(BULK))
        await backlog.land(300)
        async with Running(backlog.worker()):
            await backlog.site.settled(3600.0)
        assert backlog.site.published() == backlog.rows
        assert by_engine(await backlog.batches()) == Counter({"inline": 300})

    run(scenario())


def test_max_age_ends_the_gathering_also_far_from_the_target() -> None:
    async def scenario() -> None:
        backlog = Backlog(delegated({**BULK, "bulk_files": 20_000}, max_age=3.0))
        await backlog.land(2500)
        async with Running(backlog.worker()):
            await backlog.site.settled()
        assert backlog.site.published() == backlog.rows
        largest, *rest = await backlog.batches()
        assert 1000 < largest.files <= 2500
        assert len(rest) < 50
        assert "max_age" in backlog.causes()

    run(scenario())


def test_a_worker_whose_conversions_are_all_taken_goes_on_gathering_for_the_engine() -> None:
    async def scenario() -> None:
        backlog = Backlog(delegated(BULK))
        slow = ToyConverter(backlog.site.store, backlog.site.clock, backlog.site.random, seconds=300.0)
        await backlog.land(100)
        async with Running(backlog.worker(converter=slow)):
            await backlog.site.clock.sleep(5.0)
            left = (await backlog.site.queue.depth()).visible
            assert left > 0, "it has enough for now, and doesn't poll"
            await backlog.land(3100)
            await backlog.site.clock.sleep(60.0)
            assert (await backlog.site.queue.depth()).visible == 0
            assert by_engine(await backlog.batches())["local"] >= 2000

    run(scenario())


def test_what_a_worker_gathers_stays_within_its_bound() -> None:
    settings = delegated({**BULK, "bulk_files": 25_000})
    assert 2 * settings.spark.bulk_files <= BUFFERED_MAX


# --- claiming thousands of files


async def sources(site: Site, count: int) -> list[SourceFile]:
    return [await site.land(f"clicks/{n}", f"row-{n}", notify=0) for n in range(count)]


class Slow(Around):
    """A ledger that takes a second for each further chunk, and notes until when the lease lasted when it was asked."""

    def __init__(self, port: Any, clock: Any) -> None:
        super().__init__(port)
        self._clock = clock
        self.left: list[float] = []

    async def extend(self, batch: Batch, chosen: Any, lease_until: float) -> Any:
        self.left.append(batch.lease.until - self._clock.now())
        await asyncio.sleep(1.0)
        return await self.port.extend(batch, chosen, lease_until)


def test_the_lease_is_renewed_for_as_long_as_a_claim_takes() -> None:
    async def scenario() -> None:
        site = Site()
        context = site.context("claims")
        await context.world.ledger.put_settings(site.datasets[0])
        slow = Slow(site.ledger(), site.clock)
        patient = site.context("claims", ledger=slow)
        async with Running(site.worker("recovers")):  # which would take over a batch whose lease has ended
            outcome = await claim(patient, site.datasets[0].name, site.datasets[0].hash, await sources(site, 5000))
        assert len(slow.left) == 51 > 4 * SPARK.lease_seconds
        assert min(slow.left) > SPARK.lease_seconds / 2
        assert outcome.batch is not None
        assert (outcome.batch.state, outcome.batch.files, outcome.batch.chunks) == (S.READY, 5000, 52)
        assert len(await site.ledger().sources(outcome.batch)) == 5000
        assert [fact for fact in site.facts if isinstance(fact, BatchTaken)] == []

    run(scenario())


class Failing(Around):
    """A ledger that answers nothing from the n-th further chunk on."""

    def __init__(self, port: Any, chunks: int) -> None:
        super().__init__(port)
        self._left = chunks

    async def extend(self, batch: Batch, chosen: Any, lease_until: float) -> Any:
        self._left -= 1
        if self._left < 0:
            raise Unreachable("extend")
        return await self.port.extend(batch, chosen, lease_until)


def test_an_open_batch_that_its_worker_left_is_sealed_as_it_stands_and_the_rest_claimed_again() -> None:
    async def scenario() -> None:
        site = Site([dataset(max_files=1000)])
        for n in range(1000):
            await site.land(f"clicks/{n}", f"row-{n}")
        dying: Any = Failing(site.ledger(), chunks=3)
        async with Running(site.worker("dies", ledger=dying)):
            while not (found := [batch async for batch in site.ledger().batches()]) or found[0].chunks < 4:
                await site.clock.sleep(0.5)
            assert (found[0].state, found[0].files) == (S.OPEN, 4 * CHUNK_SOURCES_MAX)
        async with Running(site.worker("recovers")):
            await site.settled()
        assert site.published() == Counter([f"row-{n}" for n in range(1000)])
        batches = [batch async for batch in site.ledger().batches()]
        assert {batch.state for batch in batches} == {S.DONE}
        assert sum(batch.files for batch in batches) == 1000
        assert 4 * CHUNK_SOURCES_MAX in [batch.files for batch in batches]
        taken = [fact for fact in site.facts if isinstance(fact, BatchTaken)]
        assert [fact.from_state for fact in taken][:1] == ["OPEN"]

    run(scenario())


def test_a_claim_whose_batch_was_taken_over_stops_and_leaves_the_rest_for_later() -> None:
    async def scenario() -> None:
        site = Site()
        context = site.context("claims")
        await context.world.ledger.put_settings(site.datasets[0])

        class Robbed(Around):
            async def extend(self, batch: Batch, chosen: Any, lease_until: float) -> Any:
                if batch.chunks == 3:
                    stolen = advance(batch, Take(WorkerId("thief"), lease_until))
                    await site.ledger().apply(batch, stolen)
                return await self.port.extend(batch, chosen, lease_until)

        robbed: Any = Robbed(site.ledger())
        files = await sources(site, 1000)
        outcome = await claim(
            site.context("claims", ledger=robbed), site.datasets[0].name, site.datasets[0].hash, files
        )
        assert outcome.batch is None
        assert outcome.claimed == tuple(range(3 * CHUNK_SOURCES_MAX))
        assert outcome.unsettled == tuple(range(3 * CHUNK_SOURCES_MAX, 1000))
        (batch,) = [batch async for batch in site.ledger().batches()]
        assert (batch.state, batch.files, batch.lease.owner) == (S.READY, 3 * CHUNK_SOURCES_MAX, "thief")

    run(scenario())


def test_thousands_of_files_of_which_many_are_known_are_claimed_without_them() -> None:
    async def scenario() -> None:
        site = Site()
        context = site.context("claims")
        await context.world.ledger.put_settings(site.datasets[0])
        files = await sources(site, 2000)
        name, settings = site.datasets[0].name, site.datasets[0].hash
        first = await claim(context, name, settings, files[::3])
        second = await claim(context, name, settings, files)
        assert first.batch is not None
        assert second.batch is not None
        assert second.duplicates == tuple(range(0, 2000, 3))
        assert second.batch.files == 2000 - first.batch.files
        assert second.batch.state is S.READY

    run(scenario())
