"""What every queue does. Where only memory is tested, the local AWS is known to answer otherwise than AWS."""

import asyncio

import pytest
from benches import EMULATOR, MemoryQueues, QueueBench, drained

from headsaw.adapters.aws import Aws
from headsaw.adapters.memory.queue import MemoryQueue, Redrive
from headsaw.adapters.sqs import SqsQueue
from headsaw.demo.emulator import Endpoint
from headsaw.errors import Throttled, UsageError
from headsaw.ports import MESSAGE_BYTES_MAX, Message, Outgoing, Queue, QueueDepth

HOUR = 3600.0


def numbered(n: int) -> list[Outgoing]:
    return [Outgoing(f"m{i}", f"body {i}", {"n": str(i)}) for i in range(n)]


async def one(queue: Queue, *, wait_seconds: float = 1, visibility_seconds: float = 10) -> Message:
    (message,) = await queue.receive(limit=1, wait_seconds=wait_seconds, visibility_seconds=visibility_seconds)
    return message


async def none(queue: Queue) -> bool:
    return await queue.receive(limit=10, wait_seconds=0, visibility_seconds=10) == []


# ------------------------------------------------------------------------------------------------- sending, receiving


async def test_a_message_arrives_as_it_was_sent(queues: QueueBench) -> None:
    queue = await queues.make()
    body = '{"key": "a+b%20ü€😀", "tab": "\t"}\r\n<&> \ue000\ufffd'
    assert await queue.send([Outgoing("m", body, {"dataset": "clicks", "reason": "größer < kleiner"})]) == []
    message = await one(queue)
    assert message.body == body
    assert message.attributes == {"dataset": "clicks", "reason": "größer < kleiner"}
    assert message.receive_count == 1
    assert abs(message.sent_at - queues.now()) < 5
    assert message.id
    assert message.receipt


async def test_an_empty_queue_answers_empty_at_once_when_told_not_to_wait(queues: QueueBench) -> None:
    queue = await queues.make()
    async with asyncio.timeout(2):
        assert await none(queue)


async def test_an_empty_queue_answers_empty_after_the_wait(queues: QueueBench) -> None:
    queue = await queues.make()
    waiting = asyncio.create_task(queue.receive(limit=1, wait_seconds=1, visibility_seconds=10))
    await queues.elapse(0.5)
    assert not waiting.done()
    await queues.elapse(0.6)
    assert await asyncio.wait_for(waiting, 2) == []


async def test_a_waiting_receive_gets_a_message_as_soon_as_it_is_sent(queues: QueueBench) -> None:
    queue = await queues.make()
    waiting = asyncio.create_task(queue.receive(limit=10, wait_seconds=20, visibility_seconds=10))
    await queues.elapse(0.1)
    await queue.send(numbered(1))
    (message,) = await asyncio.wait_for(waiting, 3)
    assert message.body == "body 0"


async def test_a_waiting_receive_gets_a_message_as_soon_as_it_is_visible_again(queues: QueueBench) -> None:
    queue = await queues.make()
    await queue.send(numbered(1))
    await one(queue, visibility_seconds=1)
    waiting = asyncio.create_task(queue.receive(limit=10, wait_seconds=20, visibility_seconds=10))
    await queues.elapse(1.1)
    (message,) = await asyncio.wait_for(waiting, 3)
    assert message.receive_count == 2


async def test_no_more_messages_are_received_than_asked_for(queues: QueueBench) -> None:
    queue = await queues.make()
    await queue.send(numbered(5))
    assert len(await queue.receive(limit=2, wait_seconds=1, visibility_seconds=10)) == 2


async def test_any_number_of_messages_is_sent_received_and_deleted(queues: QueueBench) -> None:
    queue = await queues.make()
    assert await queue.send(numbered(137)) == []
    messages = await drained(queue, 137)
    assert {message.body for message in messages} == {f"body {i}" for i in range(137)}
    assert await queue.delete([message.receipt for message in messages]) == []
    assert await queue.depth() == QueueDepth(0, 0, 0)


