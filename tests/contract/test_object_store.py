"""What every object store does; `lies.py` names the implementations that are known to do otherwise."""

import asyncio
import hashlib
import json
from dataclasses import replace

import pytest
from benches import EMULATOR, MemoryObjects, ObjectBench, ServedObjects, served_objects
from botocore.exceptions import ClientError

from headsaw.adapters.limits import RequestRefused
from headsaw.adapters.memory.clock import VirtualClock
from headsaw.adapters.memory.object_store import Created, MemoryObjectStore
from headsaw.core.commit import PART_BYTES_MIN, TOKEN_METADATA, PendingUpload, UploadedPart
from headsaw.core.conversion import OutputKind
from headsaw.demo.emulator import Endpoint
from headsaw.errors import AccessDenied, Outage, ProtocolViolation, SourceUnreadable, UsageError
from headsaw.ports import CompleteResult, ReadFailure

AWKWARD_KEY = "landing/day=2026-11-23/a+b %2F ü€😀&<>'\"#?=~.ndjson"
TOKEN = {TOKEN_METADATA: "batch-0-1-abc"}

served = pytest.mark.parametrize("object_endpoint", [EMULATOR, "seaweedfs", "moto"], indirect=True)


async def uploaded(objects: ObjectBench, key: str, *bodies: bytes) -> PendingUpload:
    """A pending upload with these parts."""
    store, bucket = objects.store, objects.bucket
    upload_id = await store.create_upload(bucket, key, TOKEN)
    parts = [await store.upload_part(bucket, key, upload_id, n, body) for n, body in enumerate(bodies, 1)]
    return PendingUpload(bucket, key, upload_id, TOKEN[TOKEN_METADATA], tuple(parts), OutputKind.TABLE)


async def keys(objects: ObjectBench, prefix: str = "") -> list[str]:
    return [found.key async for found in objects.store.list(objects.bucket, prefix)]


# -------------------------------------------------------------------------------------------------------------- reads


KEYS = {
    "plain": "plain",
    "awkward": AWKWARD_KEY,
    "slashes": "/leading//double/",
    "longest": "k" * 1024,
    "longest-in-bytes": "…" * 341,
    "dot": ".",
}


@pytest.mark.parametrize("name", KEYS)
async def test_what_was_put_is_read(objects: ObjectBench, name: str) -> None:
    key = KEYS[name]
    assert await objects.store.put(objects.bucket, key, b"hello") is True
    assert await objects.store.read_all(objects.bucket, key) == b"hello"
    head = await objects.store.head(objects.bucket, key)
    assert head is not None
    assert (head.key, head.size, head.etag) == (key, 5, hashlib.md5(b"hello").hexdigest())
    assert [found.etag async for found in objects.store.list(objects.bucket, key)] == [head.etag]


async def test_an_empty_object_is_read_as_nothing(objects: ObjectBench) -> None:
    await objects.store.put(objects.bucket, "k", b"")
    assert await objects.store.read_all(objects.bucket, "k") == b""
    async with objects.store.read(objects.bucket, "k") as chunks:
        assert [chunk async for chunk in chunks] == []


async def test_a_large_object_comes_in_chunks(objects: ObjectBench) -> None:
    body = bytes(range(256)) * 8192
    await objects.store.put(objects.bucket, "k", body)
    async with objects.store.read(objects.bucket, "k") as chunks:
        pieces = [chunk async for chunk in chunks]
    assert b"".join(pieces) == body
    assert 2 <= len(pieces) <= 8
    assert all(pieces)


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [
        (2, None, b"23456789"),
        (2, 3, b"234"),
        (0, 4, b"0123"),
        (8, 100, b"89"),
        (10, None, b""),
        (50, 5, b""),
        (3, 0, b""),
    ],
)
async def test_a_range_is_read_and_what_lies_past_the_end_is_empty(
    objects: ObjectBench, start: int, length: int | None, expected: bytes
) -> None:
    await objects.store.put(objects.bucket, "k", b"0123456789")
    assert await objects.store.read_all(objects.bucket, "k", start=start, length=length) == expected
    async with objects.store.read(objects.bucket, "k", start=start, length=length) as chunks:
        assert b"".join([chunk async for chunk in chunks]) == expected


