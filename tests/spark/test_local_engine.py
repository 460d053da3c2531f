"""The engine on this machine, with small programs in the job's place: what runs, who finds it, how it ends."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from headsaw.adapters.spark_local import LocalSpark, check_requirements
from headsaw.core.delegation import RunState
from headsaw.core.model import BatchId
from headsaw.detached import Detached, detached, starting_place, stop_all
from headsaw.errors import UsageError
from headsaw.ports import Busy, SparkJob

JOB = SparkJob(BatchId("b1"), 1, "clicks", "s3://control/manifest.json", 10)
OTHER = SparkJob(BatchId("b2"), 1, "clicks", "s3://control/other.json", 10)
SLEEPS = ("sh", "-c", "sleep 60")
ENDS_SECONDS = 15.0


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "runs"
    stop_all(tmp_path / "runs")


def says(script: str) -> tuple[str, ...]:
    """A job that is this shell script; its arguments are the engine's."""
    return ("sh", "-c", script, "job")


def runs(pid: int) -> bool:
    """Whether that process is there, and not just its exit status."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def for_others(folder: Path) -> int:
    return folder.stat().st_mode & 0o077


async def started(engine: LocalSpark, job: SparkJob = JOB) -> str:
    run = await engine.start(job)
    assert isinstance(run, str), run
    return run


async def ended(engine: LocalSpark, run: str) -> RunState:
    async with asyncio.timeout(ENDS_SECONDS):
        while (status := await engine.status(run)).state is RunState.RUNNING:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.02)
    return status.state


async def test_a_run_gets_the_manifest_and_its_own_id(place: Path) -> None:
    engine = LocalSpark(place, command=says('echo "$@" > arguments'))
    run = await started(engine)
    assert await ended(engine, run) is RunState.SUCCEEDED
    assert (place / run / "arguments").read_text().split() == ["--manifest", JOB.manifest, "--run-id", run]
    assert run.startswith(f"{JOB.name}-")


async def test_any_worker_of_the_machine_finds_a_run_and_sees_how_it_stands(place: Path) -> None:
    run = await started(LocalSpark(place, command=SLEEPS))
    another = LocalSpark(place)
    assert await another.find(JOB) == run
    assert await another.find(OTHER) is None
    assert (await another.status(run)).state is RunState.RUNNING


async def test_a_run_outlives_the_worker_that_started_it(place: Path) -> None:
    worker = f"""
