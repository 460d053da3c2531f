"""Batches that wait for Spark: whatever becomes of a start, a driver or a worker, each row is published once."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests.shell.virtual_time import run
from tests.shell.world import CONTROL, LIMITS, Around, Running, Site, ToyConverter, dataset

from headsaw.adapters.memory.spark import Behaviour, End, MemorySpark, Start
from headsaw.core.breaker import FAILURES_MAX, PAUSE, Health
from headsaw.core.commit import CommitRecord
from headsaw.core.delegation import RunState, RunStatus
from headsaw.core.facts import BatchFailed, BatchRouted, EngineHealth, Fact, OutageMet, RunUndone, Where
from headsaw.core.model import Batch, BatchId, BatchState
from headsaw.core.retry import OUTAGE_BACKOFF
from headsaw.core.settings import DatasetSettings, SparkSettings
from headsaw.errors import Unreachable
from headsaw.ports import SparkJob

S = BatchState
SPARK = replace(LIMITS, spark_poll_seconds=7.0, spark_run_seconds_max=400.0)


FOR_SPARK_ALONE = {"inline_max": "1ms", "bulk_files": 1, "bulk_bytes": 1}
"""Nothing is so quick that a worker would do it while the engine fails; and nothing is gathered in bulk."""


def delegated(spark: Mapping[str, Any], **batch: Any) -> DatasetSettings:
    """A dataset whose every batch is large enough for the engine `local`."""
    settings = {"engine": "local", "min_bytes": 1, **spark}
    return dataset(**batch).model_copy(update={"spark": SparkSettings.model_validate(settings)})


class Asked(Around):
    """An engine that notes when it was asked what."""

    def __init__(self, spark: MemorySpark, now: Callable[[], float]) -> None:
        super().__init__(spark)
        self._now = now
        self.looks: list[float] = []
        self.starts: list[float] = []

    async def status(self, run_id: str) -> RunStatus:
        self.looks.append(self._now())
        answer: RunStatus = await self.port.status(run_id)
        return answer

    async def start(self, job: SparkJob) -> Any:
        self.starts.append(self._now())
        return await self.port.start(job)


class Works:
    """A site whose dataset is converted by a Spark engine in memory."""

    def __init__(self, *behaviours: Behaviour, spark: Mapping[str, Any] = FOR_SPARK_ALONE, **batch: Any) -> None:
        """The n-th start goes as the n-th behaviour says; the last one holds for all that follow."""
        self.site = Site([delegated(spark, **batch)])
        started = iter(behaviours)
        last = behaviours[-1] if behaviours else Behaviour()
        converter = ToyConverter(self.site.store, self.site.clock, self.site.random)
        self.spark = MemorySpark(
            self.site.ledger(),
            self.site.store,
            self.site.clock,
            self.site.random,
            converter,
            lambda _job, _asked: next(started, last),
        )
        self.asked = Asked(self.spark, self.site.clock.now)

    def worker(self, name: str = "", **ports: Any) -> Any:
        return self.site.worker(name, SPARK, **{"engines": {"local": self.asked}, **ports})

    async def batch(self) -> Batch:
        (batch,) = [batch async for batch in self.site.ledger().batches()]
        return batch

    async def in_state(self, *states: BatchState, seconds: float = 60.0) -> Batch:
        """The only batch, as soon as it is in one of these states."""
        deadline = self.site.clock.now() + seconds
        while self.site.clock.now() < deadline:
            found = [batch async for batch in self.site.ledger().batches()]
            if found and found[0].state in states:
                return found[0]
            await self.site.clock.sleep(0.1)
        raise AssertionError(f"the batch never came to be {states}: {await self.site.states()}")

    async def started(self) -> Batch:
        """The only batch, once its run is known and nobody holds it."""
        while (batch := await self.in_state(S.DELEGATED)).run is None or batch.run.id is None:
            await self.site.clock.sleep(0.1)
        return batch

    def told(self, kind: type[Fact]) -> list[Any]:
        return [fact for fact in self.site.facts if isinstance(fact, kind)]

    async def record(self) -> CommitRecord:
        batch = await self.batch()
        assert batch.commit is not None
        return CommitRecord.from_json(await self.site.store.read_all(CONTROL.bucket, batch.commit.key))


async def published_once(works: Works, *workers: Any, seconds: float = 900.0, engine: str = "local") -> Batch:
    """Two files land; with these workers running, both are published once, by that engine; returns the batch."""
    await works.site.land("clicks/a", "row-a", "bad-a")
    await works.site.land("clicks/b", "row-b")
    async with Running(*(workers or (works.worker(),))):
        await works.site.settled(seconds)
    assert works.site.published() == Counter(["row-a", "row-b"])
    assert works.site.quarantined() == Counter(["bad-a"])
    assert (await works.record()).engine == engine
    return await works.batch()


def gaps(moments: Sequence[float]) -> list[float]:
    return [later - earlier for earlier, later in itertools.pairwise(moments)]


def undone(works: Works) -> list[str]:
    return [fact.reason for fact in works.told(RunUndone)]


# --- starting


def test_an_answered_start_is_recorded_and_its_result_published() -> None:
    async def scenario() -> None:
        works = Works(Behaviour(seconds=20.0))
        await works.site.land("clicks/a", "row")
        async with Running(works.worker()):
            batch = await works.started()
            assert batch.run is not None
            assert (batch.run.engine, batch.run.id) == ("local", "run-1")
            assert works.site.published() == Counter()
            await works.site.settled()
        assert works.site.published() == Counter(["row"])
        assert len(works.spark.runs) == 1

    run(scenario())


def test_a_start_whose_answer_was_lost_is_found() -> None:
    async def scenario() -> None:
        works = Works(Behaviour(Start.LOST, seconds=60.0))
        batch = await published_once(works)
        assert [run.id for run in works.spark.runs] == ["run-1"]
        assert (batch.attempt, batch.failures) == (1, 0)

    run(scenario())


def test_a_start_that_nobody_can_find_is_made_again_and_one_of_two_drivers_registers() -> None:
    async def scenario() -> None:
        works = Works(Behaviour(Start.LOST, hidden=True, queued_seconds=30.0), Behaviour(queued_seconds=20.0))
        batch = await published_once(works)
        assert batch.attempt == 1
        await works.spark.finished()
        first, second = works.spark.runs
        assert batch.run is not None
        assert (batch.run.id, batch.run.driver_run) == (second.id, second.id)
        assert first.status == RunStatus(RunState.SUCCEEDED, "another driver has the attempt, or it is over")

    run(scenario())


def test_the_run_that_was_started_unheard_may_be_the_one_that_registers() -> None:
    async def scenario() -> None:
        first = Behaviour(Start.LOST, hidden=True, queued_seconds=30.0, seconds=60.0)
        works = Works(first, Behaviour(queued_seconds=40.0))
        batch = await published_once(works)
        assert batch.run is not None
        assert (batch.attempt, batch.run.id, batch.run.driver_run) == (1, "run-2", "run-1")

    run(scenario())


def test_a_loser_that_ends_well_is_no_result_where_no_driver_knows_the_name_of_its_run() -> None:
    async def scenario() -> None:
        winner = Behaviour(Start.LOST, hidden=True, queued_seconds=30.0, seconds=90.0, knows_itself=False)
        works = Works(winner, Behaviour(queued_seconds=40.0, knows_itself=False))
        batch = await published_once(works)
        assert batch.run is not None
        assert (batch.attempt, batch.run.id, batch.run.driver_run) == (1, "run-2", None)

    run(scenario())


def test_a_start_that_did_not_get_through_is_made_again() -> None:
    async def scenario() -> None:
        works = Works(Behaviour(Start.UNREACHED), Behaviour())
        batch = await published_once(works)
        assert len(works.spark.runs) == 1
        assert (batch.attempt, batch.failures) == (1, 0)

    run(scenario())


def test_a_worker_that_dies_between_intent_and_start_leaves_a_batch_that_another_starts() -> None:
    class Hanging(Around):
        async def find(self, _job: SparkJob) -> str | None:
            await asyncio.sleep(1e6)
            return None

    async def scenario() -> None:
        works = Works()
        await works.site.land("clicks/a", "row")
        async with Running(works.worker(engines={"local": Hanging(works.spark)})):
            batch = await works.in_state(S.DELEGATED)
            assert batch.run is not None
            assert batch.run.id is None
        async with Running(works.worker()):
            await works.site.settled()
        assert works.site.published() == Counter(["row"])
        assert (len(works.spark.runs), (await works.batch()).failures) == (1, 0)

    run(scenario())


def test_a_busy_engine_is_asked_again_after_a_pause_and_the_batch_has_not_failed() -> None:
    async def scenario() -> None:
        works = Works(*[Behaviour(Start.BUSY)] * (FAILURES_MAX - 1), Behaviour())
        batch = await published_once(works)
        assert batch.failures == 0
        assert undone(works) == ["too many runs at once"] * (FAILURES_MAX - 1)
        assert min(gaps(works.asked.starts)) >= OUTAGE_BACKOFF.floor_seconds
        assert works.told(EngineHealth) == []

    run(scenario())


def test_how_often_a_run_was_looked_at_does_not_delay_the_next_attempt() -> None:
    async def scenario() -> None:
        ran = 300.0
        works = Works(Behaviour(seconds=ran, end=End.STOPPED), Behaviour())
        batch = await published_once(works)
        assert batch.lease.epoch > ran / SPARK.spark_poll_seconds
        (gap,) = gaps(works.asked.starts)
        pause = OUTAGE_BACKOFF.base_seconds * 2.0**1
        assert gap < ran + SPARK.spark_poll_seconds + pause + SPARK.lease_seconds

    run(scenario())


# --- an engine that only ever fails


@pytest.mark.parametrize("start", [Start.BUSY, Start.UNREACHED])
def test_an_engine_that_takes_nothing_is_left_alone_and_tried_once_after_a_pause(start: Start) -> None:
    async def scenario() -> None:
        works = Works(*[Behaviour(start)] * (FAILURES_MAX + 2), Behaviour(seconds=30.0))
        batch = await published_once(works, seconds=3600.0)
        assert batch.failures == 0
        told = [fact.health for fact in works.told(EngineHealth)]
        assert told == [Health.OPEN, *[Health.HALF_OPEN, Health.OPEN] * 2, Health.HALF_OPEN, Health.CLOSED]
        assert min(gaps(works.asked.starts)[FAILURES_MAX - 1 :]) >= PAUSE.floor_seconds

    run(scenario())


def test_an_engine_that_stops_every_run_is_left_alone_too() -> None:
    async def scenario() -> None:
        works = Works(*[Behaviour(seconds=5.0, end=End.STOPPED)] * (FAILURES_MAX + 1), Behaviour(seconds=30.0))
        await published_once(works, seconds=3600.0)
        told = [fact.health for fact in works.told(EngineHealth)]
        assert told[:3] == [Health.OPEN, Health.HALF_OPEN, Health.OPEN]
        assert told[-1] is Health.CLOSED

    run(scenario())


def test_a_job_that_only_ever_meets_outages_is_left_alone_and_the_worker_does_its_work() -> None:
    """A role without a permission that workers have, say: no end of runs would ever come of it."""

    async def scenario() -> None:
        works = Works(Behaviour(end=End.GIVES_UP_OUTAGE), spark={"inline_max": "10s"})
        batch = await published_once(works, seconds=3600.0, engine="inline")
        assert batch.failures == 0
        assert FAILURES_MAX <= len(works.asked.starts) <= FAILURES_MAX + 1  # with a trial, if its pause was short

    run(scenario())


@pytest.mark.parametrize("start", [Start.BUSY, Start.UNREACHED])
def test_while_an_engine_is_left_alone_a_worker_does_what_it_can(start: Start) -> None:
    async def scenario() -> None:
        works = Works(Behaviour(start), spark={"inline_max": "10s"})
        await works.site.land("clicks/a", "row")
        async with Running(works.worker()):
            await works.site.settled()
        assert works.site.published() == Counter(["row"])
        assert (await works.record()).engine == "inline"
        assert (await works.batch()).route == "local takes no runs now; inline takes about 0 s"
        assert len(works.asked.starts) == FAILURES_MAX

    run(scenario())


def test_a_start_given_up_while_its_engine_is_left_alone_may_have_been_one_and_publishes_nothing() -> None:
    async def scenario() -> None:
        unheard = Behaviour(Start.LOST, hidden=True, queued_seconds=300.0)
        works = Works(unheard, spark={"inline_max": "10s"})
        batch = await published_once(works, engine="inline")
        assert batch.failures == 0
        await works.spark.finished()
        assert {run.status.detail for run in works.spark.runs} == {"another driver has the attempt, or it is over"}
        assert works.site.published() == Counter(["row-a", "row-b"])

    run(scenario())


def test_one_batch_tries_the_engine_and_the_others_wait_until_its_driver_is_at_work() -> None:
    async def scenario() -> None:
        works = Works(*[Behaviour(Start.BUSY)] * 6, Behaviour(queued_seconds=20.0, seconds=300.0), max_files=1)
        for n in range(6):
            await works.site.land(f"clicks/{n}", f"row-{n}")
        async with Running(works.worker()):
            while not works.spark.runs:
                await works.site.clock.sleep(1.0)
            await works.site.clock.sleep(15.0)
            assert len(works.spark.runs) == 1
            assert works.told(EngineHealth)[-1].health is Health.HALF_OPEN
            waiting = [fact for fact in works.told(BatchRouted) if fact.engine == "later"]
            assert len({fact.batch.id for fact in waiting}) == 6
            await works.site.clock.sleep(100.0)
            assert works.told(EngineHealth)[-1].health is Health.CLOSED
            assert [run.status.state for run in works.spark.runs] == [RunState.RUNNING] * 6
            await works.site.settled(3600.0)
        assert works.site.published() == Counter([f"row-{n}" for n in range(6)])

    run(scenario())


def test_data_that_fails_on_every_run_says_nothing_against_the_engine() -> None:
    async def scenario() -> None:
        works = Works(Behaviour(end=End.GIVES_UP_DATA))
        await works.site.land("clicks/a", "row")
        async with Running(works.worker()):
            await works.site.settled(3600.0)
        assert await works.site.states() == Counter({S.FAILED: 1})
        assert works.told(EngineHealth) == []

    run(scenario())


# --- ends of a run


@pytest.mark.parametrize(
    ("behaviour", "reason", "counted"),
    [
        (Behaviour(end=End.GIVES_UP_DATA), "scripted failure", True),
        (Behaviour(end=End.FAILED), "local: scripted failure", True),
        (Behaviour(end=End.SILENT), "local: the run ended without a report", True),
        (Behaviour(end=End.GIVES_UP_OUTAGE), "scripted outage", False),
        (Behaviour(end=End.STOPPED), "local: no capacity", False),
        (Behaviour(end=End.GONE), "local: gone", False),
        (Behaviour(end=End.SILENT, registers=False), "local: the run ended without registering", False),
    ],
)
def test_only_what_the_data_may_be_to_blame_for_counts_as_a_failure(
    behaviour: Behaviour, reason: str, counted: bool
) -> None:
    async def scenario() -> None:
        works = Works(behaviour, Behaviour())
        batch = await published_once(works)
        assert (batch.attempt, batch.failures) == (2, int(counted))
        assert undone(works) == [reason]
        assert len(works.told(BatchFailed)) == int(counted)

    run(scenario())


def test_a_batch_that_only_ever_fails_on_spark_is_split_and_ends_in_the_dlq() -> None:
    async def scenario() -> None:
        works = Works(Behaviour(end=End.FAILED))
        await works.site.land("clicks/a", "row-a")
        await works.site.land("clicks/b", "row-b")
        async with Running(works.worker()):
            await works.site.settled(3600.0)
        assert await works.site.states() == Counter({S.SPLIT: 1, S.FAILED: 2})
        assert [letter["reason"] for letter in works.site.dead_letters()] == ["local: scripted failure"] * 2

    run(scenario())


def test_a_run_that_succeeds_after_its_attempt_was_given_up_publishes_nothing() -> None:
    async def scenario() -> None:
        works = Works(Behaviour(seconds=1000.0, deaf=True), Behaviour())
        batch = await published_once(works)
        assert batch.attempt == 2
        await works.spark.finished()
        late = works.spark.runs[0]
        assert (late.asked_to_stop, late.status.state) == (True, RunState.SUCCEEDED)
        reports = [key for key in works.site.store.visible("control", "headsaw/spark/") if "report-" in key]
        assert len(reports) == 2
        async with Running(works.worker()):
            await works.site.clock.sleep(120.0)
        assert works.site.published() == Counter(["row-a", "row-b"])

    run(scenario())


def test_a_run_that_takes_longer_than_the_limit_is_cancelled_and_undone() -> None:
    async def scenario() -> None:
        works = Works(Behaviour(seconds=1e5), Behaviour())
        batch = await published_once(works)
        assert (batch.attempt, batch.failures) == (2, 1)
        assert works.spark.runs[0].status == RunStatus(RunState.STOPPED, "cancelled")
        assert undone(works) == ["no result 400 s after the intent to start it"]

    run(scenario())


def test_a_run_that_nobody_can_ask_about_is_undone_when_its_time_is_over() -> None:
    class Mute(Asked):
        async def status(self, run_id: str) -> RunStatus:
            raise Unreachable(f"status of {run_id}")

    async def scenario() -> None:
        works = Works(Behaviour(end=End.FAILED), Behaviour())
        await published_once(works, works.worker(engines={"local": Mute(works.spark, works.site.clock.now)}))
        assert undone(works) == ["no result 400 s after the intent to start it"]

    run(scenario())


def test_a_run_whose_driver_registered_after_the_batch_was_read_is_not_undone() -> None:
    """A registration stops no takeover: what a worker read before it says of the run's end is out of date."""

    class Stale(Around):
        def __init__(self, ledger: Any) -> None:
            super().__init__(ledger)
            self.seen: set[BatchId] = set()

        async def batch(self, batch_id: BatchId) -> Batch | None:
            batch = await self.port.batch(batch_id)
            if batch is None or batch.run is None or batch.lease.owner is not None or batch_id in self.seen:
                return batch  # type: ignore[no-any-return]  # Around knows no types
            self.seen.add(batch_id)
            return replace(batch, run=replace(batch.run, driver=None, driver_run=None))

    async def scenario() -> None:
        works = Works(Behaviour())
        stale = Stale(works.site.ledger())
        batch = await published_once(works, works.worker(ledger=stale))
        assert stale.seen == {batch.id}
        assert (batch.attempt, undone(works)) == (1, [])

    run(scenario())


