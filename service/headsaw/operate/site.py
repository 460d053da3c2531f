"""What every operators' command works on: the ports, bounded concurrency, progress, and reading accepted records."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from headsaw.core.commit import CommitRecord, accepted_record
from headsaw.core.model import Batch
from headsaw.core.settings import S3Prefix
from headsaw.errors import ProtocolViolation, SourceUnreadable
from headsaw.ports import Clock, Ledger, ObjectStore, Queue

T = TypeVar("T")

Progress = Callable[[str, int, int | None], None]
"""Told what is being done, how much of it is done, and of how much, where that is known."""


class Ports(Protocol):
    """The world as operators' commands need it."""

    @property
    def queues(self) -> Sequence[Queue]:
        """The source queues."""
        ...

    @property
    def dlq(self) -> Queue:
        """The dead-letter queue."""
        ...

    @property
    def ledger(self) -> Ledger:
        """The ledger."""
        ...

    @property
    def store(self) -> ObjectStore:
        """All buckets."""
        ...

    @property
    def clock(self) -> Clock:
        """The ledger's time."""
        ...


def silent(doing: str, done: int, total: int | None) -> None:
    """For callers who don't watch."""


async def each(items: AsyncIterator[T], limit: int, work: Callable[[T], Awaitable[object]]) -> None:
    """`work` was done for every item, `limit` at a time. The first error stops everything and is raised."""
    taking = asyncio.Lock()

    async def run() -> None:
        while True:
            async with taking:
                try:
                    item = await anext(items)
                except StopAsyncIteration:
                    return
            await work(item)

    tasks = [asyncio.create_task(run()) for _ in range(limit)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def iterated(items: Iterable[T]) -> AsyncIterator[T]:
    """The items, for `each`."""
    for item in items:
        yield item


async def load_record(store: ObjectStore, control: S3Prefix, batch: Batch) -> CommitRecord:
    """The batch's accepted commit record, proven by its SHA-256. Raises ProtocolViolation where there is none."""
    if batch.commit is None:
        raise ProtocolViolation(f"batch {batch.id} is {batch.state} without a commit record")
    where = f"commit record s3://{control.bucket}/{batch.commit.key} of batch {batch.id}"
    try:
        return accepted_record(batch, await store.read_all(control.bucket, batch.commit.key))
    except SourceUnreadable as gone:
        raise ProtocolViolation(f"{where}: it can't be read: {gone.reason}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ProtocolViolation(f"{where}: {error}") from None