import asyncio, os, signal
from pathlib import Path
from headsaw.adapters.spark_local import LocalSpark
from tests.spark.test_local_engine import JOB
asyncio.run(LocalSpark(Path({str(place)!r}), command=("sh", "-c", "sleep 0.5")).start(JOB))
os.killpg(0, signal.SIGKILL)
"""
    command = [sys.executable, "-c", worker]
    ran = await asyncio.to_thread(subprocess.run, command, check=False, start_new_session=True, capture_output=True)
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    engine = LocalSpark(place)
    run = await engine.find(JOB)
    assert run is not None
    assert await ended(engine, run) is RunState.SUCCEEDED


async def test_a_job_is_started_once_however_many_workers_start_it(place: Path) -> None:
    engines = [LocalSpark(place, command=SLEEPS) for _ in range(8)]
    assert len({await run for run in asyncio.as_completed([engine.start(JOB) for engine in engines])}) == 1
    assert len(detached(place)) == 1


async def test_no_more_runs_than_allowed_are_at_work_over_all_workers(place: Path) -> None:
    first = LocalSpark(place, command=says("sleep 0.3"), runs_max=1)
    run = await started(first)
    second = LocalSpark(place, command=SLEEPS, runs_max=1)
    assert isinstance(await second.start(OTHER), Busy)
    await ended(first, run)
    assert isinstance(await second.start(OTHER), str)


async def test_a_failure_tells_the_exceptions_type_and_nothing_of_its_message(place: Path) -> None:
    script = 'echo ValueError: 7 >&2; echo "headsaw.errors.SourceUnreadable: missing: s3://b/secret.ndjson" >&2; exit 1'
    engine = LocalSpark(place, command=says(script))
    run = await started(engine)
    assert await ended(engine, run) is RunState.FAILED
    detail = (await engine.status(run)).detail
    assert detail == f"exit status 1, headsaw.errors.SourceUnreadable; see {place / run / 'out'}"
    assert "secret" in (place / run / "out").read_text()


async def test_a_run_that_is_killed_with_everything_around_it_is_gone(place: Path) -> None:
    engine = LocalSpark(place, command=SLEEPS)
    run = await started(engine)
    Detached(place / run).stop(signal.SIGKILL)
    assert await ended(engine, run) is RunState.GONE


async def test_a_job_that_is_killed_alone_has_failed(place: Path) -> None:
    engine = LocalSpark(place, command=says("kill -9 $$"))
    run = await started(engine)
    assert await ended(engine, run) is RunState.FAILED
    assert "exit status 137" in (await engine.status(run)).detail


async def test_a_run_that_nobody_knows_is_gone(place: Path) -> None:
    engine = LocalSpark(place, command=SLEEPS)
    run = await started(engine)
    assert (await engine.status(f"x{run}")).state is RunState.GONE


async def test_another_machines_run_is_believed_to_run(place: Path) -> None:
    engine = LocalSpark(place, command=SLEEPS)
    assert (await engine.status(f"{await started(engine)}-far-away")).state is RunState.RUNNING
    await engine.cancel("headsaw-b1-1-00000000.far-away")


async def test_a_cancelled_run_has_stopped_with_its_children(place: Path) -> None:
    engine = LocalSpark(place, command=says("sleep 60 & echo $! > child; wait"))
    run = await started(engine)
    async with asyncio.timeout(ENDS_SECONDS):
        while not (place / run / "child").exists():  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.02)
    await engine.cancel(run)
    assert (await engine.status(run)).state is RunState.STOPPED
    child = int((place / run / "child").read_text())
    assert not runs(child)


async def test_a_run_that_ignores_being_asked_is_killed(place: Path) -> None:
    script = "import signal, time; signal.signal(15, signal.SIG_IGN); open('ready', 'w'); time.sleep(60)"
    engine = LocalSpark(place, command=(sys.executable, "-c", script), stop_seconds=0.2)
    run = await started(engine)
    async with asyncio.timeout(ENDS_SECONDS):
        while not (place / run / "ready").exists():  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.02)
    await engine.cancel(run)
    assert await ended(engine, run) is RunState.GONE


async def test_what_never_came_to_run_is_neither_found_nor_counted(place: Path) -> None:
    """A worker that died in the middle of a start, before there was a process."""
    (place / f"{JOB.name}-00000000.here").mkdir(parents=True)
    engine = LocalSpark(place, command=SLEEPS, runs_max=1)
    assert await engine.find(JOB) is None
    assert await ended(engine, await started(LocalSpark(place, command=says("true"), runs_max=1))) is RunState.SUCCEEDED


async def test_runs_are_forgotten_a_day_after_their_end(place: Path) -> None:
    engine = LocalSpark(place, command=says("mkdir scratch"))
    old, fresh = await started(engine), await started(engine, OTHER)
    await ended(engine, old)
    await ended(engine, fresh)
    two_days_ago = time.time() - 2 * 86_400
    os.utime(place / old, (two_days_ago, two_days_ago))
    await started(engine, SparkJob(BatchId("b3"), 1, "clicks", "s3://control/third.json", 10))
    assert not (place / old).exists()
    assert (place / fresh).exists()
    assert not (place / fresh / "scratch").exists()


async def test_nobody_else_can_look_into_the_runs(place: Path) -> None:
    run = await started(LocalSpark(place, command=SLEEPS))
    assert [for_others(folder) for folder in (place, place / run)] == [0, 0]


async def test_a_place_that_cannot_be_written_is_busy_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    busy = await LocalSpark(tmp_path / "file" / "runs", command=SLEEPS).start(JOB)
    assert isinstance(busy, Busy)
    assert "file/runs" in busy.reason


async def test_an_interpreter_without_spark_is_busy_with_the_remedy(tmp_path: Path) -> None:
    bare = tmp_path / "python"
    bare.write_text("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'pyspark'\" >&2; exit 1\n")
    bare.chmod(0o700)
    java = {"JAVA_HOME": str(tmp_path)}
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "java").touch()
    with pytest.raises(UsageError, match=r"No module named 'pyspark'; install `headsaw\[spark\]`"):
        check_requirements(str(bare), environ=java)
    with pytest.raises(UsageError, match="can't be run"):
        check_requirements(str(tmp_path / "nothing"), environ=java)
    assert isinstance(await LocalSpark(tmp_path / "runs", python=str(bare)).start(JOB), Busy)


def test_a_machine_without_java_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="openjdk-17-jre-headless"):
        check_requirements(sys.executable, environ={})


async def test_starting_waits_for_whoever_starts_something(place: Path) -> None:
    engine = LocalSpark(place, command=SLEEPS)
    with starting_place(place):
        start = asyncio.create_task(engine.start(JOB))
        done, _ = await asyncio.wait({start}, timeout=0.2)
        assert not done
    assert isinstance(await start, str)
