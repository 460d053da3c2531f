"""Chaos with real processes: everything fails for some minutes, then nothing does, and each line is counted.

N workers reach the emulator through a proxy that injects faults. They are killed, paused past their leases, restarted,
given wrong clocks, and their disks run full. Every line has an id; in the end each is found exactly once.
"""

import asyncio
import contextlib
import json
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import yaml
from tests.chaos.arrivals import LANDING, SMALL, WIDE, arrive
from tests.chaos.crew import Crew, environment, faketime_library
from tests.chaos.disk import SmallDisk, small_disk
from tests.chaos.faults import Faults
from tests.chaos.marked import Marked, Truth
from tests.chaos.proxy import Proxy
from tests.chaos.verdict import drained, verdict

from headsaw.adapters.connect import Connected, connect
from headsaw.adapters.local import create_resources
from headsaw.config import ServiceSettings, load
from headsaw.demo.emulator import Emulator, Endpoint

DRAIN_SECONDS = 180.0
EXPECTED = frozenset({"Throttled", "Unreachable", "AccessDenied", "Outage"})
"""What a worker may meet; anything else that it tells of is a bug of its own."""


@dataclass(frozen=True)
class Plan:
    """What the command line says."""

    minutes: float
    workers: int
    lease_seconds: float
    seed: int
    folder: Path
    fault_share: float = 0.35
    leases_to_done: float = 3.0
    files_a_second: float = 4.0
    wide_every: float = 10.0
    kill_every: float = 1.7
    pause_every: float = 6.0
    restart_every: float = 25.0


@dataclass
class Report:
    """What happened, and what was wrong."""

    plan: Plan
    faults: Faults
    truth: Truth
    crew: Crew
    skipped: list[str]
    drained_seconds: float | None = None
    to_done_seconds: list[float] = field(default_factory=list)
    met: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    @property
    def p99_seconds(self) -> float:
        """From the end of the faults to a batch's end, for those that were unfinished then."""
        ordered = sorted(self.to_done_seconds)
        return ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] if ordered else 0.0

    def lines(self) -> list[str]:
        """For people."""
        counts, plan = self.crew.counts, self.plan
        told = [
            f"{plan.minutes:g} minutes, {plan.workers} workers, leases of {plan.lease_seconds:g} s, seed {plan.seed}",
            f"{self.truth.files} files ({len(self.truth.rejected)} corrupt), {self.truth.messages} record messages",
            f"{self.truth.lines} lines, each with an id",
            f"{self.faults.requests} requests, {self.faults.injected.total()} faults injected:",
            *(f"    {count:6} {kind}" for kind, count in self.faults.injected.most_common()),
            "the workers suffered:",
            *(f"    {count:6} {what}" for what, count in counts.most_common()),
            *(f"    {count:6} ended by themselves with {status}" for status, count in self.crew.statuses.items()),
            "the workers told of:",
            *(f"    {count:6} {what}" for what, count in self.met.most_common(12)),
            *(f"skipped: {what}" for what in self.skipped),
        ]
        if self.drained_seconds is not None:
            told.append(
                f"drained {self.drained_seconds:.1f} s after the faults stopped; p99 to done of the "
                f"{len(self.to_done_seconds)} batches unfinished then: {self.p99_seconds:.1f} s "
                f"({self.p99_seconds / plan.lease_seconds:.1f} leases)"
            )
        told += [f"WRONG: {sentence}" for sentence in self.wrong] or ["nothing is wrong: every id was found once"]
        return told


