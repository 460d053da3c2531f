"""Inline conversion over a store in memory: the real converter in its thread, fed by the event loop."""

import asyncio
import gzip
import io
import json
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from random import Random

import pyarrow.parquet as pq
import pytest

from headsaw.adapters.clock import SystemClock
from headsaw.adapters.inline import InlineConverter
from headsaw.adapters.inline_sources import PREFETCH_BYTES, SMALL_BYTES, Denials, Prefetch
from headsaw.adapters.ledger import TableLedger
from headsaw.adapters.memory.object_store import MemoryObjectStore
from headsaw.adapters.memory.table import MemoryTable
from headsaw.core.commit import TOKEN_METADATA
from headsaw.core.conversion import OutputKind, RejectReason
from headsaw.core.model import (
    Batch,
    BatchId,
    BatchState,
    DatasetName,
    Lease,
    RecordRange,
    SettingsHash,
    Source,
    SourceFile,
    SourceSpan,
    WorkerId,
)
from headsaw.core.settings import DatasetSettings, S3Prefix
from headsaw.errors import AccessDenied, LeaseLost, Unreachable
from headsaw.ports import CompleteResult, ConvertedBatch

SETTINGS = DatasetSettings.model_validate(
    {"name": "clicks", "source": "s3://landing/clicks/", "destination": "s3://lake/clicks/"}
)
QUARANTINE = S3Prefix(bucket="control", prefix="quarantine/")


@pytest.fixture
def store() -> MemoryObjectStore:
    return MemoryObjectStore(SystemClock(), ["landing", "lake", "control"])


@pytest.fixture
def ledger() -> TableLedger:
    return TableLedger(MemoryTable(SystemClock()), SystemClock(), Random(1).random, 90 * 86400.0)


@pytest.fixture
async def converter(store: MemoryObjectStore, ledger: TableLedger) -> AsyncIterator[InlineConverter]:
    random = Random(1)
    made = InlineConverter(
        store,
        ledger,
        SystemClock(),
        QUARANTINE,
        lambda: f"{random.getrandbits(64):x}",
        threads=1,
        memory_bytes=64 << 20,
    )
    yield made
    await made.close()


async def land(store: MemoryObjectStore, key: str, body: bytes) -> SourceFile:
    await store.put("landing", key, body)
    head = await store.head("landing", key)
    assert head is not None
    return SourceFile("landing", key, head.etag, head.size)


def batch(sources: Sequence[Source], attempt: int = 1) -> Batch:
    return Batch(
        id=BatchId("01batch"),
        dataset=DatasetName("clicks"),
        settings=SettingsHash("h"),
        state=BatchState.RUNNING,
        span=SourceSpan(BatchId("01batch"), 0, len(sources)),
        bytes=0,
        chunks=1,
        created_at=1.8e9,
        lease=Lease(WorkerId("w"), 1, 1.8e9),
        attempt=attempt,
    )


async def rows(store: MemoryObjectStore, converted: ConvertedBatch) -> list[dict[str, object]]:
    """Publishes the uploads and reads the tables back."""
    found: list[dict[str, object]] = []
    for upload in converted.uploads:
        assert await store.complete_upload(upload) is CompleteResult.COMPLETED
        head = await store.head(upload.bucket, upload.key)
        assert head is not None
        assert (head.size, head.metadata[TOKEN_METADATA]) == (upload.size, upload.token)
        if upload.kind is OutputKind.TABLE:
            body = store.visible(upload.bucket)[upload.key]
            found += pq.read_table(io.BytesIO(body)).to_pylist()
    return found


