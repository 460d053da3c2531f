"""How a conversion's thread writes: every output is a multipart upload that stays pending until its batch is committed.

Parts go up while the thread goes on, two at a time for each output; a full part in hand and two on their way is all the
memory that an output takes. What this conversion created is aborted by it alone, and only when it can't be committed.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future

from headsaw.adapters.inline_sources import Bridge
from headsaw.core.commit import PART_BYTES_MIN, TOKEN_METADATA, PendingUpload, UploadedPart
from headsaw.core.conversion import OutputFile, OutputKind
from headsaw.core.model import Batch
from headsaw.core.naming import output_stem
from headsaw.core.settings import DatasetSettings, S3Prefix
from headsaw.errors import Outage
from headsaw.ports import Clock, ObjectStore

PART_BYTES = 8 * 1024**2
PARTS_IN_FLIGHT = 2
INLINE_TASK = 0
"""Spark tasks number their outputs from 1: the 0 in a key says that a worker wrote it."""

SUFFIX = {OutputKind.TABLE: ".parquet", OutputKind.QUARANTINE: ".ndjson.zst"}

assert PART_BYTES >= PART_BYTES_MIN  # noqa: S101 - two constants


class UploadOutput:
    """`core.conversion.Output` as a pending upload; used by the thread."""

    def __init__(self, bridge: Bridge, store: ObjectStore, bucket: str, key: str, token: str, upload_id: str) -> None:
        self._bridge = bridge
        self._store = store
        self.bucket = bucket
        self.key = key
        self.token = token
        self.upload_id = upload_id
        self._rest = bytearray()
        self._sent = 0
        self._under_way: list[Future[UploadedPart]] = []
        self.parts: list[UploadedPart] = []

    @property
    def name(self) -> str:
        """The object's key, unique in the conversion."""
        return self.key

    def write(self, data: bytes) -> None:
        """Buffered, and sent as parts when there is enough."""
        self._rest += data
        while len(self._rest) >= PART_BYTES:
            self._send(bytes(self._rest[:PART_BYTES]))
            del self._rest[:PART_BYTES]

    def close(self) -> None:
        """All parts are stored."""
        if self._rest or not self._sent:
            self._send(bytes(self._rest))
            self._rest.clear()
        while self._under_way:
            self._collect()

    def abort(self) -> None:
        """The conversion aborts it with all others when it ends; until then it only forgets its bytes."""
        self._rest.clear()

    def _send(self, body: bytes) -> None:
        while len(self._under_way) >= PARTS_IN_FLIGHT:
            self._collect()
        self._sent += 1
        self._under_way.append(
            self._bridge.start(self._store.upload_part(self.bucket, self.key, self.upload_id, self._sent, body))
        )

    def _collect(self) -> None:
        self.parts.append(self._bridge.result(self._under_way.pop(0)))


class UploadOutputs:
    """`core.conversion.Outputs` of one conversion. `created` has every upload, finished or not.

    `task` is in the names of its outputs, so that no two conversions for one attempt at a batch share a name.
    """

    def __init__(
        self,
        bridge: Bridge,
        store: ObjectStore,
        clock: Clock,
        batch: Batch,
        settings: DatasetSettings,
        quarantine: S3Prefix,
        new_token: Callable[[], str],
        task: int = INLINE_TASK,
    ) -> None:
        self._bridge = bridge
        self._store = store
        self._clock = clock
        self._task = task
        self._batch = batch
        self._settings = settings
        self._quarantine = quarantine
        self._new_token = new_token
        self.created: list[UploadOutput] = []
        self.oldest_at = clock.now()

    def open(self, kind: OutputKind, partition: str) -> UploadOutput:
        """A new pending upload under its final key."""
        place = self._settings.destination if kind is OutputKind.TABLE else self._quarantine
        directory = partition if kind is OutputKind.TABLE else f"{self._batch.dataset}/{partition}".rstrip("/")
        name = f"{output_stem(self._batch, self._task, len(self.created))}{SUFFIX[kind]}"
        key = place.key(f"{directory}/{name}" if directory else name)
        token = self._new_token()
        upload_id = self._bridge.call(self._store.create_upload(place.bucket, key, {TOKEN_METADATA: token}))
        output = UploadOutput(self._bridge, self._store, place.bucket, key, token, upload_id)
        self.created.append(output)
        return output

    def pending(self, files: tuple[OutputFile, ...]) -> tuple[PendingUpload, ...]:
        """The uploads that the conversion reported, ready for the commit record."""
        by_name = {output.name: output for output in self.created}
        return tuple(_pending(by_name[file.name], file) for file in files)

    def unreported(self, files: tuple[OutputFile, ...]) -> list[UploadOutput]:
        """Uploads that a restart within the conversion left behind."""
        names = {file.name for file in files}
        return [output for output in self.created if output.name not in names]


def _pending(output: UploadOutput, file: OutputFile) -> PendingUpload:
    return PendingUpload(
        bucket=output.bucket,
        key=output.key,
        upload_id=output.upload_id,
        token=output.token,
        parts=tuple(output.parts),
        kind=file.kind,
        partition=file.partition,
        rows=file.rows,
        schema_version=file.schema_version,
    )


async def abort_uploads(store: ObjectStore, uploads: list[tuple[str, str, str]]) -> None:
    """The uploads (bucket, key, id) are gone as far as the store answers; the lifecycle rule takes the rest."""

    async def abort(bucket: str, key: str, upload_id: str) -> None:
        try:
            await store.abort_upload(bucket, key, upload_id)
        except Outage:
            return

    await asyncio.gather(*(abort(*upload) for upload in uploads))
