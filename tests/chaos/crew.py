"""Real workers and what they suffer: SIGKILL, pauses past the lease, SIGTERM, clocks that are wrong."""

import asyncio
import signal
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.chaos.proxy import Door

from headsaw.demo.fleet import Fleet

FAKETIME = ("usr/lib/*/faketime/libfaketime.so.1", "usr/local/lib/faketime/libfaketime.so.1")
SHIFT_SECONDS = (20.0, 600.0)
"""AWS itself refuses requests whose clock is wrong by more than fifteen minutes."""

TRAP_SECONDS = 2.0
CHOICE_SECONDS = 0.2
SETTLED_REQUESTS = 30
"""A worker that has made so many requests has started, and is mostly at work."""

UNSETTLED_SHARE = 0.4
"""So often one is chosen that may just be starting."""


def faketime_library() -> Path | None:
    """libfaketime, as Debian's package `faketime` installs it; None where it isn't."""
    found = [path for pattern in FAKETIME for path in sorted(Path("/").glob(pattern))]
    return found[0] if found else None


@dataclass(eq=False)
class Member:
    """One worker: a fleet of one, behind a door of the proxy. `busy`: somebody torments it at this moment."""

    fleet: Fleet
    door: Door
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def process(self) -> asyncio.subprocess.Process:
        """The current one."""
        process = self.fleet.workers[0].process
        assert process is not None
        return process

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.fleet.workers[0].alive

    @property
    def settled(self) -> bool:
        """Whether it runs and is past its start."""
        return self.alive and self.door.requests > SETTLED_REQUESTS


@dataclass
class Crew:
    """All workers. Counts what was done to them, and how processes ended by themselves (they may, while starting)."""

    members: list[Member]
    environ: Mapping[str, str]
    random: Random
    lease_seconds: float
    shift_share: float
    counts: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)

    @classmethod
    def of(
        cls, doors: list[Door], config: Path, environ: Mapping[str, str], folder: Path, random: Random, lease: float
    ) -> "Crew":
        """Nothing runs yet."""
        members = []
        for number, door in enumerate(doors, 1):
            logs = folder / f"{number}"
            logs.mkdir()
            members.append(Member(Fleet.of(1, config, environ, logs), door))
        return cls(members, environ, random, lease, 0.25 if faketime_library() else 0.0)

    async def start(self, member: Member) -> None:
        """A new process of it runs, now and then with a wrong clock."""
        environ = {**self.environ, "AWS_ENDPOINT_URL": member.door.url}
        library = faketime_library()
        if library is not None and self.random.random() < self.shift_share:
            shift = self.random.choice([-1, 1]) * self.random.uniform(*SHIFT_SECONDS)
            environ |= {
                "LD_PRELOAD": str(library),
                "FAKETIME": f"{shift:+.1f}s",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                "FAKETIME_DISABLE_SHM": "1",
            }
            self.counts["starts with a wrong clock"] += 1
        member.fleet.environ = environ
        await member.fleet.start()
        member.door.requests = 0
        self.counts["starts"] += 1

    def _choose(self) -> Member | None:
        """One that nobody torments, mostly a settled one; None if there is none just now."""
        free = [member for member in self.members if member.alive and not member.busy.locked()]
        if self.random.random() >= UNSETTLED_SHARE:
            free = [member for member in free if member.settled]
        return self.random.choice(free) if free else None

    async def kill_one(self) -> None:
        """SIGKILL, half of the time in the middle of a call whose effect is there; then a new process."""
        member = self._choose()
        if member is None:
            return
        async with member.busy:
            if self.random.random() < 0.5 and await member.door.trap(TRAP_SECONDS):
                self.counts["kills in the middle of a call"] += 1
            if member.alive:
                member.process.kill()
                await member.process.wait()
                self.counts["kills"] += 1
                await self.start(member)

    async def pause_one(self) -> None:
        """SIGSTOP for longer than a lease, then SIGCONT: a zombie that knows of nothing."""
        while (member := self._choose()) is None:  # noqa: ASYNC110 - what it waits for is a draw, too
            await asyncio.sleep(CHOICE_SECONDS)  # until one is there: kills come more often, and take most chances
        async with member.busy:
            process = member.process
            process.send_signal(signal.SIGSTOP)
            try:
                await asyncio.sleep(self.lease_seconds * self.random.uniform(1.1, 1.8))
            finally:
                if process.returncode is None:
                    process.send_signal(signal.SIGCONT)
                    self.counts["pauses past the lease"] += 1

    async def terminate_one(self) -> None:
        """SIGTERM, the drain, then a new process: a rolling update."""
        member = self._choose()
        if member is None:
            return
        async with member.busy:
            await self._stop(member)
            self.counts["rolling restarts"] += 1
            await self.start(member)

    async def _stop(self, member: Member) -> None:
        for status in await member.fleet.stop():
            self.counts[f"SIGTERM ended with {status}"] += 1

    async def restart_dead(self) -> None:
        """Processes that ended by themselves are replaced, as any supervisor would."""
        for member in self.members:
            if not member.alive and not member.busy.locked():
                async with member.busy:
                    self.statuses[member.process.returncode or 0] += 1
                    await self.start(member)

    async def stop(self) -> list[int]:
        """All have drained; their exit statuses."""
        return [
            status for statuses in await asyncio.gather(*(m.fleet.stop() for m in self.members)) for status in statuses
        ]

    def kill_all(self) -> None:
        """Nothing is left running."""
        for member in self.members:
            member.fleet.kill_all()


def environment(inherited: Mapping[str, str], spool: Path | None) -> dict[str, str]:
    """A worker's, but for its endpoint."""
    environ = {name: value for name, value in inherited.items() if not name.startswith("HEADSAW_")}
    return environ | ({"TMPDIR": str(spool)} if spool is not None else {})
