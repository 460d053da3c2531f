"""The Spark engine of a simulated world: its runs live outside of any worker, and suffer what processes suffer.

The drivers are MemorySpark's, which keep the delegated job's protocol; here each gets a network, a clock and a fate of
its own. A rogue is a driver that goes on although another one has its attempt: its report must never count.
"""

import asyncio
import contextlib
from contextvars import ContextVar
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.shell.world import ToyConverter
from tests.simulation.faults import Faults, Faulty, Killed, Process, ProcessClock
from tests.simulation.watch import Watch

from headsaw.adapters.ledger import TableLedger
from headsaw.adapters.memory.spark import Behaviour, End, MemorySpark, Run, Start
from headsaw.core.delegation import Manifest, RunState, RunStatus
from headsaw.core.model import Batch
from headsaw.errors import Outage
from headsaw.ports import Busy, SparkJob

ENGINE = "local"
TASKS = 3
"""Whose numbers begin at 1 in the names of outputs, as the delegated job's do."""
CALM = Behaviour(seconds=5.0)


@dataclass(frozen=True, slots=True)
class Mix:
    """How runs go in one world: the chance that a start, or an end, is another than the usual one."""

    odd_starts: float
    odd_ends: float
    slow: float
    """The share of runs that wait for capacity, or work, about as long as anybody waits for them, or longer."""
    doubles: float
    """The share of starts of which the engine makes two runs."""
    hidden: float
    """The share of runs that the engine doesn't find by the name of their job, so that another one is started."""
    rogues: float
    fates: float
    """The share of drivers that are killed or paused at some moment."""
    seconds_max: float
    client_tokens: bool

    @classmethod
    def of(cls, random: Random, seconds_max: float) -> "Mix":
        """Drawn for one world."""
        return cls(
            odd_starts=random.choice([0.0, 0.2, 0.6]),
            odd_ends=random.choice([0.0, 0.2, 0.5]),
            slow=random.choice([0.0, 0.3, 0.8]),
            doubles=random.choice([0.0, 0.0, 0.4]),
            hidden=random.choice([0.0, 0.3, 1.0]),
            rogues=random.choice([0.0, 1.0]),
            fates=random.choice([0.0, 0.3]),
            seconds_max=seconds_max,
            client_tokens=random.random() < 0.25,
        )

    def behaviour(self, random: Random) -> Behaviour:
        """Of the next start."""
        odd_start, odd_end, late, slow = (
            random.random() < share for share in (self.odd_starts, self.odd_ends, self.slow / 2, self.slow / 2)
        )
        return Behaviour(
            start=random.choice([Start.BUSY, Start.LOST, Start.LOST, Start.UNREACHED]) if odd_start else Start.ANSWERED,
            end=random.choice([end for end in End if end is not End.REPORT]) if odd_end else End.REPORT,
            queued_seconds=random.uniform(0.7, 1.5) * self.seconds_max if late else random.choice([0.0, 0.5, 15.0]),
            seconds=random.uniform(0.5, 1.6) * self.seconds_max if slow else random.choice([0.5, 5.0, 40.0]),
            registers=not odd_end or random.random() < 0.8,
            knows_itself=random.random() < 0.7,
            hidden=random.random() < self.hidden,
            deaf=random.random() < 0.3,
        )


@dataclass(frozen=True, slots=True)
class Site:
    """Where the cluster stands."""

    table: Any
    store: Any
    watch: Watch
    late: set["asyncio.Task[Any]"]
    lease_seconds: float
    retention_seconds: float


@dataclass(frozen=True, slots=True)
class Ports:
    """What one driver reaches."""

    table: Any
    store: Any
    clock: Any


_OWN: ContextVar[Ports] = ContextVar("ports of the driver that runs")


class _Own:
    """The port of that name of whichever driver calls."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(getattr(_OWN.get(), self._name), name)


class Cluster(MemorySpark):
    """See the module. `stormy`: runs go as `mix` says, and starts are asked for through every worker's own faults."""

    def __init__(self, site: Site, random: Random, mix: Mix, faults: Faults) -> None:
        own: Any = Ports(_Own("table"), _Own("store"), _Own("clock"))
        super().__init__(
            TableLedger(own.table, own.clock, random.random, site.retention_seconds),
            own.store,
            own.clock,
            random,
            ToyConverter(own.store, own.clock, random, 1.0, random.choice([1, 5]), first_task=1, tasks=TASKS),
            self._behave,
            client_tokens=mix.client_tokens,
        )
        self._site, self._chance, self._mix, self._faults = site, random, mix, faults
        self._watch = site.watch
        self.stormy = True
        self.processes: list[Process] = []

    def _behave(self, job: SparkJob, asked: int) -> Behaviour:
        return self._mix.behaviour(self._chance) if self.stormy else CALM

    async def start(self, job: SparkJob) -> str | Busy:
        """Watched: the intent must be in the ledger by now."""
        self._watch.asked_to_start(job)
        started = await super().start(job)
        if self.stormy and self._chance.random() < self._mix.doubles:
            with contextlib.suppress(Outage):
                await super().start(job)
        return started

    async def _live(self, run: Run) -> None:
        """As any process, this one may end at each of its calls; the engine then says something about it."""
        site = self._site
        process = Process(run.id, self._chance, self._watch.story, self._faults, site.lease_seconds, site.late)
        self.processes.append(process)
        self._watch.jobs[run.id] = run.job
        _OWN.set(
            Ports(
                Faulty(site.table, "table", process, self._acts),
                Faulty(site.store, "store", process, self._acts),
                ProcessClock(process, 0.0),
            )
        )
        self._watch.story.add(run.id, "*run starts", f"{run.job.name} {run.behaviour}")
        fate = asyncio.get_running_loop().call_later(self._chance.uniform(0.0, 60.0), self._strike, process)
        try:
            await super()._live(run)
        except Killed:
            run.status = RunStatus(self._chance.choice([RunState.FAILED, RunState.STOPPED, RunState.GONE]), "died")
        finally:
            fate.cancel()
            self._watch.story.add(run.id, "*run ends", f"{run.job.name} {run.status}")

    def _strike(self, process: Process) -> None:
        if self.stormy and self._chance.random() < self._mix.fates:
            self._chance.choice([process.crash, lambda: process.pause(process.past_lease())])()

    async def _registered(self, run: Run, manifest: Manifest, token: str) -> Batch | None:
        """A rogue takes no for an answer, and goes on."""
        batch = await super()._registered(run, manifest, token)
        if batch is None and self._chance.random() < self._mix.rogues:
            current = await self._ledger.batch(manifest.batch)
            if current is not None and current.attempt == manifest.attempt:
                self._watch.story.add(run.id, "*goes on unregistered", run.job.name)
                return current
        return batch

    def _acts(self, name: str) -> None:
        self._watch.actor = name

    def calm_down(self) -> None:
        """What runs goes on without faults; what is started from now on goes well."""
        self.stormy = False
        self._faults = Faults(slow=0.1)
        for process in self.processes:
            process.faults = self._faults
            process.wake()

    async def end(self) -> None:
        """Nothing of it runs on."""
        self.stop_all()
        await asyncio.gather(*(run.driver for run in self.runs if run.driver is not None), return_exceptions=True)
