"""Publishing: after the commit point, everything that the commit record promises comes true, as often as it takes.

Completing an upload twice, or by two workers at once, has one effect. "No such upload" is an earlier success only if
the object that is there carries the same token and size; otherwise nothing is assumed.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from headsaw.core.commit import TOKEN_METADATA, CommitRecord, PendingUpload, accepted_record
from headsaw.core.model import Batch, FileMark, RecordRange, Source, SourceFile
from headsaw.core.naming import dlq_id
from headsaw.core.notification import ORIGINAL_MESSAGE_ID, synthetic_event
from headsaw.errors import Outage, ProtocolViolation, SourceUnreadable
from headsaw.ports import CompleteResult, ObjectStore, Published, Unpublishable
from headsaw.worker.context import Context
from headsaw.worker.dead_letters import send_dead_letter

T = TypeVar("T")

COMPLETIONS_AT_ONCE = 8


class UploadPublisher:
    """`ports.Publisher` for plain Parquet in an object store."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def publish(self, record: CommitRecord) -> Published | Unpublishable:
        """Every upload is completed, by this call or an earlier one; what the record replaces is gone before that."""
        await each_at_once(self._retire, record.replaces)
        completed = await each_at_once(self._complete, record.uploads)
        missing = [upload.key for upload, done in zip(record.uploads, completed, strict=True) if not done]
        return Unpublishable(tuple(missing)) if missing else Published()

    async def _retire(self, upload: PendingUpload) -> None:
        """Nobody sees it, nor ever will: aborted first, so that a straggler can't complete it after the removal."""
        await self._store.abort_upload(upload.bucket, upload.key, upload.upload_id)
        await self._store.remove(upload.bucket, upload.key)

    async def _complete(self, upload: PendingUpload) -> bool:
        if await self._store.complete_upload(upload) is CompleteResult.COMPLETED:
            return True
        head = await self._store.head(upload.bucket, upload.key)
        return head is not None and head.metadata.get(TOKEN_METADATA) == upload.token and head.size == upload.size


async def each_at_once(step: Callable[[PendingUpload], Awaitable[T]], uploads: Sequence[PendingUpload]) -> list[T]:
    """The step's results in order, a bounded number at a time. No step is left running, also when one raises."""
    gate = asyncio.Semaphore(COMPLETIONS_AT_ONCE)

    async def gated(upload: PendingUpload) -> T:
        async with gate:
            return await step(upload)

    results = await asyncio.gather(*map(gated, uploads), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]


async def load_record(context: Context, batch: Batch) -> CommitRecord:
    """The accepted commit record, proven by its SHA-256."""
    if batch.commit is None:
        raise ProtocolViolation(f"batch {batch.id} is {batch.state} without a commit record")
    try:
        return accepted_record(batch, await context.world.store.read_all(context.control.bucket, batch.commit.key))
    except SourceUnreadable as gone:
        raise ProtocolViolation(f"the commit record of batch {batch.id} can't be read: {gone.reason}") from gone
    except (ValueError, KeyError, TypeError) as error:  # a newer worker's, or not the one that was accepted
        raise ProtocolViolation(f"the commit record of batch {batch.id}: {error}") from error


async def dispose(context: Context, batch: Batch, index: int, source: Source, mark: FileMark, reason: str) -> None:
    """The source may be claimed again, and the DLQ has a message that says why it was given up.

    In this order: a redrive of that message must find the mark. After a crash in between both happen again; a source
    that another batch has claimed since keeps its new owner.
    """
    if not await context.world.ledger.mark(source, batch.span.root, mark, reason):
        return
    body = await _original(context, source)
    ours = {"reason": reason, "dataset": batch.dataset, "batch": batch.id}
    if isinstance(source, RecordRange):
        ours[ORIGINAL_MESSAGE_ID] = source.message_id
    if not await send_dead_letter(context, dlq_id(batch.id, index), body, ours, {}):
        raise Outage("the DLQ didn't take a message")


async def _original(context: Context, source: Source) -> str:
    """What can be sent again: the record message's own body, or an S3 event for the file."""
    match source:
        case RecordRange(_, bucket, key, offset, length):
            try:
                data = await context.world.store.read_all(bucket, key, start=offset, length=length)
            except SourceUnreadable:  # somebody deleted the spool object: say at least where it was
                return json.dumps({"spool": f"s3://{bucket}/{key}", "offset": offset, "length": length})
            return data.decode("utf-8", errors="surrogatepass")
        case SourceFile():
            return synthetic_event(source)