async def test_reading_may_stop_early_and_go_on_elsewhere(objects: ObjectBench) -> None:
    await objects.store.put(objects.bucket, "k", b"x" * 3_000_000)
    for _ in range(20):
        async with objects.store.read(objects.bucket, "k") as chunks:
            async for chunk in chunks:
                assert chunk
                break
    assert len(await objects.store.read_all(objects.bucket, "k")) == 3_000_000


async def test_an_error_of_the_reader_passes_through(objects: ObjectBench) -> None:
    await objects.store.put(objects.bucket, "k", b"x")
    with pytest.raises(TimeoutError, match="the reader's own"):
        async with objects.store.read(objects.bucket, "k"):
            raise TimeoutError("the reader's own")


async def test_a_read_pinned_to_an_etag_tells_a_superseded_object(objects: ObjectBench) -> None:
    await objects.store.put(objects.bucket, "k", b"old")
    head = await objects.store.head(objects.bucket, "k")
    assert head is not None
    assert await objects.store.read_all(objects.bucket, "k", etag=head.etag) == b"old"
    await objects.store.put(objects.bucket, "k", b"new")
    with pytest.raises(SourceUnreadable) as superseded:
        await objects.store.read_all(objects.bucket, "k", etag=head.etag)
    assert superseded.value.reason == ReadFailure.SUPERSEDED


async def test_a_read_pinned_to_a_version_reads_what_was_overwritten(objects: ObjectBench) -> None:
    await objects.store.put(objects.versioned, "k", b"old")
    old = await objects.version_id("k")
    await objects.store.put(objects.versioned, "k", b"new")
    assert await objects.store.read_all(objects.versioned, "k", version_id=old, etag="0" * 32) == b"old"
    await objects.delete(objects.versioned, "k")
    assert await objects.store.read_all(objects.versioned, "k", version_id=old) == b"old"
    assert await objects.store.head(objects.versioned, "k") is None


@pytest.mark.parametrize("pin", [{}, {"etag": "0" * 32}, {"start": 5}])
async def test_a_missing_object_is_missing(objects: ObjectBench, pin: dict[str, str]) -> None:
    with pytest.raises(SourceUnreadable) as missing:
        await objects.store.read_all(objects.bucket, "k", **pin)
    assert missing.value.reason == ReadFailure.MISSING
    assert await objects.store.head(objects.bucket, "k") is None


async def test_a_deleted_object_is_missing_with_and_without_versions(objects: ObjectBench) -> None:
    for bucket in (objects.bucket, objects.versioned):
        await objects.store.put(bucket, "k", b"x")
        await objects.delete(bucket, "k")
        with pytest.raises(SourceUnreadable) as missing:
            async with objects.store.read(bucket, "k"):
                pass
        assert missing.value.reason == ReadFailure.MISSING


async def test_a_version_that_never_was_is_missing(objects: ObjectBench) -> None:
    await objects.store.put(objects.versioned, "k", b"x")
    with pytest.raises(SourceUnreadable) as missing:
        await objects.store.read_all(objects.versioned, "k", version_id="0123456789abcdef0123456789abcdef")
    assert missing.value.reason == ReadFailure.MISSING


# ------------------------------------------------------------------------------------------------------ writes, lists


async def test_put_if_absent_never_overwrites(objects: ObjectBench) -> None:
    assert await objects.store.put(objects.bucket, "k", b"first", if_absent=True) is True
    assert await objects.store.put(objects.bucket, "k", b"second", if_absent=True) is False
    assert await objects.store.read_all(objects.bucket, "k") == b"first"
    assert await objects.store.put(objects.bucket, "k", b"third") is True
    assert await objects.store.read_all(objects.bucket, "k") == b"third"


