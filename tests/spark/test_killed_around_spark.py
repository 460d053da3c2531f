"""Workers, drivers and whole runs are killed around a real Spark run: one published result, and no orphan.

Every scenario is a world of its own on one emulator, two at a time; a Spark run each is most of what they do.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest
import pytest_asyncio
from tests.chaos.die_at import SPARK_CRASHES
from tests.chaos.marked import Marked
from tests.chaos.side_by_side import side_by_side
from tests.chaos.test_crash_points import spawn
from tests.chaos.verdict import drained, verdict
from tests.shell.test_run import document, ports, until, written
from tests.spark.environment import PYTHON, need_spark

from headsaw.adapters.connect import Connected
from headsaw.config import load
from headsaw.core.model import Batch, BatchState, SourceFile
from headsaw.demo.emulator import Endpoint
from headsaw.demo.notifications import Shape, notification
from headsaw.detached import Detached, detached, stop_all
from headsaw.ports import Outgoing

pytestmark = [pytest.mark.emulator, pytest.mark.thorough, pytest.mark.timeout(400)]

AT_ONCE = 2
SECONDS = 150.0
"""For a run on a busy machine."""
REGISTERED = "driver registered"


def the_whole_run(run: Detached) -> None:
    run.stop(signal.SIGKILL)


def the_driver(run: Detached) -> None:
    """Only the job's process: what is around it tells how it ended."""
    group = (run.folder / "group").read_text().strip()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().split(b"\0")
            theirs = (process / "stat").read_text().rpartition(")")[2].split()[2]
        except OSError:  # it is gone
            continue
        if theirs == group and command[1:3] == [b"-m", b"headsaw.spark.job"]:
            os.kill(int(process.name), signal.SIGKILL)


KILLED_RUNS: dict[str, Callable[[Detached], None]] = {
    "the whole run, once its driver has registered": the_whole_run,
    "the driver, once it has registered": the_driver,
}


@dataclass(frozen=True)
class Recovered:
    """What came of a scenario: how workers died, what is wrong in the end, the runs, the batch."""

    deaths: list[int]
    wrong: list[str]
    runs: int
    batch: Batch


def configuration(endpoint: Endpoint, name: str, runs: Path) -> dict[str, Any]:
    spark = {"poll": "1s", "local": {"python": str(PYTHON), "folder": str(runs), "cores": 1}}
    content = document(endpoint, name, lease={"length": "3s"}, visibility="4s", drain={"grace": "3s"}, spark=spark)
    (dataset,) = content["datasets"]
    dataset["batch"] = {"max_files": 8, "max_age": "0.8s"}
    dataset["partition_by"] = [{"field": "ts", "granularity": "day"}]
    dataset["schema"] = {"hints": {"ts": "timestamp"}}
    dataset["spark"] = {"engine": "local", "min_bytes": "1B"}
    return content


async def land(aws: Connected, name: str, marked: Marked) -> None:
    """One message speaks of eight files: broken lines in one, and one is corrupt."""
    files = []
    for number in range(8):
        key = f"clicks/{number}.ndjson{'.gz' if number == 4 else ''}"
        body = marked.corrupt(f"s3://{name}-landing/{key}", 3) if number == 4 else marked.file(3, [1] * (number == 7))
        await aws.store.put(f"{name}-landing", key, body)
        head = await aws.store.head(f"{name}-landing", key)
        assert head is not None
        files.append(SourceFile(f"{name}-landing", key, head.etag, head.size))
    body = notification(Shape.S3, *files, at=datetime.now(UTC))
    assert await aws.queues[0].send([Outgoing("1", body, {})]) == []


async def kill_and_recover(folder: Path, endpoint: Endpoint, number: int, scenario: str) -> Recovered:
    """Somebody dies as the scenario says, somebody else comes, and everything is counted."""
    name, runs = f"spark-{number}", folder / f"runs-{number}"
    path = written(folder, configuration(endpoint, name, runs), f"{name}.yaml")
    log, marked = folder / f"{name}.log", Marked(Random(number))
    processes: list[asyncio.subprocess.Process] = []
    async with ports(path) as aws:
        await land(aws, name, marked)
        try:
            deaths = []
            for nth, _ in enumerate(SPARK_CRASHES.get(scenario, ()), 1):
                processes.append(await spawn(path, endpoint, log, "tests.chaos.die_at", f"{scenario}#{nth}"))
                deaths.append(await asyncio.wait_for(processes[-1].wait(), SECONDS))
            processes.append(await spawn(path, endpoint, log, "headsaw"))
            if (kill := KILLED_RUNS.get(scenario)) is not None:
                await until(lambda: registered(runs), SECONDS)
                await asyncio.to_thread(kill, detached(runs)[0])
            await until(lambda: done(aws), SECONDS)
        finally:
            for process in processes:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
            stop_all(runs)
        wrong = await verdict(load(path, {}), aws, marked.truth)
        (batch,) = [batch async for batch in aws.ledger.batches()]
    return Recovered(deaths, wrong, len(detached(runs)), batch)


def done(aws: Connected) -> Awaitable[bool]:
    return drained(aws)


async def registered(runs: Path) -> bool:
    return any(run.out.exists() and REGISTERED in run.out.read_text() for run in detached(runs))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def recoveries(
    request: pytest.FixtureRequest, emulator: Endpoint, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[dict[str, "asyncio.Task[Recovered]"]]:
    """What came of each scenario that this run asks for."""
    need_spark()
    folder = tmp_path_factory.mktemp("killed")
    recover = partial(kill_and_recover, folder, emulator)
    async with side_by_side(request, "scenario", emulator, AT_ONCE, recover) as tasks:
        yield tasks


@pytest.mark.parametrize("scenario", SPARK_CRASHES)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_worker_killed_around_a_run_costs_no_run_and_loses_and_doubles_nothing(
    recoveries: dict[str, "asyncio.Task[Recovered]"], scenario: str
) -> None:
    recovered = await recoveries[scenario]
    assert recovered.deaths == [-signal.SIGKILL] * len(SPARK_CRASHES[scenario])
    assert recovered.wrong == []
    assert (recovered.batch.state, recovered.batch.attempt, recovered.batch.failures) == (BatchState.DONE, 1, 0)
    assert recovered.runs == 1


@pytest.mark.parametrize("scenario", KILLED_RUNS)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_killed_run_is_done_again_and_nothing_of_it_is_published(
    recoveries: dict[str, "asyncio.Task[Recovered]"], scenario: str
) -> None:
    recovered = await recoveries[scenario]
    assert recovered.wrong == []
    assert (recovered.batch.state, recovered.batch.attempt) == (BatchState.DONE, 2)
    assert recovered.runs == 2
