"""Dead letters: what can't be processed, sent to the DLQ with its reason, in a form that SQS always takes.

The body is the original message (or a synthetic S3 event), so that it can be redriven as it is. Ours are the attributes
reason, dataset, batch and original_message_id; the original ones are kept as far as SQS's ten allow. What is too large
with them goes under the control prefix, and the message says where.
"""

import json
import re
from collections.abc import Mapping

from headsaw.core.facts import OutageMet, Where
from headsaw.errors import HeadsawError
from headsaw.ports import MESSAGE_BYTES_MAX, Outgoing
from headsaw.worker.context import Context

ATTRIBUTES_MAX = 10
ALWAYS_FITS_BYTES = 1024
"""No queue refuses that little. Source: Amazon SQS API Reference, SetQueueAttributes, MaximumMessageSize."""
REASON_CHARS_MAX = 300
_UNSENDABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What SQS refuses. Source: Amazon SQS API Reference, SendMessage."""


async def send_dead_letter(
    context: Context, letter_id: str, body: str, ours: Mapping[str, str], original: Mapping[str, str]
) -> bool:
    """The DLQ has it; False if that must be tried again. `letter_id` is the same however often it is sent."""
    attributes = {name: text for name, value in ours.items() if (text := sendable(value))}
    room = ATTRIBUTES_MAX - len(attributes)
    attributes |= dict([item for item in original.items() if item[0] not in attributes and item[1]][:room])
    message = Outgoing(letter_id, body, attributes)
    if message.size > MESSAGE_BYTES_MAX:
        message = Outgoing(letter_id, body, {name: attributes[name] for name in ours if name in attributes})
    try:
        if message.size > MESSAGE_BYTES_MAX or _UNSENDABLE.search(body):
            message = Outgoing(letter_id, await _stored(context, letter_id, body), message.attributes)
        if not await context.world.dlq.send([message]):
            return True
        if message.size <= ALWAYS_FITS_BYTES:
            return False  # not for its size, so it may be taken the next time
        # Refused, not unanswered: this DLQ may allow less than SQS does. A short note always fits.
        note = Outgoing(letter_id, await _stored(context, letter_id, body), message.attributes)
        return message.body != note.body and not await context.world.dlq.send([note])
    except HeadsawError as error:
        context.tell(OutageMet(Where.DLQ, type(error).__name__, str(error)))
        return False


async def _stored(context: Context, letter_id: str, body: str) -> str:
    """The body is an object under the control prefix; returns what is sent in its place."""
    key = context.control.key(f"dead-letters/{letter_id}.txt")
    await context.world.store.put(context.control.bucket, key, body.encode("utf-8", errors="surrogatepass"))
    return json.dumps({"body": f"s3://{context.control.bucket}/{key}"})


def sendable(text: str) -> str:
    """As an attribute's value: no character that SQS refuses, and not too long."""
    return _UNSENDABLE.sub("?", text)[:REASON_CHARS_MAX]
