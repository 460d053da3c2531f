"""One seed, one world: what lands, who works on it, what goes wrong; then the faults stop, and everything must end.

The worker, its protocol and the core are the real ones; services are the in-memory adapters, watched; the converter is
the toy of tests/shell. All chance comes from the seed, and all time is virtual.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.shell.virtual_time import run
from tests.shell.world import CONTROL, QUARANTINE, ToyConverter, dataset
from tests.simulation.faults import Fault, Faults, Faulty, Process, ProcessClock, WorldClock
from tests.simulation.story import Story
from tests.simulation.verdict import verdict
from tests.simulation.watch import Breach, Expected, Watch, WatchedDlq, WatchedQueue, WatchedTable

from headsaw.adapters.ledger import TableLedger
from headsaw.adapters.memory.object_store import MemoryObjectStore
from headsaw.core.model import RecordRange, SourceFile, WorkerId
from headsaw.core.notification import synthetic_event
from headsaw.core.settings import DatasetSettings
from headsaw.errors import Outage
from headsaw.ports import Outgoing
from headsaw.worker.context import Context, Limits, Place, World
from headsaw.worker.publisher import UploadPublisher
from headsaw.worker.service import Worker

RETENTION_SECONDS = 90 * 86400.0
CALM_CONVERSION_SECONDS = 0.5
LIVENESS_BUDGET_LEASES = 40.0
"""In leases: what is unfinished that long after the faults stopped is stuck."""

DANGEROUS_MOMENTS: Sequence[tuple[str, Sequence[Fault]]] = (
    ("claim", (Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.ANSWER_LOST, Fault.LATE, Fault.PAUSE_AFTER, Fault.TWICE)),
    ("commit", (Fault.PAUSE_BEFORE, Fault.HANGS, Fault.ANSWER_LOST, Fault.LATE, Fault.CRASH_AFTER, Fault.TWICE)),
    ("store.complete_upload", (Fault.REQUEST_LOST, Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.HANGS, Fault.TWICE)),
    ("store.upload_part", (Fault.PAUSE_AFTER, Fault.CRASH_AFTER)),
    ("store.put", (Fault.PAUSE_AFTER, Fault.CRASH_AFTER, Fault.ANSWER_LOST)),
    ("store.abort_upload", (Fault.LATE, Fault.CRASH_BEFORE)),
    ("take", (Fault.ANSWER_LOST, Fault.PAUSE_AFTER, Fault.HANGS, Fault.CRASH_AFTER)),
    ("renew", (Fault.REQUEST_LOST, Fault.LATE, Fault.HANGS)),
    ("start", (Fault.PAUSE_AFTER, Fault.ANSWER_LOST, Fault.CRASH_AFTER)),
    ("give back", (Fault.LATE, Fault.ANSWER_LOST)),
    ("mark", (Fault.CRASH_AFTER, Fault.LATE, Fault.PAUSE_AFTER)),
    ("dlq.send", (Fault.CRASH_AFTER, Fault.CRASH_BEFORE, Fault.PARTIAL, Fault.ANSWER_LOST)),
    ("finish", (Fault.PAUSE_BEFORE, Fault.ANSWER_LOST, Fault.CRASH_BEFORE)),
    ("split", (Fault.ANSWER_LOST, Fault.LATE, Fault.CRASH_AFTER)),
    ("queue.delete", (Fault.CRASH_BEFORE, Fault.PARTIAL, Fault.LATE)),
    ("queue.receive", (Fault.ANSWER_LOST, Fault.CRASH_AFTER)),
)

PLOTS: Sequence[Mapping[str, tuple[Fault, float]]] = (
    {"commit": (Fault.SILENCE, 0.5)},
    {"commit": (Fault.HANGS, 0.5), "store.complete_upload": (Fault.REQUEST_LOST, 0.9)},
    {"commit": (Fault.PAUSE_BEFORE, 0.5)},
    {"commit": (Fault.LATE, 0.5), "take": (Fault.HANGS, 0.3)},
    {"store.complete_upload": (Fault.CRASH_AFTER, 0.4)},
    {"claim": (Fault.LATE, 0.5), "queue.delete": (Fault.CRASH_BEFORE, 0.3)},
)
"""What has to come together for the rarest mistakes to show: the commit point, and who believes what about it."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a seed's world is like."""

    lease_seconds: float
    storm_seconds: float
    slots: int
    files: int
    max_files: int
    max_age: float
    visibility_seconds: float
    conversion_seconds: float
    conversions: int
    pollers: int
    faults: Faults
    skews: float
    kills: float
    """The share of processes that end by SIGKILL rather than SIGTERM."""
    pauses: float
    cuts: float
    odd: float
    """The share of files that can't be converted."""
    duplicates: float
    vanishing: bool
    upgrade: str
    """`none`, or what the rolling upgrade does: `adds`, `changes` or `removes` a dataset."""


