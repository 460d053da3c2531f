"""The ledger's contract, over memory and over a local AWS."""

import asyncio
import itertools
import os
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest

from headsaw.adapters.aws import Aws
from headsaw.adapters.clock import SystemClock
from headsaw.adapters.dynamodb import DynamoTable, table_definition
from headsaw.adapters.ledger import TableLedger
from headsaw.adapters.memory.clock import VirtualClock
from headsaw.adapters.memory.table import MemoryTable
from headsaw.adapters.table import Absent, Cancelled, Put, Table, Written
from headsaw.core import lifecycle
from headsaw.core.lifecycle import (
    Commit,
    Delegate,
    Fail,
    Finish,
    GiveUp,
    Release,
    Renew,
    Retry,
    Start,
    Take,
    Wait,
    advance,
)
from headsaw.core.model import (
    Batch,
    BatchId,
    BatchState,
    CommitPointer,
    DatasetName,
    FileMark,
    Lease,
    RecordRange,
    SettingsHash,
    Source,
    SourceFile,
    SourceSpan,
    SparkRun,
    WorkerId,
)
from headsaw.core.settings import DatasetSettings
from headsaw.core.table_schema import TableSchema
from headsaw.core.table_types import Field, parse_type
from headsaw.demo.emulator import Endpoint
from headsaw.errors import Outage, UsageError
from headsaw.ports import DUE_SHARDS, Accepted, Claimed, Clock, Overlap, Refused

NOW = 1_795_000_000.0
RETENTION = 90 * 86400.0
_numbers = itertools.count()


