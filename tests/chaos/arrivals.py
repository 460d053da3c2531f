"""Files that keep arriving, and the messages that S3, EventBridge, SNS and producers send about them, some twice."""

import asyncio
from datetime import UTC, datetime
from random import Random

from tests.chaos.marked import Marked

from headsaw.adapters.connect import Connected
from headsaw.core.model import SourceFile
from headsaw.demo.notifications import QueueMessage, traffic
from headsaw.ports import Outgoing

LANDING = "chaos-landing"
WIDE = "wide"
SMALL = "clicks"
WIDE_LINES = 1600
WIDE_PARTITIONS = 20
CORRUPT_SHARE = 0.02
BROKEN_SHARE = 0.3
MESSAGE_SHARE = 0.1
UNFINISHED_MAX = 28
"""Batches. What is measured after the faults is how soon work is resumed, not how much there is of it."""


async def arrive(aws: Connected, marked: Marked, random: Random, files_a_second: float, wide_every: float) -> None:
    """For ever: a few small files a second, a wide one now and then; none while a tormented fleet is far behind."""
    loop = asyncio.get_running_loop()
    began, next_wide = loop.time(), loop.time()
    while True:
        while await aws.ledger.unfinished() > UNFINISHED_MAX:
            await asyncio.sleep(1.0)
            began += 1.0
        files = [await _land(aws, *_small(marked, random)) for _ in range(random.randrange(1, 12))]
        if loop.time() >= next_wide:
            next_wide += wide_every
            body = marked.wide(WIDE_LINES, WIDE_PARTITIONS)
            files.append(await _land(aws, f"{WIDE}/{marked.truth.files:06d}.ndjson.gz", body))
        messages = list(traffic(files, random, datetime.now(UTC), duplicates=0.1, removals=0.0))
        if random.random() < MESSAGE_SHARE * len(files):
            messages.append(QueueMessage(marked.message(random.randrange(1, 5)), {"dataset": SMALL}))
        outgoing = [Outgoing(str(at), message.body, message.attributes) for at, message in enumerate(messages)]
        refused = await aws.queues[0].send(outgoing)
        if refused:
            raise RuntimeError(f"the queue refused {len(refused)} messages")
        await asyncio.sleep(max(0.0, began + marked.truth.files / files_a_second - loop.time()))


def _small(marked: Marked, random: Random) -> tuple[str, bytes]:
    """A key and a body."""
    key = f"{SMALL}/{marked.truth.files:06d}.ndjson"
    lines = random.randrange(1, 40)
    if random.random() < CORRUPT_SHARE:
        return f"{key}.gz", marked.corrupt(f"s3://{LANDING}/{key}.gz", lines)
    return key, marked.file(lines, [random.randrange(lines)] if random.random() < BROKEN_SHARE else [])


async def _land(aws: Connected, key: str, body: bytes) -> SourceFile:
    await aws.store.put(LANDING, key, body)
    head = await aws.store.head(LANDING, key)
    assert head is not None
    return SourceFile(LANDING, key, head.etag, head.size)
