"""What an SQS message says: which source files landed, or that it holds records itself.

Shapes, tried in this order: S3 event (`Records`), S3 through EventBridge (`detail-type`), either of them inside an SNS
envelope (`Type: Notification`), s3:TestEvent, and last a record message (the body is NDJSON; its dataset comes from the
`dataset` attribute or the default dataset). S3 events carry URL-encoded keys, EventBridge events plain ones.
Sources: Amazon S3 User Guide, "Event message structure" and "EventBridge event message structure"; Amazon SNS
Developer Guide, "Parsing message formats".
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus, unquote_plus

from headsaw.core.model import SourceFile

DATASET_ATTRIBUTE = "dataset"
REASON_ATTRIBUTE = "reason"
ORIGINAL_MESSAGE_ID = "original_message_id"
_SNS_DEPTH_MAX = 3

KEY_BYTES_MAX = 1024
"""Of an object key, and of a version id. Source: Amazon S3 User Guide, "Naming Amazon S3 objects"."""
NAME_BYTES_MAX = 255
SIZE_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Landed:
    """Objects that landed (all Records of the message), and how many removals stood beside them."""

    files: tuple[SourceFile, ...]
    removals: int = 0


@dataclass(frozen=True, slots=True)
class Records:
    """A record message: `body` is NDJSON of that dataset."""

    dataset: str
    body: str


@dataclass(frozen=True, slots=True)
class Nothing:
    """Understood, and nothing to do: a test event, or only removals. Acknowledge it."""

    why: str
    removals: int = 0


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Can't be understood: to the DLQ, with this reason."""

    reason: str


Notification = Landed | Records | Nothing | Unreadable


def parse_notification(body: str, attributes: Mapping[str, str], default_dataset: str | None = None) -> Notification:
    """What the message says. Never raises, whatever the body."""
    document = _json_object(body)
    try:
        understood = _parse_document(document, _SNS_DEPTH_MAX) if document is not None else None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return Unreadable(f"malformed S3 notification: {type(error).__name__} {error}")
    if understood is not None:
        return understood
    if REASON_ATTRIBUTE in attributes and document is not None and _is_note(document):
        return Unreadable("a dead letter that only says where its body is: headsaw redrive brings that back")
    return _as_records(body, attributes.get(DATASET_ATTRIBUTE) or default_dataset)


def _is_note(document: dict[str, Any]) -> bool:
    """What stands in a dead letter for a body that was too large, or is lost: it must not become a row."""
    return document.keys() == {"spool", "offset", "length"} or (
        document.keys() == {"body"} and str(document["body"]).startswith("s3://")
    )


def _json_object(body: str) -> dict[str, Any] | None:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _parse_document(document: dict[str, Any], sns_depth: int) -> Notification | None:
    """None where the document is no shape of S3's."""
    if document.get("Event") == "s3:TestEvent":
        return Nothing("s3:TestEvent")
    if _is_s3_event(document):
        return _parse_s3_event(document["Records"])
    if document.get("source") == "aws.s3" and "detail" in document:
        return _parse_eventbridge(document)
    if document.get("Type") == "Notification" and isinstance(document.get("Message"), str) and "TopicArn" in document:
        inner = _json_object(document["Message"]) if sns_depth else None
        parsed = _parse_document(inner, sns_depth - 1) if inner is not None else None
        return parsed or Unreadable("an SNS notification without an S3 event in it")
    return None


def _is_s3_event(document: dict[str, Any]) -> bool:
    records = document.get("Records")
    return (
        isinstance(records, list)
        and len(records) > 0
        and all(isinstance(r, dict) and r.get("eventSource") in ("aws:s3", "aws.s3") for r in records)
    )


def _parse_s3_event(records: list[dict[str, Any]]) -> Notification:
    files: list[SourceFile] = []
    removals = 0
    for record in records:
        name = str(record["eventName"]).removeprefix("s3:")
        if name.startswith("ObjectCreated:"):
            files.append(_source(record["s3"]["bucket"], record["s3"]["object"], encoded=True))
        elif name.startswith(("ObjectRemoved:", "LifecycleExpiration:")):
            removals += 1
        elif name != "TestEvent":
            return Unreadable(f"an S3 event of a kind that doesn't land objects: {name}")
    return Landed(tuple(files), removals) if files else Nothing("removals only", removals)


def _parse_eventbridge(document: dict[str, Any]) -> Notification:
    kind = document.get("detail-type")
    detail = document["detail"]
    if kind == "Object Created":
        return Landed((_source(detail["bucket"], detail["object"], encoded=False),))
    if kind == "Object Deleted":
        return Nothing("removals only", 1)
    return Unreadable(f"an S3 EventBridge event of a kind that doesn't land objects: {kind}")


def _source(bucket: dict[str, Any], thing: dict[str, Any], *, encoded: bool) -> SourceFile:
    """The object that a record names; ValueError for what S3 can't have sent: nothing odd may reach the ledger."""
    key = _text(thing["key"], "object key", KEY_BYTES_MAX * 3)
    size = thing.get("size")
    version = thing.get("versionId") or thing.get("version-id")
    return SourceFile(
        bucket=_text(bucket["name"], "bucket name", NAME_BYTES_MAX),
        key=_text(unquote_plus(key, errors="strict") if encoded else key, "object key", KEY_BYTES_MAX),
        etag=_text(str(thing.get("eTag") or thing.get("etag") or "").strip('"'), "eTag", NAME_BYTES_MAX),
        size=size if isinstance(size, int) and not isinstance(size, bool) and 0 <= size <= SIZE_MAX else None,
        version_id=_text(version, "version id", KEY_BYTES_MAX) if version not in (None, "", "null") else None,
    )


def _text(value: Any, what: str, bytes_max: int) -> str:
    """The value, if it is text that is neither empty nor too long, in characters that have a UTF-8 form."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"no {what}")
    if len(value.encode()) > bytes_max:  # UnicodeEncodeError, which is a ValueError, for half a surrogate pair
        raise ValueError(f"a {what} of more than {bytes_max} bytes")
    return value


def message_identity(message_id: str, attributes: Mapping[str, str]) -> str:
    """What identifies a record message: the id that it had before it went to the DLQ, if it did."""
    original = attributes.get(ORIGINAL_MESSAGE_ID, "")
    return original if re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", original) else message_id


def _as_records(body: str, dataset: str | None) -> Notification:
    if not body.strip():
        return Unreadable("an empty message")
    if dataset is None:
        return Unreadable("no S3 notification, and no record message: no dataset attribute, no default dataset")
    return Records(dataset, body)


def synthetic_event(*files: SourceFile) -> str:
    """An S3 notification as S3 itself would have sent it, one Record for each file: what `parse_notification` reads."""
    return json.dumps({"Records": [_record(file) for file in files]})


def _record(file: SourceFile) -> dict[str, Any]:
    thing: dict[str, object] = {"key": quote_plus(file.key, safe="/"), "eTag": file.etag}
    if file.size is not None:
        thing["size"] = file.size
    if file.version_id is not None:
        thing["versionId"] = file.version_id
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "s3": {"s3SchemaVersion": "1.0", "bucket": {"name": file.bucket}, "object": thing},
    }
