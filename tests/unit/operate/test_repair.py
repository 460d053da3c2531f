"""A repair brings every row back, never shows one twice, and may die anywhere."""

import asyncio
import gzip
import io
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from random import Random
from typing import Any

import pyarrow.parquet as pq
import pytest
from small_lake import Lake, lines

from headsaw.adapters.inline import InlineConverter
from headsaw.adapters.ledger import TableLedger
from headsaw.core.commit import CommitRecord
from headsaw.core.conversion import OutputKind
from headsaw.core.lifecycle import Finish
from headsaw.core.model import Batch, BatchState, FileMark, WorkerId
from headsaw.errors import LeaseLost, Outage, ProtocolViolation
from headsaw.operate.audit import AuditOptions, audit
from headsaw.operate.describe import NotFound
from headsaw.operate.holding import Held
from headsaw.operate.repair import NotRepaired, Repaired, repair
from headsaw.operate.site import load_record
from headsaw.ports import CompleteResult, Published, Unpublishable
from headsaw.worker.publisher import UploadPublisher

PARTITIONED = {"name": "clicks", "partition_by": [{"field": "kind"}]}
CONTENT = "".join(f'{{"id":{n},"kind":"k{n % 3}"}}\n' for n in range(9)) + "bad\n"


@pytest.fixture
def lake(make_lake: Callable[..., Lake]) -> Lake:
    return make_lake(PARTITIONED)


class Died(BaseException):
    """The process is gone."""


class Mortal:
    """Passes calls that change something on to `inner` until it dies; then nothing gets through any more."""

    def __init__(self, inner: Any, life: "Life") -> None:
        self._inner = inner
        self._life = life

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name not in CHANGES:
            return found

        async def call(*args: Any, **kwargs: Any) -> Any:
            await self._life.step(name)
            result = await found(*args, **kwargs)
            await self._life.after()
            return result

        return call

    # the conversion's thread must be able to stop: reads pass
    def read(self, *args: Any, **kwargs: Any) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        reading: AbstractAsyncContextManager[AsyncIterator[bytes]] = self._inner.read(*args, **kwargs)
        return reading


CHANGES = frozenset(
    {"put", "create_upload", "upload_part", "complete_upload", "abort_upload", "remove", "write", "transact"}
)


class Life:
    """Ends before the `last`-th change. `watch` is run before and after every change that a repair makes."""

    def __init__(self, last: int, watch: Callable[[], Awaitable[None]]) -> None:
        self.last = last
        self.steps = 0
        self.dead = False
        self._watch = watch

    async def step(self, name: str) -> None:
        self.steps += 1
        if self.dead or self.steps >= self.last:
            self.dead = True
            raise Died(name)
        await self._watch()

    async def after(self) -> None:
        await self._watch()


class Ports:
    """The lake, through another store and table."""

    def __init__(self, lake: Lake, store: Any, table: Any) -> None:
        self.queues = lake.queues
        self.dlq = lake.dlq
        self.clock = lake.clock
        self.store = store
        self.ledger = TableLedger(table, lake.clock, Random(3).random, lake.config.ledger_retention)


def visible_rows(lake: Lake) -> Counter[int]:
    found: Counter[int] = Counter()
    for body in lake.tables().values():
        found.update(pq.read_table(io.BytesIO(body))["id"].to_pylist())
    return found


def visible_quarantine(lake: Lake) -> int:
    return len(lake.quarantine())


async def broken(lake: Lake, completed: int = 1, rejects: bool = False) -> tuple[Batch, CommitRecord]:
    """PUBLISHING, given back by a worker: `completed` outputs visible, the last table upload gone, others pending."""
    sources = [await lake.land("clicks/a", CONTENT)]
    if rejects:
        sources.insert(0, await lake.land("clicks/cut.gz", gzip.compress(b"{}" * 99)[:-9]))
    batch, record = await lake.commit(await lake.claim(*sources))
    tables = [upload for upload in record.uploads if upload.kind is OutputKind.TABLE]
    for upload in tables[:completed]:
        await lake.store.complete_upload(upload)
    await lake.store.abort_upload(tables[-1].bucket, tables[-1].key, tables[-1].upload_id)
    await lake.pass_time(120)
    return batch, record


