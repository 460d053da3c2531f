"""Backfill, redrive and retry: work put back in, as often as somebody likes."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from small_lake import DAY, HOUR, Lake, lines

from headsaw.core.model import BatchState, FileMark, SourceFile
from headsaw.core.notification import Landed, Records, parse_notification, synthetic_event
from headsaw.core.settings import S3Prefix
from headsaw.errors import Outage, UsageError
from headsaw.operate.arguments import parse_rate, parse_seconds, parse_time, parse_uri
from headsaw.operate.backfill import Selection, backfill
from headsaw.operate.describe import NotFound
from headsaw.operate.enqueue import send_all
from headsaw.operate.redrive import Redriven, redrive
from headsaw.operate.retry import NotRetried, retry
from headsaw.ports import Outgoing


def under(prefix: str, **selection: Any) -> Selection:
    return Selection(S3Prefix.model_validate(f"s3://landing/{prefix}"), **selection)


def notified(lake: Lake) -> list[tuple[SourceFile, ...]]:
    parsed = [parse_notification(message.body, message.attributes) for message in lake.queue.peek()]
    assert all(isinstance(notification, Landed) for notification in parsed)
    return [notification.files for notification in parsed if isinstance(notification, Landed)]


# --- backfill


async def test_existing_objects_are_enqueued_five_to_a_message(lake: Lake) -> None:
    landed = [await lake.land(f"clicks/a b+ü/{number:03}.json", lines(number)) for number in range(63)]
    done = await backfill(lake.config, lake, under("clicks/"))
    assert (done.listed, done.enqueued, done.datasets) == (63, 63, {"clicks": 63})
    messages = notified(lake)
    assert sorted(map(len, messages)) == [3] + [5] * 12
    assert {file for files in messages for file in files} == set(landed)


async def test_globs_times_and_datasets_choose_and_everything_is_counted_once(make_lake: Callable[..., Lake]) -> None:
    lake = make_lake({"name": "clicks", "exclude": ["*.tmp"]}, {"name": "orders"})
    await lake.land("clicks/early.json", lines(1))
    await lake.pass_time(HOUR)
    since = lake.clock.now()
    for key in (
        "clicks/a.json",
        "clicks/b.json.tmp",
        "clicks/c.csv",
        "clicks/folder/",
        "orders/d.json",
        "others/e.json",
    ):
        await lake.land(key, lines(1))
    await lake.pass_time(HOUR)
    until = lake.clock.now()
    await lake.pass_time(1)
    await lake.land("clicks/late.json", lines(1))
    selection = under("", include=("*.json", "*.tmp", "*/"), exclude=("orders/*",), since=since, until=until)
    done = await backfill(lake.config, lake, selection)
    assert (done.listed, done.enqueued, done.datasets) == (8, 1, {"clicks": 1})
    assert (done.filtered, done.excluded, done.foreign, done.too_old) == (4, 2, 1, 0)


async def test_objects_that_the_ledger_may_have_forgotten_need_reprocess(make_lake: Callable[..., Lake]) -> None:
    lake = make_lake(ledger_retention="20d")
    await lake.land("clicks/old", lines(1))
    await lake.pass_time(21 * DAY)
    await lake.land("clicks/new", lines(1))
    done = await backfill(lake.config, lake, under("clicks/"))
    assert (done.enqueued, done.too_old) == (1, 1)
    done = await backfill(lake.config, lake, under("clicks/", reprocess=True))
    assert (done.enqueued, done.too_old) == (2, 0)


async def test_a_dry_run_counts_and_sends_nothing(lake: Lake) -> None:
    await lake.land("clicks/a", lines(1))
    assert (await backfill(lake.config, lake, under("clicks/"), dry_run=True)).enqueued == 1
    assert lake.queue.peek() == []


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize("identity", ["etag", "key"])
async def test_only_files_that_the_ledger_does_not_know_are_enqueued(
    make_lake: Callable[..., Lake], identity: str, dry_run: bool
) -> None:
    lake = make_lake({"name": "clicks", "identity": identity})
    files = [
        replace(await lake.land(f"clicks/{name}", body), by_key=identity == "key")
        for name, body in {"new": lines(1), "known": lines(2), "bad.gz": b"\x1f\x8bbad"}.items()
    ]
    await lake.publish(*files[1:])
    done = await backfill(lake.config, lake, under("clicks/"), dry_run=dry_run)
    assert (done.listed, done.enqueued, done.known, done.rejected) == (3, 1, 1, 1)
    assert (done.datasets, done.bytes) == ({"clicks": 1}, files[0].stored_bytes)
    done = await backfill(lake.config, lake, under("clicks/", rejected=True), dry_run=dry_run)
    assert (done.enqueued, done.known, done.rejected) == (2, 1, 0)
    assert len(lake.queue.peek()) == (0 if dry_run else 2)


async def test_a_prefix_that_no_dataset_has_is_refused_and_the_sources_are_named(lake: Lake) -> None:
    with pytest.raises(UsageError, match=r"clicks \(s3://landing/clicks/\)"):
        await backfill(lake.config, lake, under("klicks/"))
    await backfill(lake.config, lake, under("clicks/2026/"))
    await backfill(lake.config, lake, under("cl"))


async def test_a_rate_spreads_the_files_over_time(lake: Lake) -> None:
    class Patient:
        def __init__(self) -> None:
            self.slept = 0.0

        def now(self) -> float:
            return lake.clock.now()

        def monotonic(self) -> float:
            return self.slept

        async def sleep(self, seconds: float) -> None:
            self.slept += seconds

    for number in range(200):
        await lake.land(f"clicks/{number:03}", lines(number))
    patient: Any = Patient()
    ports: Any = _Ports(lake, clock=patient)
    await backfill(lake.config, ports, under("clicks/"), rate=10)
    assert patient.slept == pytest.approx(15.0)  # 50 at once, then three times 50 at 10 a second


class _Ports:
    """The lake, with other ports here and there."""

    def __init__(self, lake: Lake, **others: Any) -> None:
        self.queues: Sequence[Any] = lake.queues
        self.dlq: Any = lake.dlq
        self.ledger = lake.ledger
        self.store = lake.store
        self.clock: Any = lake.clock
        for name, other in others.items():
            setattr(self, name, other)


class _Refusing:
    """A queue that stores nothing."""

    async def send(self, messages: Sequence[Outgoing]) -> list[str]:
        return [message.id for message in messages]


class _Instant:
    def now(self) -> float:
        return 0.0

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        """No time passes."""


async def test_a_queue_that_takes_nothing_is_an_outage_after_bounded_tries() -> None:
    queue: Any = _Refusing()
    with pytest.raises(Outage, match="refused 1 messages"):
        await send_all(queue, _Instant(), [Outgoing("1", "x", {})])


# --- redrive


async def dead(lake: Lake, body: str, **attributes: str) -> None:
    assert await lake.dlq.send([Outgoing("x", body, attributes)]) == []


async def redriven(lake: Lake, **arguments: Any) -> Any:
    """With a clock that moves: the DLQ's last, empty receives wait. `queues` and `dlq` replace the lake's."""
    others = {name: arguments.pop(name) for name in ("queues", "dlq") if name in arguments}
    ports: Any = _Ports(lake, **{"dlq": _Unhurried(lake.dlq), **others})
    return await redrive(lake.config.control, ports, **arguments)


class _Unhurried:
    """A queue whose receives don't wait: nobody moves the clock."""

    def __init__(self, queue: Any) -> None:
        self._queue = queue
        self.delete = queue.delete
        self.set_visibility = queue.set_visibility

    async def receive(self, *, limit: int, wait_seconds: float, visibility_seconds: float) -> Any:
        return await self._queue.receive(limit=limit, wait_seconds=0, visibility_seconds=visibility_seconds)


