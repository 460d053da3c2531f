"""A site on local disk for the Spark benchmark: objects and pending uploads are files, the ledger is in memory.

Each process has a ledger of its own, in which the table schema is given: there is nobody to agree with.
"""

import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import random
from typing import Any, cast
from uuid import uuid4

from headsaw.adapters.clock import SystemClock
from headsaw.adapters.ledger import TableLedger
from headsaw.adapters.memory.table import MemoryTable
from headsaw.core.commit import PendingUpload, UploadedPart
from headsaw.core.lifecycle import Delegate, advance
from headsaw.core.model import Batch, BatchId, BatchState, DatasetName, Lease, Source, SourceFile, SourceSpan, WorkerId
from headsaw.core.settings import DatasetSettings
from headsaw.core.table_schema import TableSchema
from headsaw.ports import CompleteResult, ObjectStore
from headsaw.spark.reach import Reach

READ_BYTES = 1 << 20
DATASET = DatasetName("bench")
BATCH = BatchId("01bench")


class FileStore:
    """As much of an object store as a run needs; buckets are directories under `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(
        self, bucket: str, key: str, *, start: int = 0, length: int | None = None, **_pins: str | None
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """As an object store's."""
        return _reading(self._root / bucket / key, start, length)

    async def read_all(self, bucket: str, key: str, **options: Any) -> bytes:
        """As an object store's."""
        async with self.read(bucket, key, **options) as chunks:
            return b"".join([chunk async for chunk in chunks])

    async def put(self, bucket: str, key: str, body: bytes, *, if_absent: bool = False) -> bool:
        """As an object store's, but for `if_absent`."""
        path = self._root / bucket / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        return not if_absent

    async def create_upload(self, bucket: str, key: str, _metadata: Mapping[str, str]) -> str:
        """Its parts are appended to a hidden file."""
        path = self._root / bucket / f".{uuid4().hex}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        return path.name

    async def upload_part(self, bucket: str, key: str, upload_id: str, number: int, body: bytes) -> UploadedPart:
        """One at a time arrives here, since writing doesn't yield to the loop; so they arrive in order."""
        with (self._root / bucket / upload_id).open("ab") as stream:
            stream.write(body)
        return UploadedPart(number, str(number), len(body), f"{zlib.crc32(body):x}")

    async def complete_upload(self, upload: PendingUpload) -> CompleteResult:
        """The file has its name."""
        path = self._root / upload.bucket / upload.key
        path.parent.mkdir(parents=True, exist_ok=True)
        (self._root / upload.bucket / upload.upload_id).replace(path)
        return CompleteResult.COMPLETED

    async def abort_upload(self, bucket: str, _key: str, upload_id: str) -> None:
        """The hidden file is gone."""
        (self._root / bucket / upload_id).unlink(missing_ok=True)


@asynccontextmanager
async def _reading(path: Path, start: int, length: int | None) -> AsyncGenerator[AsyncIterator[bytes]]:
    with path.open("rb", buffering=0) as stream:
        stream.seek(start)
        yield _chunks(stream, length)


async def _chunks(stream: Any, length: int | None) -> AsyncIterator[bytes]:
    while chunk := stream.read(READ_BYTES if length is None else min(READ_BYTES, length)):
        length = None if length is None else length - len(chunk)
        yield chunk


@dataclass(frozen=True, slots=True)
class FileSite:
    """Everything is under `root`; the dataset's table schema is `schema`, in JSON."""

    root: str
    schema: str
    sources: int
    settings: str

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Reach]:
        """With a batch that waits for a driver."""
        clock = SystemClock()
        ledger = TableLedger(MemoryTable(clock), clock, random, 86400.0)
        await ledger.add_schema(DATASET, TableSchema.from_json(self.schema))
        settings = DatasetSettings.from_snapshot(self.settings.encode())
        sources: list[Source] = [SourceFile("landing", str(number), "-") for number in range(self.sources)]
        batch = Batch(
            id=BATCH,
            dataset=DATASET,
            settings=settings.hash,
            state=BatchState.READY,
            span=SourceSpan(BATCH, 0, self.sources),
            bytes=0,
            chunks=1,
            created_at=clock.now(),
            lease=Lease(WorkerId("bench"), 1, clock.now() + 3600),
        )
        await ledger.claim(batch, sources)
        await ledger.apply(batch, advance(batch, Delegate("local", clock.now())))
        yield Reach(cast("ObjectStore", FileStore(Path(self.root))), ledger, clock)
