"""The worker's shell in virtual time: from messages to published rows, whatever happens in between."""

import asyncio
import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from tests.shell.virtual_time import run
from tests.shell.world import LIMITS, Running, Site, ToyConverter, dataset

from headsaw.core.facts import BatchDone, BatchTaken, LeaseWasLost, OutageMet
from headsaw.core.model import BatchState
from headsaw.demo.notifications import Shape, notification
from headsaw.errors import Throttled, Unreachable
from headsaw.ports import MESSAGE_BYTES_MAX, Outgoing
from headsaw.worker.publisher import UploadPublisher
from headsaw.worker.service import Worker

S = BatchState


def test_every_landed_line_becomes_a_row_or_a_quarantined_line_once() -> None:
    async def scenario() -> None:
        site = Site()
        for n in range(25):
            await site.land(f"clicks/{n}.ndjson", f"row-{n}-a", f"bad-{n}", f"row-{n}-b", notify=1 + n % 3)
        async with Running(site.worker()):
            await site.settled()
        assert site.published() == Counter([f"row-{n}-{x}" for n in range(25) for x in "ab"])
        assert site.quarantined() == Counter([f"bad-{n}" for n in range(25)])
        assert site.dead_letters() == []
        assert set(await site.states()) == {S.DONE}
        assert sum(f.counts.lines for f in site.facts if isinstance(f, BatchDone)) == 75

    run(scenario())


def test_nothing_is_visible_before_the_commit_point() -> None:
    async def scenario() -> None:
        site = Site()
        await site.land("clicks/a", "row")
        slow = ToyConverter(site.store, site.clock, site.random, seconds=30.0)
        async with Running(site.worker(converter=slow)):
            await site.clock.sleep(20.0)
            assert set(await site.states()) == {S.RUNNING}
            assert len(site.store.pending_uploads("lake")) == 1
            assert site.published() == Counter()
            await site.settled()
        assert site.published() == Counter(["row"])

    run(scenario())


def test_a_batch_of_more_than_one_chunk_is_claimed_in_several_transactions() -> None:
    async def scenario() -> None:
        site = Site([dataset(max_files=250)])
        for n in range(250):
            await site.land(f"clicks/{n}", f"row-{n}")
        async with Running(site.worker()):
            await site.settled()
        assert site.published() == Counter([f"row-{n}" for n in range(250)])
        (batch,) = [batch async for batch in site.ledger().batches()]
        assert (batch.files, batch.chunks) == (250, 3)

    run(scenario())


def test_a_rejected_file_is_marked_and_sent_to_the_dlq_with_its_reason() -> None:
    async def scenario() -> None:
        site = Site()
        await site.land("clicks/good", "row")
        source = await site.land("clicks/corrupt", "corrupt")
        async with Running(site.worker()):
            await site.settled()
            assert site.published() == Counter(["row"])
            (letter,) = site.dead_letters()
            assert (letter["reason"], letter["dataset"]) == ("corrupt_stream", "clicks")
            record = await site.ledger().file(source.identity)
            assert record is not None
            assert record.mark == "rejected"

            # The file is mended under the same name, and the DLQ's message is sent back: it is claimed again.
            (message,) = site.dlq.peek()
            await site.store.put("landing", "clicks/corrupt", b"mended")
            await site.send(message.body)
            await site.land("clicks/corrupt", "mended")
            await site.settled()
        assert site.published() == Counter(["row", "mended"])

    run(scenario())


def test_a_redriven_file_is_claimed_again_under_the_same_etag() -> None:
    async def scenario() -> None:
        site = Site()
        await site.land("clicks/corrupt", "corrupt")
        async with Running(site.worker()):
            await site.settled()
            (message,) = site.dlq.peek()
            await site.send(message.body)
            await site.settled()
        assert len(site.dead_letters()) == 2, "rejected twice, each time told"
        assert len({letter["batch"] for letter in site.dead_letters()}) == 2

    run(scenario())


def test_a_poisonous_file_is_isolated_by_splitting_and_the_rest_is_published() -> None:
    async def scenario() -> None:
        site = Site()
        for n in range(7):
            await site.land(f"clicks/{n}", f"row-{n}")
        await site.land("clicks/poison", "poison")
        async with Running(site.worker()):
            await site.settled(3600.0)
        assert site.published() == Counter([f"row-{n}" for n in range(7)])
        (letter,) = site.dead_letters()
        assert letter["reason"].startswith("ConversionFailed")
        states = await site.states()
        assert (states[S.FAILED], states[S.SPLIT], states[S.DONE]) == (1, 3, 3)

    run(scenario())


