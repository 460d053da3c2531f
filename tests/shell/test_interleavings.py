"""Orders of events that are rare and have gone wrong: late answers, take-overs, odd messages, full buffers."""

import asyncio
import errno
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests.shell.virtual_time import run
from tests.shell.world import CONTROL, LIMITS, Around, Running, Site, ToyConverter, dataset

from headsaw.adapters.memory.queue import MemoryQueue
from headsaw.adapters.table import Write
from headsaw.core.commit import digest
from headsaw.core.facts import BatchReleased, BatchTaken, LeaseWasLost, OutageMet
from headsaw.core.lifecycle import Commit, Finish, Release, Start
from headsaw.core.model import Batch, BatchState, CommitPointer, Source
from headsaw.core.settings import DatasetSettings
from headsaw.errors import HeadsawError, ProtocolViolation, Unreachable, UsageError
from headsaw.ports import MESSAGE_BYTES_MAX, ConvertedBatch, Outgoing
from headsaw.worker.inboxes import BUFFERED_FACTOR
from headsaw.worker.intake import RECEIVE_MAX
from headsaw.worker.leases import LeaseKeeper
from headsaw.worker.spool import SPOOL_BYTES_MAX

S = BatchState


class Recording(ToyConverter):
    """Remembers which worker converts."""

    who: str
    converted: list[str]

    async def convert(self, batch: Batch, settings: DatasetSettings, sources: Sequence[Source]) -> ConvertedBatch:
        self.converted.append(self.who)
        return await super().convert(batch, settings, sources)

    @classmethod
    def of(cls, site: Site, who: str, converted: list[str], seconds: float) -> "Recording":
        made = cls(site.store, site.clock, site.random, seconds)
        made.who, made.converted = who, converted
        return made


# --- answers that are lost or late


class UnheardRenewal(Around):
    """A renewal takes effect unheard and reads fail for a while; then the commit takes effect late, unheard."""

    def __init__(self, site: Site) -> None:
        super().__init__(site.table)
        self._clock = site.clock
        self._reads_to_fail = 0
        self.unheard: list[str] = []

    async def get(self, key: Any) -> Any:
        if self._reads_to_fail and key.sk == "batch":
            self._reads_to_fail -= 1
            raise Unreachable("get")
        return await self.port.get(key)

    async def write(self, write: Write) -> Any:
        changes = getattr(write, "set", {})
        if not self.unheard and changes.keys() == {"lease_until", "due_at"}:
            self.unheard.append("renewal")
            await self.port.write(write)
            self._reads_to_fail = 8
            raise Unreachable("renewal")
        if self.unheard == ["renewal"] and not self._reads_to_fail and changes.get("state") == "PUBLISHING":
            self.unheard.append("commit")
            self.late = asyncio.create_task(self._write_late(write))
            raise Unreachable("commit")
        return await self.port.write(write)

    async def _write_late(self, write: Write) -> None:
        await self._clock.sleep(1.0)
        await self.port.write(write)


def test_a_commit_in_flight_after_an_unheard_renewal_is_not_taken_for_refused() -> None:
    async def scenario() -> None:
        site = Site()
        table = UnheardRenewal(site)
        await site.land("clicks/a", "row")
        converter = ToyConverter(site.store, site.clock, site.random, seconds=6.5)
        async with Running(site.worker(converter=converter, ledger=site.ledger(table))):  # type: ignore[arg-type]
            await site.settled()
        assert table.unheard == ["renewal", "commit"]
        assert site.published() == Counter(["row"])
        assert set(await site.states()) == {S.DONE}

    run(scenario())


class LateAnswer(Around):
    """The answer to the first transaction is lost, and that is noticed after a long pause."""

    def __init__(self, site: Site, seconds: float) -> None:
        super().__init__(site.table)
        self._clock, self._seconds = site.clock, seconds

    async def transact(self, writes: Any, token: str) -> Any:
        result = await self.port.transact(writes, token)
        pause, self._seconds = self._seconds, 0.0
        if pause:
            await self._clock.sleep(pause)
            raise Unreachable("the answer was lost")
        return result