async def test_a_redriven_message_keeps_everything_but_its_reason_and_leaves_the_dlq(lake: Lake) -> None:
    file = SourceFile("landing", "clicks/a", "e", 1)
    await dead(lake, synthetic_event(file), reason="corrupt_stream", dataset="clicks", batch="b1")
    done = await redriven(lake)
    assert (done.redriven, done.reasons) == (1, {"corrupt_stream": 1})
    (message,) = lake.queue.peek()
    assert {"dataset": "clicks", "batch": "b1"}.items() <= message.attributes.items()
    assert "reason" not in message.attributes
    assert notified(lake) == [(file,)]
    assert lake.dlq.peek() == []


async def test_a_record_message_keeps_its_identity_through_the_dlq(lake: Lake) -> None:
    await dead(lake, "{}\n", reason="poison", dataset="clicks", original_message_id="m-7")
    await dead(lake, "{}\n", dataset="clicks")
    by_sqs = lake.dlq.peek()[1].id
    await redriven(lake)
    identities = [message.attributes["original_message_id"] for message in lake.queue.peek()]
    assert identities == ["m-7", by_sqs]
    assert all(isinstance(parse_notification(m.body, m.attributes), Records) for m in lake.queue.peek())


async def test_only_messages_with_that_reason_are_redriven_and_the_others_are_visible_at_once(lake: Lake) -> None:
    for number in range(25):
        await dead(lake, "{}", reason=("poison: x", "corrupt_stream")[number % 2])
    done = await redriven(lake, reason="poison")
    assert (done.redriven, done.left) == (13, 12)
    assert (await lake.dlq.depth()).visible == 12
    assert {message.attributes["reason"] for message in lake.dlq.peek()} == {"corrupt_stream"}


