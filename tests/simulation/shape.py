"""What a seed's world is like: how large it is, and which faults it is after. No two are alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.simulation.cluster import ENGINE, Mix
from tests.simulation.faults import Fault, Faults

from headsaw.worker.context import Limits

SPARK_SHARE = 0.35
"""Of the worlds have a Spark engine."""

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

SPARK_MOMENTS: Sequence[tuple[str, Sequence[Fault]]] = (
    ("delegate", (Fault.ANSWER_LOST, Fault.CRASH_AFTER, Fault.LATE, Fault.PAUSE_AFTER)),
    ("engine.start", (Fault.ANSWER_LOST, Fault.REQUEST_LOST, Fault.LATE, Fault.TWICE, Fault.CRASH_AFTER, Fault.HANGS)),
    ("engine.find", (Fault.PAUSE_AFTER, Fault.REQUEST_LOST)),
    ("engine.status", (Fault.PAUSE_AFTER, Fault.REQUEST_LOST)),
    ("wait", (Fault.ANSWER_LOST, Fault.CRASH_BEFORE, Fault.LATE, Fault.PAUSE_BEFORE)),
    (
        "register",
        (Fault.ANSWER_LOST, Fault.LATE, Fault.PAUSE_BEFORE, Fault.PAUSE_AFTER, Fault.TWICE, Fault.CRASH_AFTER),
    ),
    ("store.put", (Fault.PAUSE_BEFORE, Fault.CRASH_AFTER, Fault.ANSWER_LOST, Fault.LATE)),
    ("give back", (Fault.PAUSE_BEFORE, Fault.LATE, Fault.HANGS)),
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

SPARK_PLOTS: Sequence[Mapping[str, tuple[Fault, float]]] = (
    {"engine.start": (Fault.TWICE, 0.6)},
    {"engine.start": (Fault.ANSWER_LOST, 0.6)},
    {"engine.start": (Fault.HANGS, 0.4)},
    {"engine.start": (Fault.LATE, 0.5), "register": (Fault.PAUSE_BEFORE, 0.3)},
    {"register": (Fault.LATE, 0.5), "give back": (Fault.HANGS, 0.3)},
    {"give back": (Fault.PAUSE_BEFORE, 0.6)},
    {"store.put": (Fault.PAUSE_BEFORE, 0.3)},
)
"""The same for who drives an attempt's run: starts that happen twice, registrations that come late."""


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
    spark: Mix | None
    """How Spark runs go, where there is an engine."""
    spark_settings: Mapping[str, Any]
    run_seconds_max: float
    poll_seconds: float
    knows_engine: float
    """The share of processes, before the upgrade, whose configuration has the engine."""
    upgrade: str
    """`none`, or what the rolling upgrade does: `adds`, `changes` or `removes` a dataset."""


def shape_of(random: Random) -> Shape:
    """Drawn so that no two worlds are alike: each leaves out some kinds of faults altogether."""
    lease = Limits().lease_seconds
    run_seconds_max = lease * random.uniform(1.5, 5.0)
    spark = Mix.of(random, run_seconds_max) if random.random() < SPARK_SHARE else None
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
        faults=_faults_of(random, with_spark=spark is not None),
        skews=random.choice([0.0, 1.0, 2.0, 0.5 * lease]),
        kills=random.choice([0.0, 0.5, 1.0]),
        pauses=random.choice([0.0, 0.3, 0.8]),
        cuts=random.choice([0.0, 0.0, 0.4]),
        odd=random.choice([0.0, 0.05, 0.2]),
        duplicates=random.choice([0.0, 0.2, 0.5]),
        vanishing=random.random() < 0.1,
        spark=spark,
        spark_settings={
            "engine": ENGINE,
            "min_bytes": random.choice([1, 1, 60]),
            "inline_max": random.choice(["1ms", "15m"]),
            "bulk_files": random.choice([1, 150]),
        },
        run_seconds_max=run_seconds_max,
        poll_seconds=random.choice([3.0, 10.0, 30.0]),
        knows_engine=random.choice([0.5, 1.0, 1.0]),
        upgrade=random.choice(["none", "none", "adds", "changes", "removes"]),
    )


def _faults_of(random: Random, *, with_spark: bool) -> Faults:
    rates = {fault: random.choice([0.005, 0.03]) for fault in Fault if random.random() < 0.3}
    for deadly in (Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.PAUSE_BEFORE, Fault.PAUSE_AFTER, Fault.HANGS):
        if deadly in rates:
            rates[deadly] = random.choice([0.001, 0.004])
    rates.pop(Fault.SLOW, None)
    dangers = {}
    for name, faults in random.sample([*DANGEROUS_MOMENTS, *SPARK_MOMENTS * with_spark], random.choice([0, 1, 2, 3])):
        dangers[name] = (random.choice(faults), random.choice([0.1, 0.4]))
    if random.random() < 0.25:
        dangers |= random.choice(PLOTS)
    if with_spark and random.random() < 0.5:
        dangers |= random.choice(SPARK_PLOTS)
    return Faults(rates, dangers, slow=random.choice([0.05, 0.2, 0.5]), slow_seconds=random.choice([0.05, 0.3, 2.0]))