@pytest.mark.parametrize("seconds", [400.0, 720.0], ids=["the heir converts it", "the heir has it wait for a slot"])
def test_a_claim_that_is_heard_of_after_a_take_over_is_not_worked_on(seconds: float) -> None:
    async def scenario() -> None:
        site = Site()
        limits = replace(LIMITS, conversions=1)
        own_queue = MemoryQueue(site.clock, "paused")
        converted: list[str] = []
        paused = site.worker(
            "paused",
            limits,
            queues=(own_queue,),
            ledger=site.ledger(LateAnswer(site, 700.0)),  # type: ignore[arg-type]
            converter=Recording.of(site, "paused", converted, 5.0),
        )
        paused._recovery.run = asyncio.Event().wait  # type: ignore[assignment]  # a paused process recovers nothing
        heir = site.worker("heir", limits, converter=Recording.of(site, "heir", converted, seconds))
        await site.land("clicks/busy", "row-1")
        async with Running(heir, paused) as tasks:
            await site.clock.sleep(5.0)
            await own_queue.send([Outgoing("m", _event("clicks/a", await _etag(site, "clicks/a", b"row-2")), {})])
            await site.settled(3600.0)
            assert not any(task.done() for task in tasks)
        assert converted == ["heir", "heir"]
        assert site.published() == Counter(["row-1", "row-2"])
        assert not [fact for fact in site.facts if isinstance(fact, BatchReleased | LeaseWasLost)]
        assert (await own_queue.depth()).in_flight == 0, "its message is settled all the same"

    run(scenario())


@pytest.mark.parametrize("seconds", [5.0, 100.0], ids=["it has converted it", "it still converts it"])
def test_a_claim_that_is_heard_of_after_the_same_worker_has_recovered_the_batch_is_no_reason_to_die(
    seconds: float,
) -> None:
    """The token's answer is the one of the claim, with the lease of then."""

    async def scenario() -> None:
        site = Site()
        converted: list[str] = []
        worker = site.worker(
            "w",
            ledger=site.ledger(LateAnswer(site, 30.0)),  # type: ignore[arg-type]
            converter=Recording.of(site, "w", converted, seconds),
        )
        await site.land("clicks/a", "row")
        async with Running(worker) as tasks:
            await site.settled()
            assert not any(task.done() for task in tasks)
        assert converted == ["w"]
        assert site.published() == Counter(["row"])

    run(scenario())


def test_a_renewal_that_waited_behind_the_end_of_the_batch_changes_nothing() -> None:
    async def scenario() -> None:
        site = Site()
        context, batch = await site.claimed("w", await site.land("clicks/a", "row", notify=0))
        batch = await site.apply(batch, Start(), Commit(CommitPointer("k", "s"), 1, 1))
        held = LeaseKeeper(context).hold(batch)
        await asyncio.gather(held.advance(Finish(site.clock.now())), held.renew())
        assert held.batch == await site.ledger().batch(batch.id)
        assert (held.batch.state, held.batch.lease.owner) == (S.DONE, None)

    run(scenario())


# --- what is odd stops nobody


def _event(key: str, etag: str = "e", size: int = 1) -> str:
    thing = {"key": key, "eTag": etag, "size": size}
    place = {"bucket": {"name": "landing"}, "object": thing}
    return json.dumps({"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": place}]})