def configuration(endpoint: Endpoint, plan: Plan) -> dict[str, Any]:
    """What the workers run with; the fewer megabytes, the sooner a wide file needs the disk."""
    queue = f"{endpoint.url}/{endpoint.account}/chaos"

    def dataset(name: str, partition: dict[str, str]) -> dict[str, Any]:
        return {
            "name": name,
            "source": f"s3://{LANDING}/{name}/",
            "destination": f"s3://chaos-lake/{name}/",
            "partition_by": [partition],
            "schema": {"hints": {"ts": "timestamp"}},
            "batch": {"max_files": 5, "max_age": "0.7s"},
        }

    return {
        "queue_url": queue,
        "dlq_url": f"{queue}-dlq",
        "ledger_table": "chaos-ledger",
        "control": "s3://chaos-control/headsaw/",
        "quarantine": "s3://chaos-control/quarantine/",
        "datasets": [dataset(SMALL, {"field": "ts", "granularity": "day"}), dataset(WIDE, {"field": "part"})],
        "visibility": f"{max(5.0, 1.5 * plan.lease_seconds):g}s",
        "poll_wait": "1s",
        "pollers": 8,
        "conversions": 6,
        "memory_bytes": "16MiB",
        "attempts_max": 100,
        "lease": {"length": f"{plan.lease_seconds:g}s"},
        "drain": {"grace": "6s"},
        "http": {"host": "127.0.0.1", "port": 0},
    }


async def chaos(plan: Plan, say: Callable[[str], None]) -> Report:
    """Everything has happened and was counted; no process is left running."""
    random = Random(plan.seed)
    with small_disk(plan.folder / "spool") as disk:
        async with Emulator().start() as endpoint, _world(endpoint, plan) as (config, path, aws):
            faults = Faults(Random(random.random()), plan.fault_share)
            proxy = Proxy(endpoint.url, faults)
            doors = [await proxy.open() for _ in range(plan.workers)]
            environ = environment(os.environ, disk.folder if disk else None)
            crew = Crew.of(doors, path, environ, plan.folder, Random(random.random()), plan.lease_seconds)
            report = Report(plan, faults, Truth(), crew, _skipped(disk))
            try:
                await _torment(plan, report, aws, disk, say)
                await _recover(plan, report, proxy, aws, disk, say)
                statuses = await crew.stop()
                if any(statuses):
                    report.wrong.append(f"workers ended with {statuses}")
            finally:
                crew.kill_all()
                proxy.close()
            report.wrong += await verdict(config, aws, report.truth)
    _read_logs(plan.folder, report)
    return report


def _skipped(disk: SmallDisk | None) -> list[str]:
    skipped = [] if disk else ["full disks: this user may not mount a tmpfs"]
    if faketime_library() is None:
        skipped.append("wrong clocks: libfaketime isn't installed (Debian: apt-get install faketime)")
    return skipped


@asynccontextmanager
async def _world(endpoint: Endpoint, plan: Plan) -> AsyncIterator[tuple[ServiceSettings, Path, Connected]]:
    """Our own view of the emulator, past the proxy."""
    inherited = dict(os.environ)
    os.environ.clear()
    os.environ.update(endpoint.environ(inherited))
    try:
        path = plan.folder / "config.yaml"
        path.write_text(yaml.safe_dump(configuration(endpoint, plan)))
        config = load(path, {})
        await create_resources(config)
        async with connect(config) as aws:
            yield config, path, aws
    finally:
        os.environ.clear()
        os.environ.update(inherited)


