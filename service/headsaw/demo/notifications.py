"""Queue messages as AWS writes them for objects that landed: every shape, and the noise that comes with them.

Shapes follow the Amazon S3 User Guide ("Event message structure", version 2.6, and "EventBridge event message
structure") and the Amazon SNS Developer Guide ("HTTP/HTTPS notification JSON format", which is also what a queue gets
without raw delivery). An S3 event URL-encodes the key, an EventBridge event doesn't. Ids are derived from the content:
the same arguments make the same bytes.
"""

import base64
import hashlib
import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from itertools import islice
from random import Random
from typing import Any
from urllib.parse import quote_plus

from headsaw.core.model import SourceFile
from headsaw.demo.landing import RecordMessage

REGION = "us-east-1"
ACCOUNT = "111122223333"
TOPIC_ARN = f"arn:aws:sns:{REGION}:{ACCOUNT}:landing"
RECORDS_MAX = 5
"""S3 keeps an event message under 64 KB; five records stay far below."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_AGAIN_MAX = 64


class Shape(StrEnum):
    """How a notification reaches the queue."""

    S3 = "s3"
    EVENTBRIDGE = "eventbridge"
    SNS_S3 = "sns-s3"
    SNS_EVENTBRIDGE = "sns-eventbridge"

    @property
    def one_object(self) -> bool:
        """It can speak of one object only."""
        return self in (Shape.EVENTBRIDGE, Shape.SNS_EVENTBRIDGE)


@dataclass(frozen=True, slots=True)
class QueueMessage:
    """What to send: a body and its message attributes, all of type String. `objects`: how many landings it reports."""

    body: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    objects: int = 0


_SHAPES = [Shape.S3] * 11 + [Shape.EVENTBRIDGE] * 4 + [Shape.SNS_S3] * 3 + [Shape.SNS_EVENTBRIDGE] * 2


def notification(shape: Shape, *files: SourceFile, at: datetime) -> str:
    """The body that says that `files` landed. Raises ValueError unless their number fits the shape."""
    if not files or (shape.one_object and len(files) > 1):
        raise ValueError(f"{shape} can't report {len(files)} objects in one message")
    match shape:
        case Shape.S3:
            return _json({"Records": [_s3_record(file, at, "ObjectCreated:Put") for file in files]})
        case Shape.EVENTBRIDGE:
            return _json(_eventbridge(files[0], at, "Object Created", {"reason": "PutObject"}))
        case Shape.SNS_S3:
            return sns(notification(Shape.S3, *files, at=at), at, subject="Amazon S3 Notification")
        case Shape.SNS_EVENTBRIDGE:
            return sns(notification(Shape.EVENTBRIDGE, *files, at=at), at)


def removal(shape: Shape, file: SourceFile, *, at: datetime) -> str:
    """The body that says that `file` was deleted."""
    match shape:
        case Shape.S3:
            return _json({"Records": [_s3_record(file, at, "ObjectRemoved:Delete")]})
        case Shape.EVENTBRIDGE:
            detail = {"reason": "DeleteObject", "deletion-type": "Permanently Deleted"}
            return _json(_eventbridge(file, at, "Object Deleted", detail))
        case Shape.SNS_S3:
            return sns(removal(Shape.S3, file, at=at), at, subject="Amazon S3 Notification")
        case Shape.SNS_EVENTBRIDGE:
            return sns(removal(Shape.EVENTBRIDGE, file, at=at), at)


def s3_test_event(bucket: str, *, at: datetime) -> str:
    """What S3 sends when notifications are switched on; the only S3 message without Records."""
    return _json(
        {
            "Service": "Amazon S3",
            "Event": "s3:TestEvent",
            "Time": _time(at),
            "Bucket": bucket,
            "RequestId": _request_id(bucket, at),
            "HostId": _host_id(bucket, at),
        }
    )


def sns(message: str, at: datetime, subject: str | None = None) -> str:
    """`message` as an SNS topic without raw delivery hands it to a queue. The signature is none."""
    topic = f"https://sns.{REGION}.amazonaws.com"
    envelope: dict[str, Any] = {
        "Type": "Notification",
        "MessageId": str(uuid.uuid5(uuid.NAMESPACE_OID, message)),
        "TopicArn": TOPIC_ARN,
        "Subject": subject,
        "Message": message,
        "Timestamp": _time(at),
        "SignatureVersion": "1",
        "Signature": "EXAMPLE",
        "SigningCertURL": f"{topic}/SimpleNotificationService-0000000000000000000000.pem",
        "UnsubscribeURL": f"{topic}/?Action=Unsubscribe&SubscriptionArn={TOPIC_ARN}:{uuid.UUID(int=0)}",
    }
    if subject is None:
        del envelope["Subject"]
    return json.dumps(envelope, indent=2)


def sequencer(file: SourceFile, at: datetime) -> str:
    """Hexadecimal, growing with time for one key; of no meaning between keys."""
    nanoseconds = (at - _EPOCH).total_seconds() * 1e9
    return f"00{int(nanoseconds):015X}{len(file.key) % 16:X}"


def traffic(
    files: Iterable[SourceFile], rng: Random, at: datetime, *, duplicates: float = 0.03, removals: float = 0.01
) -> Iterator[QueueMessage]:
    """Messages that report every file at least once, in mixed shapes, with removals of other objects between them.

    A share of `duplicates` is reported once more, mostly much later. Bounded: holds a handful of files at a time.
    """
    again: list[SourceFile] = []
    for group in _groups(files, rng):
        yield _report(group, rng, at)
        if rng.random() < removals:
            yield QueueMessage(removal(rng.choice(list(Shape)), _elsewhere(group[0]), at=at))
        again.extend(file for file in group if rng.random() < duplicates)
        if len(again) > _AGAIN_MAX:
            yield _report([again.pop(rng.randrange(len(again)))], rng, at)
    for file in again:
        yield _report([file], rng, at)


def record_message(message: RecordMessage) -> QueueMessage:
    """A message that carries records itself."""
    return QueueMessage(message.body, message.attributes)


def _groups(files: Iterable[SourceFile], rng: Random) -> Iterator[list[SourceFile]]:
    """Mostly one by one, as S3 sends events; sometimes several Records in one message."""
    remaining = iter(files)
    while group := list(islice(remaining, rng.randrange(2, RECORDS_MAX + 1) if rng.random() < 0.1 else 1)):
        yield group


def _report(group: list[SourceFile], rng: Random, at: datetime) -> QueueMessage:
    shapes = _SHAPES if len(group) == 1 else [shape for shape in _SHAPES if not shape.one_object]
    return QueueMessage(notification(rng.choice(shapes), *group, at=at), objects=len(group))


def _elsewhere(file: SourceFile) -> SourceFile:
    """Something that a writer cleaned up after itself."""
    return SourceFile(file.bucket, f"{file.key}.tmp", "")


def _s3_record(file: SourceFile, at: datetime, event_name: str) -> dict[str, Any]:
    return {
        "eventVersion": "2.6",
        "eventSource": "aws:s3",
        "awsRegion": REGION,
        "eventTime": _time(at),
        "eventName": event_name,
        "userIdentity": {"principalId": "AWS:AROAEXAMPLEEXAMPLEEXAMPLE:forwarder"},
        "requestParameters": {"sourceIPAddress": "192.0.2.7"},
        "responseElements": {"x-amz-request-id": _request_id(file.key, at), "x-amz-id-2": _host_id(file.key, at)},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "headsaw",
            "bucket": {
                "name": file.bucket,
                "ownerIdentity": {"principalId": "A3EXAMPLEEXAMPLE"},
                "arn": f"arn:aws:s3:::{file.bucket}",
            },
            "object": _object(file, at, {"key": quote_plus(file.key, safe="/"), "eTag": file.etag}, "versionId"),
        },
    }


def _eventbridge(file: SourceFile, at: datetime, detail_type: str, extra: dict[str, str]) -> dict[str, Any]:
    return {
        "version": "0",
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{file.name}?{file.etag}#{detail_type}")),
        "detail-type": detail_type,
        "source": "aws.s3",
        "account": ACCOUNT,
        "time": f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "region": REGION,
        "resources": [f"arn:aws:s3:::{file.bucket}"],
        "detail": {
            "version": "0",
            "event-version": "1.0",
            "bucket": {"name": file.bucket},
            "object": _object(file, at, {"key": file.key, "etag": file.etag}, "version-id"),
            "request-id": _request_id(file.key, at),
            "requester": ACCOUNT,
            "source-ip-address": "192.0.2.7",
            **extra,
        },
    }


def _object(file: SourceFile, at: datetime, named: dict[str, str], version_name: str) -> dict[str, Any]:
    """An object as an event names it: a removal has neither size nor eTag, an unversioned bucket no version."""
    thing: dict[str, Any] = {name: value for name, value in named.items() if value}
    if file.size is not None:
        thing["size"] = file.size
    if file.version_id is not None:
        thing[version_name] = file.version_id
    return thing | {"sequencer": sequencer(file, at)}


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _request_id(name: str, at: datetime) -> str:
    return hashlib.sha256(f"{name}{at}".encode()).hexdigest()[:16].upper()


def _host_id(name: str, at: datetime) -> str:
    return base64.b64encode(hashlib.sha512(f"{name}{at}".encode()).digest()).decode()


def _json(document: Mapping[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))