async def _etag(site: Site, key: str, body: bytes) -> str:
    await site.store.put("landing", key, body)
    head = await site.store.head("landing", key)
    assert head is not None
    return head.etag


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(_event("clicks/\ud800"), "malformed", id="half a surrogate pair"),
        pytest.param(_event("clicks/" + "k" * 2100), "malformed", id="a key of 2 KB"),
        pytest.param(_event("clicks/a", etag='"'), "malformed", id="an empty eTag"),
        pytest.param(_event("clicks/a", size=10**45), "missing", id="a size beyond all numbers"),
    ],
)
def test_an_odd_notification_goes_to_the_dlq_and_stops_no_worker(body: str, reason: str) -> None:
    async def scenario() -> None:
        site = Site()
        await site.send(body)
        await site.land("clicks/good", "row")
        async with Running(site.worker()) as (task,):
            await site.settled()
            assert not task.done()
        assert site.published() == Counter(["row"])
        (letter,) = site.dlq.peek()
        assert reason in letter.attributes["reason"]
        assert letter.body

    run(scenario())


def test_a_record_message_with_an_odd_original_id_is_known_by_its_own() -> None:
    async def scenario() -> None:
        site = Site()
        await site.send("row-1", dataset="clicks", original_message_id="x" * 3000)
        await site.send("row-2", dataset="clicks", original_message_id="a b")
        async with Running(site.worker()) as (task,):
            await site.settled()
            assert not task.done()
        assert site.published() == Counter(["row-1", "row-2"])

    run(scenario())


class Picky(Around):
    """A table that refuses every transaction with an odd key in it, as a bug of the caller."""

    async def transact(self, writes: Any, token: str) -> Any:
        if any("odd" in write.key.pk for write in writes):
            raise ValueError("ValidationException")
        return await self.port.transact(writes, token)


def test_one_source_that_the_ledger_cannot_take_goes_to_the_dlq_and_the_others_are_claimed() -> None:
    async def scenario() -> None:
        site = Site()
        for n in range(9):
            await site.land(f"clicks/{n}", f"row-{n}")
        await site.land("clicks/odd", "odd")
        async with Running(site.worker(ledger=site.ledger(Picky(site.table)))) as (task,):  # type: ignore[arg-type]
            await site.settled()
            assert not task.done()
        assert site.published() == Counter([f"row-{n}" for n in range(9)])
        (letter,) = site.dead_letters()
        assert letter["reason"] == "can't be claimed: ValueError"

    run(scenario())


def test_a_commit_record_of_a_newer_format_stops_no_worker_and_waits() -> None:
    async def scenario() -> None:
        site = Site()
        _, batch = await site.claimed("newer", await site.land("clicks/a", "row", notify=0))
        body = b'{"format":2}'
        await site.store.put(CONTROL.bucket, CONTROL.key("commit"), body)
        pointer = CommitPointer(CONTROL.key("commit"), digest(body))
        await site.apply(batch, Start(), Commit(pointer, 1, 1))
        await site.land("clicks/b", "other")
        async with Running(site.worker()) as (task,):
            await site.clock.sleep(300.0)
            assert not task.done()
        assert site.published() == Counter(["other"])
        assert await site.states() == Counter({S.PUBLISHING: 1, S.DONE: 1})
        (waiting,) = [b async for b in site.ledger().batches() if b.id == batch.id]
        assert "another format" in (waiting.reason or "")

    run(scenario())


class Refusing(Around):
    """A port of which one method raises an error, while it `refuses`."""

    def __init__(self, port: object, method: str, error: HeadsawError) -> None:
        super().__init__(port)
        self._method, self._error = method, error
        self.refuses = False

    def __getattr__(self, name: str) -> Any:
        async def refuse(*_: object, **__: object) -> None:
            raise self._error

        return refuse if name == self._method and self.refuses else super().__getattr__(name)


