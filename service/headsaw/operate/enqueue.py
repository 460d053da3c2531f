"""Existing objects become notifications again: synthetic S3 events, several Records to a message, messages by the ten.

Safe to repeat: the ledger knows a file that it has as a duplicate.
"""

from collections.abc import AsyncIterator, Callable, Sequence

from headsaw.core.model import SourceFile
from headsaw.core.notification import synthetic_event
from headsaw.core.retry import CALL_BACKOFF, CALL_TRIES_MAX
from headsaw.errors import Outage, Throttled
from headsaw.ports import Clock, Outgoing, Queue

RECORDS_MAX = 5
"""Records of a message: keys of 1,024 bytes, URL-encoded, stay far below the size of a message."""

MESSAGES_MAX = 10
"""Messages of one call to SQS."""

FILES_AT_ONCE = RECORDS_MAX * MESSAGES_MAX


async def enqueue(
    queue: Queue,
    clock: Clock,
    files: AsyncIterator[SourceFile],
    *,
    rate: float | None = None,
    sent: Callable[[int], None] = lambda count: None,
) -> int:
    """Every file is notified of; returns how many. At most `rate` files a second. `sent` is told of each call's files.

    Raises Outage where the queue takes no more; what was sent until then stays sent.
    """
    total = 0
    started = clock.monotonic()
    async for some in _groups(files):
        if rate is not None:
            await clock.sleep(max(0.0, started + total / rate - clock.monotonic()))
        await _send(queue, clock, some)
        total += len(some)
        sent(len(some))
    return total


async def _groups(files: AsyncIterator[SourceFile]) -> AsyncIterator[list[SourceFile]]:
    group: list[SourceFile] = []
    async for file in files:
        group.append(file)
        if len(group) == FILES_AT_ONCE:
            yield group
            group = []
    if group:
        yield group


async def _send(queue: Queue, clock: Clock, files: Sequence[SourceFile]) -> None:
    parts = [files[at : at + RECORDS_MAX] for at in range(0, len(files), RECORDS_MAX)]
    await send_all(queue, clock, [Outgoing(str(i), synthetic_event(*part), {}) for i, part in enumerate(parts)])


async def send_all(queue: Queue, clock: Clock, messages: Sequence[Outgoing]) -> None:
    """Every message is in the queue. Raises Outage after bounded tries."""
    waiting = list(messages)
    for attempt in range(CALL_TRIES_MAX):
        try:
            refused = set(await queue.send(waiting))
        except Throttled:
            refused = {message.id for message in waiting}
        waiting = [message for message in waiting if message.id in refused]
        if not waiting:
            return
        await clock.sleep(CALL_BACKOFF.wait(attempt, 1.0))
    raise Outage(f"the queue refused {len(waiting)} messages {CALL_TRIES_MAX} times")