def test_what_shared_a_batch_with_a_poisonous_file_is_done_within_two_leases() -> None:
    """Nobody has to find the halves: whoever split the batch goes on with them."""

    async def scenario() -> None:
        site = Site()
        await site.land("clicks/poison", "poison")
        for n in range(9):
            await site.land(f"clicks/{n}", f"row-{n}")
        async with Running(site.worker()):
            began = site.clock.now()
            await site.settled(3600.0)
            took = site.clock.now() - began - dataset().batch.max_age
        assert site.published() == Counter([f"row-{n}" for n in range(9)])
        assert len(site.dead_letters()) == 1
        assert took < 2 * LIMITS.lease_seconds, f"{took:.1f} s"

    run(scenario())


def test_record_messages_are_spooled_and_converted_like_files() -> None:
    async def scenario() -> None:
        site = Site()
        await site.send("one\ntwo", dataset="clicks")
        await site.send("three\n", dataset="clicks")
        await site.send("four", dataset="nobody")
        async with Running(site.worker(limits=replace(LIMITS, foreign_seconds=100.0))):
            await site.settled()
        assert site.published() == Counter(["one", "two", "three"])
        assert [letter["reason"] for letter in site.dead_letters()] == ["no dataset has this prefix or name"]

    run(scenario())


@pytest.mark.parametrize("shape", list(Shape))
def test_every_notification_shape_is_understood(shape: Shape) -> None:
    async def scenario() -> None:
        site = Site()
        source = await site.land("clicks/a b+ü/1.ndjson", "row", notify=0)
        await site.send(notification(shape, source, at=datetime(2026, 11, 23, tzinfo=UTC)))
        async with Running(site.worker()):
            await site.settled()
        assert site.published() == Counter(["row"])

    run(scenario())


def test_a_message_that_nobody_understands_goes_to_the_dlq() -> None:
    async def scenario() -> None:
        site = Site()
        await site.send("hello")
        async with Running(site.worker()):
            await site.settled()
        (letter,) = site.dead_letters()
        assert "no S3 notification" in letter["reason"]
        assert letter["original_message_id"]

    run(scenario())


def test_what_no_dataset_names_waits_for_another_configuration_and_then_goes_to_the_dlq() -> None:
    async def scenario() -> None:
        site = Site()
        await site.land("elsewhere/a", "row")
        async with Running(site.worker()):
            await site.clock.sleep(3000.0)
            assert site.dead_letters() == []
            await site.settled(1200.0)
        (letter,) = site.dead_letters()
        assert letter["reason"] == "no dataset has this prefix or name"

    run(scenario())


def test_workers_of_two_configurations_lose_and_block_nothing() -> None:
    """One worker knows a dataset that the other doesn't, while the other still finishes a removed dataset's batches."""

    async def scenario() -> None:
        clicks, orders = dataset("clicks"), dataset("orders")
        site = Site([clicks])
        for n in range(20):
            await site.land(f"clicks/{n}", f"c-{n}")
            await site.land(f"orders/{n}", f"o-{n}")
        old, new = site.worker("old", datasets=[clicks]), site.worker("new", datasets=[orders])
        async with Running(old, new):
            await site.settled()
        assert site.published("clicks") == Counter([f"c-{n}" for n in range(20)])
        assert site.published("orders") == Counter([f"o-{n}" for n in range(20)])
        assert site.dead_letters() == []

    run(scenario())


def test_a_removed_dataset_still_finishes_its_batches() -> None:
    async def scenario() -> None:
        clicks, orders = dataset("clicks"), dataset("orders")
        site = Site([clicks])
        await site.land("clicks/a", "row")
        slow = ToyConverter(site.store, site.clock, site.random, seconds=100.0)
        async with Running(site.worker("old", converter=slow)):
            await site.clock.sleep(10.0)
            assert set(await site.states()) == {S.RUNNING}
        async with Running(site.worker("new", datasets=[orders])):
            await site.settled()
        assert site.published() == Counter(["row"])

    run(scenario())


# --- death, zombies, drain


