import json
from typing import Any

import pytest

from headsaw.core.model import SourceFile
from headsaw.core.notification import (
    ORIGINAL_MESSAGE_ID,
    Landed,
    Nothing,
    Records,
    Unreadable,
    message_identity,
    parse_notification,
    synthetic_event,
)


def s3_record(key: str = "in/a.json", name: str = "ObjectCreated:Put", **thing: Any) -> dict[str, Any]:
    return {
        "eventSource": "aws:s3",
        "eventName": name,
        "s3": {"bucket": {"name": "landing"}, "object": {"key": key, "eTag": "e1", "size": 5, **thing}},
    }


def s3_event(*records: dict[str, Any]) -> str:
    return json.dumps({"Records": list(records)})


def eventbridge(key: str = "in/a b+c.json", kind: str = "Object Created") -> str:
    detail = {"bucket": {"name": "landing"}, "object": {"key": key, "etag": "e1", "size": 5, "version-id": "v1"}}
    return json.dumps({"source": "aws.s3", "detail-type": kind, "detail": detail})


def sns(message: str) -> str:
    return json.dumps({"Type": "Notification", "TopicArn": "arn:aws:sns:x:1:t", "MessageId": "m", "Message": message})


def parse(body: str, attributes: dict[str, str] | None = None, default: str | None = None) -> object:
    return parse_notification(body, attributes or {}, default)


FILE = SourceFile("landing", "in/a.json", "e1", 5)


def test_an_s3_event_names_all_of_its_records() -> None:
    assert parse(s3_event(s3_record(), s3_record("in/b.json"))) == Landed(
        (FILE, SourceFile("landing", "in/b.json", "e1", 5))
    )


@pytest.mark.parametrize(
    ("encoded", "key"),
    [
        ("a+b", "a b"),
        ("a%20b", "a b"),
        ("a%2Fb", "a/b"),
        ("a%2Bb", "a+b"),
        ("caf%C3%A9/%E6%97%A5%E6%9C%AC", "café/日本"),
        ("100%25", "100%"),
        ("%F0%9F%AA%93", "🪓"),
    ],
)
def test_s3_event_keys_are_url_decoded(encoded: str, key: str) -> None:
    parsed = parse(s3_event(s3_record(encoded)))
    assert isinstance(parsed, Landed)
    assert parsed.files[0].key == key


def test_eventbridge_keys_are_taken_as_they_are() -> None:
    assert parse(eventbridge()) == Landed((SourceFile("landing", "in/a b+c.json", "e1", 5, "v1"),))


@pytest.mark.parametrize("wrap", [lambda body: body, sns, lambda body: sns(sns(body))], ids=["raw", "sns", "sns-sns"])
def test_sns_wrapping_changes_nothing(wrap: Any) -> None:
    assert parse(wrap(s3_event(s3_record()))) == Landed((FILE,))
    assert parse(wrap(eventbridge("k"))) == Landed((SourceFile("landing", "k", "e1", 5, "v1"),))


def test_the_test_event_is_acknowledged() -> None:
    assert parse(json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b"})) == Nothing(
        "s3:TestEvent"
    )


def test_removals_are_acknowledged_and_counted() -> None:
    assert parse(s3_event(s3_record(name="ObjectRemoved:Delete"))) == Nothing("removals only", 1)
    both = parse(s3_event(s3_record(name="ObjectRemoved:DeleteMarkerCreated"), s3_record()))
    assert both == Landed((FILE,), removals=1)
    assert parse(eventbridge(kind="Object Deleted")) == Nothing("removals only", 1)


def test_a_missing_size_is_unknown_and_a_version_pins_the_read() -> None:
    record = s3_record(versionId="v7")
    del record["s3"]["object"]["size"]
    assert parse(s3_event(record)) == Landed((SourceFile("landing", "in/a.json", "e1", None, "v7"),))