async def repaired(lake: Lake, batch: Batch, life: Life | None = None) -> Repaired:
    """One run of the command, with everything of its own."""
    store = Mortal(lake.store, life) if life is not None else lake.store
    table = Mortal(lake.table, life) if life is not None else lake.table
    ports: Any = Ports(lake, store, table)
    tokens = Random(lake.random.getrandbits(32))
    converter = InlineConverter(
        ports.store,
        ports.ledger,
        lake.clock,
        lake.config.quarantine,
        new_token=lambda: f"{tokens.getrandbits(64):016x}",
        threads=1,
        memory_bytes=64 * 1024**2,
    )
    try:
        return await repair(lake.config, ports, batch.id, converter, UploadPublisher(ports.store), WorkerId("repair-1"))
    finally:
        await converter.close()


async def rolled_forward(lake: Lake, batch_id: Any) -> BatchState:
    """What a worker does with a PUBLISHING batch that it takes over."""
    batch = await lake.ledger.batch(batch_id)
    assert batch is not None
    if batch.state is not BatchState.PUBLISHING:
        return batch.state
    taken = await lake.take(batch)
    record = await load_record(lake.store, lake.config.control, taken)
    if isinstance(await lake.publisher.publish(record), Published):
        return (await lake.move(taken, Finish(lake.clock.now()))).state
    await lake.pass_time(120)
    return taken.state


async def assert_whole(lake: Lake) -> None:
    assert visible_rows(lake) == Counter(range(9))
    assert visible_quarantine(lake) == 1
    report = await audit(lake.config, lake, "clicks", AuditOptions(grace_seconds=0))
    assert report.clean, report.findings
    assert report.counts.lines == 10


# --- what it does


@pytest.mark.parametrize("completed", [0, 1, 2])
async def test_a_repaired_batch_is_done_and_every_row_is_there_once(lake: Lake, completed: int) -> None:
    batch, old = await broken(lake, completed)
    assert isinstance(await lake.publisher.publish(old), Unpublishable)
    done = await repaired(lake, batch)
    assert done.batch.state is BatchState.DONE
    assert len(done.gone) == 1
    assert {upload.key for upload in done.record.uploads}.isdisjoint(upload.key for upload in old.uploads)
    assert done.record.replaces == old.uploads
    assert CommitRecord.from_json(done.record.to_json()) == done.record
    await assert_whole(lake)
    assert lake.store.pending_uploads("lake") == ()


async def test_a_batch_with_nothing_gone_is_just_published(lake: Lake) -> None:
    batch, record = await lake.commit(await lake.claim(await lake.land("clicks/a", CONTENT)))
    await lake.pass_time(120)
    done = await repaired(lake, batch)
    assert (done.gone, done.record, done.batch.state) == ((), record, BatchState.DONE)
    await assert_whole(lake)


async def test_an_object_that_somebody_deleted_before_the_batch_was_done_is_rebuilt(lake: Lake) -> None:
    batch, record = await lake.commit(await lake.claim(await lake.land("clicks/a", CONTENT)))
    await lake.publisher.publish(record)
    lake.store.delete("lake", next(iter(lake.tables())))
    await lake.pass_time(120)
    assert len((await repaired(lake, batch)).gone) == 1
    await assert_whole(lake)


async def test_a_rejected_file_stays_rejected_and_a_worker_finishes_the_batch(lake: Lake) -> None:
    batch, old = await broken(lake, rejects=True)
    done = await repaired(lake, batch)
    assert done.batch.state is BatchState.PUBLISHING
    assert (done.batch.lease.owner, done.batch.due_at) == (None, lake.clock.now())
    assert done.record.rejected == old.rejected
    assert list(done.record.files) == [1]
    await lake.ledger.mark(old.sources[0], batch.span.root, FileMark.REJECTED, "truncated_stream")
    assert await rolled_forward(lake, batch.id) is BatchState.DONE
    await assert_whole(lake)