def test_the_work_of_a_dead_worker_is_taken_over_after_its_lease() -> None:
    async def scenario() -> None:
        site = Site()
        await site.land("clicks/a", "row")
        slow = ToyConverter(site.store, site.clock, site.random, seconds=100.0)
        async with Running(site.worker("dying", converter=slow)):
            await site.clock.sleep(5.0)
        began = site.clock.now()
        async with Running(site.worker("heir")):
            await site.settled()
        assert site.published() == Counter(["row"])
        assert site.clock.now() - began < 3 * LIMITS.lease_seconds
        (taken,) = [fact for fact in site.facts if isinstance(fact, BatchTaken)]
        assert (taken.batch.attempt, taken.batch.failures) == (2, 1)

    run(scenario())


def test_a_zombie_that_converts_past_its_lease_publishes_nothing() -> None:
    """The zombie's renewals are lost; an heir publishes; then the zombie comes to its commit."""

    async def scenario() -> None:
        site = Site()
        await site.land("clicks/a", "row")
        zombie = site.context("zombie", converter=ToyConverter(site.store, site.clock, site.random, seconds=60.0))
        worker = Worker(zombie, site.datasets)
        frozen = asyncio.Event()

        async def never_renews() -> None:
            await frozen.wait()

        worker._keeper.run = never_renews  # type: ignore[method-assign]  # a paused process renews nothing
        async with Running(worker):
            await site.clock.sleep(5.0)
            async with Running(site.worker("heir")):
                await site.clock.sleep(40.0)
                assert site.published() == Counter(["row"])
                await site.clock.sleep(60.0)
        assert site.published() == Counter(["row"])
        assert any(isinstance(fact, LeaseWasLost) for fact in site.facts)
        assert site.store.pending_uploads("lake") == ()

    run(scenario())


def test_a_drained_worker_returns_messages_at_once_and_finishes_what_runs() -> None:
    async def scenario() -> None:
        site = Site([dataset(max_files=2, max_age=100.0)])
        for n in range(3):
            await site.land(f"clicks/{n}", f"row-{n}")
        worker = site.worker(converter=ToyConverter(site.store, site.clock, site.random, seconds=4.0))
        async with Running(worker) as (task,):
            await site.clock.sleep(1.0)
            worker.stop()
            began = site.clock.now()
            await task
            assert site.clock.now() - began < LIMITS.drain_seconds
        assert sum(site.published().values()) == 2
        assert (await site.queue.depth()).visible == 1
        assert await site.states() == Counter([S.DONE])

    run(scenario())


def test_what_cannot_finish_within_the_grace_period_is_released_for_others() -> None:
    async def scenario() -> None:
        site = Site()
        await site.land("clicks/a", "row")
        worker = site.worker(converter=ToyConverter(site.store, site.clock, site.random, seconds=1000.0))
        async with Running(worker) as (task,):
            await site.clock.sleep(5.0)
            worker.stop()
            await task
        (batch,) = [batch async for batch in site.ledger().batches()]
        assert (batch.state, batch.lease.owner, batch.failures, batch.attempt) == (S.READY, None, 0, 2)
        assert site.store.pending_uploads("lake") == ()
        began = site.clock.now()
        async with Running(site.worker()):
            await site.settled()
        assert site.clock.now() - began < LIMITS.lease_seconds
        assert site.published() == Counter(["row"])

    run(scenario())


def test_the_death_of_a_task_stops_the_worker_with_an_error() -> None:
    async def scenario() -> None:
        site = Site()
        worker = site.worker()

        async def broken() -> None:
            raise ZeroDivisionError

        worker._recovery.run = broken  # type: ignore[method-assign]
        with pytest.raises(RuntimeError, match="recovery"):
            await worker.run()

    run(scenario())


def test_polling_pauses_while_there_is_more_work_than_can_soon_start() -> None:
    async def scenario() -> None:
        site = Site([dataset(max_files=1)])
        for n in range(100):
            await site.land(f"clicks/{n}", f"row-{n}")
        slow = ToyConverter(site.store, site.clock, site.random, seconds=1000.0)
        async with Running(site.worker(limits=replace(LIMITS, conversions=1), converter=slow)):
            await site.clock.sleep(30.0)
            assert (await site.queue.depth()).visible >= 50, "the rest stays in the queue, for other workers"
        async with Running(*(site.worker() for _ in range(3))):
            await site.settled()
        assert site.published() == Counter([f"row-{n}" for n in range(100)])

    run(scenario())


# --- outages