async def _torment(
    plan: Plan, report: Report, aws: Connected, disk: SmallDisk | None, say: Callable[[str], None]
) -> None:
    """The safety phase: files arrive, and anything may fail."""
    crew, random = report.crew, Random(plan.seed + 1)
    for member in crew.members:
        await crew.start(member)
    marked = Marked(Random(plan.seed), report.truth)
    tasks = [
        asyncio.create_task(work, name=name)
        for name, work in {
            "arrivals": arrive(aws, marked, Random(plan.seed + 2), plan.files_a_second, plan.wide_every),
            "kills": _every(plan.kill_every, random, crew.kill_one),
            "pauses": _every(plan.pause_every, random, crew.pause_one),
            "restarts": _every(plan.restart_every, random, crew.terminate_one),
            "supervisor": _every(0.5, random, crew.restart_dead),
            "disk": _fill_and_empty(disk, random, crew.counts),
            "reporter": _every(15.0, random, lambda: _tell(report, aws, say)),
        }.items()
    ]
    try:
        done, _ = await asyncio.wait(tasks, timeout=plan.minutes * 60, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _every(seconds: float, random: Random, do: Callable[[], Awaitable[None]]) -> None:
    """For ever, at random moments; one that takes long doesn't hold up the next."""
    async with asyncio.TaskGroup() as group:
        while True:
            await asyncio.sleep(random.uniform(0.3, 1.7) * seconds)
            group.create_task(_awaited(do))


async def _awaited(do: Callable[[], Awaitable[None]]) -> None:
    await do()


async def _fill_and_empty(disk: SmallDisk | None, random: Random, counts: Counter[str]) -> None:
    while disk is not None:
        await asyncio.sleep(random.uniform(3.0, 10.0))
        disk.fill()
        counts["full disks"] += 1
        await asyncio.sleep(random.uniform(2.0, 6.0))
        disk.empty()
    await asyncio.Event().wait()


async def _tell(report: Report, aws: Connected, say: Callable[[str], None]) -> None:
    depth = await aws.queues[0].depth()
    states = Counter([batch.state.value async for batch in aws.ledger.batches()])
    say(
        f"{report.truth.files} files landed, {depth.visible + depth.in_flight} messages, batches {dict(states)}, "
        f"{report.crew.counts['kills']} kills, {report.crew.counts['pauses past the lease']} pauses, "
        f"{report.faults.injected.total()} faults"
    )


async def _recover(
    plan: Plan, report: Report, proxy: Proxy, aws: Connected, disk: SmallDisk | None, say: Callable[[str], None]
) -> None:
    """The liveness phase: nothing fails any more, and everything must come to its end."""
    say("the faults stop")
    proxy.calm()
    if disk is not None:
        disk.empty()
    stopped, ended_at = time.monotonic(), time.time()
    unfinished = {batch.id async for batch in aws.ledger.batches() if not batch.state.terminal}
    while time.monotonic() - stopped < DRAIN_SECONDS:
        await report.crew.restart_dead()
        if await drained(aws):
            report.drained_seconds = time.monotonic() - stopped
            break
        await asyncio.sleep(0.25)
    else:
        report.wrong.append(f"not drained {DRAIN_SECONDS:g} s after the faults stopped")
    report.to_done_seconds = [
        max(0.0, batch.finished_at - ended_at)
        async for batch in aws.ledger.batches()
        if batch.id in unfinished and batch.finished_at is not None
    ]
    if report.p99_seconds > plan.leases_to_done * plan.lease_seconds:
        report.wrong.append(
            f"p99 to done after the faults: {report.p99_seconds:.1f} s, over {plan.leases_to_done:g} leases"
        )


def _read_logs(folder: Path, report: Report) -> None:
    """What the workers told of trouble; what nobody expects is wrong."""
    unexpected: Counter[str] = Counter()
    for log in sorted(folder.glob("*/worker-1.log")):
        for line in log.read_text(errors="replace").splitlines():
            entry: dict[str, Any] = {}
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
            if line.startswith("Traceback"):
                unexpected[f"a traceback in {log}"] += 1
            if entry.get("event") == "worker task died":
                unexpected[f"worker task died: {entry.get('task')}: {entry.get('kind')}"] += 1
            if entry.get("event") == "outage met":
                kind = str(entry.get("kind"))
                detail = str(entry.get("detail", ""))
                report.met[f"{entry.get('where')}: {detail if 'this machine' in detail else kind}"] += 1
                if kind not in EXPECTED:
                    unexpected[f"{entry.get('where')}: {kind}: {detail}"] += 1
            if entry.get("event") in ("batch failed", "lease lost", "batch taken over"):
                report.met[f"{entry['event']} {entry.get('outcome', '')}".strip()] += 1
                if entry["event"] == "batch failed":
                    unexpected[f"batch failed: {entry.get('reason')}"] += 1
    report.wrong += [f"{count} × {what}" for what, count in unexpected.most_common()]
