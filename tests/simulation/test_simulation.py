"""A smoke of `make simulate`, and that a seed is all there is to know of a run."""

import os
import subprocess
import sys

import pytest
from tests.simulation.__main__ import WAIT_LEASES_MAX, play, quantile, tell
from tests.simulation.scenario import simulate

PORTIONS = 8
SEEDS = 40
"""In each portion. `make simulate SEEDS=20000` plays more."""


@pytest.mark.parametrize("portion", range(PORTIONS))
def test_whatever_goes_wrong_the_guarantees_hold_and_everything_ends(portion: int) -> None:
    tally = play(range(portion * SEEDS, (portion + 1) * SEEDS))
    assert not tally.broken, tell(simulate(tally.broken[0][0]))
    assert quantile(tally.waits, 0.99) <= WAIT_LEASES_MAX


def test_the_same_seed_takes_the_same_course_twice() -> None:
    for seed in range(10):
        first, second = simulate(seed), simulate(seed)
        assert first.story.trace() == second.story.trace()


def test_a_seed_takes_the_same_course_in_another_process_with_other_hashes() -> None:
    program = "import hashlib; from tests.simulation.scenario import simulate; print(hashlib.sha256('\\n'.join(line for seed in range(5) for line in simulate(seed).story.trace()).encode()).hexdigest())"  # noqa: E501
    courses = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=100,
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert courses[0] == courses[1]
    assert len(courses[0].strip()) == 64
