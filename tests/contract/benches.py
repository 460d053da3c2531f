"""Where the contract suites get their queues, buckets and time from: one bench per implementation."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from typing import Any, Protocol
from uuid import uuid4

import pytest
from aiobotocore.session import AioSession, get_session

from headsaw.adapters.aws import Aws
from headsaw.adapters.memory.clock import VirtualClock
from headsaw.adapters.memory.object_store import MemoryObjectStore
from headsaw.adapters.memory.queue import MemoryQueue, Redrive
from headsaw.adapters.s3 import S3ObjectStore
from headsaw.adapters.sqs import SqsQueue
from headsaw.ports import Message, ObjectStore, Queue

EMULATOR = pytest.param("emulator", marks=pytest.mark.emulator)


class QueueBench(Protocol):
    """Makes queues, and lets time pass for them."""

    async def make(
        self, *, delay_seconds: int = 0, visibility_seconds: int = 30, dead: Queue | None = None, max_receives: int = 0
    ) -> Queue: ...

    async def elapse(self, seconds: float) -> None: ...

    def now(self) -> float: ...


@dataclass
class MemoryQueues:
    clock: VirtualClock = field(default_factory=VirtualClock)
    numbers: Any = field(default_factory=count)

    async def make(
        self, *, delay_seconds: int = 0, visibility_seconds: int = 30, dead: Queue | None = None, max_receives: int = 0
    ) -> Queue:
        return MemoryQueue(
            self.clock,
            f"queue{next(self.numbers)}",
            delay_seconds=delay_seconds,
            visibility_seconds=visibility_seconds,
            redrive=Redrive(dead, max_receives) if isinstance(dead, MemoryQueue) else None,
        )

    async def elapse(self, seconds: float) -> None:
        await self.clock.advance(seconds)

    def now(self) -> float:
        return self.clock.now()


@dataclass
class ServedQueues:
    client: Any
    urls: dict[int, str] = field(default_factory=dict)

    async def make(
        self, *, delay_seconds: int = 0, visibility_seconds: int = 30, dead: Queue | None = None, max_receives: int = 0
    ) -> Queue:
        attributes = {"DelaySeconds": str(delay_seconds), "VisibilityTimeout": str(visibility_seconds)}
        if dead is not None:
            url = self.urls[id(dead)]
            answer = await self.client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
            arn = answer["Attributes"]["QueueArn"]
            attributes["RedrivePolicy"] = f'{{"deadLetterTargetArn":"{arn}","maxReceiveCount":"{max_receives}"}}'
        url = (await self.client.create_queue(QueueName=f"q-{uuid4().hex[:12]}", Attributes=attributes))["QueueUrl"]
        queue = SqsQueue(self.client, url)
        self.urls[id(queue)] = url
        return queue

    async def elapse(self, seconds: float) -> None:
        await asyncio.sleep(seconds + 0.05)

    def now(self) -> float:
        return time.time()


class ObjectBench(Protocol):
    """A store with two fresh buckets, the second of them versioned."""

    store: ObjectStore
    bucket: str
    versioned: str

    async def version_id(self, key: str) -> str: ...

    async def delete(self, bucket: str, key: str) -> None: ...

    async def pending_keys(self, bucket: str) -> list[str]: ...

    def expecting_another_owner(self) -> ObjectStore: ...


@dataclass
class MemoryObjects:
    store: MemoryObjectStore
    bucket: str = "plain"
    versioned: str = "versioned"

    async def version_id(self, key: str) -> str:
        return self.store.version_id(self.versioned, key)

    async def delete(self, bucket: str, key: str) -> None:
        self.store.delete(bucket, key)

    async def pending_keys(self, bucket: str) -> list[str]:
        return [pending.key for pending in self.store.pending_uploads(bucket)]

    def expecting_another_owner(self) -> ObjectStore:
        self.store.denied.add(self.bucket)
        return self.store


@dataclass
class ServedObjects:
    client: Any
    store: S3ObjectStore
    bucket: str
    versioned: str

    async def version_id(self, key: str) -> str:
        version_id: str = (await self.client.head_object(Bucket=self.versioned, Key=key))["VersionId"]
        return version_id

    async def delete(self, bucket: str, key: str) -> None:
        await self.client.delete_object(Bucket=bucket, Key=key)

    async def pending_keys(self, bucket: str) -> list[str]:
        answer = await self.client.list_multipart_uploads(Bucket=bucket)
        return [upload["Key"] for upload in answer.get("Uploads", ())]

    def expecting_another_owner(self) -> ObjectStore:
        return S3ObjectStore(self.client, {self.bucket: "999988887777"})


@cache
def shared_session() -> AioSession:
    """Clients belong to an event loop, AWS's API descriptions don't: loading them takes longer than most tests."""
    return get_session()


@asynccontextmanager
async def served_objects() -> AsyncIterator[ServedObjects]:
    async with Aws(session=shared_session()) as aws:
        client = await aws.client("s3")
        bucket, versioned = (f"b-{uuid4().hex[:12]}" for _ in range(2))
        for name in (bucket, versioned):
            await client.create_bucket(Bucket=name)
        await client.put_bucket_versioning(Bucket=versioned, VersioningConfiguration={"Status": "Enabled"})
        yield ServedObjects(client, S3ObjectStore(client), bucket, versioned)


async def drained(queue: Queue, limit: int = 100) -> list[Message]:
    """Everything that is visible now, received for ten seconds."""
    found: list[Message] = []
    while messages := await queue.receive(limit=10, wait_seconds=0, visibility_seconds=10):
        found += messages
        assert len(found) <= limit
    return found
