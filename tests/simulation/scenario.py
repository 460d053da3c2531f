"""One seed, one world: what lands, who works on it, what goes wrong; then the faults stop, and everything must end.

The worker, its protocol and the core are the real ones; services are the in-memory adapters, watched; the converter is
the toy of tests/shell. All chance comes from the seed, and all time is virtual.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.shell.virtual_time import run
from tests.shell.world import CONTROL, QUARANTINE, ToyConverter, dataset
from tests.simulation.cluster import ENGINE, Cluster, Site
from tests.simulation.faults import Faults, Faulty, Process, ProcessClock, WorldClock
from tests.simulation.shape import shape_of
from tests.simulation.story import Story
from tests.simulation.verdict import verdict
from tests.simulation.watch import Breach, Expected, Watch
from tests.simulation.watched import WatchedDlq, WatchedQueue, WatchedStore, WatchedTable

from headsaw.adapters.ledger import TableLedger
from headsaw.core.model import RecordRange, SourceFile, WorkerId
from headsaw.core.notification import synthetic_event
from headsaw.core.settings import DatasetSettings, SparkSettings
from headsaw.errors import Outage
from headsaw.ports import Outgoing
from headsaw.worker.context import Context, Limits, Place, World
from headsaw.worker.publisher import UploadPublisher
from headsaw.worker.service import Worker

RETENTION_SECONDS = 90 * 86400.0
CALM_CONVERSION_SECONDS = 0.5
LIVENESS_BUDGET_LEASES = 40.0
"""In leases: what is unfinished that long after the faults stopped is stuck."""
SPARK_BUDGET_SECONDS = 2700.0
"""More of it where there is an engine, which a worker may have seen fail so often that it leaves it alone for long."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a seed. `waits`: seconds from the end of the faults to that of each unfinished file.

    `isolations`: the same for files that share a batch with one that makes conversions fail, and `delegations` for
    files that were handed to Spark.
    """

    seed: int
    breaches: tuple[Breach, ...]
    waits: tuple[float, ...]
    isolations: tuple[float, ...]
    delegations: tuple[float, ...]
    lease_seconds: float
    virtual_seconds: float
    story: Story


@dataclass
class Simulation:
    """One seed's world."""

    seed: int
    kept: bool = True
    random: Random = field(init=False)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.shape = shape_of(self.random)
        self.clock = WorldClock()
        self.story = Story(self.clock.monotonic, self.kept)
        self.watch = Watch(self.story)
        self.queue = WatchedQueue(self.clock, self.watch)
        self.dlq = WatchedDlq(self.clock, self.watch)
        self.table = WatchedTable(self.clock, self.watch)
        buckets = ["landing", "lake", "control"]
        self.store = WatchedStore(self.clock, buckets, self.watch)
        self.watch.attach(self.table, self.store)
        self.processes: list[Process] = []
        self.converters: list[ToyConverter] = []
        self.late: set[asyncio.Task[Any]] = set()
        self.numbers = 0
        self.stormy = True
        self.cluster = self._cluster() if self.shape.spark is not None else None
        limits = {"max_files": self.shape.max_files, "max_age": self.shape.max_age}
        clicks, orders = self._dataset("clicks", **limits), self._dataset("orders", **limits)
        changed = self._dataset("clicks", max_files=7, max_age=1.0)
        if self.shape.upgrade == "changes":
            clicks = dataset("clicks", **limits)  # what changes may be that Spark comes into use
        self.datasets, self.upgraded = {
            "none": ([clicks], [clicks]),
            "adds": ([clicks], [clicks, orders]),
            "changes": ([clicks], [changed]),
            "removes": ([clicks, orders], [clicks]),
        }[self.shape.upgrade]

    def _cluster(self) -> Cluster:
        shape = self.shape
        assert shape.spark is not None
        site = Site(self.table, self.store, self.watch, self.late, shape.lease_seconds, RETENTION_SECONDS)
        return Cluster(site, self.random, shape.spark, shape.faults)

    def _dataset(self, name: str, **limits: Any) -> DatasetSettings:
        plain = dataset(name, **limits)
        if self.shape.spark is None:
            return plain
        return plain.model_copy(update={"spark": SparkSettings.model_validate(self.shape.spark_settings)})

    # --- processes

    def start(self, faults: Faults, datasets: Sequence[DatasetSettings], skew: float) -> tuple[Process, Worker]:
        """One more worker process."""
        self.numbers += 1
        shape, random = self.shape, self.random
        process = Process(f"w{self.numbers}", random, self.story, faults, shape.lease_seconds, self.late)
        clock = ProcessClock(process, skew)
        store = Faulty(self.store, "store", process, self._acts)
        table: Any = Faulty(self.table, "table", process, self._acts)
        seconds = shape.conversion_seconds if self.stormy else CALM_CONVERSION_SECONDS
        converter = ToyConverter(store, clock, random, seconds, random.choice([1, 5, 1000]))  # type: ignore[arg-type]
        self.converters.append(converter)
        world = World(
            (Faulty(self.queue, "queue", process, self._acts),),  # type: ignore[arg-type]
            Faulty(self.dlq, "dlq", process, self._acts),  # type: ignore[arg-type]
            TableLedger(table, clock, random.random, RETENTION_SECONDS),
            store,  # type: ignore[arg-type]
            converter,
            UploadPublisher(store),  # type: ignore[arg-type]
            clock,
            self._engines(process, datasets),
        )
        limits = Limits(
            lease_seconds=shape.lease_seconds,
            drain_seconds=shape.lease_seconds / 2,
            visibility_seconds=shape.visibility_seconds,
            foreign_seconds=3 * shape.lease_seconds + shape.storm_seconds,
            conversions=shape.conversions,
            pollers=shape.pollers,
            spark_poll_seconds=shape.poll_seconds,
            spark_run_seconds_max=shape.run_seconds_max,
        )
        place = Place(CONTROL, QUARANTINE)
        context = Context(WorkerId(process.name), world, limits, place, self.watch.teller(process.name), random)
        worker = Worker(context, datasets)
        self.story.add(process.name, "*started", f"{[d.name for d in datasets]}, clock {skew:+.1f} s")
        process.task = asyncio.create_task(worker.run())
        self.processes.append(process)
        return process, worker

    def _engines(self, process: Process, datasets: Sequence[DatasetSettings]) -> dict[str, Any]:
        """What the process's configuration knows of Spark: before the upgrade perhaps nothing."""
        known = self.cluster is not None and (
            not self.stormy or datasets is self.upgraded or self.random.random() < self.shape.knows_engine
        )
        return {ENGINE: Faulty(self.cluster, "engine", process, self._acts)} if known else {}

    def _acts(self, name: str) -> None:
        self.watch.actor = name

    async def slot(self, until: float) -> None:
        """Process after process, each with a fate of its own; the last one may live on."""
        shape, random = self.shape, self.random
        while self.clock.now() < until:
            datasets = self.upgraded if self.clock.now() > until - shape.storm_seconds * 0.6 else self.datasets
            skew = random.uniform(-1.0, 1.0) * shape.skews
            process, worker = self.start(shape.faults, datasets, skew)
            await self._live(process, until)
            lives_on = self.clock.now() >= until and datasets is self.upgraded and random.random() < 0.5
            if process.dead or lives_on:
                continue
            if random.random() < shape.kills:
                process.crash()
            else:
                await self._terminate(process, worker)
            await self._ended(process)
            if random.random() < 0.3:
                await self.clock.sleep(random.uniform(0.0, shape.lease_seconds))  # scaled in, and out again

    async def _live(self, process: Process, until: float) -> None:
        """Some of its life: pauses, and calls that reach nobody."""
        shape, random = self.shape, self.random
        ends = min(until, self.clock.now() + random.uniform(0.2, 3.0) * shape.lease_seconds)
        while not process.dead and (left := ends - self.clock.now()) > 0:
            await self._ended(process, min(left, random.uniform(2.0, shape.lease_seconds)))
            if process.dead or self.clock.now() >= ends:
                return
            if random.random() < shape.pauses:
                process.pause(random.choice([0.1, 1.0, 2.0]) * shape.lease_seconds)
            if random.random() < shape.cuts:
                port = random.choice(["table", "store", "queue", "dlq", *["engine"] * (self.cluster is not None)])
                process.silence(port, random.uniform(0.1, 1.5) * shape.lease_seconds)

    async def _terminate(self, process: Process, worker: Worker) -> None:
        """SIGTERM, and SIGKILL when the time that it was given is over."""
        self.story.add(process.name, "*sigterm")
        worker.stop()
        await self._ended(process, self.shape.lease_seconds / 2 + 5.0)
        process.crash()

    async def _ended(self, process: Process, within: float | None = None) -> None:
        """Its worker returned, or the time is up. A worker that ended by itself is a breach."""
        assert process.task is not None
        await asyncio.wait([process.task], timeout=within)
        if process.task.done() and not process.dead:
            error = None if process.task.cancelled() else process.task.exception()
            process.crash()
            if error is not None and not isinstance(error, Outage):  # one that can't start is started again
                self.watch.actor = process.name
                self.watch.broken("G6", f"a worker died of {error!r} from {error.__cause__!r}")

    # --- the outside world

    async def land(self, key: str, lines: Sequence[str], *, bad: Sequence[str] = (), odd: str = "") -> SourceFile:
        """An object lands; its notification is a matter of chance."""
        name = key.partition("/")[0]
        head = {"corrupt_stream": "corrupt\n", "ConversionFailed": "poison\n"}.get(odd, "")
        body = (head + "\n".join([*lines, *bad])).encode()
        before = await self.store.head("landing", key)
        if before is not None:
            self.watch.may_be_rejected[SourceFile("landing", key, before.etag).identity] = "superseded"
        await self.store.put("landing", key, body)
        head_now = await self.store.head("landing", key)
        assert head_now is not None
        source = SourceFile("landing", key, head_now.etag, head_now.size)
        rows = () if odd else tuple(lines)
        self.watch.expected[source.identity] = Expected(key, name, rows, () if odd else tuple(bad), odd)
        self.story.add("world", "lands", f"{key} {odd}")
        return source

    async def notify(self, body: str, **attributes: str) -> None:
        await self.queue.send([Outgoing("m", body, attributes)])

    async def notify_of(self, *sources: SourceFile) -> None:
        """At least once, perhaps later, perhaps again."""
        await self.notify(synthetic_event(*sources))
        while self.random.random() < self.shape.duplicates * self.stormy:
            await self.clock.sleep(self.random.choice([0.0, 0.0, 5.0]))
            await self.notify(synthetic_event(*sources))

    async def land_everything(self, until: float) -> None:
        """Files and records, in bursts and trickles, of all datasets that are configured at the time."""
        shape, random = self.shape, self.random
        pause = random.choice([0.0, 0.3, 0.6 * shape.storm_seconds / shape.files])
        names = [d.name for d in {"removes": self.datasets}.get(shape.upgrade, self.upgraded)]
        for number in range(shape.files):
            name = random.choice(names)
            if name == "orders" and shape.upgrade == "removes" and self.clock.now() > until - 0.7 * shape.storm_seconds:
                name = "clicks"
            source = await self._land_one(name, number)
            if random.random() < 0.05:  # overwritten: another version, perhaps before anybody has read the first
                again = await self.land(source.key, [f"again-{number}"])
                await self.notify_of(again)
            await self.notify_of(source)
            if pause and self.clock.now() < until:
                await self.clock.sleep(random.uniform(0.0, 2.0 * pause))
        for number in range(random.randrange(5)):
            await self._send_record(number)

    async def _land_one(self, name: str, number: int) -> SourceFile:
        random = self.random
        odd = random.choice(["corrupt_stream", "ConversionFailed"]) if random.random() < self.shape.odd else ""
        lines = [f"row-{name}-{number}-{line}" for line in range(random.randrange(4))]
        bad = [f"bad-{name}-{number}"] if random.random() < 0.2 else []
        return await self.land(f"{name}/{number}", lines, bad=bad, odd=odd)

    async def _send_record(self, number: int) -> None:
        expected = Expected(f"record {number}", "clicks", (f"record-{number}",))
        await self.notify(f"record-{number}", dataset="clicks")
        message_id = next(reversed(self.queue.sent_steps))
        self.watch.expected[RecordRange(message_id, "", "", 0, 0).identity] = expected

    async def mischief(self, until: float) -> None:
        """Redeliveries, another order, redrives by an operator, uploads that vanish."""
        shape, random = self.shape, self.random
        while self.clock.now() < until:
            await self.clock.sleep(random.uniform(0.1, 0.4) * shape.lease_seconds)
            self.watch.actor = "world"
            self.queue.jumble(random)
            if shape.duplicates and random.random() < 0.3:
                for message in self.queue.peek()[:5]:
                    self.queue.redeliver(message.id)
            if self.watch.letters and random.random() < 0.4:
                await self._redrive(random.choice(self.watch.letters).body)
            if shape.vanishing:
                self._lose_an_upload()

    async def _redrive(self, body: str) -> None:
        """An operator sends a dead letter back as it was."""
        letter = next(letter for letter in self.watch.letters if letter.body == body)
        self.story.add("operator", "redrives", letter.body)
        await self.notify(body, **letter.attributes)

    def _lose_an_upload(self) -> None:
        pending = [upload for bucket in ("lake", "control") for upload in self.store.pending_uploads(bucket)]
        if pending and self.random.random() < 0.5:
            lost = self.random.choice(pending)
            self.watch.vanished.add(lost.upload_id)
            self.store._uploads.pop(lost.upload_id)
            self.story.add("world", "*loses an upload", f"{lost.key} {lost.upload_id}")

    # --- the two phases

    async def play(self) -> Outcome:
        """The storm, then the calm, then the verdict."""
        shape = self.shape
        self.story.add("world", "*seed", f"{self.seed}: {shape}")
        until = self.clock.now() + shape.storm_seconds
        if shape.upgrade == "removes":
            self.watch.removed_datasets.add("orders")
        slots = [self.slot(until) for _ in range(shape.slots)]
        await asyncio.gather(*slots, self.land_everything(until), self.mischief(until))
        await self._calm_down()
        calm_since = self.clock.monotonic()
        unfinished = self.watch.expected.keys() - self.watch.settled_at.keys()
        settled = await self._settle()
        await self._end_everything()
        breaches = [*self.watch.breaches]
        if not breaches:
            breaches = verdict(self.watch, settled)
        waited = [
            file
            for file in self.watch.expected
            if file in unfinished
            and file in self.watch.settled_at
            and self.watch.expected[file].dataset not in self.watch.removed_datasets
        ]
        poisoned, delegated = self.watch.poisoned(), self.watch.handed_to_spark()
        seconds = {file: self.watch.settled_at[file] - calm_since for file in waited}
        return Outcome(
            self.seed,
            tuple(breaches),
            tuple(wait for file, wait in seconds.items() if file not in poisoned | delegated),
            tuple(wait for file, wait in seconds.items() if file in poisoned - delegated),
            tuple(wait for file, wait in seconds.items() if file in delegated),
            shape.lease_seconds,
            self.clock.monotonic(),
            self.story,
        )

    async def _calm_down(self) -> None:
        """Faults stop; whoever lives goes on without them, and somebody who was never hurt joins."""
        self.stormy = False
        self.story.add("world", "*faults stop")
        for process in self.processes:
            process.faults = Faults(slow=0.1)
            process.cut_off = set()
            process.wake()
        for converter in self.converters:
            converter.seconds = CALM_CONVERSION_SECONDS
        if self.cluster is not None:
            self.cluster.calm_down()
        for _ in range(self.random.choice([1, 2])):
            self.start(Faults(slow=0.1), self.upgraded, 0.0)
        for number in range(3):
            await self.notify_of(await self.land(f"clicks/calm-{number}", [f"calm-{number}"]))

    async def _settle(self) -> bool:
        """Nothing is left to do; False if that takes too long, or something is broken already."""
        deadline = self.clock.monotonic() + LIVENESS_BUDGET_LEASES * self.shape.lease_seconds
        deadline += 2 * self.shape.storm_seconds if self.watch.removed_datasets else 0.0
        deadline += SPARK_BUDGET_SECONDS + 3 * self.shape.run_seconds_max if self.cluster is not None else 0.0
        while self.clock.monotonic() < deadline and not self.watch.breaches:
            await self.clock.sleep(2.0)
            depth = await self.queue.depth()
            hurt = self.watch.hurt()
            queued = depth.visible + depth.in_flight + depth.delayed
            if not queued and not self.watch.unfinished - hurt and (not hurt or hurt <= self.watch.alarmed):
                return True
        return False

    async def _end_everything(self) -> None:
        for process in self.processes:
            if process.task is not None and process.task.done():
                await self._ended(process)
            process.crash()
        if self.cluster is not None:
            await self.cluster.end()
        tasks = [process.task for process in self.processes if process.task is not None]
        await asyncio.gather(*tasks, *sorted(self.late, key=hash), return_exceptions=True)


def simulate(seed: int, *, kept: bool = True) -> Outcome:
    """The world of that seed, from its beginning to the verdict: always the same. The story may be left out."""

    async def scenario() -> Outcome:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # the killed leave unheard exceptions
        return await Simulation(seed, kept).play()

    return run(scenario())
