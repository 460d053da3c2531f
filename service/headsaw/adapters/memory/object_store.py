"""S3 in memory that enforces S3's rules: conditional writes, pinned reads, versions, and multipart uploads that stay
invisible until they are completed, whose parts are checked when they are.
"""

import asyncio
import itertools
from bisect import bisect_left, bisect_right
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass

from headsaw.adapters.limits import check_key, check_metadata, check_part
from headsaw.adapters.memory.bucket import (
    Bucket,
    Part,
    Upload,
    Version,
    completion_refusal,
    crc32_base64,
    md5_hex,
    multipart_etag,
)
from headsaw.core.commit import PendingUpload, UploadedPart
from headsaw.errors import AccessDenied, Outage, ProtocolViolation, SourceUnreadable, UsageError
from headsaw.ports import Clock, CompleteResult, ObjectHead, ReadFailure

CHUNK_BYTES = 256 * 1024
LIST_PAGE_KEYS = 1000


@dataclass(frozen=True, slots=True)
class Created:
    """What an event notification tells about an object that has just become visible."""

    bucket: str
    key: str
    size: int
    etag: str
    version_id: str | None
    event: str
    at: float


@dataclass(frozen=True, slots=True)
class Pending:
    """A multipart upload that is neither completed nor aborted."""

    bucket: str
    key: str
    upload_id: str
    metadata: Mapping[str, str]
    initiated_at: float
    parts: int


