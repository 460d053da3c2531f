"""An SQS queue. A batch call of any length becomes calls of ten entries, and what one loses doesn't fail the others."""

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from botocore.exceptions import ClientError

from headsaw.adapters.aws import error_code, translated
from headsaw.adapters.limits import QUEUE_BATCH_MAX, QUEUE_WAIT_SECONDS_MAX, message_refusal
from headsaw.errors import Outage
from headsaw.ports import MESSAGE_BYTES_MAX, Message, Outgoing, QueueDepth, QueueTraits

CALLS_AT_ONCE: Final = 8
"""Batch calls of one queue in flight together."""

_REFUSED: Final = frozenset(
    {
        "BatchRequestTooLong",
        "AWS.SimpleQueueService.BatchRequestTooLong",
        "InvalidMessageContents",
        "InvalidParameterValue",
        "InvalidAttributeValue",
    }
)
"""The whole call is refused for what one of its entries is, or for what they are together."""

Entry = TypeVar("Entry")


class SqsQueue:
    """One standard queue, by its URL. `client` is an aiobotocore SQS client that someone else closes."""

    def __init__(self, client: Any, url: str) -> None:
        self._client = client
        self._url = url
        self._name = url.rsplit("/", 1)[-1]
        self._calls = asyncio.Semaphore(CALLS_AT_ONCE)

    async def receive(self, *, limit: int, wait_seconds: float, visibility_seconds: float) -> list[Message]:
        """One receive call; fractions of a second are rounded up."""
        with translated(f"receive from queue {self._name}"):
            answer = await self._client.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=limit,
                WaitTimeSeconds=min(math.ceil(wait_seconds), QUEUE_WAIT_SECONDS_MAX),
                VisibilityTimeout=math.ceil(visibility_seconds),
                MessageAttributeNames=["All"],
                MessageSystemAttributeNames=["SentTimestamp", "ApproximateReceiveCount"],
            )
        return [_message(message) for message in answer.get("Messages", ())]

    async def delete(self, receipts: Sequence[str]) -> list[str]:
        """SQS says "deleted" of an outdated receipt too, and keeps the message."""

        async def call(chunk: Sequence[str]) -> list[str]:
            entries = [{"Id": str(i), "ReceiptHandle": receipt} for i, receipt in enumerate(chunk)]
            with translated(f"delete messages of queue {self._name}"):
                answer = await self._client.delete_message_batch(QueueUrl=self._url, Entries=entries)
            return [chunk[int(failed["Id"])] for failed in answer.get("Failed", ())]

        return await self._each(_tens(receipts), call)

    async def set_visibility(self, receipts: Sequence[str], seconds: float) -> list[str]:
        """Fractions of a second are rounded up."""
        timeout = math.ceil(seconds)

        async def call(chunk: Sequence[str]) -> list[str]:
            entries = [
                {"Id": str(i), "ReceiptHandle": receipt, "VisibilityTimeout": timeout}
                for i, receipt in enumerate(chunk)
            ]
            with translated(f"change visibility of messages of queue {self._name}"):
                answer = await self._client.change_message_visibility_batch(QueueUrl=self._url, Entries=entries)
            return [chunk[int(failed["Id"])] for failed in answer.get("Failed", ())]

        return await self._each(_tens(receipts), call)

    async def send(self, messages: Sequence[Outgoing]) -> list[str]:
        """What SQS would never take is returned without asking it."""
        refused = [message.id for message in messages if message_refusal(message) is not None]
        sendable = [message for message in messages if message_refusal(message) is None]
        failed = await self._each(_parcels(sendable), self._send)
        return refused + [message.id for message in failed]

    async def _send(self, chunk: Sequence[Outgoing]) -> list[Outgoing]:
        """The messages that weren't stored. A call that is refused as a whole is halved until the culprit is alone."""
        entries = [_entry(str(i), message) for i, message in enumerate(chunk)]
        try:
            with translated(f"send to queue {self._name}"):
                answer = await self._client.send_message_batch(QueueUrl=self._url, Entries=entries)
        except ClientError as error:
            if error_code(error) not in _REFUSED:
                raise
            if len(chunk) == 1:
                return list(chunk)
            middle = len(chunk) // 2
            return await self._send(chunk[:middle]) + await self._send(chunk[middle:])
        return [chunk[int(failed["Id"])] for failed in answer.get("Failed", ())]

    async def _each(
        self, chunks: Iterator[Sequence[Entry]], call: Callable[[Sequence[Entry]], Awaitable[list[Entry]]]
    ) -> list[Entry]:
        """The entries that failed, a whole chunk where its call did; raises Outage only if every call did."""

        async def one(chunk: Sequence[Entry]) -> _Outcome:
            async with self._calls:
                try:
                    return _Outcome(await call(chunk), None)
                except Outage as error:
                    return _Outcome(chunk, error)

        outcomes = await asyncio.gather(*(one(chunk) for chunk in chunks))
        outages = [outcome.outage for outcome in outcomes if outcome.outage is not None]
        if outages and len(outages) == len(outcomes):
            raise outages[0]
        return [entry for outcome in outcomes for entry in outcome.failed]

    async def depth(self) -> QueueDepth:
        """SQS's approximate numbers."""
        got = await self._attributes(
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesNotVisible",
            "ApproximateNumberOfMessagesDelayed",
        )
        visible, in_flight, delayed = (int(value) for value in got)
        return QueueDepth(visible, in_flight, delayed)

    async def traits(self) -> QueueTraits:
        """The queue's attributes as they are now."""
        visibility, retention, redrive = await self._attributes(
            "VisibilityTimeout", "MessageRetentionPeriod", "RedrivePolicy"
        )
        receives = json.loads(redrive).get("maxReceiveCount") if redrive != "0" else None
        return QueueTraits(float(visibility), float(retention), int(receives) if receives is not None else None)

    async def _attributes(self, *names: str) -> list[str]:
        with translated(f"describe queue {self._name}"):
            answer = await self._client.get_queue_attributes(QueueUrl=self._url, AttributeNames=list(names))
        attributes = answer.get("Attributes", {})
        return [attributes.get(name, "0") for name in names]