class InstantClock(SystemClock):
    """Backoff between tries costs no time here."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


@pytest.fixture
async def table(ledger_endpoint: Endpoint | None) -> AsyncIterator[Table]:
    if ledger_endpoint is None:
        yield MemoryTable(VirtualClock())
        return
    name = f"ledger-{next(_numbers)}"
    async with Aws() as aws:
        client = await aws.client("dynamodb")
        await client.create_table(**table_definition(name))
        yield DynamoTable(client, name)


@pytest.fixture
def clock() -> Clock:
    return InstantClock()


@pytest.fixture
def ledger(table: Table, clock: Clock) -> TableLedger:
    return TableLedger(table, clock, random.Random(1).random, RETENTION)


def files(*names: str) -> list[Source]:
    return [SourceFile("landing", f"clicks/{name}.ndjson", "etag", 10) for name in names]


def batch(name: str, sources: Sequence[Source], state: BatchState = BatchState.READY, owner: str = "w1") -> Batch:
    batch_id = BatchId(name)
    return Batch(
        id=batch_id,
        dataset=DatasetName("clicks"),
        settings=SettingsHash("h"),
        state=state,
        span=SourceSpan(batch_id, 0, len(sources)),
        bytes=10 * len(sources),
        chunks=1,
        created_at=NOW,
        lease=Lease(WorkerId(owner), 1, NOW + 60),
        due_at=NOW + 60,
    )


async def claimed(ledger: TableLedger, name: str, sources: Sequence[Source]) -> Batch:
    result = await ledger.claim(batch(name, sources), sources)
    assert isinstance(result, Claimed)
    return result.batch


async def applied(ledger: TableLedger, before: Batch, event: lifecycle.Event) -> Batch:
    result = await ledger.apply(before, advance(before, event))
    assert isinstance(result, Accepted)
    return result.batch


# --- claims


async def test_a_claimed_batch_and_its_sources_can_be_read_back(ledger: TableLedger) -> None:
    sources: list[Source] = [
        SourceFile("landing", "clicks/a b+ü.ndjson", "e1", None, "v1"),
        RecordRange("m-1", "control", "spool/1.ndjson", 5, 9),
        *files("z"),
    ]
    made = await claimed(ledger, "b1", sources)
    assert await ledger.batch(BatchId("b1")) == made
    assert await ledger.sources(made) == tuple(sources)
    record = await ledger.file(sources[1].identity)
    assert record is not None
    assert (record.batch, record.mark) == ("b1", None)


async def test_an_overlapping_claim_changes_nothing_and_names_the_owners(ledger: TableLedger) -> None:
    await claimed(ledger, "b1", files("a", "b"))
    wanted = files("c", "b", "d", "a")
    assert await ledger.claim(batch("b2", wanted), wanted) == Overlap({1: BatchId("b1"), 3: BatchId("b1")})
    assert await ledger.batch(BatchId("b2")) is None
    assert await ledger.file(wanted[0].identity) is None


async def test_the_same_claim_again_is_its_own_earlier_success(ledger: TableLedger) -> None:
    sources = files("a", "b")
    made = await claimed(ledger, "b1", sources)
    assert await ledger.claim(batch("b1", sources), sources) == Claimed(made)


async def test_an_earlier_success_is_recognised_after_its_token_expired_and_the_batch_moved_on(
    ledger: TableLedger, table: Table
) -> None:
    sources = files("a", "b")
    running = await applied(ledger, await claimed(ledger, "b1", sources), Start())
    if isinstance(table, MemoryTable):
        table._tokens.clear()  # ten minutes later
        assert await ledger.claim(batch("b1", sources), sources) == Claimed(running)
    else:
        later = replace(batch("b1", sources), bytes=999)  # another payload, so another token
        assert await ledger.claim(later, sources) == Claimed(running)


async def test_ninety_eight_sources_fit_into_one_claim_even_with_the_longest_keys(ledger: TableLedger) -> None:
    sources: list[Source] = [SourceFile("landing", f"{n:03d}" + "ü" * 510, f"{n:032x}", n) for n in range(98)]
    made = await claimed(ledger, "b1", sources)
    assert await ledger.sources(made) == tuple(sources)


async def test_an_open_batch_grows_chunk_by_chunk(ledger: TableLedger) -> None:
    first, second = files("a", "b"), files("c")
    opened = batch("b1", first, BatchState.OPEN)
    assert await ledger.claim(opened, first) == Claimed(opened)
    result = await ledger.extend(opened, second, NOW + 70)
    assert isinstance(result, Claimed)
    assert (result.batch.files, result.batch.chunks, result.batch.bytes) == (3, 2, 30)
    assert await ledger.sources(result.batch) == (*first, *second)
    assert await ledger.extend(opened, second, NOW + 70) == result, "its own earlier success"


async def test_an_extension_with_a_duplicate_changes_nothing(ledger: TableLedger) -> None:
    await claimed(ledger, "b0", files("dup"))
    opened = batch("b1", files("a"), BatchState.OPEN)
    await ledger.claim(opened, files("a"))
    assert await ledger.extend(opened, files("c", "dup"), NOW + 70) == Overlap({1: BatchId("b0")})
    assert await ledger.batch(BatchId("b1")) == opened


async def test_a_batch_that_was_taken_over_is_not_extended(ledger: TableLedger) -> None:
    opened = batch("b1", files("a"), BatchState.OPEN)
    await ledger.claim(opened, files("a"))
    taken = await applied(ledger, opened, Take(WorkerId("w2"), NOW + 120))
    assert taken.state is BatchState.READY
    assert await ledger.extend(opened, files("c"), NOW + 70) == Refused(taken)
    assert await ledger.file(files("c")[0].identity) is None


async def test_a_marked_source_may_be_claimed_again_and_an_old_owner_cannot_mark_it_any_more(
    ledger: TableLedger,
) -> None:
    (source,) = sources = files("a")
    await claimed(ledger, "b1", sources)
    assert await ledger.mark(source, BatchId("b1"), FileMark.REJECTED, "corrupt_stream")
    marked = await ledger.file(source.identity)
    assert marked is not None
    assert (marked.mark, marked.reason) == (FileMark.REJECTED, "corrupt_stream")
    await claimed(ledger, "b2", sources)
    assert not await ledger.mark(source, BatchId("b1"), FileMark.REJECTED, "corrupt_stream")
    record = await ledger.file(source.identity)
    assert record is not None
    assert (record.batch, record.mark) == ("b2", None)


async def test_a_transaction_that_is_repeated_under_its_token_is_answered_as_the_first_time(table: Table) -> None:
    writes = [Put({"pk": f"file#{n}", "sk": "file", "batch": "b1"}, Absent("pk")) for n in range(2)]
    assert await table.transact(writes, "token-1") == Written()
    assert await table.transact(writes, "token-1") == Written(), "the answer to the first may have been lost"
    assert isinstance(await table.transact(writes, "token-2"), Cancelled)


async def test_every_version_of_a_key_is_listed(ledger: TableLedger) -> None:
    versions: list[Source] = [SourceFile("landing", "k", etag, 1) for etag in ("e1", "e2")]
    await claimed(ledger, "b1", versions)
    assert [record.identity.version async for record in ledger.files("landing/k")] == ["e1", "e2"]


# --- transitions


async def test_a_stale_owner_cannot_commit(ledger: TableLedger) -> None:
    running = await applied(ledger, await claimed(ledger, "b1", files("a")), Start())
    taken = await applied(ledger, running, Take(WorkerId("w2"), NOW + 120))
    zombie = advance(running, Commit(CommitPointer("commits/b1/1-1.json", "aa"), 3, 1))
    assert await ledger.apply(running, zombie) == Refused(taken)
    assert await ledger.batch(BatchId("b1")) == taken


async def test_a_repeated_transition_is_accepted_once(ledger: TableLedger) -> None:
    ready = await claimed(ledger, "b1", files("a"))
    running = advance(ready, Start())
    assert await ledger.apply(ready, running) == Accepted(running)
    assert await ledger.apply(ready, running) == Accepted(running), "the answer to the first may have been lost"


async def test_a_batch_lives_through_all_of_its_states(ledger: TableLedger) -> None:
    b = await claimed(ledger, "b1", files("a"))
    pointer = CommitPointer("commits/b1/1-1.json", "aa")
    for event in (Start(), Renew(NOW + 90.1234), Commit(pointer, 3, 1), Finish(NOW + 5.5)):
        b = await applied(ledger, b, event)
    stored = await ledger.batch(BatchId("b1"))
    assert stored is not None
    assert (stored.state, stored.commit, stored.rows, stored.finished_at) == (BatchState.DONE, pointer, 3, NOW + 5.5)
    assert [found async for found in ledger.batches()] == [stored]


async def test_only_unfinished_batches_are_in_the_due_index(ledger: TableLedger) -> None:
    first = await claimed(ledger, "b1", files("a"))
    await claimed(ledger, "b2", files("b"))
    assert await due(ledger, NOW + 59) == set()
    assert await due(ledger, NOW + 60) == {"b1", "b2"}
    first = await applied(ledger, first, Release(NOW + 500, "no capacity"))
    assert await due(ledger, NOW + 60) == {"b2"}
    done = [Take(WorkerId("w"), NOW + 600), Start(), Commit(CommitPointer("k", "s"), 1, 1), Finish(NOW)]
    for event in done:
        first = await applied(ledger, first, event)
    assert await due(ledger, NOW + 10_000) == {"b2"}
    assert await ledger.unfinished() == 1


async def due(ledger: TableLedger, now: float) -> set[str]:
    found: set[str] = set()
    for shard in range(DUE_SHARDS):
        page = await ledger.due(shard, now, None, 10)
        found.update(page.batches)
    return found


async def test_the_due_index_is_read_page_by_page_without_gaps(ledger: TableLedger) -> None:
    names = [f"b{n}" for n in range(40)]
    for name in names:
        await claimed(ledger, name, files(name))
    seen: list[str] = []
    for shard in range(DUE_SHARDS):
        cursor: object | None = None
        while True:
            page = await ledger.due(shard, NOW + 60, cursor, 2)
            seen += page.batches
            cursor = page.cursor
            if cursor is None:
                break
    assert sorted(seen) == sorted(names)


async def test_a_split_makes_both_children_or_nothing(ledger: TableLedger) -> None:
    sources = files("a", "b", "c")
    parent = await claimed(ledger, "b1", sources)
    ended, *children = lifecycle.split(parent, (BatchId("c1"), BatchId("c2")), NOW, failures=2)
    assert await ledger.split(parent, ended, children) == Accepted(ended)
    assert [await ledger.sources(child) for child in children] == [tuple(sources[:1]), tuple(sources[1:])]
    again = lifecycle.split(parent, (BatchId("d1"), BatchId("d2")), NOW, failures=2)
    assert await ledger.split(parent, again[0], again[1:]) == Refused(ended)
    assert await ledger.batch(BatchId("d1")) is None


async def test_a_failed_batch_is_retried_only_while_its_file_is_its_own(ledger: TableLedger) -> None:
    (source,) = sources = files("a")
    b = await claimed(ledger, "b1", sources)
    for event in (Start(), Fail(NOW, "bad"), Take(WorkerId("w1"), NOW + 60), GiveUp("bad"), Finish(NOW)):
        b = await applied(ledger, b, event)
    await ledger.mark(source, BatchId("b1"), FileMark.FAILED, "bad")
    retried = advance(b, Retry(NOW))
    assert await ledger.retry(b, retried, source) == Accepted(retried)
    record = await ledger.file(source.identity)
    assert record is not None
    assert record.mark is None
    wanted = files("a")
    assert await ledger.claim(batch("b2", wanted), wanted) == Overlap({0: BatchId("b1")})


async def test_a_failed_batch_whose_file_was_redriven_is_not_retried(ledger: TableLedger) -> None:
    (source,) = sources = files("a")
    b = await claimed(ledger, "b1", sources)
    for event in (Start(), Fail(NOW, "bad"), Take(WorkerId("w1"), NOW + 60), GiveUp("bad"), Finish(NOW)):
        b = await applied(ledger, b, event)
    await ledger.mark(source, BatchId("b1"), FileMark.FAILED, "bad")
    await claimed(ledger, "b2", sources)
    assert await ledger.retry(b, advance(b, Retry(NOW)), source) == Refused(b)


# --- settings and schemas


async def delegated(ledger: TableLedger, name: str) -> Batch:
    return await applied(ledger, await claimed(ledger, name, files(name)), Delegate("glue", NOW, "large"))


async def test_a_batch_waits_for_its_run_in_the_due_index_and_is_nobodys(ledger: TableLedger) -> None:
    waiting = await applied(ledger, await delegated(ledger, "b1"), Wait(NOW + 30, "jr_1"))
    assert (waiting.lease.owner, waiting.due_at) == (None, NOW + 30)
    read = await ledger.batch(BatchId("b1"))
    assert read is not None
    assert (read, read.route) == (waiting, "large")
    assert read.run == SparkRun("glue", NOW, "jr_1")


async def test_of_many_drivers_at_once_one_registers_and_may_do_so_again(ledger: TableLedger) -> None:
    await delegated(ledger, "b1")
    drivers = [f"driver-{number}" for number in range(20)]
    answers = await asyncio.gather(*(ledger.register_driver(BatchId("b1"), 1, driver, None) for driver in drivers))
    (winner,) = [driver for driver, answer in zip(drivers, answers, strict=True) if answer is not None]
    again = await ledger.register_driver(BatchId("b1"), 1, winner, None)
    assert again is not None
    assert again.run is not None
    assert again.run.driver == winner


async def test_only_the_attempt_that_waits_takes_a_driver(ledger: TableLedger) -> None:
    batch = await delegated(ledger, "b1")
    assert await ledger.register_driver(BatchId("b1"), 2, "early", None) is None
    assert await ledger.register_driver(BatchId("nobody"), 1, "lost", None) is None
    released = await applied(ledger, batch, Release(NOW))
    assert await ledger.register_driver(BatchId("b1"), 1, "late", None) is None
    assert await ledger.batch(BatchId("b1")) == released


async def test_a_driver_that_registers_beside_the_holder_stops_neither(ledger: TableLedger) -> None:
    before = await delegated(ledger, "b1")
    assert await ledger.register_driver(BatchId("b1"), 1, "driver", "jr_2") is not None
    await applied(ledger, before, Wait(NOW + 30, "jr_1"))  # by a holder who hasn't heard of it
    read = await ledger.batch(BatchId("b1"))
    assert read is not None
    assert read.run == SparkRun("glue", NOW, "jr_1", "driver", "jr_2")


async def test_an_attempt_that_rolls_back_takes_a_registration_along_that_nobody_has_read(ledger: TableLedger) -> None:
    before = await delegated(ledger, "b1")
    assert await ledger.register_driver(BatchId("b1"), 1, "driver", "jr_1") is not None
    await applied(ledger, before, Fail(NOW, "the run failed"))  # decided before the registration
    read = await ledger.batch(BatchId("b1"))
    assert read is not None
    assert (read.attempt, read.run) == (2, None)
    taken = await applied(ledger, read, Take(WorkerId("w2"), NOW + 60))
    await applied(ledger, taken, Delegate("glue", NOW + 1))
    second = await ledger.register_driver(BatchId("b1"), 2, "second", None)
    assert second is not None
    assert second.run == SparkRun("glue", NOW + 1, None, "second", None)


async def test_a_settings_snapshot_is_found_by_its_hash(ledger: TableLedger) -> None:
    settings = DatasetSettings.model_validate({"name": "a", "source": "s3://src/a/", "destination": "s3://dst/a/"})
    assert await ledger.put_settings(settings) == settings.hash
    assert await ledger.put_settings(settings) == settings.hash
    assert await ledger.settings(settings.hash) == settings
    assert await ledger.settings(SettingsHash("unknown")) is None


def column(name: str) -> Field:
    return Field(name, parse_type("int64"))


async def test_schema_versions_follow_each_other_and_are_kept_as_history(ledger: TableLedger) -> None:
    assert await ledger.schema_head("clicks") == TableSchema()
    one = TableSchema().next([column("a")])
    two = one.next([column("a"), column("b")])
    assert await ledger.add_schema("clicks", one)
    assert await ledger.add_schema("clicks", two)
    assert await ledger.add_schema("clicks", two), "again is the same"
    assert await ledger.schema_head("clicks") == two
    assert await ledger.schema_history("clicks") == (one, two)
    assert await ledger.schema_head("orders") == TableSchema()


async def test_of_two_schemas_that_grow_at_once_one_is_accepted(ledger: TableLedger) -> None:
    mine, theirs = (TableSchema().next([column(name)]) for name in ("a", "b"))
    results = await asyncio.gather(ledger.add_schema("clicks", mine), ledger.add_schema("clicks", theirs))
    assert sorted(results) == [False, True]
    assert await ledger.schema_head("clicks") == (mine if results[0] else theirs)
    assert len(await ledger.schema_history("clicks")) == 1


# --- races


async def test_of_fifty_workers_that_take_over_at_once_one_wins(ledger: TableLedger) -> None:
    stale = await claimed(ledger, "b1", files("a"))
    takes = [advance(stale, Take(WorkerId(f"w{n}"), NOW + 100 + n)) for n in range(50)]
    results = await asyncio.gather(*(ledger.apply(stale, take) for take in takes))
    winners = [result for result in results if isinstance(result, Accepted)]
    assert len(winners) == 1
    assert await ledger.batch(BatchId("b1")) == winners[0].batch


@pytest.mark.timeout(900)
async def test_of_fifty_concurrent_overlapping_claims_each_file_has_one_owner(
    ledger: TableLedger, request: pytest.FixtureRequest
) -> None:
    """50 claims of 5 files out of a common pool: whoever wins has all five, no file has two owners."""
    chance = random.Random(7)
    for number in range(ROUNDS.get(request.node.callspec.params["ledger_endpoint"], RACES)):
        pool = [f"r{number}-{n}" for n in range(20)]
        wanted = [files(*chance.sample(pool, 5)) for _ in range(50)]
        names = [f"r{number}-c{n}" for n in range(50)]
        results = await asyncio.gather(
            *(ledger.claim(batch(name, w), w) for name, w in zip(names, wanted, strict=True)), return_exceptions=True
        )
        assert not [r for r in results if isinstance(r, BaseException) and not isinstance(r, Outage)]
        await check_owners(ledger, names, wanted, results)


RACES = int(os.environ.get("RACES", "4"))
"""Rounds against each served ledger in every test run; 200 of them take minutes: `make contracts-real`."""

ROUNDS = {"memory": 200, "moto": 25}
"""Where rounds cost nothing; and where most go wrong, so that some round surely does."""


async def check_owners(
    ledger: TableLedger, names: list[str], wanted: list[list[Source]], results: Sequence[object]
) -> None:
    owners: dict[str, str] = {}
    for name, sources, result in zip(names, wanted, results, strict=True):
        exists = await ledger.batch(BatchId(name)) is not None
        if not isinstance(result, Outage):
            assert exists == isinstance(result, Claimed)
        if exists:
            for source in sources:
                assert source.name not in owners, "two batches hold one file"
                owners[source.name] = name
    assert owners
    for sources, result in zip(wanted, results, strict=True):
        told = result.owners if isinstance(result, Overlap) else {}
        for position, owner in told.items():  # its message is deleted on that word
            assert owners.get(sources[position].name) == owner, "a duplicate of what no batch has"
    for sources in wanted:
        for source in sources:
            record = await ledger.file(source.identity)
            assert (record.batch if record else None) == owners.get(source.name)


# --- shape


async def test_a_table_of_another_shape_is_refused(ledger_endpoint: Endpoint | None) -> None:
    if ledger_endpoint is None:
        await MemoryTable(VirtualClock()).check_shape()
        return
    async with Aws() as aws:
        client = await aws.client("dynamodb")
        name = f"other-{next(_numbers)}"
        definition = {**table_definition(name)}
        del definition["GlobalSecondaryIndexes"]
        definition["AttributeDefinitions"] = definition["AttributeDefinitions"][:2]
        await client.create_table(**definition)
        with pytest.raises(UsageError, match="isn't a headsaw ledger"):
            await DynamoTable(client, name).check_shape()
        with pytest.raises(UsageError, match="no such table"):
            await DynamoTable(client, "nowhere").check_shape()
