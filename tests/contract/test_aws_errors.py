"""What AWS's errors become, seen through the adapters and a server that makes them."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from email.utils import formatdate

import pytest
from benches import shared_session
from botocore.exceptions import ClientError, ParamValidationError
from scripted import Request, answer, json_error, s3_error, scripted

from headsaw.adapters.aws import Aws, translated
from headsaw.adapters.clock import LedgerClock
from headsaw.adapters.s3 import S3ObjectStore
from headsaw.adapters.sqs import SqsQueue
from headsaw.core.commit import PendingUpload, UploadedPart
from headsaw.core.conversion import OutputKind
from headsaw.errors import AccessDenied, HeadsawError, Outage, SourceUnreadable, Throttled, Unreachable, UsageError
from headsaw.ports import CompleteResult, Outgoing

UPLOAD = PendingUpload("lake", "secret-key", "u", "t", (UploadedPart(1, "e", 1, "AAAAAA=="),), OutputKind.TABLE)
COMPLETED = answer(200, '<CompleteMultipartUploadResult><ETag>"e-1"</ETag></CompleteMultipartUploadResult>')


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    known = {
        "AWS_ACCESS_KEY_ID": "111122223333",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "NO_PROXY": "127.0.0.1",
    }
    for name, value in known.items():
        monkeypatch.setenv(name, value)


@asynccontextmanager
async def store(url: str, tries: int = 1) -> AsyncIterator[S3ObjectStore]:
    async with Aws(endpoint_url=url, tries=tries, session=shared_session()) as aws:
        yield S3ObjectStore(await aws.client("s3"))


@asynccontextmanager
async def queue(url: str) -> AsyncIterator[SqsQueue]:
    async with Aws(endpoint_url=url, tries=1, session=shared_session()) as aws:
        yield SqsQueue(await aws.client("sqs"), f"{url}/111122223333/landing")


async def stream(s3: S3ObjectStore) -> None:
    async with s3.read("lake", "secret-key") as chunks:
        async for _ in chunks:
            pass


async def read_all(s3: S3ObjectStore) -> None:
    await s3.read_all("lake", "secret-key")


async def put(s3: S3ObjectStore) -> None:
    await s3.put("lake", "secret-key", b"x")


async def look(s3: S3ObjectStore) -> None:
    await s3.head("lake", "secret-key")


Call = Callable[[S3ObjectStore], Awaitable[None]]

DENIAL = 'User: x isn\'t authorized to perform s3:PutObject on resource: "arn:aws:s3:::lake/a/secret-key" by policy'


@pytest.mark.parametrize(
    ("reply", "call", "expected"),
    [
        pytest.param(s3_error(503, "SlowDown"), put, Throttled, id="slow down"),
        pytest.param(s3_error(409, "ConditionalRequestConflict"), put, Throttled, id="conditional conflict"),
        pytest.param(s3_error(500, "InternalError"), read_all, Unreachable, id="internal error"),
        pytest.param(s3_error(503, "ServiceUnavailable"), read_all, Unreachable, id="unavailable"),
        pytest.param(answer(502, "<html>bad gateway</html>"), read_all, Unreachable, id="a proxy's 502"),
        pytest.param(answer(503), look, Unreachable, id="503 to HEAD"),
        pytest.param(s3_error(400, "RequestTimeout"), put, Unreachable, id="request timeout"),
        pytest.param(s3_error(400, "BadDigest"), put, Unreachable, id="damaged in transit"),
        pytest.param(b"", put, Unreachable, id="closed without an answer"),
        pytest.param(b"nonsense\r\n\r\n", put, Unreachable, id="no HTTP"),
        pytest.param(answer(200, b"x" * 10, length=100), read_all, Unreachable, id="broken off, whole"),
        pytest.param(answer(200, b"x" * 10, length=100), stream, Unreachable, id="broken off, in chunks"),
        pytest.param(s3_error(403, "AccessDenied", DENIAL), put, AccessDenied, id="denied"),
        pytest.param(s3_error(403, "SomethingNew"), put, AccessDenied, id="denied in a new way"),
        pytest.param(answer(403), look, AccessDenied, id="403 to HEAD"),
        pytest.param(s3_error(400, "ExpiredToken"), read_all, AccessDenied, id="expired token"),
        pytest.param(s3_error(403, "InvalidAccessKeyId"), read_all, AccessDenied, id="unknown key id"),
        pytest.param(s3_error(403, "RequestTimeTooSkewed"), put, AccessDenied, id="wrong clock"),
        pytest.param(s3_error(400, "KMS.DisabledException"), put, AccessDenied, id="disabled key"),
        pytest.param(s3_error(400, "SomethingNew"), put, Outage, id="a code that nobody knows"),
        pytest.param(answer(418), look, Outage, id="a status that nobody knows"),
        pytest.param(s3_error(404, "NoSuchBucket"), put, UsageError, id="no such bucket"),
        pytest.param(s3_error(400, "AuthorizationHeaderMalformed"), put, UsageError, id="another region"),
    ],
)
async def test_an_answer_becomes_the_error_that_it_means(
    reply: bytes, call: Call, expected: type[HeadsawError]
) -> None:
    async with scripted(reply) as server, store(server.url) as s3:
        with pytest.raises(expected) as raised:
            await call(s3)
    assert type(raised.value) is expected
    assert "s3://lake" in str(raised.value)
    assert "secret-key" not in str(raised.value)
    assert raised.value.__suppress_context__


@pytest.mark.parametrize("operation", ["AssumeRole", "AssumeRoleWithWebIdentity", "GetRoleCredentials"])
def test_a_role_that_cannot_be_assumed_is_denied_access(operation: str) -> None:
    refusal = ClientError({"Error": {"Code": "InvalidIdentityToken", "Message": "because"}}, operation)
    with pytest.raises(AccessDenied, match="can't be assumed"), translated("read"):
        raise refusal


async def test_nobody_listening_is_unreachable_and_names_the_host() -> None:
    async with scripted(b"") as server:
        url = server.url
    async with store(url) as s3:
        with pytest.raises(Unreachable, match=re.escape(url.removeprefix("http://"))) as raised:
            await s3.put("lake", "secret-key", b"x")
    assert "secret-key" not in str(raised.value)


async def test_a_call_is_tried_again_within_bounds() -> None:
    async with scripted(s3_error(500, "InternalError"), answer(200, b"hello")) as server, store(server.url, 2) as s3:
        assert await s3.read_all("lake", "k") == b"hello"
        assert len(server.requests) == 2
    async with scripted(s3_error(503, "SlowDown")) as server, store(server.url, 2) as s3:
        with pytest.raises(Throttled):
            await s3.read_all("lake", "k")
        assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (s3_error(412, "PreconditionFailed"), "superseded"),
        (s3_error(404, "NoSuchKey"), "missing"),
        (s3_error(404, "NoSuchVersion"), "missing"),
        (s3_error(405, "MethodNotAllowed"), "missing"),
        (s3_error(403, "InvalidObjectState"), "access_denied"),
        (s3_error(400, "InvalidRequest"), "access_denied"),
    ],
)
async def test_what_is_wrong_with_one_object_is_told_of_that_object(reply: bytes, reason: str) -> None:
    async with scripted(reply) as server, store(server.url) as s3:
        with pytest.raises(SourceUnreadable) as raised:
            await s3.read_all("lake", "k", etag="e")
    assert raised.value.reason == reason


async def test_completing_is_tried_again_when_a_200_holds_an_error() -> None:
    disguised = s3_error(200, "InternalError")
    async with scripted(disguised) as server, store(server.url) as s3:
        with pytest.raises(Unreachable):
            await s3.complete_upload(UPLOAD)
    async with scripted(disguised, COMPLETED) as server, store(server.url, 2) as s3:
        assert await s3.complete_upload(UPLOAD) is CompleteResult.COMPLETED


async def test_completing_is_not_believed_when_a_200_says_nothing() -> None:
    async with scripted(answer(200)) as server, store(server.url) as s3:
        with pytest.raises(Unreachable):
            await s3.complete_upload(UPLOAD)


async def test_completing_sends_the_checksums_and_the_size() -> None:
    async with scripted(COMPLETED) as server, store(server.url) as s3:
        await s3.complete_upload(UPLOAD)
        ((head, body),) = server.requests
    assert "x-amz-mp-object-size: 1" in head.lower()
    assert b"<ChecksumCRC32>AAAAAA==</ChecksumCRC32>" in body


async def test_without_credentials_access_is_denied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    async with scripted(answer(200)) as server, Aws(endpoint_url=server.url) as aws:
        with pytest.raises(AccessDenied, match="give the process AWS credentials"):
            await S3ObjectStore(await aws.client("s3")).read_all("lake", "k")


async def test_without_a_region_the_operator_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    async with Aws() as aws:
        with pytest.raises(UsageError, match="AWS_REGION"):
            await aws.client("sqs")


async def test_an_endpoint_that_is_no_url_is_a_usage_error() -> None:
    async with Aws(endpoint_url="localhost:4566") as aws:
        with pytest.raises(UsageError, match="localhost:4566"):
            await aws.client("sqs")


async def test_a_bug_of_the_caller_stays_what_it_is() -> None:
    refusal = json_error(400, "ValidationException")
    async with scripted(refusal) as server, Aws(endpoint_url=server.url, tries=1) as aws:
        client = await aws.client("dynamodb")
        with pytest.raises(ParamValidationError), translated("write"):
            await client.put_item(Nonsense=1)
        with pytest.raises(ClientError), translated("write"):
            await client.list_tables()
    with pytest.raises(KeyError), translated("write"):
        raise KeyError("k")


# ------------------------------------------------------------------------------------------------------------ queues


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("OverLimit", Throttled),
        ("RequestThrottled", Throttled),
        ("KmsThrottled", Throttled),
        ("KmsAccessDenied", AccessDenied),
        ("AccessDeniedException", AccessDenied),
        ("InvalidClientTokenId", AccessDenied),
        ("SomethingNewException", Outage),
        ("QueueDoesNotExist", UsageError),
        ("AWS.SimpleQueueService.NonExistentQueue", UsageError),
    ],
)
async def test_a_queues_answer_becomes_the_error_that_it_means(code: str, expected: type[HeadsawError]) -> None:
    async with scripted(json_error(400, code)) as server, queue(server.url) as sqs:
        with pytest.raises(expected, match="queue landing"):
            await sqs.receive(limit=1, wait_seconds=0, visibility_seconds=1)


def deletions(fail: Callable[[list[str]], bool]) -> Callable[[Request], bytes]:
    def reply(request: Request) -> bytes:
        receipts = [entry["ReceiptHandle"] for entry in json.loads(request[1])["Entries"]]
        return json_error(500, "InternalError") if fail(receipts) else answer(200, "{}")

    return reply


async def test_one_lost_call_of_a_batch_returns_its_entries() -> None:
    receipts = [f"r{i}" for i in range(25)]
    async with scripted(deletions(lambda chunk: "r12" in chunk)) as server, queue(server.url) as sqs:
        assert await sqs.delete(receipts) == receipts[10:20]


async def test_an_outage_is_raised_when_every_call_of_a_batch_is_lost() -> None:
    async with scripted(deletions(lambda _: True)) as server, queue(server.url) as sqs:
        with pytest.raises(Unreachable):
            await sqs.delete([f"r{i}" for i in range(25)])


async def test_a_call_refused_for_one_message_stores_the_others() -> None:
    """Queues that were made before 2025 may take 256 KiB, and say so of the whole call."""

    def reply(request: Request) -> bytes:
        bodies = [entry["MessageBody"] for entry in json.loads(request[1])["Entries"]]
        return json_error(400, "BatchRequestTooLong") if sum(map(len, bodies)) > 100 else answer(200, "{}")

    messages = [Outgoing(f"m{i}", "x" * (200 if i == 7 else 30), {}) for i in range(10)]
    async with scripted(reply) as server, queue(server.url) as sqs:
        assert await sqs.send(messages) == ["m7"]


# ------------------------------------------------------------------------------------------------------------- clocks


async def test_the_ledgers_date_headers_correct_the_clock() -> None:
    clock = LedgerClock()

    def reply(_: Request) -> bytes:
        return answer(200, "{}", f"Date: {formatdate(time.time() + 3600, usegmt=True)}")

    async with scripted(reply) as server, Aws(endpoint_url=server.url, clock=clock) as aws:
        client = await aws.client("dynamodb")
        assert clock.offset_seconds == 0
        for _ in range(3):
            await client.list_tables()
    assert 3598.5 < clock.offset_seconds < 3601.5
    assert clock.now() - time.time() == pytest.approx(clock.offset_seconds, abs=0.5)


async def test_a_date_that_is_none_is_passed_over() -> None:
    clock = LedgerClock()
    reply = answer(200, "{}", "Date: yesterday")
    async with scripted(reply) as server, Aws(endpoint_url=server.url, clock=clock) as aws:
        await (await aws.client("dynamodb")).list_tables()
    assert clock.offset_seconds == 0


async def test_clients_are_made_once() -> None:
    async with Aws(endpoint_url="http://127.0.0.1:9") as aws:
        first, second = await asyncio.gather(aws.client("sqs"), aws.client("sqs"))
        assert first is second
