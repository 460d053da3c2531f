"""Handing batches to Spark engines, and looking after their runs. A DELEGATED batch is nobody's between two looks.

The intent to start is in the ledger before the engine is asked, so that a run whose start nobody heard of is never
mistaken for none: the next look finds it or starts another, and the ledger lets one driver register.
"""

from collections.abc import Sequence

from headsaw.core.conversion import ConversionReport
from headsaw.core.delegation import (
    GaveUp,
    KeepWaiting,
    Manifest,
    RunState,
    RunStatus,
    SparkReport,
    StartRun,
    TakeReport,
    UndoRun,
    next_step,
    read_report,
)
from headsaw.core.facts import BatchDelegated, BatchFailed, OutageMet, RunUndone, Where
from headsaw.core.lifecycle import Delegate, Fail, Release, Wait
from headsaw.core.model import Batch, Source, SparkRun
from headsaw.core.naming import manifest_name, report_name
from headsaw.core.retry import OUTAGE_BACKOFF
from headsaw.core.routing import ToEngine
from headsaw.core.settings import DatasetSettings
from headsaw.core.table_schema import TableSchema
from headsaw.errors import Outage, ProtocolViolation, SourceUnreadable
from headsaw.ports import Busy, ConvertedBatch, SparkJob
from headsaw.worker.context import Context
from headsaw.worker.leases import Held