def test_a_rejected_file_of_a_report_is_dead_lettered_and_the_rest_published() -> None:
    async def scenario() -> None:
        works = Works()
        await works.site.land("clicks/good", "row")
        corrupt = await works.site.land("clicks/corrupt", "corrupt")
        async with Running(works.worker()):
            await works.site.settled()
        assert works.site.published() == Counter(["row"])
        assert [letter["reason"] for letter in works.site.dead_letters()] == ["corrupt_stream"]
        record = await works.site.ledger().file(corrupt.identity)
        assert record is not None
        assert record.mark == "rejected"

    run(scenario())


# --- looking after a run


def test_no_look_happens_sooner_than_the_poll_interval() -> None:
    async def scenario() -> None:
        works = Works(Behaviour(seconds=120.0))
        await published_once(works, works.worker(), works.worker(), works.worker())
        assert len(works.asked.looks) > 5
        assert min(gaps(works.asked.looks)) >= SPARK.spark_poll_seconds

    run(scenario())


def test_an_engine_that_does_not_answer_is_asked_no_more_often() -> None:
    class Mute(Asked):
        async def status(self, run_id: str) -> RunStatus:
            self.looks.append(self._now())
            raise Unreachable(f"status of {run_id}")

    async def scenario() -> None:
        works = Works(Behaviour(seconds=350.0))
        mute = Mute(works.spark, works.site.clock.now)
        await works.site.land("clicks/a", "row")
        async with Running(works.worker(engines={"local": mute}), works.worker(engines={"local": mute})):
            await works.site.clock.sleep(300.0)
        assert min(gaps(mute.looks)) >= SPARK.spark_poll_seconds
        assert {fact.where for fact in works.told(OutageMet)} == {Where.ENGINE}
        assert (await works.batch()).state is S.DELEGATED

    run(scenario())


