"""Real worker processes, as a deployment would run them: started, watched, killed, restarted, stopped.

Each holds the other end of a pipe from this process (see `leashed`): none outlives it, however it ends.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import aiohttp

STOP_SECONDS = 40.0
UP_SECONDS = 15.0
UP_CHECK_SECONDS = 0.25
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class Usage:
    """What the workers used, summed over processes but for the peak: that is the largest one's."""

    cpu_seconds: float = 0.0
    peak_rss_bytes: int = 0

    def add(self, pid: int) -> None:
        """What that process has used so far, from /proc; nothing if it is gone."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            self.cpu_seconds += (int(fields[11]) + int(fields[12])) / _CLOCK_TICKS
            status = Path(f"/proc/{pid}/status").read_text()
            peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
            self.peak_rss_bytes = max(self.peak_rss_bytes, int(peak.split()[1]) * 1024)


@dataclass(slots=True)
class WorkerProcess:
    """One slot of the fleet: its current process and its port."""

    number: int
    port: int
    process: asyncio.subprocess.Process | None = None
    starts: int = 0

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self.process is not None and self.process.returncode is None


@dataclass(slots=True)
class Fleet:
    """K workers over one configuration file; their logs go to `logs`/worker-N.log."""

    config: Path
    environ: Mapping[str, str]
    logs: Path
    workers: list[WorkerProcess]
    usage: Usage = field(default_factory=Usage)
    kills: int = 0

    @classmethod
    def of(cls, count: int, config: Path, environ: Mapping[str, str], logs: Path) -> "Fleet":
        """Nothing runs yet."""
        return cls(config, environ, logs, [WorkerProcess(n, free_port()) for n in range(1, count + 1)])

    async def start(self) -> None:
        """Every worker runs."""
        for worker in self.workers:
            await self._spawn(worker)

    async def _spawn(self, worker: WorkerProcess) -> None:
        environ = {**self.environ, "HEADSAW_HTTP__PORT": str(worker.port), "PYTHONUNBUFFERED": "1"}
        with (self.logs / f"worker-{worker.number}.log").open("ab") as log:
            worker.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "headsaw.demo.leashed", "run", "-c", str(self.config), env=environ, stdout=log,
                stderr=log, stdin=asyncio.subprocess.PIPE, start_new_session=True,
            )  # fmt: skip
        worker.starts += 1

    async def kill_and_restart(self, worker: WorkerProcess, pause_seconds: float) -> None:
        """Its process got SIGKILL, and after the pause there is a new one."""
        if worker.process is None or not worker.alive:
            return
        self.usage.add(worker.process.pid)
        worker.process.kill()
        await worker.process.wait()
        self.kills += 1
        await asyncio.sleep(pause_seconds)
        await self._spawn(worker)

    def used(self) -> Usage:
        """What all processes used until now, those that still run included."""
        used = replace(self.usage)
        for worker in self.workers:
            if worker.process is not None and worker.alive:
                used.add(worker.process.pid)
        return used

    def dead(self) -> list[WorkerProcess]:
        """Workers whose process ended by itself: none should."""
        return [
            w for w in self.workers if w.process is not None and w.process.returncode not in (None, -signal.SIGKILL)
        ]

    async def all_answer(self) -> None:
        """Every worker has come up, the one that was restarted a moment ago too; gives up after a while."""
        for _ in range(int(UP_SECONDS / UP_CHECK_SECONDS)):
            if len(await self.metrics()) == len(self.workers):
                return
            await asyncio.sleep(UP_CHECK_SECONDS)

    async def stop(self) -> list[int]:
        """SIGTERM to all; returns their exit statuses. Whoever doesn't stop in time is killed."""
        running = [worker.process for worker in self.workers if worker.process is not None and worker.alive]
        for process in running:
            self.usage.add(process.pid)
            process.terminate()
        waits = [asyncio.create_task(process.wait()) for process in running]
        if waits:
            await asyncio.wait(waits, timeout=STOP_SECONDS)
        for process in running:
            if process.returncode is None:
                process.kill()
        return [await wait for wait in waits]

    def kill_all(self) -> None:
        """Nothing is left running, whatever state it is in."""
        for worker in self.workers:
            if worker.process is not None and worker.alive:
                worker.process.kill()

    async def metrics(self) -> list[str]:
        """The /metrics page of every worker that answers."""
        pages: list[str] = []
        timeout = aiohttp.ClientTimeout(total=5.0)
        async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session:
            for worker in self.workers:
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    async with session.get(f"http://127.0.0.1:{worker.port}/metrics") as answer:
                        pages.append(await answer.text())
        return pages


def free_port() -> int:
    """A loopback port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