async def test_small_large_plain_and_compressed_files_come_out_line_by_line(
    store: MemoryObjectStore, converter: InlineConverter
) -> None:
    wide = b"".join(b'{"n":%d,"pad":"%s"}\n' % (n, b"x" * 90) for n in range(2 * SMALL_BYTES // 100))
    sources: list[Source] = [
        await land(store, "clicks/a", b'{"n":-1}\n'),
        await land(store, "clicks/large", wide),
        await land(store, "clicks/z.gz", gzip.compress(b'{"n":-2}\nbroken\n')),
    ]
    converted = await converter.convert(batch(sources), SETTINGS, sources)
    assert store.visible("lake") == {}, "invisible until it is published"
    report = converted.report
    assert [report.files[i].rows for i in range(3)] == [1, wide.count(b"\n"), 1]
    assert report.files[2].quarantined == 1
    found = await rows(store, converted)
    assert sorted(row["n"] for row in found)[:3] == [-2, -1, 0]  # type: ignore[type-var]
    assert {row["_source_file"] for row in found} == {source.name for source in sources}
    assert all(row["_batch"] == "01batch" for row in found)


async def test_only_the_claimed_ranges_of_a_spool_object_are_converted(
    store: MemoryObjectStore, converter: InlineConverter
) -> None:
    await store.put("control", "spool/1.ndjson", b'{"n":1}\n{"n":2}\n{"n":3}\n')
    sources: list[Source] = [
        RecordRange("m1", "control", "spool/1.ndjson", 0, 8),
        RecordRange("m3", "control", "spool/1.ndjson", 16, 8),
    ]
    found = await rows(store, await converter.convert(batch(sources), SETTINGS, sources))
    assert sorted((row["n"], row["_source_file"]) for row in found) == [(1, "message:m1"), (3, "message:m3")]  # type: ignore[type-var]


async def test_missing_and_superseded_files_are_rejected_and_the_rest_is_converted(
    store: MemoryObjectStore, converter: InlineConverter
) -> None:
    old = await land(store, "clicks/b", b'{"n":1}\n')
    sources: list[Source] = [
        replace(old, key="clicks/gone"),
        old,
        await land(store, "clicks/c", b'{"n":3}\n'),
    ]
    await land(store, "clicks/b", b'{"n":2}\n')
    converted = await converter.convert(batch(sources), SETTINGS, sources)
    assert {r.index: r.reason for r in converted.report.rejections} == {
        0: RejectReason.MISSING,
        1: RejectReason.SUPERSEDED,
    }
    assert [row["n"] for row in await rows(store, converted)] == [3]


async def test_a_forbidden_bucket_is_an_outage_but_one_forbidden_object_is_rejected_in_the_end(
    store: MemoryObjectStore, converter: InlineConverter
) -> None:
    sources: list[Source] = [await land(store, f"clicks/{n}", b'{"n":%d}\n' % n) for n in range(3)]
    store.denied.add("landing/clicks/0")
    with pytest.raises(AccessDenied):
        await converter.convert(batch(sources), SETTINGS, sources)
    converted = await converter.convert(batch(sources, attempt=3), SETTINGS, sources)
    assert [r.reason for r in converted.report.rejections] == [RejectReason.ACCESS_DENIED]
    assert sorted(row["n"] for row in await rows(store, converted)) == [1, 2]  # type: ignore[type-var]
    store.denied.update({"landing/clicks/1", "landing/clicks/2"})
    with pytest.raises(AccessDenied):
        await converter.convert(batch(sources, attempt=9), SETTINGS, sources)


async def test_forbidden_objects_that_arrived_together_are_told_from_a_forbidden_bucket(
    store: MemoryObjectStore,
) -> None:
    sources: list[Source] = [await land(store, f"clicks/{n}", b"{}\n") for n in range(100)]
    store.denied.update(f"landing/clicks/{n}" for n in range(20))
    for attempt in (3, 4, 9):
        denials = Denials(store, sources, attempt)
        assert [await denials.judge(denied) for denied in sources[:20]] == [True] * 20


async def test_a_stopped_prefetch_also_ends_the_wait_for_what_was_taken_and_never_fetched(
    store: MemoryObjectStore,
) -> None:
    sources: list[Source] = [await land(store, f"clicks/{n}", b"{}\n") for n in range(2)]
    prefetch = Prefetch(store, sources)
    taken = prefetch.take(1)
    assert taken is not None
    await prefetch.stop()
    with pytest.raises(LeaseLost):
        taken.result(timeout=0)


class Halting:
    """A store in which one object is read only when `go` is set, or never answers."""

    def __init__(self, store: MemoryObjectStore, key: str) -> None:
        self._store, self._key = store, key
        self.asked = asyncio.Event()
        self.go = asyncio.Event()
        self.fail = False
        self.fetched = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def read_all(self, bucket: str, key: str, **pins: object) -> bytes:
        if key == self._key:
            self.asked.set()
            await self.go.wait()
            if self.fail:
                raise Unreachable("reset")
        body = await self._store.read_all(bucket, key, **pins)  # type: ignore[arg-type]
        self.fetched += len(body)
        return body

    @asynccontextmanager
    async def read(self, bucket: str, key: str, **pins: object) -> AsyncIterator[AsyncIterator[bytes]]:
        async with self._store.read(bucket, key, **pins) as stream:  # type: ignore[arg-type]
            yield stream


def halting_converter(halting: object, ledger: TableLedger) -> InlineConverter:
    return InlineConverter(halting, ledger, SystemClock(), QUARANTINE, lambda: "t", threads=1, memory_bytes=64 << 20)  # type: ignore[arg-type]


async def test_a_cancelled_conversion_leaves_no_upload_and_no_thread_behind(
    store: MemoryObjectStore, ledger: TableLedger
) -> None:
    small = b"".join(b'{"n":%d,"pad":"%s"}\n' % (n, b"%064x" % n) for n in range(60_000))
    sources: list[Source] = [await land(store, "clicks/0", small), await land(store, "clicks/halts", b'{"n":1}\n')]
    halting = Halting(store, "clicks/halts")
    converter = halting_converter(halting, ledger)
    settings = SETTINGS.model_copy(update={"parquet": SETTINGS.parquet.model_copy(update={"file_bytes": 1 << 20})})
    task = asyncio.create_task(converter.convert(batch(sources), settings, sources))
    await halting.asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert store.pending_uploads("lake") == ()
    await converter.close()  # would wait for ever for a thread that still runs


class Silent:
    """A store that never answers an upload's part."""

    def __init__(self, store: MemoryObjectStore) -> None:
        self._store = store
        self.asked = asyncio.Event()

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def upload_part(self, *_: object) -> None:
        self.asked.set()
        await asyncio.Event().wait()


async def test_an_upload_that_is_never_answered_does_not_hold_up_a_cancelled_conversion(
    store: MemoryObjectStore, ledger: TableLedger
) -> None:
    silent = Silent(store)
    converter = halting_converter(silent, ledger)
    sources: list[Source] = [await land(store, "clicks/a", b'{"n":1}\n')]
    task = asyncio.create_task(converter.convert(batch(sources), SETTINGS, sources))
    await silent.asked.wait()
    task.cancel()
    async with asyncio.timeout(20.0):
        with pytest.raises(asyncio.CancelledError):
            await task
    assert store.pending_uploads("lake") == ()
    await converter.close()


async def test_a_conversion_that_is_cancelled_twice_still_waits_for_its_thread_and_aborts_its_uploads(
    store: MemoryObjectStore, ledger: TableLedger
) -> None:
    reached, go = threading.Event(), threading.Event()
    tokens = iter(["first", "second"])

    def new_token() -> str:
        """The thread halts with its first upload begun."""
        token = next(tokens)
        if token == "second":
            reached.set()
            go.wait()
        return token

    converter = InlineConverter(store, ledger, SystemClock(), QUARANTINE, new_token, threads=1, memory_bytes=64 << 20)
    sources: list[Source] = [await land(store, "clicks/a", b'{"n":1}\nbroken\n')]
    task = asyncio.create_task(converter.convert(batch(sources), SETTINGS, sources))
    try:
        await asyncio.to_thread(reached.wait)
        for _ in range(2):
            task.cancel()
            await asyncio.wait({task}, timeout=0.01)
        assert not task.done(), "the thread still runs, and could go on uploading"
    finally:
        go.set()
    closing = asyncio.create_task(converter.close())
    with pytest.raises(asyncio.CancelledError):
        await task
    await closing
    assert (store.pending_uploads("lake"), store.pending_uploads("control")) == ((), ())


async def test_an_outage_while_reading_passes_through_and_leaves_nothing(
    store: MemoryObjectStore, ledger: TableLedger
) -> None:
    sources: list[Source] = [await land(store, "clicks/halts", b'{"n":1}\n')]
    halting = Halting(store, "clicks/halts")
    halting.fail = True
    halting.go.set()
    converter = halting_converter(halting, ledger)
    with pytest.raises(Unreachable):
        await converter.convert(batch(sources), SETTINGS, sources)
    assert store.pending_uploads("lake") == ()
    await converter.close()


async def test_fetching_ahead_keeps_within_its_budget(store: MemoryObjectStore, ledger: TableLedger) -> None:
    """The first source doesn't answer: what is fetched meanwhile is bounded, however many sources wait."""
    body = b'{"n":1,"pad":"%s"}\n' % (b"x" * (SMALL_BYTES - 100))
    sources: list[Source] = [await land(store, "clicks/halts", b'{"n":0}\n')]
    sources += [await land(store, f"clicks/{n}", body) for n in range(3 * PREFETCH_BYTES // SMALL_BYTES)]
    halting = Halting(store, "clicks/halts")
    converter = halting_converter(halting, ledger)
    task = asyncio.create_task(converter.convert(batch(sources), SETTINGS, sources))
    await halting.asked.wait()
    for _ in range(200):
        await asyncio.sleep(0)
    assert 0 < halting.fetched <= PREFETCH_BYTES + SMALL_BYTES
    halting.go.set()
    converted = await task
    assert converted.report.counts.rows == len(sources)
    await converter.close()


async def test_two_conversions_that_grow_the_table_schema_agree_on_one_history(
    store: MemoryObjectStore, converter: InlineConverter, ledger: TableLedger
) -> None:
    first: list[Source] = [await land(store, "clicks/1", b'{"a":1}\n')]
    second: list[Source] = [await land(store, "clicks/2", b'{"b":"x"}\n{"a":"not a number"}\n')]
    await converter.convert(batch(first), SETTINGS, first)
    converted = await converter.convert(batch(second), SETTINGS, second)
    history = await ledger.schema_history("clicks")
    assert [[column.name for column in schema.columns] for schema in history] == [["a"], ["a", "b"]]
    found = await rows(store, converted)
    rescued = [json.loads(str(row["_rescued_data"])) for row in found if row["_rescued_data"] is not None]
    assert len(rescued) == 1
    assert "not a number" in json.dumps(rescued)
