"""A one-shot conversion's S3 side: objects to read, and a prefix to write to whose uploads stay pending to the end."""

import time
from random import SystemRandom

from headsaw.adapters.clock import SystemClock
from headsaw.adapters.inline_outputs import UploadOutputs, abort_uploads
from headsaw.adapters.inline_sources import Bridge
from headsaw.core.conversion import ConversionReport
from headsaw.core.model import Batch, BatchId, BatchState, DatasetName, Lease, SourceFile, SourceSpan
from headsaw.core.settings import DatasetSettings, S3Prefix
from headsaw.errors import HeadsawError, UsageError
from headsaw.ports import CompleteResult, ObjectStore


class UploadLost(HeadsawError):  # noqa: N818 - what happened
    """An upload of this very conversion is gone."""


async def objects_at(store: ObjectStore, place: S3Prefix) -> list[SourceFile]:
    """The object of that name, or all objects under that prefix but folders, as they are now."""
    head = await store.head(place.bucket, place.prefix) if place.prefix and not place.prefix.endswith("/") else None
    if head is not None:
        return [SourceFile(place.bucket, head.key, head.etag, head.size)]
    found = [
        SourceFile(place.bucket, head.key, head.etag, head.size)
        async for head in store.list(place.bucket, place.prefix)
        if not head.key.endswith("/")
    ]
    if not found:
        raise UsageError(f"{place}: there is no such object, and none under it as a prefix; check bucket and key")
    return found


class S3Target:
    """A prefix; outputs are uploads that stay pending until the conversion is done."""

    def __init__(
        self,
        store: ObjectStore,
        bridge: Bridge,
        settings: DatasetSettings,
        place: S3Prefix,
        quarantine: S3Prefix,
        stem: str,
    ) -> None:
        settings = settings.model_copy(update={"destination": place})
        batch = _batch(stem, settings)
        self.outputs = UploadOutputs(bridge, store, SystemClock(), batch, settings, quarantine, _token)
        self._store = store
        self._bucket = place.bucket

    async def publish(self, report: ConversionReport) -> None:
        """The reported outputs are visible, all others aborted."""
        for upload in self.outputs.pending(report.outputs):
            if await self._store.complete_upload(upload) is not CompleteResult.COMPLETED:
                raise UploadLost(f"s3://{upload.bucket}: somebody aborted an upload; convert again")
        leftovers = self.outputs.unreported(report.outputs)
        await abort_uploads(self._store, [(o.bucket, o.key, o.upload_id) for o in leftovers])

    async def discard(self) -> None:
        """Every upload is aborted."""
        await abort_uploads(self._store, [(o.bucket, o.key, o.upload_id) for o in self.outputs.created])

    def name(self, output: str) -> str:
        """Its URI."""
        return f"s3://{self._bucket}/{output}"


def _token() -> str:
    return f"{SystemRandom().getrandbits(128):032x}"


def _batch(stem: str, settings: DatasetSettings) -> Batch:
    """What names outputs: a batch that no ledger knows."""
    batch_id = BatchId(stem)
    return Batch(
        id=batch_id,
        dataset=DatasetName(settings.name),
        settings=settings.hash,
        state=BatchState.RUNNING,
        span=SourceSpan(batch_id, 0, 0),
        bytes=0,
        chunks=0,
        created_at=time.time(),
        lease=Lease(None, 0, 0.0),
    )
