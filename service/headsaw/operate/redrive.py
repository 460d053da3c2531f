"""The DLQ's messages, back in the source queue: received, sent, and deleted only when they are sent.

The reason is dropped; the other attributes stay, above all `original_message_id`, by which the ledger knows a record
message whatever queue it went through. A crash in between leaves a message in both queues: a duplicate, which the
ledger knows. SQS's own StartMessageMoveTask moves neither by reason nor to another queue than it came from.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from headsaw.operate.site import Ports, Progress, silent
from headsaw.ports import Message, Outgoing, Queue

REASON = "reason"
ORIGINAL_MESSAGE_ID = "original_message_id"
UNKNOWN = "(none)"
VISIBILITY_SECONDS = 600.0
RECEIVE_MAX = 10
WAIT_SECONDS = 1.0
EMPTY_MAX = 2
"""Empty receives in a row before the DLQ counts as drained: SQS samples its servers."""


@dataclass(slots=True)
class Redriven:
    """`redriven` messages are in the source queue; `left` have another reason; `unusable` hold nothing to convert.

    `reasons` counts the redriven ones. `refused` couldn't be sent and stay.
    """

    redriven: int = 0
    left: int = 0
    unusable: int = 0
    refused: int = 0
    reasons: Counter[str] = field(default_factory=Counter)


async def redrive(
    ports: Ports,
    *,
    limit: int | None = None,
    reason: str | None = None,
    dry_run: bool = False,
    progress: Progress = silent,
) -> Redriven:
    """Messages whose reason begins with `reason` (all by default), at most `limit`; with `dry_run` only counted.

    Those that stay are visible in the DLQ again afterwards, also when it is stopped.
    """
    return await _Redrive(ports.dlq, ports.queues[0], limit, reason, dry_run, progress).run()


class _Redrive:
    def __init__(
        self, dlq: Queue, queue: Queue, limit: int | None, reason: str | None, dry_run: bool, progress: Progress
    ) -> None:
        self._dlq = dlq
        self._queue = queue
        self._limit = limit
        self._reason = reason or ""
        self._dry_run = dry_run
        self._progress = progress
        self._done = Redriven()
        self._kept: list[str] = []
        self._seen: set[str] = set()

    async def run(self) -> Redriven:
        try:
            await self._drain()
        finally:
            await asyncio.shield(asyncio.ensure_future(self._dlq.set_visibility(self._kept, 0.0)))
        return self._done

    async def _drain(self) -> None:
        empty = 0
        while empty < EMPTY_MAX and self._room:
            messages = await self._dlq.receive(
                limit=min(RECEIVE_MAX, self._room), wait_seconds=WAIT_SECONDS, visibility_seconds=VISIBILITY_SECONDS
            )
            empty = 0 if messages else empty + 1
            fresh = [message for message in messages if message.id not in self._seen]
            if len(fresh) < len(messages):  # what was put aside is visible again: everything has been seen
                self._kept += [message.receipt for message in messages]
                return
            self._seen |= {message.id for message in fresh}
            await self._move([message for message in fresh if self._chosen(message)])
            self._progress("redriving", self._done.redriven, self._limit)

    @property
    def _room(self) -> int:
        return RECEIVE_MAX if self._limit is None else self._limit - self._done.redriven

    def _chosen(self, message: Message) -> bool:
        """Counted and put aside, if not."""
        if not message.attributes.get(REASON, UNKNOWN).startswith(self._reason):
            self._done.left += 1
        elif _lost_its_body(message.body):
            self._done.unusable += 1
        else:
            return True
        self._kept.append(message.receipt)
        return False

    async def _move(self, messages: Sequence[Message]) -> None:
        refused: set[str] = set()
        if not self._dry_run and messages:
            refused = set(await self._queue.send([_outgoing(message) for message in messages]))
        sent = [message for message in messages if message.id not in refused]
        self._done.redriven += len(sent)
        self._done.refused += len(refused)
        self._done.reasons.update(message.attributes.get(REASON, UNKNOWN) for message in sent)
        self._kept += [message.receipt for message in messages if self._dry_run or message.id in refused]
        if not self._dry_run and sent:
            await self._dlq.delete([message.receipt for message in sent])


def _outgoing(message: Message) -> Outgoing:
    """As it first came. A message that SQS itself moved to the DLQ has kept its id, but loses it now."""
    attributes = {name: value for name, value in message.attributes.items() if name != REASON}
    return Outgoing(message.id, message.body, {ORIGINAL_MESSAGE_ID: message.id, **attributes})


def _lost_its_body(body: str) -> bool:
    """The spool object of this record message was deleted before it could be read: only its place is left."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and document.keys() == {"spool", "offset", "length"}