class Delegation:
    """See the module."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def delegate(self, held: Held, settings: DatasetSettings, sources: Sequence[Source], route: ToEngine) -> None:
        """A run is started and the batch waits for it; or the engine is busy, and the batch is due again later."""
        batch, place = held.batch, self._context.place
        manifest = Manifest(
            batch=batch.id,
            attempt=batch.attempt,
            ingested_at=batch.created_at,
            settings=settings,
            sources=tuple(sources),
            control=place.control,
            quarantine=place.quarantine,
            ledger_table=place.ledger_table,
            ledger_retention_seconds=place.ledger_retention_seconds,
            region=place.region,
        )
        key = place.control.key(manifest_name(batch.id, batch.attempt))
        await self._context.world.store.put(place.control.bucket, key, manifest.to_json())
        await held.advance(Delegate(route.engine, self._context.world.clock.now(), route.reason))
        self._context.tell(BatchDelegated(held.batch, route.engine, route.reason))
        await self._start(held, _run(held.batch))

    async def look(self, held: Held) -> ConvertedBatch | None:
        """The run's result, if it is there; otherwise the batch was given back, as far as it could be taken."""
        run = _run(held.batch)
        status = await self._status(run)
        report = await self._report(held.batch, run)
        limit = self._context.limits.spark_run_seconds_max
        match next_step(run, status, report, self._context.world.clock.now(), limit):
            case TakeReport(result):
                self._context.observed.run_ended(run, status, report)
                return _converted(result)
            case KeepWaiting():
                if run.driver is not None:
                    self._context.observed.run_at_work(run.engine, held.batch)
                await held.advance(Wait(self._next_look()))
            case StartRun():
                await self._start_again(held, run)
            case UndoRun() if run.driver is None and await self._registered_since(held.batch):
                await held.advance(Wait(self._next_look()))
            case UndoRun(reason, counts):
                self._context.observed.run_ended(run, status, report)
                await self._undo(held, run, status, reason, counts=counts)
        return None

    async def _start_again(self, held: Held, run: SparkRun) -> None:
        """As `_start`; if the engine is left alone, the attempt is over instead, so that the batch is routed anew.

        If a run was started unheard, its driver will find the attempt gone, and do nothing.
        """
        if self._context.observed.engine_wait(run.engine) is None:
            self._context.observed.engine_asked(run.engine, held.batch)
            await self._start(held, run)
        else:
            await self._undo(held, run, None, f"{run.engine} takes no runs now", counts=False)

    async def _start(self, held: Held, run: SparkRun) -> None:
        """A run is known for the intent; or the engine was busy, and the attempt is over."""
        engine = self._context.world.engines.get(run.engine)
        if engine is None:  # another version of the configuration may have it
            await held.advance(Wait(self._next_look()))
            return
        job = self._job(held.batch)
        try:
            started = await engine.find(job) or await engine.start(job)
        except Outage:
            self._context.observed.engine_failed(run.engine)
            raise
        if isinstance(started, Busy):
            self._context.observed.engine_failed(run.engine)
            pause = OUTAGE_BACKOFF.wait(min(held.batch.attempt, 10), self._context.random.random())
            await held.advance(Release(self._context.world.clock.now() + pause, started.reason))
            self._context.tell(RunUndone(held.batch, run.engine, started.reason))
            return
        await held.advance(Wait(self._next_look(), started))

    def _job(self, batch: Batch) -> SparkJob:
        place = self._context.place.control
        manifest = f"s3://{place.bucket}/{place.key(manifest_name(batch.id, batch.attempt))}"
        return SparkJob(batch.id, batch.attempt, batch.dataset, manifest, self._context.observed.ndjson_bytes(batch))

    async def _status(self, run: SparkRun) -> RunStatus | None:
        """None where no run is known, or this worker doesn't know its engine, or the engine doesn't answer.

        A report that is there needs no engine, and a run's time ends without one too.
        """
        engine = self._context.world.engines.get(run.engine)
        if engine is None or run.known_id is None:
            return None
        try:
            return await engine.status(run.known_id)
        except Outage as outage:
            self._context.observed.engine_failed(run.engine)
            self._context.tell(OutageMet(Where.ENGINE, type(outage).__name__, str(outage)))
            return None

    async def _registered_since(self, batch: Batch) -> bool:
        """Whether a driver has registered since the batch was read, of which no fence tells."""
        current = await self._context.world.ledger.batch(batch.id)
        return current is not None and current.run is not None and current.run.driver is not None

    async def _report(self, batch: Batch, run: SparkRun) -> SparkReport | GaveUp | None:
        if run.driver is None:
            return None
        place = self._context.place.control
        try:
            body = await self._context.world.store.read_all(
                place.bucket, place.key(report_name(batch.id, batch.attempt, run.driver))
            )
        except SourceUnreadable:
            return None
        try:
            return read_report(body)
        except (ValueError, KeyError, TypeError) as error:
            raise ProtocolViolation(f"the Spark report of batch {batch.id}: {error}") from error

    async def _undo(self, held: Held, run: SparkRun, status: RunStatus | None, reason: str, *, counts: bool) -> None:
        """The attempt is over. A run that may go on is asked to stop, though what it makes can't count any more."""
        pause = OUTAGE_BACKOFF.wait(min(held.batch.attempt, 10), self._context.random.random())
        due_at = self._context.world.clock.now() + pause
        await held.advance(Fail(due_at, reason) if counts else Release(due_at, reason))
        self._context.tell(RunUndone(held.batch, run.engine, reason))
        if counts:
            self._context.tell(BatchFailed(held.batch, "retry", reason))
        engine = self._context.world.engines.get(run.engine)
        if engine is not None and run.known_id is not None and (status is None or status.state is RunState.RUNNING):
            try:
                await engine.cancel(run.known_id)
            except Outage:
                return

    def _next_look(self) -> float:
        return self._context.world.clock.now() + self._context.limits.spark_poll_seconds


def _run(batch: Batch) -> SparkRun:
    if batch.run is None:
        raise ProtocolViolation(f"batch {batch.id} is {batch.state} without a Spark run")
    return batch.run


def _converted(report: SparkReport) -> ConvertedBatch:
    """The run's result as a worker's own conversion would have it; only the table schema's version is known here."""
    return ConvertedBatch(
        report=ConversionReport(
            files=report.files,
            rejections=report.rejections,
            outputs=(),
            schema=TableSchema(report.schema_version),
            rescued_values=report.rescued_values,
            bytes_in=report.bytes_in,
            notices=report.notices,
        ),
        uploads=report.uploads,
        oldest_upload_at=report.oldest_upload_at,
        cpu_seconds=report.cpu_seconds,
        seconds=report.seconds,
    )
