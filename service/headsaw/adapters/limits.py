"""What SQS and S3 refuse, as predicates that the adapters and the in-memory implementations share.

Sources: Amazon SQS message quotas, Amazon S3 object key and metadata rules.
"""

import re
from collections.abc import Mapping
from typing import Final

from headsaw.core.commit import PARTS_MAX
from headsaw.ports import MESSAGE_BYTES_MAX, Outgoing

QUEUE_BATCH_MAX: Final = 10
"""Entries of one SQS batch call."""

QUEUE_WAIT_SECONDS_MAX: Final = 20
"""The longest long poll."""

VISIBILITY_SECONDS_MAX: Final = 12 * 3600
"""From the receive on, over all extensions."""

IN_FLIGHT_MAX: Final = 120_000
"""Messages of a standard queue that were received and not deleted."""

ATTRIBUTES_MAX: Final = 10
"""Message attributes of one message."""

KEY_BYTES_MAX: Final = 1024
"""An object key in UTF-8."""

METADATA_BYTES_MAX: Final = 2048
"""All names and values of an object's user metadata."""

_REFUSED_CHARACTERS = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ATTRIBUTE_NAME = re.compile(r"(?!aws\.|amazon\.)(?!\.)(?!.*\.\.)[A-Za-z0-9_.-]{1,256}(?<!\.)", re.IGNORECASE)


class RequestRefused(ValueError):  # noqa: N818 - as AWS speaks of it
    """A request that AWS answers with a client error: a bug of the caller."""


def message_refusal(message: Outgoing) -> str | None:
    """Why SQS will never store the message; None if it will."""
    if not message.body:
        return "an empty body"
    if message.size > MESSAGE_BYTES_MAX:
        return f"{message.size} bytes, over {MESSAGE_BYTES_MAX}"
    if len(message.attributes) > ATTRIBUTES_MAX:
        return f"{len(message.attributes)} attributes, over {ATTRIBUTES_MAX}"
    if not all(_ATTRIBUTE_NAME.fullmatch(name) for name in message.attributes):
        return "an attribute name that SQS doesn't take"
    if not all(message.attributes.values()):
        return "an empty attribute"
    if any(_REFUSED_CHARACTERS.search(text) for text in (message.body, *message.attributes.values())):
        return "a character that SQS doesn't take"
    return None


def check_key(key: str) -> None:
    """Raises RequestRefused unless S3 takes the object key."""
    if not 1 <= len(key.encode()) <= KEY_BYTES_MAX:
        raise RequestRefused(f"an object key of {len(key.encode())} bytes: S3 takes 1 to {KEY_BYTES_MAX}")


def check_metadata(metadata: Mapping[str, str]) -> None:
    """Raises RequestRefused unless S3 takes the user metadata and gives it back unchanged."""
    for name, value in metadata.items():
        if not re.fullmatch(r"[a-z0-9-]+", name):
            raise RequestRefused(f"a metadata name that comes back otherwise: {name}")
        if not value.isascii() or not value.isprintable() or value != value.strip():
            raise RequestRefused(f"a metadata value that comes back otherwise: {name}")
    size = sum(len(name) + len(value) for name, value in metadata.items())
    if size > METADATA_BYTES_MAX:
        raise RequestRefused(f"{size} bytes of metadata: S3 takes {METADATA_BYTES_MAX}")


def check_part(number: int) -> None:
    """Raises RequestRefused unless S3 takes a part of that number."""
    if not 1 <= number <= PARTS_MAX:
        raise RequestRefused(f"part number {number}: S3 takes 1 to {PARTS_MAX}")