async def test_a_batch_can_be_repaired_again_when_the_new_uploads_are_lost_too(lake: Lake) -> None:
    batch, old = await broken(lake)
    life = Life(last=10**6, watch=_nothing)

    class Losing(UploadPublisher):
        async def publish(self, record: CommitRecord) -> Published | Unpublishable:
            if record.replaces:
                lake.store.abort_uploads_before("lake", 1e12)
            return await super().publish(record)

    ports: Any = Ports(lake, Mortal(lake.store, life), lake.table)
    with pytest.raises(NotRepaired, match="new uploads are gone too"):
        await repair(lake.config, ports, batch.id, lake.converter, Losing(lake.store), WorkerId("repair-0"))
    assert visible_rows(lake) == Counter()
    done = await repaired(lake, batch)
    assert len(done.record.replaces) == 2 * len(old.uploads)
    await assert_whole(lake)


async def _nothing() -> None:
    """Nobody watches."""


# --- what it refuses


async def test_a_batch_that_is_not_publishing_is_refused_with_the_reason(lake: Lake) -> None:
    done, _ = await lake.publish(await lake.land("clicks/a", CONTENT))
    with pytest.raises(NotRepaired, match="must be restored"):
        await repaired(lake, done)
    with pytest.raises(NotFound):
        await repaired(lake, replace(done, id="nothing"))  # type: ignore[arg-type]


async def test_a_batch_that_a_worker_holds_is_left_to_it(lake: Lake) -> None:
    batch, _ = await broken(lake)
    await lake.take(batch, "w9")
    with pytest.raises(NotRepaired, match="w9 is publishing it; try again in 60 s"):
        await repaired(lake, batch)


@pytest.mark.parametrize("spoil", ["delete", "overwrite"])
async def test_a_source_that_is_gone_stops_the_repair_before_anything_changes(lake: Lake, spoil: str) -> None:
    batch, _ = await broken(lake, completed=1)
    before = lake.tables()
    if spoil == "delete":
        lake.store.delete("landing", "clicks/a")
    else:
        await lake.land("clicks/a", lines(1))
    with pytest.raises(NotRepaired, match="would lose rows; restore that object"):
        await repaired(lake, batch)
    seen = await lake.ledger.batch(batch.id)
    assert seen is not None
    assert (seen.state, seen.commit, seen.lease.owner) == (BatchState.PUBLISHING, batch.commit, None)
    assert lake.tables().items() >= before.items()
    assert all(pending.initiated_at < lake.clock.now() for pending in lake.store.pending_uploads("lake"))


async def test_a_commit_record_that_is_gone_cannot_be_repaired(lake: Lake) -> None:
    batch, _ = await broken(lake)
    assert batch.commit is not None
    lake.store.delete("control", batch.commit.key)
    with pytest.raises(ProtocolViolation, match="can't be read"):
        await repaired(lake, batch)


# --- dying, and not dying


async def test_it_may_die_before_any_change_and_no_row_is_ever_seen_twice(lake: Lake) -> None:
    """Every point of death in turn, on a lake of its own; then workers and repairs go on until the batch is DONE."""
    last, died = 1, True
    while died:
        fresh = Lake(lake.config)
        batch, _ = await broken(fresh, completed=last % 3)
        died = await _dies_before(fresh, batch, last)
        for _ in range(3):
            await fresh.pass_time(120)
            if await rolled_forward(fresh, batch.id) is BatchState.DONE:
                break
            await _repair_watched(fresh, batch, 10**6)
        await assert_whole(fresh)
        await fresh.close()
        last += 1
    assert last > 15


async def _dies_before(lake: Lake, batch: Batch, last: int) -> bool:
    try:
        await _repair_watched(lake, batch, last)
    except Died:
        return True
    return False


