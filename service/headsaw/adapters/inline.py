"""Inline conversion: `headsaw.convert` in a thread, fed from and written to the object store by the event loop.

Memory: the prefetch budget, two parts for each open output, and what `headsaw.convert` is allowed to take.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from headsaw.adapters.inline_outputs import UploadOutputs, abort_uploads
from headsaw.adapters.inline_sources import Bridge, Denials, Prefetch, StoredSource
from headsaw.convert import convert
from headsaw.core.conversion import ConversionReport
from headsaw.core.model import Batch, Source
from headsaw.core.settings import DatasetSettings, S3Prefix
from headsaw.core.table_schema import TableSchema
from headsaw.ports import Clock, ConvertedBatch, Ledger, ObjectStore
from headsaw.uninterrupted import uninterrupted

UNDO_SECONDS = 5.0
"""An object store that doesn't answer must not hold up a drain for longer."""


class LedgerSchemaBook:
    """`core.conversion.SchemaBook` over the ledger; used by the thread."""

    def __init__(self, bridge: Bridge, ledger: Ledger, dataset: str) -> None:
        self._bridge = bridge
        self._ledger = ledger
        self._dataset = dataset

    def head(self) -> TableSchema:
        """The newest accepted version."""
        return self._bridge.call(self._ledger.schema_head(self._dataset))

    def propose(self, schema: TableSchema) -> TableSchema:
        """Ours, or the winner's."""
        if self._bridge.call(self._ledger.add_schema(self._dataset, schema)):
            return schema
        return self.head()


class InlineConverter:
    """`ports.Converter` in this process. `new_token` identifies uploads; `threads` conversions run at once."""

    def __init__(
        self,
        store: ObjectStore,
        ledger: Ledger,
        clock: Clock,
        quarantine: S3Prefix,
        new_token: Callable[[], str],
        threads: int,
        memory_bytes: int,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._clock = clock
        self._quarantine = quarantine
        self._new_token = new_token
        self._memory_bytes = memory_bytes // threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="convert")

    async def close(self) -> None:
        """No thread is left. The loop goes on meanwhile: a thread that still runs needs it to come to its end."""
        await asyncio.to_thread(self._pool.shutdown, wait=True, cancel_futures=True)

    async def convert(self, batch: Batch, settings: DatasetSettings, sources: Sequence[Source]) -> ConvertedBatch:
        """Everything is uploaded and pending, or aborted."""
        bridge = Bridge()
        outputs = UploadOutputs(bridge, self._store, self._clock, batch, settings, self._quarantine, self._new_token)
        prefetch = Prefetch(self._store, sources)
        fetching = asyncio.create_task(prefetch.run(), name=f"prefetch-{batch.id}")
        denials = Denials(self._store, sources, batch.attempt)
        started = time.monotonic()

        def run() -> tuple[ConversionReport, float]:
            cpu = time.thread_time()
            report = convert(
                [StoredSource(bridge, self._store, prefetch, i, source, denials) for i, source in enumerate(sources)],
                settings=settings,
                batch=batch.id,
                ingested_at=batch.created_at,
                schema=LedgerSchemaBook(bridge, self._ledger, batch.dataset),
                outputs=outputs,
                memory_bytes=self._memory_bytes,
            )
            return report, time.thread_time() - cpu

        work = asyncio.get_running_loop().run_in_executor(self._pool, run)
        try:
            report, cpu_seconds = await asyncio.shield(work)
        except BaseException:
            await uninterrupted(self._undo(bridge, prefetch, work, outputs))
            raise
        finally:
            fetching.cancel()
            await prefetch.stop()
        leftovers = outputs.unreported(report.outputs)
        await abort_uploads(self._store, [(o.bucket, o.key, o.upload_id) for o in leftovers])
        return ConvertedBatch(
            report=report,
            uploads=outputs.pending(report.outputs),
            oldest_upload_at=outputs.oldest_at,
            cpu_seconds=cpu_seconds,
            seconds=time.monotonic() - started,
        )

    async def _undo(
        self, bridge: Bridge, prefetch: Prefetch, work: "asyncio.Future[Any]", outputs: UploadOutputs
    ) -> None:
        """The thread has stopped and then its uploads are aborted: while it ran it would go on adding to them."""
        bridge.close()
        await prefetch.stop()
        await asyncio.wait({work})
        if not work.cancelled():
            work.exception()
        try:
            async with asyncio.timeout(UNDO_SECONDS):
                await abort_uploads(self._store, [(o.bucket, o.key, o.upload_id) for o in outputs.created])
        except TimeoutError:
            return  # the lifecycle rule takes them

    async def discard(self, converted: ConvertedBatch) -> None:
        """Its pending uploads are aborted."""
        await abort_uploads(self._store, [(u.bucket, u.key, u.upload_id) for u in converted.uploads])