def test_a_null_version_is_no_version() -> None:
    parsed = parse(s3_event(s3_record(versionId="null")))
    assert isinstance(parsed, Landed)
    assert parsed.files[0].version_id is None


def test_a_body_that_is_no_s3_shape_is_a_record_message_of_its_dataset() -> None:
    body = '{"a":1}\n{"a":2}\n'
    assert parse(body, {"dataset": "clicks"}) == Records("clicks", body)
    assert parse(body, default="orders") == Records("orders", body)
    assert parse('{"Records": []}', {"dataset": "clicks"}) == Records("clicks", '{"Records": []}')


def test_s3_shapes_match_before_record_messages() -> None:
    assert parse(s3_event(s3_record()), {"dataset": "clicks"}) == Landed((FILE,))


@pytest.mark.parametrize(
    "body",
    [
        "",
        "   ",
        "hello",
        "[]",
        "[" * 100_000,
        '{"a":1}',
        s3_event({"eventSource": "aws:s3", "eventName": "ObjectCreated:Put"}),
        s3_event(s3_record(key="%FF")),
        s3_event(s3_record(key="")),
        s3_event(s3_record(name="ReducedRedundancyLostObject")),
        s3_event({**s3_record(), "s3": {"bucket": {"name": "b"}, "object": {"key": "k"}}}),
        s3_event({**s3_record(), "s3": "nonsense"}),
        eventbridge(kind="Object Restore Completed"),
        sns("hello"),
        sns(sns(sns(sns(sns(s3_event(s3_record())))))),
    ],
)
def test_what_cannot_be_understood_has_a_reason(body: str) -> None:
    parsed = parse(body)
    assert isinstance(parsed, Unreadable)
    assert parsed.reason


@pytest.mark.parametrize(
    "record",
    [
        s3_record(key="in/\ud800"),
        s3_record(key="k" * 1025),
        s3_record(key="%41" * 1025),
        s3_record(key="é" * 513),
        s3_record(eTag=""),
        s3_record(eTag='"'),
        s3_record(eTag="e" * 256),
        s3_record(eTag="\udfff"),
        s3_record(versionId="v" * 1025),
        s3_record(versionId=7),
        {**s3_record(), "s3": {"bucket": {"name": "b" * 256}, "object": {"key": "k", "eTag": "e"}}},
    ],
)
def test_what_s3_cannot_have_sent_has_a_reason_too(record: dict[str, Any]) -> None:
    parsed = parse(s3_event(record))
    assert isinstance(parsed, Unreadable)
    assert parsed.reason.encode()


def test_the_longest_key_that_s3_allows_is_read() -> None:
    parsed = parse(s3_event(s3_record("%C3%A9" * 512)))
    assert isinstance(parsed, Landed)
    assert parsed.files[0].key == "é" * 512


@pytest.mark.parametrize("size", [-1, 2**63, 10**45, True, 1.5, "5"])
def test_a_size_that_no_object_has_is_unknown(size: object) -> None:
    parsed = parse(s3_event(s3_record(size=size)))
    assert isinstance(parsed, Landed)
    assert parsed.files[0].size is None


@pytest.mark.parametrize("original", ["", "x" * 101, "a b", "a/b", "id\n", "\ud800"])
def test_an_original_id_that_no_message_had_is_passed_over(original: str) -> None:
    assert message_identity("m", {ORIGINAL_MESSAGE_ID: original}) == "m"


def test_a_redriven_message_keeps_its_original_id() -> None:
    assert message_identity("m", {ORIGINAL_MESSAGE_ID: "5fea7756-0ea4"}) == "5fea7756-0ea4"
    assert message_identity("m", {}) == "m"


def test_a_synthetic_event_is_read_back_as_the_files_that_it_names() -> None:
    files = (
        SourceFile("landing", "in/a b+ü%.json", "e1", 5, "v1"),
        SourceFile("landing", "in/日本/b.json", "e2"),
    )
    assert parse_notification(synthetic_event(*files), {}) == Landed(files)
