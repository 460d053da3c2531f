"""One suite per port, run over memory, over the emulator, and over other implementations that are no relatives of it.

What an implementation is known to get wrong is expected to fail there (`lies.py`), so a version that mends it says so.
"""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from benches import (
    EMULATOR,
    MemoryObjects,
    MemoryQueues,
    ObjectBench,
    QueueBench,
    ServedQueues,
    served_objects,
    shared_session,
)
from engine_benches import SERVED, EngineBench, local_bench
from lies import lie_of
from local_services import DYNAMODB_LOCAL, ELASTICMQ, MOTO, SEAWEEDFS, require

from headsaw.adapters.aws import Aws
from headsaw.adapters.memory.clock import VirtualClock
from headsaw.adapters.memory.object_store import MemoryObjectStore
from headsaw.demo.emulator import Endpoint


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that an implementation is known to fail must fail there."""
    for item in items:
        lie = lie_of(item.name)
        if lie is not None and item.path.parent.name == "contract":
            item.add_marker(pytest.mark.xfail(reason=f"{lie.where} {lie.does}; AWS: {lie.aws}", strict=True))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def dynamodb_local(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Endpoint]:
    require(DYNAMODB_LOCAL)
    async with DYNAMODB_LOCAL.start(tmp_path_factory.mktemp("dynamodb-local")) as endpoint:
        yield endpoint


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def elasticmq(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Endpoint]:
    require(ELASTICMQ)
    async with ELASTICMQ.start(tmp_path_factory.mktemp("elasticmq")) as endpoint:
        yield endpoint


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Endpoint]:
    require(SEAWEEDFS)
    async with SEAWEEDFS.start(tmp_path_factory.mktemp("seaweedfs")) as endpoint:
        yield endpoint


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def moto(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Endpoint]:
    require(MOTO)
    async with MOTO.start(tmp_path_factory.mktemp("moto")) as endpoint:
        yield endpoint


def of_memory_or_served(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Endpoint | None:
    """Where AWS is, with the environment of a process that speaks to it; None for the implementation in memory."""
    if request.param == "memory":
        return None
    endpoint: Endpoint = request.getfixturevalue(request.param.replace("-", "_"))
    speak_to(endpoint, monkeypatch)
    return endpoint


def speak_to(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of a process that speaks to that AWS and no other."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in endpoint.env.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(params=["memory", EMULATOR, "dynamodb-local", "moto"])
def ledger_endpoint(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Endpoint | None:
    return of_memory_or_served(request, monkeypatch)


@pytest.fixture(params=["memory", EMULATOR, "elasticmq", "moto"])
def queue_endpoint(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Endpoint | None:
    return of_memory_or_served(request, monkeypatch)


@pytest.fixture(params=["memory", EMULATOR, "seaweedfs", "moto"])
def object_endpoint(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Endpoint | None:
    return of_memory_or_served(request, monkeypatch)


@pytest.fixture(params=["local", "moto-glue", "moto-emr-serverless", "moto-emr"])
def engine_place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Endpoint | None]:
    """The engine's name, and the AWS that has it."""
    where, _, engine = request.param.partition("-")
    if not engine:
        return where, None
    endpoint: Endpoint = request.getfixturevalue(where)
    speak_to(endpoint, monkeypatch)
    return engine, endpoint


@pytest.fixture
async def engines(engine_place: tuple[str, Endpoint | None], tmp_path: Path) -> AsyncIterator[EngineBench]:
    engine, endpoint = engine_place
    async with local_bench(tmp_path) if endpoint is None else SERVED[engine](endpoint) as bench:
        yield bench


@pytest.fixture
async def queues(queue_endpoint: Endpoint | None) -> AsyncIterator[QueueBench]:
    if queue_endpoint is None:
        yield MemoryQueues()
        return
    async with Aws(session=shared_session()) as aws:
        yield ServedQueues(await aws.client("sqs"))


@pytest.fixture
async def objects(object_endpoint: Endpoint | None) -> AsyncIterator[ObjectBench]:
    if object_endpoint is None:
        yield MemoryObjects(MemoryObjectStore(VirtualClock(), ["plain", "versioned"], versioned=["versioned"]))
        return
    async with served_objects() as bench:
        yield bench