async def test_put_if_absent_may_follow_a_deletion(objects: ObjectBench) -> None:
    for bucket in (objects.bucket, objects.versioned):
        await objects.store.put(bucket, "k", b"x")
        await objects.delete(bucket, "k")
        assert await objects.store.put(bucket, "k", b"y", if_absent=True) is True


async def test_one_of_many_concurrent_puts_if_absent_wins(objects: ObjectBench) -> None:
    bodies = [f"writer {i}".encode() for i in range(30)]
    won = await asyncio.gather(*(objects.store.put(objects.bucket, "k", body, if_absent=True) for body in bodies))
    assert won.count(True) == 1
    assert await objects.store.read_all(objects.bucket, "k") == bodies[won.index(True)]


async def test_a_body_of_many_megabytes_is_put(objects: ObjectBench) -> None:
    body = b"0123456789abcdef" * 400_000
    await objects.store.put(objects.bucket, "k", body)
    assert await objects.store.read_all(objects.bucket, "k") == body


async def test_a_listing_is_in_key_order_and_keeps_to_its_prefix(objects: ObjectBench) -> None:
    names = ["a/1", "a/10", "a/2", "a/Z", "a/ü", "a/😀", "a/\uffee", "a", "a0", "b/1", "A/1", AWKWARD_KEY]
    for name in names:
        await objects.store.put(objects.bucket, name, b"x")
    assert await keys(objects) == sorted(names, key=str.encode)
    assert await keys(objects, "a/") == sorted((n for n in names if n.startswith("a/")), key=str.encode)
    assert await keys(objects, "nothing") == []


async def test_a_listing_goes_on_over_pages(objects: ObjectBench) -> None:
    names = [f"p/{i:05}" for i in range(1101)]
    for start in range(0, len(names), 100):
        await asyncio.gather(*(objects.store.put(objects.bucket, n, b"x") for n in names[start : start + 100]))
    assert await keys(objects, "p/") == names


async def test_a_listing_tells_size_and_etag_and_leaves_out_pending_uploads(objects: ObjectBench) -> None:
    await objects.store.put(objects.bucket, "k", b"hello")
    await uploaded(objects, "pending", b"x")
    (found,) = [found async for found in objects.store.list(objects.bucket, "")]
    assert (found.key, found.size, found.etag, dict(found.metadata)) == ("k", 5, hashlib.md5(b"hello").hexdigest(), {})
    head = await objects.store.head(objects.bucket, "k")
    assert head is not None
    assert head.modified_at == pytest.approx(found.modified_at, abs=1)


# ------------------------------------------------------------------------------------------------------------ uploads


async def test_an_upload_is_invisible_until_it_is_completed(objects: ObjectBench) -> None:
    upload = await uploaded(objects, "k", b"a" * PART_BYTES_MIN, b"b")
    assert await objects.store.head(objects.bucket, "k") is None
    assert await keys(objects) == []
    assert await objects.pending_keys(objects.bucket) == ["k"]
    assert await objects.store.complete_upload(upload) is CompleteResult.COMPLETED
    head = await objects.store.head(objects.bucket, "k")
    assert head is not None
    assert head.size == upload.size == PART_BYTES_MIN + 1
    assert head.metadata == TOKEN
    assert head.etag.endswith("-2")
    assert await objects.store.read_all(objects.bucket, "k", etag=head.etag) == b"a" * PART_BYTES_MIN + b"b"
    assert await objects.pending_keys(objects.bucket) == []


async def test_completing_again_leaves_the_object_as_it_is(objects: ObjectBench) -> None:
    """S3 may answer either way: the caller looks at the object."""
    upload = await uploaded(objects, "k", b"content")
    await objects.store.complete_upload(upload)
    assert await objects.store.complete_upload(upload) in CompleteResult
    assert await objects.store.read_all(objects.bucket, "k") == b"content"


async def test_two_completions_at_once_make_one_object(objects: ObjectBench) -> None:
    upload = await uploaded(objects, "k", b"content")
    results = await asyncio.gather(*(objects.store.complete_upload(upload) for _ in range(8)))
    assert CompleteResult.COMPLETED in results
    assert await objects.store.read_all(objects.bucket, "k") == b"content"


