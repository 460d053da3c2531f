"""What driver and tasks reach: object store and ledger on an event loop in the background, for synchronous callers.

Tasks share one connection per process: Spark reuses its Python workers, and clients are slow to make.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Hashable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from random import SystemRandom
from typing import Any, Protocol, Self, TypeVar

import uvloop

from headsaw.adapters.aws import Aws
from headsaw.adapters.clock import LedgerClock
from headsaw.adapters.dynamodb import DynamoTable
from headsaw.adapters.inline_sources import Bridge
from headsaw.adapters.ledger import TableLedger
from headsaw.adapters.s3 import S3ObjectStore
from headsaw.core.delegation import Manifest
from headsaw.ports import Clock, Ledger, ObjectStore

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reach:
    """The ports that the job uses."""

    store: ObjectStore
    ledger: Ledger
    clock: Clock


class Site(Hashable, Protocol):
    """Where store and ledger are. It can be pickled, and equal ones lead to the same place."""

    def connect(self) -> AbstractAsyncContextManager[Reach]:
        """Connected inside the context."""
        ...


@dataclass(frozen=True, slots=True)
class AwsSite:
    """The AWS account that a batch's manifest speaks of; endpoints and credentials come from the environment."""

    region: str | None
    ledger_table: str
    ledger_retention_seconds: float
    owners: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, manifest: Manifest) -> Self:
        """Where the manifest's batch is."""
        settings = manifest.settings
        expected = [
            (settings.source.bucket, settings.source_account),
            (settings.destination.bucket, settings.destination_account),
        ]
        owners = {bucket: account for bucket, account in expected if account is not None}
        return cls(manifest.region, manifest.ledger_table, manifest.ledger_retention_seconds, tuple(owners.items()))

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Reach]:
        """Clients exist, nothing was asked of AWS yet."""
        clock = LedgerClock()
        async with Aws(region=self.region, clock=clock) as aws:
            table = DynamoTable(await aws.client("dynamodb"), self.ledger_table)
            yield Reach(
                S3ObjectStore(await aws.client("s3"), dict(self.owners)),
                TableLedger(table, clock, SystemRandom().random, self.ledger_retention_seconds),
                clock,
            )


class Connection:
    """A site, connected until `close`, on a thread of its own. Raises what connecting raises."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, Reach]] = Future()
        self._thread = threading.Thread(target=self._run, name="reach", daemon=True)
        self._thread.start()
        self._loop, self._closing, self.reach = self._ready.result()

    def bridge(self) -> Bridge:
        """For one conversion."""
        return Bridge(self._loop)

    def start(self, coroutine: Coroutine[Any, Any, T]) -> "Future[T]":
        """It runs on the loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Its result."""
        return self.start(coroutine).result()

    def close(self) -> None:
        """Everything is closed, and the thread has ended."""
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._serve())
        except BaseException as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)

    async def _serve(self) -> None:
        closing = asyncio.Event()
        async with self._site.connect() as reach:
            self._ready.set_result((asyncio.get_running_loop(), closing, reach))
            await closing.wait()


_connections: dict[Site, Connection] = {}


def connected(site: Site) -> Connection:
    """This process's connection to the site, which stays until the process ends."""
    if site not in _connections:
        _connections[site] = Connection(site)
    return _connections[site]
