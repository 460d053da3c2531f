"""Storms of faults, one seed each: first anything may fail and nothing wrong may happen, then everything must finish.

Workers are killed (their ports are cut off in mid-flight), paused for longer than a lease and woken up as zombies, and
replaced; calls are throttled, or answered although the answer is lost; notifications are duplicated.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from tests.shell.virtual_time import run
from tests.shell.world import Around, Running, Site, ToyConverter, dataset

from headsaw.adapters.memory.clock import LoopClock
from headsaw.core.model import BatchState
from headsaw.errors import Throttled, Unreachable
from headsaw.worker.publisher import UploadPublisher
from headsaw.worker.service import Worker

SEEDS = int(os.environ.get("STORMS", "25"))
"""Storms in every test run; more by hand: `STORMS=1000 pytest tests/shell/test_storm.py`."""

STORM_SECONDS = 240.0
CALM_SECONDS = 3600.0


class Killed(BaseException):
    """The process is gone: nothing of it runs on."""


class Fate:
    """What happens to one worker process."""

    def __init__(self, random: Random, faults: float) -> None:
        self.random = random
        self.faults = faults
        self.dead = False
        self.awake = asyncio.Event()
        self.awake.set()


class Fallible(Around):
    """A port as that worker sees it."""

    def __init__(self, port: object, fate: Fate) -> None:
        super().__init__(port)
        self._fate = fate

    def __getattr__(self, name: str) -> Any:
        method = super().__getattr__(name)
        if not asyncio.iscoroutinefunction(method):
            return method
        fate = self._fate

        async def call(*args: Any, **kwargs: Any) -> Any:
            await self._step()
            if fate.random.random() < fate.faults:
                raise Throttled("slow down")
            answer = await method(*args, **kwargs)
            await self._step()
            if fate.random.random() < fate.faults:
                raise Unreachable("the answer was lost")
            return answer

        return call

    async def _step(self) -> None:
        if self._fate.dead:
            raise Killed
        await asyncio.sleep(self._fate.random.random() * 0.05)
        await self._fate.awake.wait()
        if self._fate.dead:
            raise Killed


def mortal(site: Site, fate: Fate, skew: float) -> Worker:
    clock = LoopClock(skew=skew)
    store = Fallible(site.store, fate)
    return site.worker(
        queues=(Fallible(site.queue, fate),),
        dlq=Fallible(site.dlq, fate),
        ledger=site.ledger(Fallible(site.table, fate)),  # type: ignore[arg-type]
        store=store,
        publisher=UploadPublisher(store),  # type: ignore[arg-type]
        converter=ToyConverter(store, clock, site.random, seconds=fate.random.uniform(0.1, 8.0)),  # type: ignore[arg-type]
        clock=clock,
    )


async def live_dangerously(site: Site, random: Random, until: float) -> None:
    """One worker slot: process after process, each with an end of its own."""
    while site.clock.now() < until:
        fate = Fate(random, faults=random.choice([0.0, 0.02, 0.1]))
        task = asyncio.create_task(mortal(site, fate, skew=random.uniform(-2.0, 2.0)).run())
        lifetime = random.uniform(5.0, 90.0)
        if random.random() < 0.5:
            await site.clock.sleep(lifetime / 2)
            fate.awake.clear()  # stopped like by SIGSTOP, mostly for longer than a lease
            await site.clock.sleep(random.uniform(1.0, 40.0))
            fate.awake.set()
        await asyncio.wait({task}, timeout=lifetime)
        fate.dead = True
        fate.awake.set()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@dataclass
class Truth:
    """What must be found in the end, by object key: rows, quarantined lines; and keys that nobody can convert."""

    rows: dict[str, list[str]] = field(default_factory=dict)
    bad: dict[str, list[str]] = field(default_factory=dict)
    given_up: set[str] = field(default_factory=set)

    def lines(self, kind: dict[str, list[str]], but: AbstractSet[str]) -> Counter[str]:
        return Counter(line for key, lines in kind.items() if key not in but for line in lines)


async def land_everything(site: Site, random: Random) -> Truth:
    truth = Truth()
    for n in range(random.randrange(20, 90)):
        key, kind = f"clicks/{n}", random.random()
        if kind < 0.03:
            await site.land(key, random.choice(["corrupt", "poison"]), str(n))
            truth.given_up.add(key)
            continue
        lines = [f"row-{n}-{m}" for m in range(random.randrange(4))]
        wrong = [f"bad-{n}"] if random.random() < 0.2 else []
        await site.land(key, *lines, *wrong, notify=random.choice([1, 1, 1, 2, 3]))
        truth.rows[key], truth.bad[key] = lines, wrong
        if random.random() < 0.3:
            await site.clock.sleep(random.uniform(0.0, 5.0))
    for n in range(random.randrange(8)):
        await site.send(f"record-{n}", dataset="clicks")
        truth.rows[f"record-{n}"] = [f"record-{n}"]
    return truth


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_storm_loses_and_doubles_nothing_and_ends(seed: int) -> None:
    async def scenario() -> None:
        random = Random(seed)
        site = Site(
            [dataset(max_files=random.choice([1, 5, 30, 150]), max_age=random.choice([0.5, 3.0]))], random=random
        )
        until = site.clock.now() + STORM_SECONDS
        slots = [asyncio.create_task(live_dangerously(site, random, until)) for _ in range(random.randrange(1, 5))]
        truth = await land_everything(site, random)
        for _ in range(int(STORM_SECONDS / 10)):
            await site.clock.sleep(10.0)
            assert not site.published() - truth.lines(truth.rows, set()), "visible twice, or never landed"
        await asyncio.gather(*slots)
        async with Running(site.worker(), site.worker()) as tasks:
            await site.settled(CALM_SECONDS)
            assert not any(task.done() for task in tasks)
        assert set(await site.states()) <= {BatchState.DONE, BatchState.SPLIT, BatchState.FAILED}
        reasons = {named(letter.body): letter.attributes["reason"] for letter in site.dlq.peek()}
        assert truth.given_up <= reasons.keys()
        # A file whose workers were killed over it again and again is given up too, and says so.
        unlucky = reasons.keys() - truth.given_up
        assert all("died" in reasons[key] for key in unlucky)
        assert site.published() == truth.lines(truth.rows, unlucky)
        assert site.quarantined() == truth.lines(truth.bad, unlucky)

    run(scenario())


def named(body: str) -> str:
    """The object key that a dead letter speaks of, or the record message itself."""
    return body.partition('"key": "')[2].partition('"')[0] if '"key"' in body else body
