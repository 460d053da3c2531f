"""Clocks: the correction by server dates, and virtual time."""

import asyncio
import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headsaw.adapters.clock import LedgerClock, ServerOffset, SystemClock
from headsaw.adapters.memory.clock import LoopClock, VirtualClock


def test_the_offset_stays_where_the_dates_agree_with_it() -> None:
    offset = ServerOffset()
    offset.observe(date=1000, sent_at=1000.4, received_at=1000.6)
    assert offset.seconds == 0


def test_the_offset_moves_as_little_as_a_date_demands() -> None:
    offset = ServerOffset()
    offset.observe(date=1010, sent_at=1000.4, received_at=1000.6)
    assert offset.seconds == pytest.approx(9.4)
    offset.observe(date=990, sent_at=1000.4, received_at=1000.6)
    assert offset.seconds == pytest.approx(-9.4)


def test_an_answer_received_before_it_was_asked_for_tells_nothing() -> None:
    offset = ServerOffset()
    offset.observe(date=5000, sent_at=1000, received_at=999)
    assert offset.seconds == 0


@given(
    skew=st.floats(-1e5, 1e5),
    calls=st.lists(st.tuples(st.floats(0, 100), st.floats(0, 2), st.floats(0, 2)), min_size=1, max_size=50),
)
def test_the_offset_never_leaves_what_every_answer_allows(skew: float, calls: list[tuple[float, float, float]]) -> None:
    """For a constant true offset it only ever comes nearer, and ends within a second and the shortest call of it."""
    offset, local, error = ServerOffset(), 1.8e9, abs(skew)
    for pause, there, back in calls:
        sent_at = local + pause
        received_at = sent_at + there + back
        offset.observe(math.floor(sent_at + there + skew), sent_at, received_at)
        assert abs(offset.seconds - skew) <= error + 1e-5
        error = abs(offset.seconds - skew)
        local = received_at
    assert error <= 1 + min(there + back for _, there, back in calls) + 1e-5


async def test_the_ledger_clock_is_the_local_one_and_the_offset() -> None:
    local = VirtualClock(1000.0)
    clock = LedgerClock(local)
    clock.observe(date=1010, sent_at=1000, received_at=1000)
    assert (clock.now(), clock.local(), clock.offset_seconds) == (1010, 1000, 10)
    assert clock.monotonic() == local.monotonic()


async def test_the_system_clock_is_the_machines() -> None:
    clock = SystemClock()
    assert clock.now() == pytest.approx(time.time(), abs=1)
    before = clock.monotonic()
    await clock.sleep(0.01)
    assert clock.monotonic() - before >= 0.009


async def test_sleepers_wake_in_the_order_of_their_times_and_may_sleep_again() -> None:
    clock = VirtualClock(0.0)
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, *naps: float) -> None:
        for nap in naps:
            await clock.sleep(nap)
            woken.append((name, clock.now()))

    tasks = [asyncio.create_task(sleeper("a", 3, 3)), asyncio.create_task(sleeper("b", 1, 1, 1, 10))]
    await clock.advance(5)
    assert woken == [("b", 1), ("b", 2), ("a", 3), ("b", 3)]
    assert (clock.now(), clock.monotonic(), clock.next_wakeup) == (5, 5, 6)
    await clock.advance(100)
    assert woken[4:] == [("a", 6), ("b", 13)]
    await asyncio.gather(*tasks)


async def test_a_cancelled_sleeper_is_forgotten() -> None:
    clock = VirtualClock()
    task = asyncio.create_task(clock.sleep(5))
    await clock.advance(1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert clock.next_wakeup is None
    await clock.advance(10)


async def test_sleeping_for_nothing_lets_others_run() -> None:
    clock = VirtualClock()
    async with asyncio.timeout(1):
        await clock.sleep(0)
        await clock.sleep(-1)


async def test_the_loop_clock_follows_the_loop_and_its_skew() -> None:
    true, wrong = LoopClock(), LoopClock(skew=-60.0)
    assert true.now() - wrong.now() == pytest.approx(60, abs=0.1)
    before = true.monotonic()
    await true.sleep(0.01)
    assert true.monotonic() > before