class MemoryObjectStore:
    """See the module. `buckets` exist; `denied` (which tests may change) names buckets that refuse every call, as
    a policy would, and `bucket/key`s that refuse to be read.

    `on_created` is told of every object that becomes visible, so that tests can send notifications.
    """

    def __init__(
        self,
        clock: Clock,
        buckets: Collection[str],
        *,
        versioned: Collection[str] = (),
        on_created: Callable[[Created], None] | None = None,
    ) -> None:
        self._clock = clock
        self._buckets = {bucket: Bucket(bucket in versioned) for bucket in buckets}
        self._uploads: dict[str, Upload] = {}
        self._numbers = itertools.count(1)
        self._on_created = on_created
        self.denied: set[str] = set()

    # ------------------------------------------------------------------------------------------------------ the port

    def read(
        self,
        bucket: str,
        key: str,
        *,
        etag: str | None = None,
        version_id: str | None = None,
        start: int = 0,
        length: int | None = None,
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """What was opened is read, whatever happens to the key meanwhile."""
        return self._reading(lambda: self._find(bucket, key, etag, version_id), start, length)

    async def read_all(
        self,
        bucket: str,
        key: str,
        *,
        etag: str | None = None,
        version_id: str | None = None,
        start: int = 0,
        length: int | None = None,
    ) -> bytes:
        """One piece."""
        async with self._reading(lambda: self._find(bucket, key, etag, version_id), start, length) as chunks:
            return b"".join([chunk async for chunk in chunks])

    @asynccontextmanager
    async def _reading(
        self, find: Callable[[], bytes], start: int, length: int | None
    ) -> AsyncGenerator[AsyncIterator[bytes]]:
        await asyncio.sleep(0)
        body = find() if length != 0 else b""
        body = body[start:] if length is None else body[start : start + length]
        async with aclosing(_chunks(body)) as chunks:
            yield chunks

    def _find(self, bucket: str, key: str, etag: str | None, version_id: str | None) -> bytes:
        held = self._bucket(bucket)
        if f"{bucket}/{key}" in self.denied:
            raise AccessDenied(f"an object of bucket {bucket}")
        version = held.latest(key)
        if version_id is not None:
            version = next((v for v in held.versions.get(key, ()) if v.id == version_id), None)
        if version is None or version.body is None:
            raise SourceUnreadable(ReadFailure.MISSING)
        if version_id is None and etag is not None and etag != version.etag:
            raise SourceUnreadable(ReadFailure.SUPERSEDED)
        return version.body

    async def put(self, bucket: str, key: str, body: bytes, *, if_absent: bool = False) -> bool:
        """Atomic."""
        check_key(key)
        if if_absent and self._bucket(bucket).latest(key) is not None:
            return False
        self._store(bucket, key, bytes(body), md5_hex(body), {}, "ObjectCreated:Put")
        return True

    async def head(self, bucket: str, key: str) -> ObjectHead | None:
        """The newest version."""
        version = self._bucket(bucket).latest(key)
        return _head(key, version, version.metadata) if version is not None else None

    async def list(self, bucket: str, prefix: str) -> AsyncIterator[ObjectHead]:
        """Page by page: what changes behind a page's last key is seen, what changes before it isn't."""
        held = self._bucket(bucket)
        start = bisect_left(held.keys, prefix)
        while page := held.keys[start : start + LIST_PAGE_KEYS]:
            for key in page:
                if not key.startswith(prefix):
                    return
                if (version := held.latest(key)) is not None:
                    yield _head(key, version, {})
            await asyncio.sleep(0)
            start = bisect_right(held.keys, page[-1])

    async def create_upload(self, bucket: str, key: str, metadata: Mapping[str, str]) -> str:
        """Its id is unique in this store."""
        check_key(key)
        check_metadata(metadata)
        self._bucket(bucket)
        upload_id = f"upload-{next(self._numbers)}"
        self._uploads[upload_id] = Upload(bucket, key, dict(metadata), self._clock.now())
        return upload_id

    async def upload_part(self, bucket: str, key: str, upload_id: str, number: int, body: bytes) -> UploadedPart:
        """Of any size: S3 checks sizes when the upload is completed."""
        check_part(number)
        upload = self._upload(bucket, key, upload_id)
        if upload is None:
            raise Outage(f"upload a part to s3://{bucket}: the upload is gone")
        part = Part(bytes(body), md5_hex(body), crc32_base64(body))
        upload.parts[number] = part
        return UploadedPart(number, part.etag, len(body), part.checksum)

    async def complete_upload(self, upload: PendingUpload) -> CompleteResult:
        """A second time finds no such upload, whatever became of the object."""
        held = self._upload(upload.bucket, upload.key, upload.upload_id)
        if held is None:
            return CompleteResult.NO_SUCH_UPLOAD
        if refusal := completion_refusal(held, upload.parts):
            raise ProtocolViolation(f"s3://{upload.bucket} refuses to complete an upload: {refusal}")
        del self._uploads[upload.upload_id]
        body = b"".join(held.parts[part.number].body for part in upload.parts)
        event = "ObjectCreated:CompleteMultipartUpload"
        self._store(upload.bucket, upload.key, body, multipart_etag(upload.parts), held.metadata, event)
        return CompleteResult.COMPLETED

    async def abort_upload(self, bucket: str, key: str, upload_id: str) -> None:
        """Its parts are gone."""
        if self._upload(bucket, key, upload_id) is not None:
            del self._uploads[upload_id]

    async def remove(self, bucket: str, key: str) -> None:
        """As `delete`, for those who know only the port."""
        self._bucket(bucket)
        self.delete(bucket, key)

    async def ping(self, bucket: str) -> None:
        """The bucket exists and isn't denied."""
        self._bucket(bucket)

    # ------------------------------------------------------------------------------------------------------ for tests

    def visible(self, bucket: str, prefix: str = "") -> dict[str, bytes]:
        """Every object under the prefix, in key order."""
        held = self._buckets[bucket]
        found = {key: held.latest(key) for key in held.keys if key.startswith(prefix)}
        return {key: v.body for key, v in found.items() if v is not None and v.body is not None}

    def pending_uploads(self, bucket: str) -> tuple[Pending, ...]:
        """Oldest first."""
        return tuple(
            Pending(u.bucket, u.key, upload_id, u.metadata, u.initiated_at, len(u.parts))
            for upload_id, u in self._uploads.items()
            if u.bucket == bucket
        )

    def abort_uploads_before(self, bucket: str, time: float) -> None:
        """What a lifecycle rule does to uploads initiated before that time."""
        for pending in self.pending_uploads(bucket):
            if pending.initiated_at < time:
                del self._uploads[pending.upload_id]

    def delete(self, bucket: str, key: str) -> None:
        """The key is gone; in a versioned bucket its versions can still be read by their ids."""
        held = self._buckets[bucket]
        if held.versioned and key in held.versions:
            held.add(key, Version(self._version_id(held), None, "", self._clock.now(), {}))
        elif held.versions.pop(key, None) is not None:
            held.keys.remove(key)

    def version_id(self, bucket: str, key: str) -> str:
        """Of the newest version."""
        return self._buckets[bucket].versions[key][-1].id

    # ------------------------------------------------------------------------------------------------------- the rules

    def _bucket(self, bucket: str) -> Bucket:
        if bucket in self.denied:
            raise AccessDenied(f"s3://{bucket}: AccessDenied")
        if bucket not in self._buckets:
            raise UsageError(f"s3://{bucket}: there is no such bucket; create it, or correct its name")
        return self._buckets[bucket]

    def _upload(self, bucket: str, key: str, upload_id: str) -> Upload | None:
        self._bucket(bucket)
        upload = self._uploads.get(upload_id)
        return upload if upload is not None and (upload.bucket, upload.key) == (bucket, key) else None

    def _store(self, bucket: str, key: str, body: bytes, etag: str, metadata: Mapping[str, str], event: str) -> None:
        held = self._bucket(bucket)
        at = float(int(self._clock.now()))  # S3 tells whole seconds
        version = Version(self._version_id(held), body, etag, at, metadata)
        held.add(key, version)
        if self._on_created is not None:
            version_id = version.id if held.versioned else None
            self._on_created(Created(bucket, key, len(body), etag, version_id, event, at))

    def _version_id(self, held: Bucket) -> str:
        return f"version-{next(self._numbers)}" if held.versioned else "null"


def _head(key: str, version: Version, metadata: Mapping[str, str]) -> ObjectHead:
    return ObjectHead(key, len(version.body or b""), version.etag, version.modified_at, metadata)


async def _chunks(body: bytes) -> AsyncGenerator[bytes]:
    for start in range(0, len(body), CHUNK_BYTES):
        yield body[start : start + CHUNK_BYTES]
        await asyncio.sleep(0)