async def test_a_part_uploaded_again_replaces_the_first(objects: ObjectBench) -> None:
    upload = await uploaded(objects, "k", b"first")
    part = await objects.store.upload_part(objects.bucket, "k", upload.upload_id, 1, b"second")
    assert await objects.store.complete_upload(replace(upload, parts=(part,))) is CompleteResult.COMPLETED
    assert await objects.store.read_all(objects.bucket, "k") == b"second"


async def test_a_part_tells_number_size_and_checksum(objects: ObjectBench) -> None:
    upload = await uploaded(objects, "k", b"hello")
    assert upload.parts == (UploadedPart(1, hashlib.md5(b"hello").hexdigest(), 5, "NhCmhg=="),)


WRONG_PARTS = {
    "etag": lambda parts: (replace(parts[0], etag="0" * 32), parts[1]),
    "checksum": lambda parts: (replace(parts[0], checksum="AAAAAA=="), parts[1]),
    "absent": lambda parts: (*parts, replace(parts[1], number=3)),
}


@pytest.mark.parametrize("wrong", WRONG_PARTS)
async def test_wrong_parts_complete_nothing(objects: ObjectBench, wrong: str) -> None:
    upload = await uploaded(objects, "k", b"a" * PART_BYTES_MIN, b"b")
    with pytest.raises(ProtocolViolation):
        await objects.store.complete_upload(replace(upload, parts=WRONG_PARTS[wrong](upload.parts)))
    assert await objects.store.head(objects.bucket, "k") is None
    assert await objects.store.complete_upload(upload) is CompleteResult.COMPLETED


async def test_an_aborted_upload_is_gone_and_aborting_again_is_no_error(objects: ObjectBench) -> None:
    upload = await uploaded(objects, "k", b"x")
    for _ in range(2):
        await objects.store.abort_upload(objects.bucket, "k", upload.upload_id)
    assert await objects.pending_keys(objects.bucket) == []
    assert await objects.store.complete_upload(upload) is CompleteResult.NO_SUCH_UPLOAD
    assert await objects.store.head(objects.bucket, "k") is None


async def test_a_part_of_an_aborted_upload_is_an_outage(objects: ObjectBench) -> None:
    """The attempt is tried again, with uploads of its own."""
    upload = await uploaded(objects, "k", b"x")
    await objects.store.abort_upload(objects.bucket, "k", upload.upload_id)
    with pytest.raises(Outage, match="the upload is gone"):
        await objects.store.upload_part(objects.bucket, "k", upload.upload_id, 2, b"y")


async def test_a_removed_object_is_not_seen_and_removing_again_is_no_error(objects: ObjectBench) -> None:
    for bucket in (objects.bucket, objects.versioned):
        await objects.store.put(bucket, "k", b"x")
        for _ in range(2):
            await objects.store.remove(bucket, "k")
        assert await objects.store.head(bucket, "k") is None
        assert [head.key async for head in objects.store.list(bucket, "")] == []


async def test_removing_what_never_was_leaves_nothing_behind(objects: ObjectBench) -> None:
    await objects.store.remove(objects.versioned, "never")
    assert await objects.store.head(objects.versioned, "never") is None


async def test_aborting_after_completion_leaves_the_object(objects: ObjectBench) -> None:
    upload = await uploaded(objects, "k", b"x")
    await objects.store.complete_upload(upload)
    await objects.store.abort_upload(objects.bucket, "k", upload.upload_id)
    assert await objects.store.read_all(objects.bucket, "k") == b"x"


async def test_two_uploads_of_one_key_are_apart(objects: ObjectBench) -> None:
    first, second = [await uploaded(objects, "k", body) for body in (b"first", b"second")]
    await objects.store.complete_upload(second)
    assert await objects.store.read_all(objects.bucket, "k") == b"second"
    await objects.store.complete_upload(first)
    assert await objects.store.read_all(objects.bucket, "k") == b"first"


