"""A real worker process is killed at each step of the protocol; another one recovers, and every line is there once.

All crash points are tried on one emulator, a few at a time, each in a world of its own: waiting for leases to expire
is most of what they do.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest
import pytest_asyncio
from tests.chaos.die_at import CRASHES, OUTSIDE, RECORD
from tests.chaos.marked import Marked
from tests.chaos.side_by_side import side_by_side
from tests.chaos.verdict import drained, verdict
from tests.shell.test_run import document, ports, until, written

from headsaw.adapters.connect import Connected
from headsaw.config import load
from headsaw.core.model import SourceFile
from headsaw.demo.emulator import Endpoint
from headsaw.demo.notifications import Shape, notification
from headsaw.ports import Outgoing

pytestmark = [pytest.mark.emulator, pytest.mark.timeout(300)]

AT_ONCE = 4
LEASE_SECONDS = 3.0
DIE_SECONDS = 40.0
FILES = 100
"""More than one chunk of a claim."""

RECORDING = "undisturbed"


@dataclass(frozen=True)
class Recovered:
    """How each worker ended that was to die, and what is wrong after another one has recovered."""

    deaths: list[int]
    exit_status: int
    wrong: list[str]
    recording: set[str]


async def spawn(path: Path, endpoint: Endpoint, log: Path, *module: str) -> asyncio.subprocess.Process:
    environ = endpoint.environ({name: value for name, value in os.environ.items() if not name.startswith("HEADSAW_")})
    with log.open("ab") as output:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", *module, "run", "-c", str(path)), env=environ, stdout=output, stderr=output
        )


async def land(aws: Connected, name: str, marked: Marked) -> None:
    """Ten messages speak of a hundred files, which need two chunks: broken lines in one, and one is corrupt."""
    files = []
    for number in range(FILES):
        key = f"clicks/{number:03d}.ndjson{'.gz' if number == 42 else ''}"
        body = marked.corrupt(f"s3://{name}-landing/{key}", 3) if number == 42 else marked.file(3, [1] * (number == 7))
        await aws.store.put(f"{name}-landing", key, body)
        head = await aws.store.head(f"{name}-landing", key)
        assert head is not None
        files.append(SourceFile(f"{name}-landing", key, head.etag, head.size))
    bodies = [notification(Shape.S3, *files[at : at + 10], at=datetime.now(UTC)) for at in range(0, FILES, 10)]
    messages = [Outgoing(str(at), body, {}) for at, body in enumerate(bodies)]
    messages.append(Outgoing("records", marked.message(2), {"dataset": "clicks"}))
    assert await aws.queues[0].send(messages) == []


def configuration(endpoint: Endpoint, name: str) -> dict[str, Any]:
    content = document(
        endpoint, name, lease={"length": f"{LEASE_SECONDS:g}s"}, visibility="4s", drain={"grace": "3s"}, pollers=2
    )
    (dataset,) = content["datasets"]
    dataset["batch"] = {"max_files": FILES, "max_age": "0.8s"}
    dataset["partition_by"] = [{"field": "ts", "granularity": "day"}]
    dataset["schema"] = {"hints": {"ts": "timestamp"}}
    return content


async def kill_and_recover(folder: Path, endpoint: Endpoint, number: int, step: str) -> Recovered:
    """Workers die at the step, another one comes, and everything is counted."""
    name = f"crash-{number}"
    path = written(folder, configuration(endpoint, name), f"{name}.yaml")
    marked = Marked(Random(number))
    recording, log = folder / f"{name}.recording", folder / f"{name}.log"
    processes: list[asyncio.subprocess.Process] = []
    async with ports(path) as aws:
        await land(aws, name, marked)
        try:
            deaths = []
            for nth, _ in enumerate(CRASHES.get(step, ()), 1):
                processes.append(await spawn(path, endpoint, log, "tests.chaos.die_at", f"{step}#{nth}"))
                deaths.append(await asyncio.wait_for(processes[-1].wait(), DIE_SECONDS))
            module = ("tests.chaos.die_at", f"{RECORD}:{recording}") if step == RECORDING else ("headsaw",)
            processes.append(await spawn(path, endpoint, log, *module))

            async def done() -> bool:
                return await drained(aws)

            await until(done, 60.0)
            processes[-1].send_signal(signal.SIGTERM)
            status = await asyncio.wait_for(processes[-1].wait(), DIE_SECONDS)
        finally:
            for process in processes:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        wrong = await verdict(load(path, {}), aws, marked.truth)
    labels = set(recording.read_text().splitlines()) if recording.exists() else set()
    return Recovered(deaths, status, wrong, labels)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def recoveries(
    request: pytest.FixtureRequest, emulator: Endpoint, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[dict[str, "asyncio.Task[Recovered]"]]:
    """What came of each step that this run asks for."""
    folder = tmp_path_factory.mktemp("crashes")
    recover = partial(kill_and_recover, folder, emulator)
    async with side_by_side(request, "step", emulator, AT_ONCE, recover) as tasks:
        yield tasks


@pytest.mark.parametrize("step", CRASHES)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_worker_killed_at_any_step_loses_and_doubles_nothing(
    recoveries: dict[str, "asyncio.Task[Recovered]"], step: str
) -> None:
    recovered = await recoveries[step]
    assert recovered.deaths == [-signal.SIGKILL] * len(CRASHES[step])
    assert recovered.wrong == []
    assert recovered.exit_status == 0


@pytest.mark.parametrize("step", [RECORDING])
@pytest.mark.asyncio(loop_scope="module")
async def test_the_crash_points_are_all_the_effects_that_a_worker_has(
    recoveries: dict[str, "asyncio.Task[Recovered]"], step: str
) -> None:
    """An undisturbed worker's calls are recorded: a new kind of effect needs a crash point of its own."""
    recovered = await recoveries[step]
    assert recovered.wrong == []
    crashed_at = {crash.label for crashes in CRASHES.values() for crash in crashes}
    assert recovered.recording - OUTSIDE - crashed_at == set()
    only_after_a_fault = {name for name in crashed_at if "taken" in name or "released" in name}
    assert crashed_at - recovered.recording == only_after_a_fault | {"queue.set_visibility"}