class Flaky:
    """A port that fails every so often, before or after the effect of the call."""

    def __init__(self, port: object, site: Site, share: float) -> None:
        self._port, self._site, self.share = port, site, share

    def __getattr__(self, name: str) -> object:
        method = getattr(self._port, name)

        async def call(*args: object, **kwargs: object) -> object:
            if self._site.random.random() < self.share:
                raise Throttled("slow down")
            answer = await method(*args, **kwargs)
            if self._site.random.random() < self.share:
                raise Unreachable("the answer was lost")
            return answer

        return call if asyncio.iscoroutinefunction(method) else method


def test_throttles_and_lost_answers_everywhere_lose_and_double_nothing() -> None:
    async def scenario() -> None:
        site = Site()
        table = Flaky(site.table, site, 0.1)
        store = Flaky(site.store, site, 0.05)
        for n in range(60):
            await site.land(f"clicks/{n}", f"row-{n}")

        def flaky_worker() -> object:
            return site.worker(
                queues=(Flaky(site.queue, site, 0.1),),
                dlq=Flaky(site.dlq, site, 0.1),
                ledger=site.ledger(table),  # type: ignore[arg-type]
                store=store,
                publisher=UploadPublisher(store),  # type: ignore[arg-type]
                converter=ToyConverter(store, site.clock, site.random),  # type: ignore[arg-type]
            )

        async with Running(*(flaky_worker() for _ in range(3))):  # type: ignore[arg-type]
            await site.settled(3600.0)
        assert site.published() == Counter([f"row-{n}" for n in range(60)])
        assert site.dead_letters() == []
        assert any(isinstance(fact, OutageMet) for fact in site.facts)

    run(scenario())


def test_while_the_ledger_is_away_messages_stay_and_are_claimed_when_it_is_back() -> None:
    async def scenario() -> None:
        site = Site()
        for n in range(5):
            await site.land(f"clicks/{n}", f"row-{n}")
        table = Flaky(site.table, site, 0.0)
        async with Running(site.worker(ledger=site.ledger(table))) as (task,):  # type: ignore[arg-type]
            await site.clock.sleep(0.1)
            table.share = 1.1
            await site.clock.sleep(300.0)
            assert not task.done()
            assert await site.states() == Counter()
            table.share = 0.0
            await site.settled()
        assert site.published() == Counter([f"row-{n}" for n in range(5)])

    run(scenario())


def test_batches_that_met_a_long_outage_are_done_within_three_leases_of_its_end() -> None:
    async def scenario() -> None:
        site = Site([dataset(max_files=1)])
        for n in range(20):
            await site.land(f"clicks/{n}", f"row-{n}")
        store = Flaky(site.store, site, 1.1)
        converter = ToyConverter(store, site.clock, site.random)  # type: ignore[arg-type]
        worker = site.worker(store=store, publisher=UploadPublisher(store), converter=converter)  # type: ignore[arg-type]
        async with Running(worker):
            await site.clock.sleep(7200.0)
            assert set(await site.states()) == {S.READY}
            store.share = 0.0
            await site.settled(3 * LIMITS.lease_seconds)
        assert site.published() == Counter([f"row-{n}" for n in range(20)])

    run(scenario())


def test_a_dlq_message_can_be_sent_back_as_it_is() -> None:
    async def scenario() -> None:
        site = Site()
        await site.send("corrupt", dataset="clicks")
        async with Running(site.worker()):
            await site.settled()
            (letter,) = site.dlq.peek()
            assert letter.body == "corrupt"
            await site.queue.send([Outgoing("again", letter.body, dict(letter.attributes))])
            await site.settled()
        letters = site.dead_letters()
        assert len(letters) == 2
        assert letters[0]["original_message_id"] == letters[1]["original_message_id"]

    run(scenario())


def test_a_dead_letter_that_would_be_too_large_says_where_its_body_is() -> None:
    async def scenario() -> None:
        site = Site()
        body = "x" * (MESSAGE_BYTES_MAX - 10)
        await site.send(body)
        async with Running(site.worker()):
            await site.settled()
        (letter,) = site.dlq.peek()
        bucket, _, key = json.loads(letter.body)["body"].removeprefix("s3://").partition("/")
        assert site.store.visible(bucket)[key].decode() == body
        assert letter.attributes["reason"]

    run(scenario())


def test_a_dead_letter_keeps_the_original_attributes_as_far_as_sqs_allows() -> None:
    async def scenario() -> None:
        site = Site()
        await site.send("hello", **{f"a{n}": "v" for n in range(10)})
        async with Running(site.worker()):
            await site.settled()
        (letter,) = site.dead_letters()
        assert len(letter) == 10
        assert {"reason", "original_message_id", "a0"} <= letter.keys()

    run(scenario())