@pytest.mark.parametrize("error", [UsageError("no such table"), ProtocolViolation("a newer format")])
@pytest.mark.parametrize("method", ["due", "unfinished", "apply", "receive"])
def test_what_an_operator_must_mend_stops_no_side_task(method: str, error: HeadsawError) -> None:
    """The sweep, the sampler, the renewals (nothing else is applied just then) and the polls go on."""

    async def scenario() -> None:
        site = Site()
        port = Refusing(site.queue if method == "receive" else site.ledger(), method, error)
        ports: dict[str, Any] = {"queues": (port,)} if method == "receive" else {"ledger": port}
        converter = ToyConverter(site.store, site.clock, site.random, seconds=30.0)
        await site.land("clicks/a", "row-1")
        async with Running(site.worker(converter=converter, **ports)) as (task,):
            await site.clock.sleep(4.0)
            port.refuses = True
            await site.clock.sleep(16.0)
            assert not task.done()
            assert type(error).__name__ in {fact.kind for fact in site.facts if isinstance(fact, OutageMet)}
            port.refuses = False
            await site.land("clicks/b", "row-2")
            await site.settled()
        assert site.published() == Counter(["row-1", "row-2"])

    run(scenario())


# --- room


def test_a_recovered_batch_gets_its_turn_while_new_work_fills_every_place() -> None:
    async def scenario() -> None:
        site = Site()
        context, victim = await site.claimed("dead", await site.land("clicks/victim", "victim", notify=0))
        await site.apply(victim, Release(site.clock.now()))
        for n in range(400):
            await site.land(f"clicks/{n}", f"row-{n}")
        converter = ToyConverter(site.store, site.clock, site.random, seconds=20.0)
        async with Running(site.worker(limits=replace(LIMITS, visibility_seconds=600.0), converter=converter)):
            await site.clock.sleep(120.0)
            assert (await site.queue.depth()).visible > 0, "there is new work for every place"
            recovered = await context.world.ledger.batch(victim.id)
        assert recovered is not None
        assert recovered.state is S.DONE
        assert len([fact for fact in site.facts if isinstance(fact, BatchTaken)]) == 1
        assert not [fact for fact in site.facts if isinstance(fact, BatchReleased)]

    run(scenario())


def test_buffers_that_wait_for_more_do_not_block_polling() -> None:
    async def scenario() -> None:
        names = [f"d{n}" for n in range(10)]
        site = Site([dataset(name, max_files=100, max_age=300.0) for name in names])
        for n in range(120):
            for name in names:
                await site.land(f"{name}/{n}", f"row-{n}")
        async with Running(site.worker(limits=replace(LIMITS, visibility_seconds=420.0))):
            await site.clock.sleep(60.0)
            assert (await site.queue.depth()).visible == 0
            assert [sum(site.published(name).values()) for name in names] == [100] * 10, "the rest waits for its age"
            await site.settled(300.0)
        assert [len(site.published(name)) for name in names] == [120] * 10

    run(scenario())


def test_what_fills_a_buffer_during_another_datasets_claim_is_claimed_right_after_it() -> None:
    async def scenario() -> None:
        site = Site([dataset(name, max_files=10, max_age=300.0) for name in ("d1", "d2")])

        class Slow(Around):
            async def claim(self, batch: Batch, sources: Sequence[Source]) -> Any:
                await site.clock.sleep(3.0)
                return await self.port.claim(batch, sources)

        for n in range(10):
            await site.land(f"d2/{n}", f"row-{n}")
        limits = replace(LIMITS, visibility_seconds=420.0)
        async with Running(site.worker(limits=limits, ledger=Slow(site.ledger()))):
            await site.clock.sleep(1.0)
            for n in range(40):
                await site.land(f"d1/{n}", f"row-{n}")
            await site.settled(60.0)
        assert len(site.published("d1")) == 40

    run(scenario())


