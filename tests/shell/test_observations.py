"""What a worker learns by itself: its datasets' pace, a backlog, and engines to leave alone."""

from dataclasses import replace

import pytest
from tests.shell.test_delegation import SPARK, delegated
from tests.shell.virtual_time import run
from tests.shell.world import Site

from headsaw.adapters.memory.spark import MemorySpark
from headsaw.core.breaker import FAILURES_MAX, PAUSE
from headsaw.core.conversion import ConversionReport, FileCounts, Rejection, RejectReason
from headsaw.core.facts import BatchRouted, EngineHealth
from headsaw.core.model import Batch, SparkRun
from headsaw.core.routing import Inline, Later, ToEngine
from headsaw.core.table_schema import TableSchema
from headsaw.ports import ConvertedBatch
from headsaw.worker.context import Context
from headsaw.worker.observations import LEFT_MAX, LEFT_SECONDS

GB = 10**9
ENGINE = {"min_bytes": GB, "inline_max": "60s", "bulk_files": 1000}


def at_work(site: Site, *, engines: bool = True) -> Context:
    spark = MemorySpark(site.ledger(), site.store, site.clock, site.random, site.context().world.converter)
    return site.context("w", SPARK, engines={"local": spark} if engines else {})


def converted(bytes_in: int, seconds: float = 1.0, *rejections: Rejection) -> ConvertedBatch:
    report = ConversionReport({0: FileCounts()}, rejections, (), TableSchema(), 0, bytes_in)
    return ConvertedBatch(report, (), 0.0, 0.0, seconds)


async def claimed(site: Site, stored: int) -> Batch:
    _, batch = await site.claimed("w", await site.land("clicks/a", "row", notify=0))
    return replace(batch, bytes=stored)


def test_an_expansion_that_was_seen_sends_the_next_batch_to_the_engine() -> None:
    async def scenario() -> None:
        site = Site([delegated(ENGINE)])
        observed, batch = at_work(site).observed, await claimed(site, 300_000_000)
        assert isinstance(observed.route(batch, site.datasets[0]), Inline)
        observed.converted(batch, converted(1_500_000_000))
        route = observed.route(batch, site.datasets[0])
        assert isinstance(route, ToEngine)
        assert route.reason.startswith("est. 1.5 GB (300 MB stored x 5.0)")
        assert observed.ndjson_bytes(batch) == 1_500_000_000
        assert [fact.engine for fact in site.facts if isinstance(fact, BatchRouted)] == ["inline", "local"]

    run(scenario())


def test_a_spark_report_teaches_the_expansion_and_not_the_worker_s_pace() -> None:
    async def scenario() -> None:
        site = Site([delegated(ENGINE)])
        observed, batch = at_work(site).observed, await claimed(site, 100_000_000)
        on_spark = replace(batch, run=SparkRun("local", 0.0, "run-1"))
        observed.converted(on_spark, converted(900_000_000, 5000.0))
        assert observed.ndjson_bytes(batch) == 900_000_000
        assert isinstance(observed.route(batch, site.datasets[0]), Inline), "it would be too slow by that pace"

    run(scenario())


def test_a_worker_that_turns_out_slow_hands_over_what_takes_it_too_long() -> None:
    async def scenario() -> None:
        site = Site([delegated(ENGINE)])
        observed, batch = at_work(site).observed, await claimed(site, 500_000_000)
        observed.converted(batch, converted(500_000_000, 120.0))
        route = observed.route(batch, site.datasets[0])
        assert route == ToEngine("local", "1 files, inline about 2 min > spark.inline_max 1m")

    run(scenario())


def test_a_batch_with_rejected_files_teaches_no_expansion() -> None:
    async def scenario() -> None:
        site = Site([delegated(ENGINE)])
        observed, batch = at_work(site).observed, await claimed(site, 1000)
        observed.converted(batch, converted(10, 1.0, Rejection(0, RejectReason.MISSING)))
        assert observed.ndjson_bytes(batch) == 1000

    run(scenario())


def test_a_backlog_begins_above_what_the_worker_can_take_and_ends_below_half_of_it() -> None:
    async def scenario() -> None:
        site = Site([delegated(ENGINE)])
        observed, (settings,) = at_work(site).observed, site.datasets
        takes = 2 * 60 * 50  # conversions, seconds, files a second before anything is known
        for visible, behind in ((takes, False), (takes + 1, True), (takes // 2 + 1, True), (takes // 2 - 1, False)):
            observed.sampled(visible)
            assert (observed.bulk(settings, 0) is not None) is behind
        assert observed.bulk(settings, takes) is not None, "what is buffered belongs to the backlog"

    run(scenario())


def test_an_engine_s_pause_is_told_and_waits_are_spread() -> None:
    async def scenario() -> None:
        site = Site([delegated(ENGINE)])
        observed, batch = at_work(site).observed, await claimed(site, 10**12)
        for _ in range(FAILURES_MAX):
            observed.engine_failed("local")
        (told,) = [fact for fact in site.facts if isinstance(fact, EngineHealth)]
        assert (told.engine, told.failures) == ("local", FAILURES_MAX)
        assert told.pause_seconds == pytest.approx(observed.engine_wait("local"))
        routes = [observed.route(batch, site.datasets[0]) for _ in range(20)]
        waits = [route.seconds for route in routes if isinstance(route, Later)]
        assert len(set(waits)) == 20
        assert min(waits) >= told.pause_seconds >= PAUSE.floor_seconds
        assert max(waits) <= 1.5 * told.pause_seconds

    run(scenario())


def test_a_batch_without_its_engine_is_left_to_others_and_not_found_again_by_the_same_worker() -> None:
    async def scenario() -> None:
        site = Site([delegated(ENGINE)])
        observed, batch = at_work(site, engines=False).observed, await claimed(site, 10**12)
        route = observed.route(batch, site.datasets[0])
        assert isinstance(route, Later)
        assert route.seconds == LEFT_SECONDS
        assert observed.left_to_others(batch.id)
        await site.clock.sleep(100.0)
        assert not observed.left_to_others(batch.id)

    run(scenario())


def test_what_a_worker_cannot_remember_to_leave_it_leaves_for_longer() -> None:
    async def scenario() -> None:
        site = Site([delegated(ENGINE)])
        observed, batch = at_work(site, engines=False).observed, await claimed(site, 10**12)
        for n in range(LEFT_MAX):
            observed.route(replace(batch, id=type(batch.id)(f"batch-{n}")), site.datasets[0])
        route = observed.route(batch, site.datasets[0])
        assert isinstance(route, Later)
        assert route.seconds > LEFT_SECONDS
        assert not observed.left_to_others(batch.id)

    run(scenario())
