"""What a second core gives: Headsaw on one core and on two, converting one plain file, and two at once."""

import os
import tempfile
from pathlib import Path

from benchmarks.corpora import Prepared
from benchmarks.runs import Tool, convert

HEAD = ("Headsaw native", "1 core, s", "2 cores, s", "times as fast")


def why_not() -> str:
    """Why this can't be measured here; empty if it can."""
    if not hasattr(os, "sched_setaffinity"):
        return "this system pins no process to a core"
    return "" if len(os.sched_getaffinity(0)) > 1 else "there is only one core"


def measure(tool: Tool, corpora: list[Prepared], rounds: int) -> list[tuple[str, ...]]:
    """The table's cells: one file of the first corpus, and each corpus' file in one conversion."""
    together = " and ".join(corpus.name for corpus in corpora)
    cases = [(f"one file ({corpora[0].name})", [corpora[0].plain])]
    if len(corpora) > 1:
        cases.append((f"two files at once ({together})", [corpus.plain for corpus in corpora]))
    return [(name, *_compared(tool, sources, rounds)) for name, sources in cases]


def _compared(tool: Tool, sources: list[Path], rounds: int) -> tuple[str, ...]:
    taken: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(rounds):
        for cores, seconds in taken.items():
            with tempfile.TemporaryDirectory(dir=sources[0].parent) as directory:
                said = convert(tool, sources, Path(directory), "--cores", str(cores))
            if "error" in said:
                return (f"fails: {said['error']}"[:60], "", "")
            seconds.append(float(str(said["wall_seconds"])))
    one, two = min(taken[1]), min(taken[2])
    return f"{one:.2f}", f"{two:.2f}", f"{one / two:.2f}"
