"""An engine that only ever fails is left alone, tried by one batch, and trusted again."""

import pytest

from headsaw.core.breaker import (
    FAILURES_MAX,
    PAUSE,
    TRIAL_SECONDS,
    WAIT_SECONDS_MIN,
    Breaker,
    Health,
    engine_to_blame,
)
from headsaw.core.delegation import GaveUp, RunState, RunStatus, SparkReport, Trouble
from headsaw.core.model import SparkRun

NOW = 1000.0


def opened(times: int = 1, chance: float = 0.5) -> Breaker:
    """A breaker that has just opened for the n-th time in a row."""
    breaker = Breaker()
    for _ in range(FAILURES_MAX):
        breaker = breaker.failed(NOW, chance)
    for _ in range(times - 1):
        breaker = breaker.asked("trial", breaker.until).failed(breaker.until, chance)
    return breaker


def test_it_opens_after_several_failures_in_a_row() -> None:
    breaker = Breaker()
    for _ in range(FAILURES_MAX - 1):
        breaker = breaker.failed(NOW, 0.5)
        assert (breaker.health, breaker.wait(NOW)) == (Health.CLOSED, None)
    breaker = breaker.failed(NOW, 0.5)
    assert breaker.health is Health.OPEN
    assert breaker.wait(NOW) == pytest.approx(PAUSE.wait(0, 0.5))


def test_a_run_that_ends_by_itself_starts_the_count_anew() -> None:
    breaker = Breaker()
    for _ in range(10):
        breaker = breaker.failed(NOW, 0.5).failed(NOW, 0.5).delivered()
    assert breaker == Breaker()


def test_after_the_pause_one_batch_is_let_through_and_the_others_ask_again_soon() -> None:
    breaker = opened()
    assert breaker.wait(breaker.until) is None
    trying = breaker.asked("trial", breaker.until)
    assert trying.health is Health.HALF_OPEN
    wait = trying.wait(breaker.until)
    assert wait is not None
    assert WAIT_SECONDS_MIN <= wait <= PAUSE.base_seconds


def test_the_trial_s_driver_closes_it_and_no_other_s() -> None:
    trying = opened().asked("trial", NOW + 100)
    assert trying.at_work("another") == trying
    assert trying.at_work("trial").health is Health.CLOSED
    assert opened().at_work("trial").health is Health.OPEN


def test_a_trial_that_worked_is_not_yet_trusted_as_before() -> None:
    again = opened(2).asked("trial", NOW + 1000).at_work("trial").failed(NOW + 1100, 0.999999)
    assert again.health is Health.OPEN
    assert again.until - (NOW + 1100) == pytest.approx(PAUSE.base_seconds * 4, rel=0.01)


def test_a_trial_that_nobody_hears_of_is_repeated() -> None:
    trying = opened().asked("trial", 2000.0)
    assert trying.wait(2000.0 + TRIAL_SECONDS - 1) is not None
    assert trying.wait(2000.0 + TRIAL_SECONDS) is None
    assert trying.asked("other", 2000.0 + TRIAL_SECONDS).trial == "other"


def test_pauses_double_up_to_a_cap() -> None:
    lengths = []
    breaker, now = opened(chance=0.999999), NOW
    for _ in range(12):
        lengths.append(breaker.until - now)
        now = breaker.until
        breaker = breaker.asked("trial", now).failed(now, 0.999999)
    assert lengths[:4] == pytest.approx([30, 60, 120, 240], rel=0.01)
    assert lengths[-1] == pytest.approx(PAUSE.cap_seconds, rel=0.01)


@pytest.mark.parametrize("times", range(1, 12))
@pytest.mark.parametrize("chance", [0.0, 0.3, 0.999999])
def test_nobody_who_is_sent_away_comes_back_at_once(times: int, chance: float) -> None:
    breaker = opened(times, chance)
    start = breaker.until - PAUSE.wait(times - 1, chance)
    assert breaker.until - start >= PAUSE.floor_seconds
    trying = breaker.asked("trial", breaker.until)
    for waiting, now in ((breaker, breaker.until - 0.001), (trying, trying.until - 0.001)):
        wait = waiting.wait(now)
        assert wait is not None
        assert wait >= WAIT_SECONDS_MIN


def test_failures_of_what_began_before_the_pause_do_not_lengthen_it() -> None:
    breaker = opened()
    assert breaker.failed(NOW + 1, 0.5) == breaker


def test_a_success_in_the_middle_of_the_pause_ends_it() -> None:
    assert opened(5).delivered() == Breaker()


RUN = SparkRun("glue", NOW, "run-1")
WITH_DRIVER = SparkRun("glue", NOW, "run-1", "token", "run-1")
REPORT = SparkReport({}, (), (), 1, 0, 0, NOW, 1.0, 1.0, 1)


@pytest.mark.parametrize(
    ("run", "state", "report", "blame"),
    [
        (WITH_DRIVER, RunState.SUCCEEDED, REPORT, False),
        (WITH_DRIVER, RunState.SUCCEEDED, GaveUp(Trouble.DATA, "x"), False),
        (WITH_DRIVER, RunState.SUCCEEDED, GaveUp(Trouble.OUTAGE, "x"), True),
        (WITH_DRIVER, RunState.FAILED, None, False),
        (WITH_DRIVER, None, None, False),
        (RUN, RunState.FAILED, None, True),
        (RUN, RunState.SUCCEEDED, None, True),
        (RUN, None, None, True),
        (WITH_DRIVER, RunState.STOPPED, None, True),
        (WITH_DRIVER, RunState.GONE, None, True),
        (RUN, RunState.STOPPED, None, True),
    ],
)
def test_an_engine_is_to_blame_for_runs_that_it_stopped_or_lost_or_whose_driver_never_began(
    run: SparkRun, state: RunState | None, report: SparkReport | GaveUp | None, blame: bool
) -> None:
    assert engine_to_blame(run, RunStatus(state) if state else None, report) is blame
