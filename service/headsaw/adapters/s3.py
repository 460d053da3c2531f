"""S3 as the service uses it: pinned reads, conditional writes, uploads that stay pending until they are completed.

Every call names the bucket's expected owner where one is known. What is uploaded carries a CRC32 (botocore's default
where its C runtime isn't installed) that S3 checks on arrival, and that completing an upload repeats, part by part.
"""

import asyncio
import base64
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Any, Final

from botocore.exceptions import ClientError

from headsaw.adapters.aws import error_code, translated
from headsaw.adapters.limits import check_key, check_metadata, check_part
from headsaw.core.commit import PendingUpload, UploadedPart
from headsaw.errors import Outage, ProtocolViolation, SourceUnreadable, Unreachable
from headsaw.ports import CompleteResult, ObjectHead, ReadFailure

READ_BYTES: Final = 256 * 1024
"""About this much is handed on at a time."""

_THREAD_BYTES: Final = 1024**2
"""Bodies above this are checksummed off the event loop."""

_MISSING: Final = frozenset({"NoSuchKey", "NoSuchVersion", "MethodNotAllowed", "404", "405"})
"""405 answers a read of a delete marker by its version."""

_LOCKED: Final = {
    "InvalidObjectState": "the object is archived: restore it, then redrive",
    "InvalidRequest": "the object is encrypted with a key of its writer's (SSE-C)",
}

_COMPLETION_REFUSED: Final = frozenset(
    {
        "EntityTooSmall",
        "InvalidPart",
        "InvalidPartOrder",
        "InvalidRequest",
        "BadDigest",
        "InvalidDigest",
        "MalformedXML",
    }
)