async def test_a_small_part_before_the_last_completes_nothing(objects: ObjectBench) -> None:
    upload = await uploaded(objects, "k", b"a" * (PART_BYTES_MIN - 1), b"b")
    with pytest.raises(ProtocolViolation, match="EntityTooSmall"):
        await objects.store.complete_upload(upload)
    assert await objects.pending_keys(objects.bucket) == ["k"]


async def test_an_upload_without_parts_is_not_completed(objects: ObjectBench) -> None:
    upload = await uploaded(objects, "k", b"abc")
    with pytest.raises(ProtocolViolation, match="MalformedXML"):
        await objects.store.complete_upload(replace(upload, parts=()))
    assert await objects.store.head(objects.bucket, "k") is None


async def test_parts_that_add_up_to_another_size_complete_nothing(objects: ObjectBench) -> None:
    upload = await uploaded(objects, "k", b"abc")
    with pytest.raises(ProtocolViolation, match="InvalidRequest"):
        await objects.store.complete_upload(replace(upload, parts=(replace(upload.parts[0], size=4),)))
    assert await objects.store.head(objects.bucket, "k") is None


async def test_parts_out_of_order_complete_nothing(objects: ObjectBench) -> None:
    upload = await uploaded(objects, "k", b"a" * PART_BYTES_MIN, b"b" * PART_BYTES_MIN)
    with pytest.raises(ProtocolViolation, match="InvalidPartOrder"):
        await objects.store.complete_upload(replace(upload, parts=upload.parts[::-1]))
    assert await objects.store.head(objects.bucket, "k") is None


async def test_completing_twice_finds_no_such_upload(objects: ObjectBench) -> None:
    """S3 answers a repetition as it answered the first time, for a while only: memory is the stricter one."""
    upload = await uploaded(objects, "k", b"x")
    await objects.store.complete_upload(upload)
    assert await objects.store.complete_upload(upload) is CompleteResult.NO_SUCH_UPLOAD


async def test_a_bucket_of_another_owner_refuses_every_call(objects: ObjectBench) -> None:
    await objects.store.put(objects.bucket, "k", b"x")
    stranger = objects.expecting_another_owner()
    with pytest.raises(AccessDenied):
        await stranger.read_all(objects.bucket, "k")
    with pytest.raises(AccessDenied):
        await stranger.put(objects.bucket, "k", b"y")


@served
async def test_a_body_that_is_not_what_its_checksum_says_is_not_stored(objects: ServedObjects) -> None:
    """The adapter sends no wrong checksum, so this asks the service itself."""
    wrong = {"Body": b"hello", "ChecksumCRC32": "AAAAAA=="}
    with pytest.raises(ClientError):
        await objects.client.put_object(Bucket=objects.bucket, Key="k", **wrong)
    assert await objects.store.head(objects.bucket, "k") is None
    upload_id = await objects.store.create_upload(objects.bucket, "k", TOKEN)
    with pytest.raises(ClientError):
        await objects.client.upload_part(Bucket=objects.bucket, Key="k", UploadId=upload_id, PartNumber=1, **wrong)


# ------------------------------------------------------------------------------------------------------------ refusals


async def test_what_s3_would_refuse_is_a_bug_of_the_caller(objects: ObjectBench) -> None:
    store, bucket = objects.store, objects.bucket
    for key in ("", "k" * 1025, "…" * 342):
        with pytest.raises(RequestRefused):
            await store.put(bucket, key, b"x")
        with pytest.raises(RequestRefused):
            await store.create_upload(bucket, key, {})
    for metadata in ({"a": "x" * 2048}, {"a": "ü"}, {"Upper": "x"}, {"a": " x"}):
        with pytest.raises(RequestRefused):
            await store.create_upload(bucket, "k", metadata)
    upload_id = await store.create_upload(bucket, "k", {"a": "x" * 2047})
    for number in (0, 10_001):
        with pytest.raises(RequestRefused):
            await store.upload_part(bucket, "k", upload_id, number, b"x")