def test_record_messages_wait_within_a_bound_of_bytes() -> None:
    async def scenario() -> None:
        site = Site([dataset(max_files=1000, max_age=300.0)])

        class Hanging(Around):
            async def claim(self, *_: object) -> None:
                await asyncio.Event().wait()

        body = "x" * (MESSAGE_BYTES_MAX - 100)
        for _ in range(200):
            await site.send(body, dataset="clicks")
        limits = replace(LIMITS, visibility_seconds=900.0)
        async with Running(site.worker(limits=limits, ledger=Hanging(site.ledger()))):
            await site.clock.sleep(60.0)
            held = (await site.queue.depth()).in_flight * len(body)
            spooled = [head.size async for head in site.store.list(CONTROL.bucket, CONTROL.key("spool/"))]
        assert spooled, "a claim is under way, and never ends"
        last_polls = limits.pollers * RECEIVE_MAX * len(body)
        assert held <= (1 + BUFFERED_FACTOR) * SPOOL_BYTES_MAX + last_polls
        assert max(spooled) <= SPOOL_BYTES_MAX + len(body)

    run(scenario())


# --- what the surroundings refuse


class Older(Around):
    """A queue that takes messages of 256 KiB at the most."""

    async def send(self, messages: Sequence[Outgoing]) -> list[str]:
        large = [message.id for message in messages if message.size > 256 * 1024]
        return large + list(await self.port.send([message for message in messages if message.id not in large]))


def test_a_dlq_that_takes_less_than_sqs_allows_gets_a_note_and_nothing_is_sent_for_ever() -> None:
    async def scenario() -> None:
        site = Site()
        large = "corrupt" + "x" * 300_000
        for body in ("corrupt 1", "corrupt 2", large, "corrupt 3"):
            await site.send(body, dataset="clicks")
        await site.send(large)
        async with Running(site.worker(dlq=Older(site.dlq))):
            await site.settled()
            await site.clock.sleep(3600.0)
        bodies = Counter(letter.body for letter in site.dlq.peek())
        notes = [body for body in bodies if not body.startswith("corrupt")]
        assert (bodies.total(), len(notes)) == (5, 2)
        for note in notes:
            bucket, _, key = json.loads(note)["body"].removeprefix("s3://").partition("/")
            assert site.store.visible(bucket)[key].decode() == large
        assert set(await site.states()) == {S.DONE}

    run(scenario())


class Exhausted(ToyConverter):
    """This machine lacks something, for as long as `number` says what."""

    number: int | None = None

    async def convert(self, batch: Batch, settings: DatasetSettings, sources: Sequence[Source]) -> ConvertedBatch:
        if self.number is not None:
            raise OSError(self.number, "")
        return await super().convert(batch, settings, sources)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EMFILE, errno.EROFS], ids=errno.errorcode.__getitem__)
def test_what_this_machine_lacks_is_an_outage_and_no_failure_of_the_batch(number: int) -> None:
    async def scenario() -> None:
        site = Site()
        for n in range(4):
            await site.land(f"clicks/{n}", f"row-{n}")
        converter = Exhausted(site.store, site.clock, site.random)
        converter.number = number
        async with Running(site.worker(converter=converter)):
            await site.clock.sleep(600.0)
            (batch,) = [batch async for batch in site.ledger().batches()]
            assert (batch.state, batch.failures) == (S.READY, 0)
            converter.number = None
            await site.settled()
        assert site.published() == Counter([f"row-{n}" for n in range(4)])
        assert site.dead_letters() == []

    run(scenario())


def test_any_other_error_of_the_system_counts_as_a_failure() -> None:
    async def scenario() -> None:
        site = Site()
        await site.land("clicks/a", "row")
        converter = Exhausted(site.store, site.clock, site.random)
        converter.number = errno.EINVAL
        async with Running(site.worker(converter=converter)):
            await site.settled()
        assert [letter["reason"] for letter in site.dead_letters()] == ["OSError"]

    run(scenario())


class Failing(Around):
    """A port one of whose calls raises what it is told to, as long as it is told to."""

    def __init__(self, port: object, call: str, error: Exception) -> None:
        super().__init__(port)
        self._call, self.error = call, error

    def __getattr__(self, name: str) -> Any:
        found = super().__getattr__(name)
        if name != self._call:
            return found

        async def call(*args: Any, **kwargs: Any) -> Any:
            if self.error is not None:
                raise self.error
            return await found(*args, **kwargs)

        return call