class S3ObjectStore:
    """`client` is an aiobotocore S3 client that someone else closes; `owners` maps buckets to expected accounts."""

    def __init__(self, client: Any, owners: Mapping[str, str] | None = None) -> None:
        self._client = client
        self._owners = owners or {}

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
        """Leaving early drops the connection instead of reading the rest. A range past the end is empty."""
        return self._reading(bucket, _request(key, etag, version_id) | _range(start, length), length == 0)

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
        """A range past the end is empty."""
        body = (
            None if length == 0 else await self._open(bucket, _request(key, etag, version_id) | _range(start, length))
        )
        if body is None:
            return b""
        try:
            with translated(f"read from s3://{bucket}"):
                content: bytes = await body.read()
                return content
        finally:
            body.close()

    @asynccontextmanager
    async def _reading(
        self, bucket: str, request: dict[str, str], nothing: bool
    ) -> AsyncGenerator[AsyncIterator[bytes]]:
        body = None if nothing else await self._open(bucket, request)
        try:
            async with aclosing(_chunks(body, bucket)) as chunks:
                yield chunks
        finally:
            if body is not None:
                body.close()

    async def _open(self, bucket: str, request: dict[str, str]) -> Any:
        """The answer's body; None where the range holds nothing."""
        with translated(f"read from s3://{bucket}"):
            try:
                answer = await self._client.get_object(**self._bucket(bucket), **request)
            except ClientError as error:
                code = error_code(error)
                if code in ("InvalidRange", "416"):
                    return None
                if code in ("PreconditionFailed", "412"):
                    raise SourceUnreadable(ReadFailure.SUPERSEDED) from None
                if code in _MISSING:
                    raise SourceUnreadable(ReadFailure.MISSING) from None
                if code in _LOCKED:
                    raise SourceUnreadable(ReadFailure.ACCESS_DENIED, _LOCKED[code]) from None
                raise
        return answer["Body"]

    async def put(self, bucket: str, key: str, body: bytes, *, if_absent: bool = False) -> bool:
        """False tells no more than it says: an unanswered earlier try of this very call may have made the key."""
        check_key(key)
        condition = {"IfNoneMatch": "*"} if if_absent else {}
        checksum = await _crc32(body)
        with translated(f"write to s3://{bucket}"):
            try:
                await self._client.put_object(
                    **self._bucket(bucket), Key=key, Body=body, ChecksumCRC32=checksum, **condition
                )
            except ClientError as error:
                if if_absent and error_code(error) in ("PreconditionFailed", "412"):
                    return False
                raise
        return True

    async def head(self, bucket: str, key: str) -> ObjectHead | None:
        """A missing bucket is an error all the same: a HEAD can't tell it from a missing key, so it is asked for."""
        with translated(f"look at s3://{bucket}"):
            try:
                answer = await self._client.head_object(**self._bucket(bucket), Key=key)
            except ClientError as error:
                if error_code(error) in _MISSING:
                    await self.ping(bucket)
                    return None
                raise
        return ObjectHead(
            key=key,
            size=answer["ContentLength"],
            etag=answer["ETag"].strip('"'),
            modified_at=answer["LastModified"].timestamp(),
            metadata=answer.get("Metadata", {}),
        )

    async def list(self, bucket: str, prefix: str) -> AsyncIterator[ObjectHead]:
        """Page by page, a thousand objects each."""
        request = {**self._bucket(bucket), "Prefix": prefix}
        while True:
            with translated(f"list s3://{bucket}"):
                page = await self._client.list_objects_v2(**request)
            for found in page.get("Contents", ()):
                modified_at = found["LastModified"].timestamp()
                yield ObjectHead(found["Key"], found["Size"], found["ETag"].strip('"'), modified_at, {})
            if not page.get("IsTruncated"):
                return
            request["ContinuationToken"] = page["NextContinuationToken"]

    async def create_upload(self, bucket: str, key: str, metadata: Mapping[str, str]) -> str:
        """Encryption is the bucket's default."""
        check_key(key)
        check_metadata(metadata)
        with translated(f"create an upload in s3://{bucket}"):
            answer = await self._client.create_multipart_upload(
                **self._bucket(bucket), Key=key, Metadata=dict(metadata), ChecksumAlgorithm="CRC32"
            )
        upload_id: str = answer["UploadId"]
        return upload_id

    async def upload_part(self, bucket: str, key: str, upload_id: str, number: int, body: bytes) -> UploadedPart:
        """Its `checksum` is the CRC32 that S3 checked, in base64. Raises Outage if somebody aborted the upload."""
        check_part(number)
        checksum = await _crc32(body)
        with translated(f"upload a part to s3://{bucket}"):
            try:
                answer = await self._client.upload_part(
                    **self._bucket(bucket),
                    Key=key,
                    UploadId=upload_id,
                    PartNumber=number,
                    Body=body,
                    ChecksumCRC32=checksum,
                )
            except ClientError as error:
                if error_code(error) == "NoSuchUpload":
                    raise Outage(f"upload a part to s3://{bucket}: the upload is gone") from None
                raise
        return UploadedPart(number, answer["ETag"].strip('"'), len(body), checksum)

    async def complete_upload(self, upload: PendingUpload) -> CompleteResult:
        """botocore repeats it after a 200 that holds an error. Raises ProtocolViolation if S3 refuses the parts."""
        parts = [
            {"PartNumber": part.number, "ETag": f'"{part.etag}"', "ChecksumCRC32": part.checksum}
            for part in upload.parts
        ]
        with translated(f"complete an upload in s3://{upload.bucket}"):
            try:
                answer = await self._client.complete_multipart_upload(
                    **self._bucket(upload.bucket),
                    Key=upload.key,
                    UploadId=upload.upload_id,
                    MultipartUpload={"Parts": parts},
                    MpuObjectSize=upload.size,
                )
            except ClientError as error:
                code = error_code(error)
                if code == "NoSuchUpload":
                    return CompleteResult.NO_SUCH_UPLOAD
                if code in _COMPLETION_REFUSED:
                    raise ProtocolViolation(f"s3://{upload.bucket} refuses to complete an upload: {code}") from None
                raise
        if not answer.get("ETag"):
            raise Unreachable(f"complete an upload in s3://{upload.bucket}: an answer that doesn't say it is done")
        return CompleteResult.COMPLETED

    async def abort_upload(self, bucket: str, key: str, upload_id: str) -> None:
        """An upload that isn't there is gone already."""
        with translated(f"abort an upload in s3://{bucket}"):
            try:
                await self._client.abort_multipart_upload(**self._bucket(bucket), Key=key, UploadId=upload_id)
            except ClientError as error:
                if error_code(error) != "NoSuchUpload":
                    raise

    async def remove(self, bucket: str, key: str) -> None:
        """Asks first: in a versioned bucket every delete leaves a marker."""
        if await self.head(bucket, key) is None:
            return
        with translated(f"remove from s3://{bucket}"):
            await self._client.delete_object(**self._bucket(bucket), Key=key)

    async def ping(self, bucket: str) -> None:
        """A listing of one key: HEAD tells a missing bucket and a denied one apart less well."""
        with translated(f"reach s3://{bucket}"):
            await self._client.list_objects_v2(**self._bucket(bucket), MaxKeys=1)

    def _bucket(self, bucket: str) -> dict[str, str]:
        owner = self._owners.get(bucket)
        return {"Bucket": bucket, "ExpectedBucketOwner": owner} if owner else {"Bucket": bucket}


def _request(key: str, etag: str | None, version_id: str | None) -> dict[str, str]:
    """A version is never overwritten, so it needs no eTag besides."""
    if version_id is not None:
        return {"Key": key, "VersionId": version_id}
    return {"Key": key, "IfMatch": f'"{etag}"'} if etag is not None else {"Key": key}


def _range(start: int, length: int | None) -> dict[str, str]:
    """No header for the whole object. S3 can't be asked for nothing: a range that ends before it starts is ignored."""
    if length is None:
        return {"Range": f"bytes={start}-"} if start else {}
    return {"Range": f"bytes={start}-{start + length - 1}"}


async def _chunks(body: Any, bucket: str) -> AsyncGenerator[bytes]:
    """Pieces of READ_BYTES or a little more: the network's are small, and each costs its taker a hand-over."""
    pieces: list[bytes] = []
    while body is not None:
        with translated(f"read from s3://{bucket}"):
            piece: bytes = await body.read(READ_BYTES)
        pieces.append(piece)
        if not piece or sum(map(len, pieces)) >= READ_BYTES:
            if chunk := b"".join(pieces):
                yield chunk
            pieces.clear()
        if not piece:
            return


async def _crc32(body: bytes) -> str:
    value = await asyncio.to_thread(zlib.crc32, body) if len(body) > _THREAD_BYTES else zlib.crc32(body)
    return base64.b64encode(value.to_bytes(4, "big")).decode()