def test_a_delegated_batch_is_nobodys_between_two_looks() -> None:
    async def scenario() -> None:
        works = Works(Behaviour(seconds=200.0), max_files=1)
        for n in range(100):
            await works.site.land(f"clicks/{n}", f"row-{n}")
        one = replace(SPARK, conversions=1)
        async with Running(works.site.worker("w", one, engines={"local": works.spark})):
            await works.site.clock.sleep(120.0)
            batches = [batch async for batch in works.site.ledger().batches()]
            assert len(batches) == 100
            assert {batch.state for batch in batches} == {S.DELEGATED}
            assert sum(batch.lease.owner is not None for batch in batches) <= 1
            await works.site.settled(1200.0)
        assert works.site.published() == Counter([f"row-{n}" for n in range(100)])

    run(scenario())


def test_a_worker_that_drains_leaves_the_run_alone_and_another_takes_its_report() -> None:
    async def scenario() -> None:
        works = Works(Behaviour(seconds=40.0))
        await works.site.land("clicks/a", "row")
        first = works.worker("first")
        async with Running(first) as (task,):
            await works.started()
            first.stop()
            await asyncio.wait_for(task, 30.0)
        assert works.spark.runs[0].status.state is RunState.RUNNING
        await works.spark.finished()
        async with Running(works.worker("second")):
            await works.site.settled()
        assert works.site.published() == Counter(["row"])
        assert (len(works.spark.runs), (await works.batch()).attempt) == (1, 1)

    run(scenario())