async def test_a_missing_bucket_is_a_usage_error_that_names_it(objects: ObjectBench) -> None:
    store = objects.store
    with pytest.raises(UsageError, match="s3://nowhere: there is no such bucket"):
        await store.ping("nowhere")
    with pytest.raises(UsageError, match="s3://nowhere"):
        await store.read_all("nowhere", "k")
    with pytest.raises(UsageError, match="s3://nowhere"):
        await store.head("nowhere", "k")
    with pytest.raises(UsageError, match="s3://nowhere"):
        await store.put("nowhere", "k", b"x")
    with pytest.raises(UsageError, match="s3://nowhere"):
        await store.create_upload("nowhere", "k", {})
    with pytest.raises(UsageError, match="s3://nowhere"):
        [found async for found in store.list("nowhere", "")]


async def test_a_bucket_that_is_there_can_be_pinged(objects: ObjectBench) -> None:
    await objects.store.ping(objects.bucket)


# ------------------------------------------------------------------------------------------------- one implementation


@pytest.fixture
def memory() -> MemoryObjects:
    return MemoryObjects(MemoryObjectStore(VirtualClock(), ["plain", "versioned"], versioned=["versioned"]))


async def test_in_memory_creations_are_told_once_when_they_become_visible() -> None:
    told: list[Created] = []
    clock = VirtualClock()
    memory = MemoryObjects(MemoryObjectStore(clock, ["plain"], on_created=told.append))
    await memory.store.put("plain", "k", b"hello")
    upload = await uploaded(memory, "u", b"x")
    assert len(told) == 1
    await memory.store.complete_upload(upload)
    await memory.store.complete_upload(upload)
    assert [(t.key, t.size, t.version_id, t.event) for t in told] == [
        ("k", 5, None, "ObjectCreated:Put"),
        ("u", 1, None, "ObjectCreated:CompleteMultipartUpload"),
    ]
    assert told[0].at == clock.now()


async def test_in_memory_a_lifecycle_rule_aborts_old_uploads_only() -> None:
    clock = VirtualClock()
    memory = MemoryObjects(MemoryObjectStore(clock, ["plain"]))
    await uploaded(memory, "old", b"x")
    await clock.advance(100)
    await uploaded(memory, "new", b"x")
    memory.store.abort_uploads_before("plain", clock.now() - 50)
    assert [(p.key, p.metadata, p.parts) for p in memory.store.pending_uploads("plain")] == [("new", TOKEN, 1)]


async def test_in_memory_an_open_read_goes_on_while_the_object_is_overwritten(memory: MemoryObjects) -> None:
    """With the local AWS it would depend on what had been sent already."""
    await memory.store.put("plain", "k", b"x" * 1_000_000)
    async with memory.store.read("plain", "k") as chunks:
        await memory.store.put("plain", "k", b"y")
        assert sum([chunk.count(b"x") async for chunk in chunks]) == 1_000_000


@pytest.mark.emulator
async def test_the_bucket_owner_that_is_expected_is_named_in_every_call(emulator_environment: Endpoint) -> None:
    """The local AWS doesn't check it, so the requests are looked at."""
    async with served_objects() as objects:
        seen: list[tuple[str, str | None]] = []

        def look(request: object, operation_name: str, **_: object) -> None:
            seen.append((operation_name, request.headers.get("x-amz-expected-bucket-owner")))  # type: ignore[attr-defined]

        objects.store = type(objects.store)(objects.client, {objects.bucket: emulator_environment.account})
        objects.client.meta.events.register("request-created.s3", look)
        upload = await uploaded(objects, "k", b"x")
        await objects.store.complete_upload(upload)
        await objects.store.abort_upload(objects.bucket, "k", upload.upload_id)
        await objects.store.put(objects.bucket, "j", json.dumps({}).encode())
        await objects.store.read_all(objects.bucket, "j")
        await objects.store.head(objects.bucket, "j")
        await keys(objects)
        await objects.store.ping(objects.bucket)
        assert {operation for operation, _ in seen} == {
            "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "AbortMultipartUpload",
            "PutObject", "GetObject", "HeadObject", "ListObjectsV2",
        }  # fmt: skip
        assert {owner for _, owner in seen} == {emulator_environment.account}
