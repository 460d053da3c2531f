"""One suite per port, run over memory and over a local AWS."""

from collections.abc import AsyncIterator

import pytest
from benches import (
    EmulatorQueues,
    MemoryObjects,
    MemoryQueues,
    ObjectBench,
    QueueBench,
    emulator_objects,
    shared_session,
)

from headsaw.adapters.aws import Aws
from headsaw.adapters.memory.clock import VirtualClock
from headsaw.adapters.memory.object_store import MemoryObjectStore
from headsaw.demo.emulator import Endpoint


@pytest.fixture(params=["memory", pytest.param("emulator", marks=pytest.mark.emulator)])
def endpoint(request: pytest.FixtureRequest) -> Endpoint | None:
    """Where AWS is; None for the implementations in memory."""
    return request.getfixturevalue("emulator_environment") if request.param == "emulator" else None


@pytest.fixture
async def queues(endpoint: Endpoint | None) -> AsyncIterator[QueueBench]:
    if endpoint is None:
        yield MemoryQueues()
        return
    async with Aws(session=shared_session()) as aws:
        yield EmulatorQueues(await aws.client("sqs"))


@pytest.fixture
async def objects(endpoint: Endpoint | None) -> AsyncIterator[ObjectBench]:
    if endpoint is None:
        yield MemoryObjects(MemoryObjectStore(VirtualClock(), ["plain", "versioned"], versioned=["versioned"]))
        return
    async with emulator_objects() as bench:
        yield bench