async def test_nothing_is_sent_or_deleted_for_an_empty_sequence(queues: QueueBench) -> None:
    queue = await queues.make()
    assert await queue.send([]) == []
    assert await queue.delete([]) == []
    assert await queue.set_visibility([], 5) == []


# -------------------------------------------------------------------------------------------------- what is no message

REFUSED = {
    "empty": Outgoing("empty", "", {}),
    "nul": Outgoing("nul", "a\x00b", {}),
    "escape": Outgoing("escape", "\x1b[0m", {}),
    "ufffe": Outgoing("ufffe", "\ufffe", {}),
    "surrogate": Outgoing("surrogate", "\ud800", {}),
    "large": Outgoing("large", "x" * (MESSAGE_BYTES_MAX + 1), {}),
    "large-in-bytes": Outgoing("large-in-bytes", "é" * (MESSAGE_BYTES_MAX // 2 + 1), {}),
    "large-with-attributes": Outgoing("large-with-attributes", "x" * MESSAGE_BYTES_MAX, {"reason": "why"}),
    "attributes": Outgoing("attributes", "x", {f"a{i}": "x" for i in range(11)}),
    "empty-attribute": Outgoing("empty-attribute", "x", {"a": ""}),
    "attribute-character": Outgoing("attribute-character", "x", {"a": "\x07"}),
    "attribute-name": Outgoing("attribute-name", "x", {"a b": "x"}),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_no_queue_takes_is_returned_and_the_rest_is_stored(queues: QueueBench, name: str) -> None:
    queue = await queues.make()
    assert await queue.send([*numbered(2), REFUSED[name], Outgoing("last", "last", {})]) == [name]
    assert sorted(message.body for message in await drained(queue)) == ["body 0", "body 1", "last"]


async def test_the_largest_message_is_taken_and_several_large_ones_at_once(queues: QueueBench) -> None:
    queue = await queues.make()
    largest = Outgoing("largest", "x" * (MESSAGE_BYTES_MAX - len("aStringb")), {"a": "b"})
    assert largest.size == MESSAGE_BYTES_MAX
    large = [Outgoing(f"large{i}", str(i) * 400_000, {}) for i in range(4)]
    assert await queue.send([largest, *large]) == []
    assert {len(message.body) for message in await drained(queue)} == {len(largest.body), 400_000}


# ------------------------------------------------------------------------------------------ visibility and redelivery


async def test_a_received_message_is_invisible_and_comes_again_after_its_timeout(queues: QueueBench) -> None:
    queue = await queues.make()
    await queue.send(numbered(1))
    first = await one(queue, visibility_seconds=1)
    assert await none(queue)
    await queues.elapse(1)
    second = await one(queue)
    assert (second.id, second.body, second.attributes) == (first.id, first.body, first.attributes)
    assert second.receipt != first.receipt
    assert second.receive_count == 2
    assert second.sent_at == first.sent_at


async def test_a_deleted_message_never_comes_again(queues: QueueBench) -> None:
    queue = await queues.make()
    await queue.send(numbered(1))
    message = await one(queue, visibility_seconds=1)
    assert await queue.delete([message.receipt]) == []
    await queues.elapse(1)
    assert await none(queue)


async def test_a_receipt_still_deletes_after_its_timeout_until_somebody_receives_the_message(
    queues: QueueBench,
) -> None:
    queue = await queues.make()
    await queue.send(numbered(1))
    message = await one(queue, visibility_seconds=1)
    await queues.elapse(1)
    assert await queue.delete([message.receipt]) == []
    assert await none(queue)


async def test_a_stale_receipt_does_not_delete_the_redelivered_message(queues: QueueBench) -> None:
    """Whether SQS says so isn't promised: its standard queues answer that all is well."""
    queue = await queues.make()
    await queue.send(numbered(1))
    stale = await one(queue, visibility_seconds=1)
    await queues.elapse(1)
    await one(queue, visibility_seconds=1)
    await queue.delete([stale.receipt])
    await queues.elapse(1)
    assert (await one(queue)).id == stale.id


async def test_a_stale_receipt_does_not_change_the_visibility_of_the_redelivered_message(queues: QueueBench) -> None:
    queue = await queues.make()
    await queue.send(numbered(1))
    stale = await one(queue, visibility_seconds=1)
    await queues.elapse(1)
    await one(queue)
    assert await queue.set_visibility([stale.receipt], 0) == [stale.receipt]
    assert await none(queue)


async def test_visibility_zero_gives_a_message_back_at_once(queues: QueueBench) -> None:
    queue = await queues.make()
    await queue.send(numbered(12))
    messages = await drained(queue)
    assert await queue.set_visibility([message.receipt for message in messages], 0) == []
    assert {message.id for message in await drained(queue)} == {message.id for message in messages}


async def test_visibility_is_extended_from_now_on(queues: QueueBench) -> None:
    queue = await queues.make()
    await queue.send(numbered(1))
    message = await one(queue, visibility_seconds=1)
    await queue.set_visibility([message.receipt], 2)
    await queues.elapse(1.2)
    assert await none(queue)
    await queues.elapse(1)
    assert (await one(queue)).receive_count == 2


async def test_the_visibility_of_a_deleted_message_can_not_be_changed(queues: QueueBench) -> None:
    queue = await queues.make()
    await queue.send(numbered(2))
    gone, held = await drained(queue)
    await queue.delete([gone.receipt])
    assert await queue.set_visibility([gone.receipt, held.receipt], 5) == [gone.receipt]


async def test_no_message_is_made_invisible_for_more_than_twelve_hours(queues: QueueBench) -> None:
    queue = await queues.make()
    await queue.send(numbered(1))
    receipt = (await one(queue)).receipt
    assert await queue.set_visibility([receipt], 12 * HOUR + 60) == [receipt]


async def test_what_is_no_receipt_is_returned_and_the_rest_is_deleted(queues: QueueBench) -> None:
    queue = await queues.make()
    await queue.send(numbered(2))
    messages = await drained(queue)
    assert await queue.delete([messages[0].receipt, "nonsense", messages[1].receipt]) == ["nonsense"]
    assert await queue.depth() == QueueDepth(0, 0, 0)


# ------------------------------------------------------------------------------------------- depth, delay, dead letters


async def test_the_depth_tells_visible_and_in_flight_apart(queues: QueueBench) -> None:
    queue = await queues.make()
    await queue.send(numbered(5))
    await queue.receive(limit=2, wait_seconds=1, visibility_seconds=10)
    assert await queue.depth() == QueueDepth(visible=3, in_flight=2, delayed=0)


async def test_a_delayed_message_becomes_visible_later(queues: QueueBench) -> None:
    queue = await queues.make(delay_seconds=1)
    await queue.send(numbered(1))
    assert await none(queue)
    assert await queue.depth() == QueueDepth(visible=0, in_flight=0, delayed=1)
    await queues.elapse(1)
    assert (await one(queue)).receive_count == 1


async def test_a_message_received_too_often_goes_to_the_dead_letter_queue(queues: QueueBench) -> None:
    dead = await queues.make()
    queue = await queues.make(dead=dead, max_receives=2)
    await queue.send([Outgoing("m", "poison", {"dataset": "clicks"})])
    for _ in range(2):
        message = await one(queue)
        await queue.set_visibility([message.receipt], 0)
    assert await none(queue)
    letter = await one(dead)
    assert (letter.id, letter.body, letter.attributes) == (message.id, "poison", {"dataset": "clicks"})
    assert letter.sent_at == message.sent_at


async def test_traits_tell_visibility_and_redrive_policy(queues: QueueBench) -> None:
    plain = await queues.make(visibility_seconds=77)
    redriving = await queues.make(dead=plain, max_receives=3)
    traits = await plain.traits()
    assert traits.visibility_seconds == 77
    assert traits.retention_seconds > 60
    assert traits.max_receive_count is None
    assert (await redriving.traits()).max_receive_count == 3


# ------------------------------------------------------------------------------------------------- one implementation


@pytest.mark.parametrize("queue_endpoint", [EMULATOR, "elasticmq", "moto"], indirect=True)
async def test_a_missing_queue_is_a_usage_error_that_names_it(queue_endpoint: Endpoint) -> None:
    """In memory a queue that was made is never missing."""
    async with Aws() as aws:
        queue = SqsQueue(await aws.client("sqs"), f"{queue_endpoint.url}/{queue_endpoint.account}/nowhere")
        with pytest.raises(UsageError, match="nowhere: there is no such queue"):
            await queue.traits()
        with pytest.raises(UsageError, match="nowhere"):
            await queue.receive(limit=1, wait_seconds=0, visibility_seconds=1)


async def test_in_memory_at_most_so_many_messages_are_in_flight() -> None:
    """The local AWS has no limit."""
    bench = MemoryQueues()
    queue = MemoryQueue(bench.clock, in_flight_max=3)
    await queue.send(numbered(5))
    held = await queue.receive(limit=10, wait_seconds=0, visibility_seconds=10)
    assert len(held) == 3
    with pytest.raises(Throttled):
        await queue.receive(limit=1, wait_seconds=0, visibility_seconds=10)
    waiting = asyncio.create_task(queue.receive(limit=10, wait_seconds=5, visibility_seconds=10))
    await bench.elapse(1)
    assert not waiting.done()
    await queue.delete([held[0].receipt])
    await bench.elapse(0)
    assert len(await waiting) == 1


async def test_in_memory_no_message_stays_invisible_for_more_than_twelve_hours_after_a_receive() -> None:
    """The local AWS accepts more."""
    bench = MemoryQueues()
    queue = await bench.make()
    await queue.send(numbered(1))
    receipt = (await one(queue, visibility_seconds=HOUR)).receipt
    await bench.elapse(0.9 * HOUR)
    assert await queue.set_visibility([receipt], 11.2 * HOUR) == [receipt]
    assert await queue.set_visibility([receipt], 11 * HOUR) == []
    await bench.elapse(10.9 * HOUR)
    assert await queue.set_visibility([receipt], 0.5 * HOUR) == [receipt]
    await bench.elapse(0.1 * HOUR)
    assert (await one(queue)).receive_count == 2


async def test_in_memory_messages_are_kept_for_the_retention_whoever_holds_them() -> None:
    """The local AWS keeps them for at least a minute of real time."""
    bench = MemoryQueues()
    queue = MemoryQueue(bench.clock, retention_seconds=60)
    await queue.send(numbered(2))
    await one(queue, visibility_seconds=HOUR)
    await bench.elapse(59)
    assert await queue.depth() == QueueDepth(1, 1, 0)
    await bench.elapse(1)
    assert await queue.depth() == QueueDepth(0, 0, 0)
    assert await none(queue)


async def test_in_memory_a_dead_letter_keeps_its_age() -> None:
    """The local AWS keeps messages for at least a minute of real time."""
    bench = MemoryQueues()
    dead = MemoryQueue(bench.clock, "dead", retention_seconds=60)
    queue = MemoryQueue(bench.clock, retention_seconds=60, redrive=Redrive(dead, 1))
    await queue.send(numbered(1))
    await one(queue, visibility_seconds=50)
    await bench.elapse(50)
    assert await none(queue)
    assert [message.body for message in dead.peek()] == ["body 0"]
    await bench.elapse(10)
    assert dead.peek() == []


async def test_in_memory_a_message_may_be_delivered_twice_at_once() -> None:
    """Standard queues deliver at least once; no local AWS does it at will."""
    queue = await MemoryQueues().make()
    assert isinstance(queue, MemoryQueue)
    await queue.send(numbered(1))
    first = await one(queue)
    queue.redeliver(first.id)
    second = await one(queue)
    assert (second.id, second.receive_count) == (first.id, 2)


async def test_in_memory_a_waiting_receive_does_not_poll() -> None:
    """Otherwise virtual time would never pass a loop of waits."""
    bench = MemoryQueues()
    queue = await bench.make()
    waiting = asyncio.create_task(queue.receive(limit=1, wait_seconds=20, visibility_seconds=10))
    await bench.elapse(0)
    assert bench.clock.next_wakeup == bench.now() + 20
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert bench.clock.next_wakeup is None
