"""When a worker is ready, and when it lives."""

import asyncio
from collections.abc import Mapping

import pytest

from headsaw.core.facts import Where
from headsaw.errors import Throttled, UsageError
from headsaw.http import Health, keep_checking
from headsaw.http.checking import Asks
from headsaw.http.health import REQUIRED


class Time:
    """A monotonic clock that moves when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def health(time: Time) -> Health:
    return Health(time, stale_seconds=30)


def reach_all(health: Health) -> None:
    for where in REQUIRED:
        health.reached(where)


def test_a_worker_that_reached_nothing_yet_is_not_ready_and_says_what_is_missing(health: Health) -> None:
    verdict = health.verdict()
    assert not verdict.ready
    assert verdict.reasons == (
        "queue was not reached yet",
        "ledger was not reached yet",
        "bucket was not reached yet",
    )


def test_a_worker_that_reached_queue_ledger_and_bucket_is_ready(health: Health) -> None:
    reach_all(health)
    assert health.verdict().ready
    assert health.verdict().reasons == ()


@pytest.mark.parametrize("where", REQUIRED)
def test_each_of_them_is_needed(health: Health, where: Where) -> None:
    for other in REQUIRED:
        if other is not where:
            health.reached(other)
    assert health.verdict().reasons == (f"{where.value} was not reached yet",)


def test_a_check_goes_stale_when_nothing_is_heard_for_too_long(health: Health, time: Time) -> None:
    reach_all(health)
    time.now += 30
    assert health.verdict().ready
    time.now += 1
    health.reached(Where.QUEUE)
    health.reached(Where.BUCKET)
    assert health.verdict().reasons == ("ledger was last reached 31 s ago (limit 30 s)",)


def test_one_failure_changes_nothing_while_the_last_success_is_recent(health: Health, time: Time) -> None:
    reach_all(health)
    time.now += 5
    health.failed(Where.LEDGER, "Throttled")
    verdict = health.verdict()
    assert verdict.ready
    ledger = verdict.checks[1]
    assert (ledger.seconds_since_success, ledger.seconds_since_failure, ledger.failure) == (5, 0, "Throttled")


def test_the_reason_names_the_last_failure(health: Health) -> None:
    health.reached(Where.QUEUE)
    health.reached(Where.BUCKET)
    health.failed(Where.LEDGER, "AccessDenied")
    assert health.verdict().reasons == ("ledger was not reached yet; last failure: AccessDenied",)


def test_a_failure_is_named_and_its_text_is_not_repeated(health: Health) -> None:
    health.failed(Where.BUCKET, "no such key s3://bucket/key")
    assert health.verdict().checks[2].failure == "other"


def test_a_worker_recovers_when_it_reaches_the_world_again(health: Health, time: Time) -> None:
    reach_all(health)
    time.now += 60
    assert not health.verdict().ready
    reach_all(health)
    assert health.verdict().ready


def test_a_draining_worker_is_not_ready_and_lives(health: Health) -> None:
    reach_all(health)
    health.draining()
    verdict = health.verdict()
    assert (verdict.ready, verdict.draining, verdict.reasons) == (False, True, ("the worker is draining",))
    assert health.liveness().alive


def test_an_engine_that_is_away_does_not_make_a_worker_unready(health: Health) -> None:
    reach_all(health)
    health.failed(Where.ENGINE, "Unreachable")
    assert health.verdict().ready


def test_an_outage_leaves_a_worker_alive(health: Health) -> None:
    for where in REQUIRED:
        health.failed(where, "Unreachable")
    assert health.liveness().alive


def test_the_death_of_a_task_is_the_end_of_the_worker(health: Health) -> None:
    reach_all(health)
    health.died("poller 2")
    assert health.liveness().dead_tasks == ("poller 2",)
    assert not health.liveness().alive
    assert health.verdict().reasons == ("task poller 2 died",)


# --- asking now and then


class Rounds:
    """A sleep that ends the test after some rounds, and remembers how long each would have been."""

    def __init__(self, rounds: int) -> None:
        self.slept: list[float] = []
        self._rounds = rounds
        self.over = asyncio.Event()

    async def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)
        if len(self.slept) >= self._rounds:
            self.over.set()
            await asyncio.Event().wait()
        await asyncio.sleep(0)


async def checked(health: Health, asks: Mapping[Where, Asks], rounds: int) -> Rounds:
    sleep = Rounds(rounds)
    task = asyncio.create_task(keep_checking(health, asks, sleep, 10))
    await sleep.over.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return sleep


async def fine() -> None:
    pass


async def test_checks_keep_an_idle_worker_ready(health: Health) -> None:
    sleep = await checked(health, dict.fromkeys(REQUIRED, fine), rounds=3)
    assert health.verdict().ready
    assert set(sleep.slept) == {10}


@pytest.mark.parametrize("error", [Throttled("slow down"), UsageError("no such table")])
async def test_a_check_that_fails_is_told_and_asked_again(health: Health, error: Exception) -> None:
    answers = [error, None]

    async def recovering() -> None:
        if answer := answers.pop(0):
            raise answer

    await checked(health, {Where.LEDGER: recovering}, rounds=2)
    ledger = health.verdict().checks[1]
    assert ledger.ok
    assert ledger.failure == type(error).__name__


async def test_a_check_that_hangs_delays_no_other(health: Health) -> None:
    async def hanging() -> None:
        await asyncio.Event().wait()

    await checked(health, {Where.QUEUE: hanging, Where.LEDGER: fine}, rounds=2)
    queue, ledger, _ = health.verdict().checks
    assert (queue.ok, ledger.ok) == (False, True)


async def test_a_bug_in_a_check_ends_it_aloud(health: Health) -> None:
    async def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup):
        await keep_checking(health, {Where.QUEUE: broken}, asyncio.sleep, 10)