def shape_of(random: Random) -> Shape:
    """Drawn so that no two worlds are alike: each leaves out some kinds of faults altogether."""
    lease = Limits().lease_seconds
    max_files = random.choice([1, 3, 8, 30, 120])
    return Shape(
        lease_seconds=lease,
        storm_seconds=lease * random.uniform(3.0, 7.0),
        slots=random.choice([1, 2, 2, 3, 4]),
        files=random.randrange(8, 60),
        max_files=max_files,
        max_age=random.choice([0.5, 3.0, 10.0]),
        visibility_seconds=random.choice([45.0, 90.0]),
        conversion_seconds=random.choice([0.2, 1.0, 4.0, 1.5 * lease if max_files >= 30 else 0.5]),
        conversions=random.choice([1, 2, 4]),
        pollers=random.choice([1, 2]),
        faults=_faults_of(random),
        skews=random.choice([0.0, 1.0, 2.0, 0.5 * lease]),
        kills=random.choice([0.0, 0.5, 1.0]),
        pauses=random.choice([0.0, 0.3, 0.8]),
        cuts=random.choice([0.0, 0.0, 0.4]),
        odd=random.choice([0.0, 0.05, 0.2]),
        duplicates=random.choice([0.0, 0.2, 0.5]),
        vanishing=random.random() < 0.1,
        upgrade=random.choice(["none", "none", "adds", "changes", "removes"]),
    )


def _faults_of(random: Random) -> Faults:
    rates = {fault: random.choice([0.005, 0.03]) for fault in Fault if random.random() < 0.3}
    for deadly in (Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.PAUSE_BEFORE, Fault.PAUSE_AFTER, Fault.HANGS):
        if deadly in rates:
            rates[deadly] = random.choice([0.001, 0.004])
    rates.pop(Fault.SLOW, None)
    dangers = {}
    for name, faults in random.sample(DANGEROUS_MOMENTS, random.choice([0, 1, 2, 3])):
        dangers[name] = (random.choice(faults), random.choice([0.1, 0.4]))
    if random.random() < 0.25:
        dangers |= random.choice(PLOTS)
    return Faults(rates, dangers, slow=random.choice([0.05, 0.2, 0.5]), slow_seconds=random.choice([0.05, 0.3, 2.0]))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a seed. `waits`: seconds from the end of the faults to that of each unfinished file.

    `isolations`: the same for files that share a batch with one that makes conversions fail.
    """

    seed: int
    breaches: tuple[Breach, ...]
    waits: tuple[float, ...]
    isolations: tuple[float, ...]
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
        self.store = MemoryObjectStore(self.clock, buckets, on_created=self.watch.appeared)
        self.watch.attach(self.table, self.store)
        self.processes: list[Process] = []
        self.converters: list[ToyConverter] = []
        self.late: set[asyncio.Task[Any]] = set()
        self.numbers = 0
        self.stormy = True
        limits = {"max_files": self.shape.max_files, "max_age": self.shape.max_age}
        clicks, orders = dataset("clicks", **limits), dataset("orders", **limits)
        changed = dataset("clicks", max_files=7, max_age=1.0)
        self.datasets, self.upgraded = {
            "none": ([clicks], [clicks]),
            "adds": ([clicks], [clicks, orders]),
            "changes": ([clicks], [changed]),
            "removes": ([clicks, orders], [clicks]),
        }[self.shape.upgrade]

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
        )
        limits = Limits(
            lease_seconds=shape.lease_seconds,
            drain_seconds=shape.lease_seconds / 2,
            visibility_seconds=shape.visibility_seconds,
            foreign_seconds=3 * shape.lease_seconds + shape.storm_seconds,
            conversions=shape.conversions,
            pollers=shape.pollers,
        )
        place = Place(CONTROL, QUARANTINE)
        context = Context(WorkerId(process.name), world, limits, place, self.watch.teller(process.name), random)
        worker = Worker(context, datasets)
        self.story.add(process.name, "*started", f"{[d.name for d in datasets]}, clock {skew:+.1f} s")
        process.task = asyncio.create_task(worker.run())
        self.processes.append(process)
        return process, worker

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
                port = random.choice(["table", "store", "queue", "dlq"])
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
        poisoned = self.watch.poisoned()
        waits = tuple(self.watch.settled_at[file] - calm_since for file in waited if file not in poisoned)
        isolations = tuple(self.watch.settled_at[file] - calm_since for file in waited if file in poisoned)
        return Outcome(
            self.seed, tuple(breaches), waits, isolations, shape.lease_seconds, self.clock.monotonic(), self.story
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
        for _ in range(self.random.choice([1, 2])):
            self.start(Faults(slow=0.1), self.upgraded, 0.0)
        for number in range(3):
            await self.notify_of(await self.land(f"clicks/calm-{number}", [f"calm-{number}"]))

    async def _settle(self) -> bool:
        """Nothing is left to do; False if that takes too long, or something is broken already."""
        deadline = self.clock.monotonic() + LIVENESS_BUDGET_LEASES * self.shape.lease_seconds
        deadline += 2 * self.shape.storm_seconds if self.watch.removed_datasets else 0.0
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
        tasks = [process.task for process in self.processes if process.task is not None]
        await asyncio.gather(*tasks, *sorted(self.late, key=hash), return_exceptions=True)


def simulate(seed: int, *, kept: bool = True) -> Outcome:
    """The world of that seed, from its beginning to the verdict: always the same. The story may be left out."""

    async def scenario() -> Outcome:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # the killed leave unheard exceptions
        return await Simulation(seed, kept).play()

    return run(scenario())