def test_a_worker_that_drains_in_the_middle_of_a_look_leaves_the_run_alone() -> None:
    class Slow(Asked):
        async def status(self, run_id: str) -> RunStatus:
            self.looks.append(self._now())
            await asyncio.sleep(1e6)
            return RunStatus(RunState.GONE, run_id)

    async def scenario() -> None:
        works = Works(Behaviour(seconds=60.0))
        slow = Slow(works.spark, works.site.clock.now)
        await works.site.land("clicks/a", "row")
        first = works.worker("first", engines={"local": slow})
        async with Running(first) as (task,):
            while not slow.looks:
                await works.site.clock.sleep(0.5)
            first.stop()
            await asyncio.wait_for(task, 30.0)
        batch = await works.batch()
        assert (batch.state, batch.lease.owner) == (S.DELEGATED, None)
        async with Running(works.worker("second")):
            await works.site.settled()
        assert works.site.published() == Counter(["row"])
        assert (len(works.spark.runs), (await works.batch()).attempt) == (1, 1)

    run(scenario())


def test_a_worker_that_dies_after_the_start_leaves_a_run_whose_report_another_takes() -> None:
    async def scenario() -> None:
        works = Works(Behaviour(seconds=30.0))
        await works.site.land("clicks/a", "row")
        async with Running(works.worker()):
            await works.started()
        await works.spark.finished()
        async with Running(works.worker()):
            await works.site.settled()
        assert works.site.published() == Counter(["row"])
        assert (len(works.spark.runs), (await works.batch()).attempt) == (1, 1)

    run(scenario())