@pytest.mark.parametrize("error", [UsageError("no such table"), ProtocolViolation("odd"), ValueError("odd")])
def test_a_ledger_that_takes_nothing_sends_no_file_to_the_dlq(error: Exception) -> None:
    async def scenario() -> None:
        site = Site()
        for n in range(4):
            await site.land(f"clicks/{n}", f"row-{n}")
        ledger = Failing(site.ledger(), "claim", error)
        async with Running(site.worker(ledger=ledger)) as (task,):  # type: ignore[arg-type]
            await site.clock.sleep(600.0)
            assert site.dead_letters() == []
            ledger.error = None  # type: ignore[assignment]
            await site.settled()
            assert not task.done()
        assert site.published() == Counter([f"row-{n}" for n in range(4)])

    run(scenario())


@pytest.mark.parametrize("call", ["delete", "set_visibility"])
def test_a_queue_that_refuses_to_settle_messages_stops_no_worker(call: str) -> None:
    async def scenario() -> None:
        site = Site()
        await site.land("clicks/a", "row")
        await site.land("elsewhere/b", "row")
        queue = Failing(site.queue, call, UsageError("no such queue"))
        async with Running(site.worker(queues=(queue,))) as (task,):
            await site.clock.sleep(300.0)
            assert not task.done()
        assert site.published() == Counter(["row"])

    run(scenario())


def test_a_dlq_or_a_control_bucket_that_is_gone_stops_no_worker() -> None:
    async def scenario() -> None:
        site = Site()
        await site.send("hello")
        await site.send("one", dataset="clicks")
        dlq = Failing(site.dlq, "send", UsageError("no such queue"))
        store = Failing(site.store, "put", UsageError("no such bucket"))
        async with Running(site.worker(dlq=dlq, store=store)) as (task,):
            await site.clock.sleep(300.0)
            assert not task.done()
            dlq.error = store.error = None  # type: ignore[assignment]
            await site.settled()
        assert site.published() == Counter(["one"])
        assert len(site.dead_letters()) == 1

    run(scenario())


class Choosy(Around):
    """A queue that doesn't take a message at the first try, for no reason of the message's."""

    refused = 0

    async def send(self, messages: Sequence[Outgoing]) -> list[str]:
        self.refused += 1
        return [message.id for message in messages] if self.refused == 1 else list(await self.port.send(messages))


def test_a_small_dead_letter_that_is_refused_once_is_sent_whole_the_next_time() -> None:
    async def scenario() -> None:
        site = Site()
        await site.send("corrupt", dataset="clicks")
        async with Running(site.worker(dlq=Choosy(site.dlq))):
            await site.settled()
        assert [letter.body for letter in site.dlq.peek()] == ["corrupt"]

    run(scenario())


def test_a_note_about_a_dead_letter_that_comes_back_as_it_is_becomes_no_row() -> None:
    async def scenario() -> None:
        site = Site()
        await site.send("corrupt" + "x" * 300_000, dataset="clicks")
        async with Running(site.worker(dlq=Older(site.dlq))):
            await site.settled()
            (note,) = site.dlq.peek()
            await site.queue.send([Outgoing("again", note.body, dict(note.attributes))])
            await site.settled()
        assert site.published() == Counter()
        assert [letter.body for letter in site.dlq.peek()] == [note.body, note.body]

    run(scenario())


def test_why_a_file_failed_is_what_its_dead_letter_says_also_after_an_outage() -> None:
    async def scenario() -> None:
        site = Site()
        await site.land("clicks/poison", "poison")
        dlq = Failing(site.dlq, "send", Unreachable("dlq"))
        async with Running(site.worker(dlq=dlq)):
            await site.clock.sleep(200.0)
            assert set(await site.states()) == {S.FAILING}
            dlq.error = None  # type: ignore[assignment]
            await site.settled()
        (letter,) = site.dead_letters()
        assert letter["reason"].startswith("ConversionFailed")

    run(scenario())