async def _repair_watched(lake: Lake, batch: Batch, last: int) -> None:
    async def never_twice() -> None:
        assert all(count == 1 for count in visible_rows(lake).values())

    await repaired(lake, batch, Life(last, never_twice))


async def test_a_straggler_that_completes_old_uploads_at_any_moment_makes_no_row_twice(lake: Lake) -> None:
    """A worker paused in the middle of publishing the old record wakes up, at every step of the repair in turn."""
    for moment in range(1, 200):
        fresh = Lake(lake.config)
        batch, old = await broken(fresh, completed=0)
        steps = 0

        async def straggle(fresh: Lake = fresh, old: CommitRecord = old, moment: int = moment) -> None:
            nonlocal steps
            steps += 1
            if steps == moment:
                for upload in old.uploads:
                    assert await fresh.store.complete_upload(upload) in CompleteResult

        await repaired(fresh, batch, Life(10**6, straggle))
        assert all(count == 1 for count in visible_rows(fresh).values())
        await assert_whole(fresh)
        for upload in old.uploads:
            assert await fresh.store.complete_upload(upload) is CompleteResult.NO_SUCH_UPLOAD
        await fresh.close()
        if steps < moment:
            break
    else:
        raise AssertionError("the repair has more steps than were tried")


async def test_a_repair_that_lost_its_lease_changes_nothing(lake: Lake) -> None:
    batch, _ = await broken(lake)

    class Slow:
        """A conversion during which a worker takes the batch over."""

        async def convert(self, *args: Any) -> Any:
            converted = await lake.converter.convert(*args)
            await lake.pass_time(61)
            current = await lake.ledger.batch(batch.id)
            assert current is not None
            await lake.take(replace(current))
            return converted

        async def discard(self, converted: Any) -> None:
            await lake.converter.discard(converted)

    with pytest.raises(LeaseLost):
        await repair(lake.config, lake, batch.id, Slow(), lake.publisher, WorkerId("repair-1"))
    current = await lake.ledger.batch(batch.id)
    assert current is not None
    assert (current.commit, current.lease.owner) == (batch.commit, "w3")


async def test_a_record_that_cannot_be_stored_leaves_the_old_one_in_force_and_no_new_uploads(lake: Lake) -> None:
    batch, old = await broken(lake)

    class Full:
        def __getattr__(self, name: str) -> Any:
            return getattr(lake.store, name)

        async def put(self, *_: Any, **__: Any) -> bool:
            raise Outage("s3://control: SlowDown")

    ports: Any = Ports(lake, Full(), lake.table)
    with pytest.raises(Outage):
        await repair(lake.config, ports, batch.id, lake.converter, lake.publisher, WorkerId("repair-1"))
    keys = {upload.key for upload in old.uploads}
    assert all(pending.key in keys for pending in lake.store.pending_uploads("lake"))
    await repaired(lake, batch)
    await assert_whole(lake)


# --- holding


async def test_a_held_lease_is_renewed_while_the_work_lasts(lake: Lake) -> None:
    batch = await lake.take(await lake.claim(await lake.land("clicks/a", CONTENT)))
    held = Held(lake.ledger, lake.clock, batch, lease_seconds=60)

    async def work() -> float:
        await lake.clock.sleep(200)
        return held.batch.lease.until

    working = asyncio.create_task(held.during(work()))
    await lake.pass_time(201)
    assert await working > batch.lease.until + 100


async def test_a_lost_lease_stops_the_work(lake: Lake) -> None:
    batch = await lake.claim(await lake.land("clicks/a", CONTENT))
    held = Held(lake.ledger, lake.clock, batch, lease_seconds=60)
    await lake.pass_time(61)
    await lake.take(batch)

    async def work() -> None:
        await lake.clock.sleep(1000)

    working = asyncio.create_task(held.during(work()))
    await lake.pass_time(21)
    with pytest.raises(LeaseLost, match="w3"):
        await working