def test_a_worker_without_the_engine_takes_a_finished_report_all_the_same() -> None:
    async def scenario() -> None:
        works = Works(Behaviour(seconds=30.0))
        await works.site.land("clicks/a", "row")
        async with Running(works.worker()):
            await works.started()
        await works.spark.finished()
        async with Running(works.worker(engines={})):
            await works.site.settled()
        assert works.site.published() == Counter(["row"])

    run(scenario())


def test_a_worker_without_the_engine_leaves_a_large_batch_to_another() -> None:
    async def scenario() -> None:
        works = Works(Behaviour(seconds=10.0))
        await works.site.land("clicks/a", "row")
        async with Running(works.worker("stranger", engines={})):
            await works.site.clock.sleep(100.0)
            batch = await works.batch()
            assert (batch.state, batch.lease.owner, batch.failures) == (S.READY, None, 0)
            assert "this worker has no local" in (batch.reason or "")
            assert 1 <= len(works.told(BatchRouted)) <= 3, "it asks itself once a minute, not at every sweep"
            async with Running(works.worker()):
                await works.site.settled()
        assert (await works.record()).engine == "local"

    run(scenario())


def test_a_worker_without_the_engine_leaves_a_run_that_is_at_work_to_itself() -> None:
    async def scenario() -> None:
        works = Works(Behaviour(seconds=60.0))
        await works.site.land("clicks/a", "row")
        async with Running(works.worker()):
            started = await works.started()
        async with Running(works.worker(engines={})):
            await works.site.clock.sleep(40.0)
            batch = await works.batch()
            assert (batch.state, batch.attempt, batch.run) == (S.DELEGATED, 1, replace_driver(started, batch))
            await works.site.settled()
        assert works.site.published() == Counter(["row"])
        assert len(works.spark.runs) == 1

    run(scenario())


def replace_driver(started: Batch, now: Batch) -> Any:
    """The run as it was started, with the driver that has registered since."""
    assert started.run is not None
    assert now.run is not None
    return replace(started.run, driver=now.run.driver, driver_run=now.run.driver_run)


def test_everything_goes_wrong_once_and_each_row_is_published_once() -> None:
    async def scenario() -> None:
        wrong = [
            Behaviour(Start.BUSY),
            Behaviour(Start.UNREACHED),
            Behaviour(Start.LOST, end=End.STOPPED, seconds=10.0),
            Behaviour(Start.LOST, hidden=True, end=End.GONE, seconds=5.0),
            Behaviour(end=End.GIVES_UP_OUTAGE, seconds=3.0),
            Behaviour(end=End.FAILED, seconds=4.0),
        ]
        works = Works(*wrong, Behaviour(seconds=5.0), max_files=3)
        for n in range(12):
            await works.site.land(f"clicks/{n}", f"row-{n}", notify=1 + n % 2)
        async with Running(works.worker(), works.worker(), works.worker()):
            await works.site.settled(3600.0)
        assert works.site.published() == Counter([f"row-{n}" for n in range(12)])
        assert works.site.dead_letters() == []

    run(scenario())