class _Outcome(NamedTuple):
    failed: Sequence[Any]
    outage: Outage | None


def _message(received: dict[str, Any]) -> Message:
    """Binary attributes are left out: nothing that headsaw reads is binary."""
    system = received.get("Attributes", {})
    attributes = received.get("MessageAttributes", {})
    return Message(
        id=received["MessageId"],
        body=received["Body"],
        attributes={name: value["StringValue"] for name, value in attributes.items() if "StringValue" in value},
        receipt=received["ReceiptHandle"],
        sent_at=int(system.get("SentTimestamp", 0)) / 1000,
        receive_count=int(system.get("ApproximateReceiveCount", 1)),
    )


def _entry(entry_id: str, message: Outgoing) -> dict[str, Any]:
    attributes = {name: {"DataType": "String", "StringValue": value} for name, value in message.attributes.items()}
    entry: dict[str, Any] = {"Id": entry_id, "MessageBody": message.body}
    return entry | {"MessageAttributes": attributes} if attributes else entry


def _tens(receipts: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(receipts), QUEUE_BATCH_MAX):
        yield receipts[start : start + QUEUE_BATCH_MAX]


def _parcels(messages: Sequence[Outgoing]) -> Iterator[Sequence[Outgoing]]:
    """At most ten messages and one MiB each: SQS limits a call as it limits a message."""
    parcel: list[Outgoing] = []
    for message in messages:
        if parcel and (
            len(parcel) == QUEUE_BATCH_MAX or sum(m.size for m in parcel) + message.size > MESSAGE_BYTES_MAX
        ):
            yield parcel
            parcel = []
        parcel.append(message)
    if parcel:
        yield parcel
