"""The simulation catches what it must: each mutant breaks its guarantee at a seed, and without it that seed holds.

`Mutant.start` is the first seed that caught it. A change of the worlds may move that: the search goes on from there.
"""

import pytest
from tests.simulation.mutants import MUTANTS, Mutant
from tests.simulation.scenario import Outcome, simulate

pytestmark = pytest.mark.timeout(600)

SEEDS_MAX = 1000


def caught_by(mutant: Mutant) -> Outcome | None:
    """The first seed, from where the mutant is known to be caught, that catches it."""
    with mutant.applied():
        outcomes = map(simulate, range(mutant.start, mutant.start + SEEDS_MAX))
        return next((outcome for outcome in outcomes if outcome.breaches), None)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_caught_and_without_it_the_same_seed_holds(mutant: Mutant) -> None:
    original = getattr(mutant.owner, mutant.attribute)
    caught = caught_by(mutant)
    assert caught is not None
    assert caught.breaches[0].guarantee in mutant.guarantees
    assert getattr(mutant.owner, mutant.attribute) is original
    assert simulate(caught.seed).breaches == ()


def test_the_story_of_a_caught_mutant_says_who_did_what_and_when() -> None:
    mutant = next(mutant for mutant in MUTANTS if mutant.name == "take NoSuchUpload for success")
    caught = caught_by(mutant)
    assert caught is not None
    story = "\n".join(caught.story.lines(caught.breaches[0].about))
    assert "*BROKEN" in story
    assert "*faults stop" in story or "*killed" in story
    assert caught.breaches[0].about[0] in story
