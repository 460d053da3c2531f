"""What every Spark engine does, over moto's Glue and EMR and over this machine."""

import asyncio

import pytest
from engine_benches import EngineBench, job_of

from headsaw.adapters.engines import check_engines
from headsaw.core.delegation import RunState
from headsaw.errors import UsageError
from headsaw.ports import Busy, SparkJobs

ENDS_SECONDS = 15.0
LOOKS_MAX = 20
JOB = job_of("b1")


async def started(engine: SparkJobs, attempt: int = 1) -> str:
    run = await engine.start(job_of("b1", attempt))
    assert isinstance(run, str), run
    return run


async def ended(engine: SparkJobs, run: str) -> RunState:
    async with asyncio.timeout(ENDS_SECONDS):
        for _ in range(LOOKS_MAX):
            if (status := await engine.status(run)).state is not RunState.RUNNING:
                return status.state
            await asyncio.sleep(0.05)
    return RunState.RUNNING


async def test_a_run_that_was_started_is_at_work(engines: EngineBench) -> None:
    run = await started(engines.engine)
    assert (await engines.engine.status(run)).state is RunState.RUNNING


async def test_a_run_ends_with_success(engines: EngineBench) -> None:
    run = await started(engines.engine)
    await engines.release()
    assert await ended(engines.engine, run) is RunState.SUCCEEDED


async def test_a_run_is_found_by_its_job_and_by_no_other_attempt(engines: EngineBench) -> None:
    assert await engines.engine.find(JOB) is None
    run = await started(engines.engine)
    assert await engines.engine.find(JOB) == run
    assert await engines.engine.find(job_of("b1", 2)) is None
    assert await engines.engine.find(job_of("b")) is None
    second = await started(engines.engine, attempt=2)
    assert await engines.engine.find(job_of("b1", 2)) == second != run


async def test_a_run_that_has_ended_is_found_all_the_same(engines: EngineBench) -> None:
    """It was the attempt's run: what became of it decides what follows."""
    run = await started(engines.engine)
    await engines.release()
    await ended(engines.engine, run)
    assert await engines.engine.find(JOB) == run


async def test_a_run_that_never_was_is_gone(engines: EngineBench) -> None:
    await started(engines.engine)
    assert (await engines.engine.status(engines.unknown)).state is RunState.GONE


async def test_a_cancelled_run_stops_and_cancelling_it_again_is_no_error(engines: EngineBench) -> None:
    """A local run that doesn't end by itself in time is killed with all of its processes: nobody is left to tell."""
    run = await started(engines.engine)
    await engines.engine.cancel(run)
    assert await ended(engines.engine, run) in (RunState.STOPPED, RunState.GONE)
    await engines.engine.cancel(run)
    await engines.engine.cancel(engines.unknown)


async def test_an_engine_that_is_not_there_starts_nothing_and_says_why(engines: EngineBench) -> None:
    started = await engines.nowhere.start(JOB)
    assert isinstance(started, Busy)
    assert started.reason
    assert await engines.nowhere.find(JOB) is None


async def test_an_engine_that_is_there_passes_the_check_at_start(engines: EngineBench) -> None:
    await check_engines({"engine": engines.engine}, ["engine"])


async def test_an_engine_that_is_not_there_is_told_at_start_with_the_remedy(engines: EngineBench) -> None:
    with pytest.raises(UsageError, match=r"; (create|correct|install)"):
        await check_engines({"engine": engines.nowhere}, ["engine"])
    await check_engines({"engine": engines.nowhere}, ["none"])


@pytest.mark.parametrize("engine_place", ["local", "moto-emr-serverless"], indirect=True)
async def test_a_second_start_of_the_same_attempt_is_its_first_run(engines: EngineBench) -> None:
    """Where engines have client tokens; where they haven't, the ledger lets one driver register."""
    assert await started(engines.engine) == await started(engines.engine)


@pytest.mark.parametrize("engine_place", ["moto-glue"], indirect=True)
async def test_too_many_runs_at_once_are_told_apart_from_an_own_run_whose_start_was_lost(engines: EngineBench) -> None:
    glue = engines.engine
    first, second = await started(glue, 1), await started(glue, 2)
    third = await glue.start(job_of("b1", 3))
    assert isinstance(third, Busy)
    assert third.reason.startswith("ConcurrentRunsExceededException: ")
    assert await started(glue, 2) == second
    assert await ended(glue, first) is RunState.SUCCEEDED
    assert isinstance(await glue.start(job_of("b1", 3)), str)
