"""The engine in memory keeps the contract of the others: a fake that lies is worse than none."""

from random import Random
from types import SimpleNamespace

import pytest

# The suite's own tests, over the fixture of this module.
from test_spark_jobs import (  # noqa: F401 - collected from here
    started,
    test_a_cancelled_run_stops_and_cancelling_it_again_is_no_error,
    test_a_run_ends_with_success,
    test_a_run_is_found_by_its_job_and_by_no_other_attempt,
    test_a_run_that_has_ended_is_found_all_the_same,
    test_a_run_that_never_was_is_gone,
    test_a_run_that_was_started_is_at_work,
    test_an_engine_that_is_not_there_starts_nothing_and_says_why,
)

from headsaw.adapters.ledger import TableLedger
from headsaw.adapters.memory.clock import VirtualClock
from headsaw.adapters.memory.object_store import MemoryObjectStore
from headsaw.adapters.memory.spark import Behaviour, End, MemorySpark, Start
from headsaw.adapters.memory.table import MemoryTable
from headsaw.ports import ConvertedBatch, SparkJobs

LONG = 60.0


class NoConverter:
    """No driver of this module gets as far as a conversion."""

    async def convert(self, *_: object) -> ConvertedBatch:
        raise AssertionError

    async def discard(self, *_: object) -> None:
        raise AssertionError


def engine(clock: VirtualClock, behaviour: Behaviour, *, client_tokens: bool = False) -> SparkJobs:
    random = Random(1)
    ledger = TableLedger(MemoryTable(clock), clock, random.random, 90 * 86400.0)
    store = MemoryObjectStore(clock, ["control"])
    return MemorySpark(
        ledger, store, clock, random, NoConverter(), lambda _job, _asked: behaviour, client_tokens=client_tokens
    )


@pytest.fixture
def engines() -> SimpleNamespace:
    clock = VirtualClock()
    waits = Behaviour(queued_seconds=LONG, registers=False, end=End.SILENT)
    return SimpleNamespace(
        engine=engine(clock, waits),
        nowhere=engine(clock, Behaviour(Start.BUSY)),
        unknown="run-0",
        release=lambda: clock.advance(LONG),
    )


async def test_with_client_tokens_a_second_start_of_an_attempt_is_its_first_run() -> None:
    tokens = engine(VirtualClock(), Behaviour(queued_seconds=LONG), client_tokens=True)
    assert await started(tokens) == await started(tokens)
    assert await started(tokens, attempt=2) != await started(tokens)


async def test_without_client_tokens_a_second_start_is_another_run() -> None:
    without = engine(VirtualClock(), Behaviour(queued_seconds=LONG))
    assert await started(without) != await started(without)
