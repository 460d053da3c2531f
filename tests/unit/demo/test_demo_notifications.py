import json
from datetime import UTC, datetime
from random import Random
from typing import Any
from urllib.parse import unquote_plus

import pytest

from headsaw.core.model import SourceFile
from headsaw.core.notification import Landed, Nothing, parse_notification
from headsaw.demo.landing import Landing
from headsaw.demo.notifications import (
    QueueMessage,
    Shape,
    notification,
    record_message,
    removal,
    s3_test_event,
    sequencer,
    traffic,
)

AT = datetime(2026, 11, 23, 7, 15, 3, 412_000, tzinfo=UTC)
KEY = "clicks/2026/11/23/07/café münchen+a b=100%/part-1.ndjson.gz"
ENCODED = "clicks/2026/11/23/07/caf%C3%A9+m%C3%BCnchen%2Ba+b%3D100%25/part-1.ndjson.gz"
FILE = SourceFile("landing", KEY, "d41d8cd98f00b204e9800998ecf8427e", 1234, "3HL4kqtJvjVBH40Nrjfkd")
PLAIN = SourceFile("landing", "clicks/b.ndjson", "0cc175b9c0f1b6a831c399e269772661")


def reported(body: str) -> list[tuple[str, str]]:
    """What a message says, read without the service's parser: (what happened, key)."""
    document: dict[str, Any] = json.loads(body)
    if "TopicArn" in document:
        return reported(document["Message"])
    if "detail" in document:
        return [(document["detail-type"], document["detail"]["object"]["key"])]
    return [
        (record["eventName"], unquote_plus(record["s3"]["object"]["key"])) for record in document.get("Records", [])
    ]


def test_an_s3_event_has_the_documented_structure_and_an_encoded_key() -> None:
    (record,) = json.loads(notification(Shape.S3, FILE, at=AT))["Records"]
    assert record["eventVersion"] == "2.6"
    assert record["eventSource"] == "aws:s3"
    assert record["eventName"] == "ObjectCreated:Put"
    assert record["eventTime"] == "2026-11-23T07:15:03.412Z"
    assert record["s3"]["bucket"]["arn"] == "arn:aws:s3:::landing"
    assert record["s3"]["object"] == {
        "key": ENCODED,
        "size": 1234,
        "eTag": FILE.etag,
        "versionId": FILE.version_id,
        "sequencer": sequencer(FILE, AT),
    }


def test_an_eventbridge_event_has_the_documented_structure_and_a_plain_key() -> None:
    event = json.loads(notification(Shape.EVENTBRIDGE, FILE, at=AT))
    assert (event["version"], event["source"], event["detail-type"]) == ("0", "aws.s3", "Object Created")
    assert event["time"] == "2026-11-23T07:15:03Z"
    assert event["resources"] == ["arn:aws:s3:::landing"]
    assert event["detail"]["bucket"] == {"name": "landing"}
    assert event["detail"]["reason"] == "PutObject"
    assert event["detail"]["object"] == {
        "key": KEY,
        "size": 1234,
        "etag": FILE.etag,
        "version-id": FILE.version_id,
        "sequencer": sequencer(FILE, AT),
    }


@pytest.mark.parametrize(
    ("shape", "inner", "subject"),
    [(Shape.SNS_S3, Shape.S3, "Amazon S3 Notification"), (Shape.SNS_EVENTBRIDGE, Shape.EVENTBRIDGE, None)],
)
def test_sns_wraps_the_event_as_a_string(shape: Shape, inner: Shape, subject: str | None) -> None:
    envelope = json.loads(notification(shape, FILE, at=AT))
    assert envelope["Type"] == "Notification"
    assert envelope["TopicArn"].startswith("arn:aws:sns:")
    assert envelope["Message"] == notification(inner, FILE, at=AT)
    assert envelope.get("Subject") == subject
    assert {"MessageId", "Timestamp", "SignatureVersion", "Signature", "SigningCertURL", "UnsubscribeURL"} <= set(
        envelope
    )


def test_what_is_unknown_of_an_object_is_left_out() -> None:
    (record,) = json.loads(notification(Shape.S3, PLAIN, at=AT))["Records"]
    assert set(record["s3"]["object"]) == {"key", "eTag", "sequencer"}


def test_only_s3_events_report_several_objects() -> None:
    assert [key for _, key in reported(notification(Shape.SNS_S3, FILE, PLAIN, at=AT))] == [KEY, "clicks/b.ndjson"]
    with pytest.raises(ValueError, match="can't report 2 objects"):
        notification(Shape.EVENTBRIDGE, FILE, PLAIN, at=AT)
    with pytest.raises(ValueError, match="can't report 0 objects"):
        notification(Shape.S3, at=AT)


@pytest.mark.parametrize("shape", Shape)
def test_a_removal_is_told_in_every_shape(shape: Shape) -> None:
    ((what, key),) = reported(removal(shape, PLAIN, at=AT))
    assert what == ("Object Deleted" if shape.one_object else "ObjectRemoved:Delete")
    assert key == "clicks/b.ndjson"


def test_a_test_event_has_no_records() -> None:
    event = json.loads(s3_test_event("landing", at=AT))
    assert (event["Service"], event["Event"], event["Bucket"]) == ("Amazon S3", "s3:TestEvent", "landing")
    assert set(event) == {"Service", "Event", "Time", "Bucket", "RequestId", "HostId"}


def test_sequencers_grow_with_time() -> None:
    later = AT.replace(minute=16)
    assert sequencer(FILE, AT) < sequencer(FILE, later)


def test_a_record_message_carries_ndjson_and_names_its_dataset() -> None:
    (records,) = Landing().record_messages(1)
    message = record_message(records)
    assert message == QueueMessage(records.body, {"dataset": "clicks"})
    assert len(message.body.encode()) < 256 * 1024


def test_traffic_reports_every_file_and_some_of_them_again() -> None:
    files = [SourceFile("landing", f"clicks/{number}.ndjson", f"{number:032x}", number) for number in range(2000)]
    messages = list(traffic(files, Random(1), AT, duplicates=0.05, removals=0.02))
    created = [key for message in messages for what, key in reported(message.body) if "Created" in what]
    removed = [key for message in messages for what, key in reported(message.body) if "Created" not in what]
    assert set(created) == {file.key for file in files}
    assert 20 < len(created) - len(files) < 300
    assert removed
    assert not set(removed) & set(created)
    assert sum(message.objects for message in messages) == len(created)
    assert any(message.objects > 1 for message in messages)
    assert all(len(message.body.encode()) < 64 * 1024 for message in messages)


def test_traffic_is_the_same_for_the_same_seed() -> None:
    files = [PLAIN, FILE] * 20
    assert list(traffic(files, Random(5), AT)) == list(traffic(files, Random(5), AT))


def test_the_service_understands_all_of_the_traffic() -> None:
    files = [file.source("landing", "v1" if file.corrupt else None) for file in Landing(files=300, file_bytes=200)]
    told = [parse_notification(message.body, message.attributes) for message in traffic(files, Random(3), AT)]
    assert {file for landed in told if isinstance(landed, Landed) for file in landed.files} == set(files)
    assert all(isinstance(understood, Landed | Nothing) for understood in told)
    assert isinstance(parse_notification(s3_test_event("landing", at=AT), {}), Nothing)
