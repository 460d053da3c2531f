"""The DLQ's messages, back in the source queue: received, sent, and deleted only when they are sent.

The reason is dropped; the other attributes stay, above all `original_message_id`, by which the ledger knows a record
message whatever queue it went through. A body that was too large for the DLQ, and is kept under the control prefix, is
fetched from there. A crash in between leaves a message in both queues: a duplicate, which the
ledger knows. SQS's own StartMessageMoveTask moves neither by reason nor to another queue than it came from.

One pass, over what was in the DLQ when it began: a file that is still bad comes back as a new letter, which waits for
the next redrive.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from headsaw.core.settings import S3Prefix
from headsaw.errors import SourceUnreadable
from headsaw.operate.site import Ports, Progress, silent
from headsaw.ports import MESSAGE_BYTES_MAX, Message, Outgoing

REASON = "reason"
ORIGINAL_MESSAGE_ID = "original_message_id"
DATASET = "dataset"
DEAD_LETTERS = "dead-letters/"
UNKNOWN = "(none)"
VISIBILITY_SECONDS = 600.0
RECEIVE_MAX = 10
NOTE_CHARS_MAX = 4096
WAIT_SECONDS = 1.0
EMPTY_MAX = 2
"""Empty receives in a row before the DLQ counts as drained: SQS samples its servers."""
LATE_MAX = 50
"""Receives in a row that bring only letters from after the beginning, before the pass counts as over."""


@dataclass(slots=True)
class Redriven:
    """`redriven` messages are in the source queue; `left` have another reason; `unusable` hold nothing to convert.

    `reasons` counts the redriven ones. `refused` couldn't be sent and stay; so do those that came `later`.
    """

    redriven: int = 0
    left: int = 0
    unusable: int = 0
    refused: int = 0
    later: int = 0
    reasons: dict[str, int] = field(default_factory=dict)


async def redrive(
    control: S3Prefix,
    ports: Ports,
    *,
    limit: int | None = None,
    reason: str | None = None,
    dry_run: bool = False,
    progress: Progress = silent,
    done: Redriven | None = None,
) -> Redriven:
    """Messages whose reason begins with `reason` (all by default), at most `limit`; with `dry_run` only counted.

    Those that stay are visible in the DLQ again afterwards, also when it is stopped. `done` is kept up to date, for
    those who stop it.
    """
    await ports.ledger.ping()  # its answer sets our clock right, by which letters are old or new
    done = done if done is not None else Redriven()
    return await _Redrive(control, ports, limit, reason, dry_run, progress, done).run()


class _Redrive:
    def __init__(
        self,
        control: S3Prefix,
        ports: Ports,
        limit: int | None,
        reason: str | None,
        dry_run: bool,
        progress: Progress,
        done: Redriven,
    ) -> None:
        self._kept_under = control.key(DEAD_LETTERS)
        self._bucket = control.bucket
        self._store = ports.store
        self._dlq = ports.dlq
        self._queue = ports.queues[0]
        self._limit = limit
        self._reason = reason or ""
        self._dry_run = dry_run
        self._progress = progress
        self._done = done
        self._began_at = ports.clock.now()
        self._kept: list[str] = []
        self._seen: set[str] = set()

    async def run(self) -> Redriven:
        try:
            await self._drain()
        finally:
            await asyncio.shield(asyncio.ensure_future(self._dlq.set_visibility(self._kept, 0.0)))
        return self._done

    async def _drain(self) -> None:
        empty = late = 0
        while empty < EMPTY_MAX and late < LATE_MAX and self._room:
            messages = await self._dlq.receive(
                limit=min(RECEIVE_MAX, self._room), wait_seconds=WAIT_SECONDS, visibility_seconds=VISIBILITY_SECONDS
            )
            empty = 0 if messages else empty + 1
            fresh = [message for message in messages if message.id not in self._seen]
            if len(fresh) < len(messages):  # what was put aside is visible again: everything has been seen
                self._kept += [message.receipt for message in messages]
                return
            self._seen |= {message.id for message in fresh}
            old = [message for message in fresh if self._was_there(message)]
            late = late + 1 if fresh and not old else 0
            await self._move([message for message in old if self._chosen(message)])
            self._progress("redriving", self._done.redriven, self._limit)

    @property
    def _room(self) -> int:
        return RECEIVE_MAX if self._limit is None else self._limit - self._done.redriven

    def _was_there(self, message: Message) -> bool:
        """When the redrive began; if not, counted and put aside: it may be what this very redrive brought back."""
        if message.sent_at <= self._began_at:
            return True
        self._done.later += 1
        self._kept.append(message.receipt)
        return False

    def _chosen(self, message: Message) -> bool:
        """Counted and put aside, if not."""
        if message.attributes.get(REASON, UNKNOWN).startswith(self._reason):
            return True
        self._done.left += 1
        self._kept.append(message.receipt)
        return False

    async def _move(self, messages: Sequence[Message]) -> None:
        outgoing = {message.id: await self._outgoing(message) for message in messages}
        sendable = [message for message in outgoing.values() if message is not None]
        refused: set[str] = set()
        if not self._dry_run and sendable:
            refused = set(await self._queue.send(sendable))
        done = self._done
        done.unusable += len(messages) - len(sendable)
        done.refused += len(refused)
        sent = [message for message in messages if outgoing[message.id] is not None and message.id not in refused]
        done.redriven += len(sent)
        for message in sent:
            reason = message.attributes.get(REASON, UNKNOWN)
            done.reasons[reason] = done.reasons.get(reason, 0) + 1
        gone = [] if self._dry_run else [message.receipt for message in sent]
        self._kept += [message.receipt for message in messages if message.receipt not in gone]
        if gone:
            await self._dlq.delete(gone)

    async def _outgoing(self, message: Message) -> Outgoing | None:
        """As it first came; None where that is gone. SQS gives it a new id, so the old one goes along."""
        body = await self._body(message.body)
        if body is None:
            return None
        attributes = {ORIGINAL_MESSAGE_ID: message.id, **message.attributes}
        attributes.pop(REASON, None)
        whole = Outgoing(message.id, body, attributes)
        if whole.size <= MESSAGE_BYTES_MAX:
            return whole
        needed = {name: attributes[name] for name in (DATASET, ORIGINAL_MESSAGE_ID) if name in attributes}
        return Outgoing(message.id, body, needed)

    async def _body(self, body: str) -> str | None:
        """The original body, also of a letter that only says where it is kept, or was."""
        match _small_object(body):
            case {"body": str(uri)} if uri.startswith(f"s3://{self._bucket}/{self._kept_under}"):
                try:
                    kept = await self._store.read_all(self._bucket, uri.removeprefix(f"s3://{self._bucket}/"))
                except SourceUnreadable:
                    return None
                return kept.decode("utf-8", errors="surrogatepass")
            case {"spool": _, "offset": _, "length": _}:
                return None
            case _:
                return body


def _small_object(body: str) -> dict[str, object]:
    """The body as one of the service's own notes, if it may be one."""
    if len(body) > NOTE_CHARS_MAX:
        return {}
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) and len(document) in (1, 3) else {}
