"""`make simulate`: many seeds on every core. Prints progress and the rate, and tells the story of a broken seed.

Exit status 1 if any seed broke a guarantee, or if files took too long to be done after the faults had stopped.
"""

import argparse
import gc
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

from tests.simulation.scenario import Outcome, simulate

WAIT_LEASES_MAX = 3.0
"""After faults stop, 99 of 100 files are done within this many lease lengths."""
CHUNK_SEEDS = 50
PROGRESS_SECONDS = 10.0
TOLD_MAX = 3


@dataclass(slots=True)
class Tally:
    """What many seeds came to. `waits` in lease lengths."""

    seeds: int = 0
    virtual_seconds: float = 0.0
    calls: int = 0
    waits: list[float] = field(default_factory=list)
    isolations: list[float] = field(default_factory=list)
    delegations: list[float] = field(default_factory=list)
    broken: list[tuple[int, str]] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """One seed more."""
        self.seeds += 1
        self.virtual_seconds += outcome.virtual_seconds
        self.calls += outcome.story.events
        self.waits += [wait / outcome.lease_seconds for wait in outcome.waits]
        self.isolations += [wait / outcome.lease_seconds for wait in outcome.isolations]
        self.delegations += [wait / outcome.lease_seconds for wait in outcome.delegations]
        if outcome.breaches:
            self.broken.append((outcome.seed, str(outcome.breaches[0])))

    def merge(self, other: "Tally") -> None:
        """The seeds of both."""
        self.seeds += other.seeds
        self.virtual_seconds += other.virtual_seconds
        self.calls += other.calls
        self.waits += other.waits
        self.isolations += other.isolations
        self.delegations += other.delegations
        self.broken += other.broken

    def summary(self, seconds: float) -> str:
        """One line."""
        return (
            f"{self.seeds} seeds, {len(self.broken)} broken; {self.seeds / seconds * 60:,.0f} seeds and "
            f"{self.virtual_seconds / 3600 / seconds * 60:,.0f} simulated hours a minute; "
            f"{self.calls / self.seeds:,.0f} events a seed"
        )

    def liveness(self) -> list[str]:
        """Three lines."""
        after = "time to done after faults stop, in lease lengths"
        return [
            f"{after}: {spread(self.waits)}",
            f"{after}, of files that wait for a poisonous one to be isolated: {spread(self.isolations)}",
            f"{after}, of files that were handed to Spark, its runs included: {spread(self.delegations)}",
        ]


def quantile(values: list[float], share: float) -> float:
    """That share of the values is no larger."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)] if values else 0.0


def spread(values: list[float]) -> str:
    """How they are distributed, in a line."""
    shares = (0.5, 0.9, 0.99, 0.999, 1.0)
    return f"{len(values):,} files, " + ", ".join(f"p{share * 100:g} {quantile(values, share):.2f}" for share in shares)


def play(seeds: range) -> Tally:
    """All of them, in this process. Collecting garbage between seeds only makes them a fifth faster."""
    gc.disable()
    tally = Tally()
    for number, seed in enumerate(seeds):
        tally.add(simulate(seed, kept=False))
        if number % 5 == 4:
            gc.collect()
    gc.enable()
    return tally


def tell(outcome: Outcome) -> str:
    """A broken seed as a story: what concerns the first breach, and how to play it again."""
    breach = outcome.breaches[0]
    again = f"make simulate START={outcome.seed} SEEDS=1"
    return "\n".join([f"seed {outcome.seed} broke {breach}", *outcome.story.lines(breach.about), f"again: {again}"])


def chunks(start: int, seeds: int) -> Iterator[range]:
    """The seeds in portions."""
    for at in range(start, start + seeds, CHUNK_SEEDS):
        yield range(at, min(at + CHUNK_SEEDS, start + seeds))


def say(line: str) -> None:
    """Written at once, also into a pipe."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description="Play seeds of the simulation and check the guarantees G1-G6.")
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    began = printed = time.monotonic()
    total = Tally()
    with ProcessPoolExecutor(arguments.processes) as pool:
        for tally in pool.map(play, chunks(arguments.start, arguments.seeds)):
            total.merge(tally)
            if time.monotonic() - printed > PROGRESS_SECONDS:
                printed = time.monotonic()
                say(total.summary(printed - began))
    for seed, _ in total.broken[:TOLD_MAX]:
        say(tell(simulate(seed)))
    for seed, breach in total.broken:
        say(f"seed {seed} broke {breach}")
    say(total.summary(time.monotonic() - began))
    for line in total.liveness():
        say(line)
    return int(bool(total.broken) or quantile(total.waits, 0.99) > WAIT_LEASES_MAX)


if __name__ == "__main__":
    sys.exit(main())