async def test_a_limit_is_exact_and_a_dry_run_moves_nothing(lake: Lake) -> None:
    for _ in range(25):
        await dead(lake, "{}", reason="poison")
    assert (await redriven(lake, dry_run=True)).redriven == 25
    assert ((await lake.dlq.depth()).visible, (await lake.queue.depth()).visible) == (25, 0)
    assert (await redriven(lake, limit=12)).redriven == 12
    assert ((await lake.dlq.depth()).visible, (await lake.queue.depth()).visible) == (13, 12)


class _StillBad:
    """A source queue whose every message is a new letter in the DLQ a moment later: the file is still bad."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake

    async def send(self, messages: Sequence[Outgoing]) -> list[str]:
        await self._lake.pass_time(0.01)
        for message in messages:
            await dead(self._lake, message.body, **message.attributes, reason="corrupt_stream")
        return []


async def test_a_file_that_is_still_bad_is_redriven_once_and_its_new_letter_stays(lake: Lake) -> None:
    for number in range(25):
        await dead(lake, f'{{"n":{number}}}', reason="corrupt_stream")
    await lake.pass_time(1)
    done = Redriven()
    await redriven(lake, queues=(_StillBad(lake),), done=done)
    assert (done.redriven, done.later) == (25, 25)
    assert (await lake.dlq.depth()).visible == 25


async def test_a_dlq_that_grows_without_end_does_not_hold_a_redrive_up(lake: Lake) -> None:
    class Growing(_Unhurried):
        async def receive(self, **wanted: Any) -> Any:
            await lake.pass_time(0.01)
            for _ in range(10):
                await dead(lake, "{}", reason="poison")
            return await super().receive(**wanted)

    await dead(lake, "{}", reason="poison")
    done = await redriven(lake, dlq=Growing(lake.dlq))
    assert done.redriven == 1


async def test_what_the_source_queue_refuses_stays_in_the_dlq(lake: Lake) -> None:
    await dead(lake, "{}", reason="poison")
    ports: Any = _Ports(lake, dlq=_Unhurried(lake.dlq), queues=(_Refusing(),))
    done = await redrive(lake.config.control, ports)
    assert (done.redriven, done.refused) == (0, 1)
    assert (await lake.dlq.depth()).visible == 1


async def test_a_message_that_is_only_the_place_of_a_deleted_body_is_never_converted(lake: Lake) -> None:
    await dead(lake, '{"spool": "s3://control/x", "offset": 0, "length": 5}', dataset="clicks", reason="poison")
    done = await redriven(lake)
    assert (done.redriven, done.unusable) == (0, 1)
    assert (await lake.dlq.depth()).visible == 1


async def test_a_body_that_was_too_large_for_the_dlq_is_fetched_from_where_it_is_kept(lake: Lake) -> None:
    body = '{"a":"' + "x" * (1024 * 1024 - 60) + '"}'
    await lake.store.put("control", "headsaw/dead-letters/m-1.txt", body.encode())
    for number in (1, 2):
        where = f'{{"body": "s3://control/headsaw/dead-letters/m-{number}.txt"}}'
        ours = {"dataset": "clicks", "reason": "poison", "batch": "b1", "original_message_id": f"m-{number}"}
        await dead(lake, where, **ours)
    done = await redriven(lake)
    assert (done.redriven, done.unusable) == (1, 1)
    (message,) = lake.queue.peek()
    assert message.body == body
    assert message.attributes == {"dataset": "clicks", "original_message_id": "m-1"}


async def test_a_record_that_looks_like_a_note_is_a_record(lake: Lake) -> None:
    bodies = ['{"body": "s3://elsewhere/headsaw/dead-letters/x"}', '{"body": 1}', '{"spool": 1, "offset": 2}']
    for body in bodies:
        await dead(lake, body, dataset="clicks")
    await redriven(lake)
    assert [message.body for message in lake.queue.peek()] == bodies


async def test_a_redriven_rejected_file_can_be_claimed_again(lake: Lake) -> None:
    file = await lake.land("clicks/a", lines(1))
    await lake.publish(replace(file, etag="0" * 32))
    again = replace(file, etag="0" * 32)
    await dead(lake, synthetic_event(again), reason="superseded")
    await redriven(lake)
    assert notified(lake) == [(again,)]
    assert (await lake.claim(again)).state is BatchState.READY


# --- retry


async def test_a_failed_batch_is_ready_again_and_its_file_no_longer_claimable(lake: Lake) -> None:
    file = await lake.land("clicks/a", lines(1))
    failed = await lake.fail(file)
    batch = await retry(lake.config, lake, failed.id)
    assert (batch.state, batch.failures, batch.attempt) == (BatchState.READY, 0, failed.attempt + 1)
    assert await lake.ledger.batch(failed.id) == batch
    record = await lake.ledger.file(file.identity)
    assert record is not None
    assert (record.batch, record.mark) == (failed.id, None)


async def test_a_batch_that_has_not_failed_says_what_it_is_doing(lake: Lake) -> None:
    done, _ = await lake.publish(await lake.land("clicks/a", lines(1)))
    with pytest.raises(NotRetried, match="is DONE: it is published"):
        await retry(lake.config, lake, done.id)
    parent, _, _ = await lake.split(await lake.land("clicks/b", "1"), await lake.land("clicks/c", "2"))
    with pytest.raises(NotRetried, match="its children carry on"):
        await retry(lake.config, lake, parent.id)
    with pytest.raises(NotFound):
        await retry(lake.config, lake, "nothing")


async def test_a_batch_whose_file_was_redriven_names_the_batch_that_has_it_now(lake: Lake) -> None:
    file = await lake.land("clicks/a", lines(1))
    failed = await lake.fail(file)
    heir = await lake.claim(file)
    with pytest.raises(NotRetried, match=heir.id):
        await retry(lake.config, lake, failed.id)
    record = await lake.ledger.file(file.identity)
    assert record is not None
    assert record.mark is not FileMark.FAILED


# --- arguments


def test_times_are_read_as_dates_or_as_how_long_ago() -> None:
    now = 1_795_000_000.0
    assert parse_time("--since", "2h", now) == now - 7200
    assert parse_time("--since", "2026-11-23", now) == 1_795_392_000.0
    assert parse_time("--since", "2026-11-23T08:00:00+01:00", now) == 1_795_417_200.0
    assert parse_time("--since", "2026-11-23T07:00:00Z", now) == 1_795_417_200.0


def test_rates_are_read_by_the_second_or_the_minute() -> None:
    assert [parse_rate("--rate", text) for text in ("5", "5/s", "120/m")] == [5, 5, 2]


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (lambda text: parse_time("--since", text, 0.0), "yesterday"),
        (lambda text: parse_rate("--rate", text), "0"),
        (lambda text: parse_rate("--rate", text), "fast"),
        (lambda text: parse_rate("--rate", text), "5/fortnight"),
        (lambda text: parse_rate("--rate", text), "nan"),
        (lambda text: parse_seconds("--grace", text), "soon"),
        (parse_uri, "landing/clicks"),
        (parse_uri, "s3://UPPER/x"),
    ],
)
def test_what_cannot_be_read_is_a_usage_error_with_an_example(parse: Callable[[str], Any], text: str) -> None:
    with pytest.raises(UsageError, match="write it as"):
        parse(text)
