"""What a held batch needs next, done: convert, commit, publish, split, fail. One task per batch, a bounded number.

Two-phase publish: outputs are pending uploads; the commit record is stored; the transition to PUBLISHING on our
lease_epoch is the commit point; only then are the uploads completed. Before it everything rolls back, after it
everything rolls forward, by whoever holds the batch then.
"""

import asyncio
import errno
from collections.abc import Sequence
from dataclasses import replace

from headsaw.core import lifecycle
from headsaw.core.commit import CommitRecord, digest, violations
from headsaw.core.facts import (
    BatchCommitted,
    BatchFailed,
    BatchReleased,
    BatchUnpublishable,
    LeaseWasLost,
    OutageMet,
    Where,
)
from headsaw.core.lifecycle import Commit, Fail, Finish, GiveUp, Release, Start, Wait
from headsaw.core.model import Batch, BatchId, BatchState, CommitPointer, FileMark, Source
from headsaw.core.naming import commit_record_name
from headsaw.core.retry import OUTAGE_BACKOFF, Backoff
from headsaw.core.routing import Inline, Later, ToEngine
from headsaw.core.settings import DatasetSettings
from headsaw.errors import HeadsawError, LeaseLost, Outage, ProtocolViolation, UsageError
from headsaw.ports import Accepted, ConvertedBatch, Refused, Unpublishable
from headsaw.worker.context import Context
from headsaw.worker.delegation import Delegation
from headsaw.worker.expected import Expected
from headsaw.worker.leases import Held, LeaseKeeper
from headsaw.worker.outcomes import commit_record, converted_fact, done_fact
from headsaw.worker.publisher import dispose, load_record

FAILURE_BACKOFF = Backoff(base_seconds=1.0, cap_seconds=60.0, floor_seconds=0.2)
ENVIRONMENT_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.EIO})
"""What isn't the data's fault: no space, no file descriptors, a broken disk."""

UPLOAD_AGE_SECONDS_MAX = 3.5 * 86400.0
"""Half of the lifecycle rule's seven days: an older pending upload might be gone before it is completed."""


class Runner:
    """Holds batches and works on them; `has_room` is set while another READY batch could soon be started."""

    def __init__(self, context: Context, keeper: LeaseKeeper, expected: Expected) -> None:
        self._context = context
        self._keeper = keeper
        self._expected = expected
        self._delegation = Delegation(context)
        self._slots = asyncio.Semaphore(context.limits.conversions)
        self._waiting: set[BatchId] = set()
        self._recovered: set[BatchId] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.has_room = asyncio.Event()
        self.has_room.set()
        self.finished = 0
        self.released = 0
        self._crash: BaseException | None = None
        self._crashed = asyncio.Event()

    @property
    def idle(self) -> bool:
        """Nothing is held."""
        return not self._tasks

    async def take_claimed(self, claimed: "asyncio.Queue[Batch]") -> None:
        """For ever: works on what the intake claimed."""
        while True:
            self.take(await claimed.get())

    async def watch(self) -> None:
        """For ever, or until a batch's task died of something that nobody expected: then raises that."""
        await self._crashed.wait()
        assert self._crash is not None  # noqa: S101 - set before the event
        raise self._crash

    @property
    def has_room_for_recovered(self) -> bool:
        """A recovered conversion gets its turn also while new claims fill every place: one may wait for each slot."""
        return len(self._recovered) < self._context.limits.conversions

    def take(self, batch: Batch, *, recovered: bool = False) -> None:
        """The batch, whose lease this worker was just granted, is worked on; released, if it can't be started soon."""
        if batch.id in self._keeper:
            return  # a claim was answered so late that this worker has recovered its batch: one of both leases is old
        held = self._keeper.hold(batch)
        work = self._work(held) if self._admit(batch, recovered) else self._give_away(held)
        task = asyncio.create_task(work, name=f"batch-{batch.id}")
        held.work = task
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _admit(self, batch: Batch, recovered: bool) -> bool:
        """Whether there is room for it; a conversion then counts as waiting from now on."""
        if batch.state is not BatchState.READY:
            return True
        if recovered:
            self._recovered.add(batch.id)
            return True
        if len(self._waiting) >= self._context.limits.waiting_max:
            return False
        self._waiting.add(batch.id)
        self._note_room()
        return True

    async def _give_away(self, held: Held) -> None:
        try:
            await self._release(held, 0.0, "no_capacity")
        finally:
            self._keeper.drop(held)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._crash = error
            self._crashed.set()

    async def drain(self, seconds: float) -> None:
        """What waits is released at once; what runs may finish in time; the rest is stopped and released."""
        for held in self._keeper.all():
            if held.batch.state in (BatchState.OPEN, BatchState.READY):
                held.cancel_work()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=seconds)
        for held in self._keeper.all():
            held.cancel_work()
        if self._tasks:
            await asyncio.wait(set(self._tasks))

    # --- one batch

    async def _work(self, held: Held) -> None:
        """The batch is advanced as far as this worker can take it, and isn't held afterwards, whatever happened."""
        try:
            await self._advance(held)
            self._expected.add(held.batch)
        except LeaseLost:
            self._context.tell(LeaseWasLost(held.batch, held.batch.state.value))
        except asyncio.CancelledError:
            if not held.lost:
                await self._release(held, 0.0, "drain")
        except Outage as outage:
            self._context.tell(OutageMet(_whereabouts(held.batch), type(outage).__name__, str(outage)))
            await self._release(held, self._outage_pause(held.batch), f"outage: {type(outage).__name__}")
        except Exception as error:  # noqa: BLE001 - an operator must act; one odd batch must not stop every worker
            kind = type(error).__name__
            self._context.tell(OutageMet(_whereabouts(held.batch), kind, str(error)))
            await self._release(held, OUTAGE_BACKOFF.cap_seconds, f"{kind}: {error}")
        finally:
            self._started(held.batch)
            self._keeper.drop(held)

    async def _advance(self, held: Held) -> None:
        match held.batch.state:
            case BatchState.READY:
                if held.batch.failures >= self._context.limits.attempts_max:
                    await self._end_attempts(held)
                else:
                    await self._route(held)
            case BatchState.DELEGATED:
                await self._look_after_run(held)
            case BatchState.PUBLISHING:
                await self._publish(held, await load_record(self._context, held.batch))
            case BatchState.FAILING:
                await self._finish_failing(held)
            case state:
                raise ProtocolViolation(f"a batch is held in state {state}")

    async def _route(self, held: Held) -> None:
        """Converted here, as soon as there is a slot, or handed to an engine; or given back until its engine works."""
        settings = await self._context.settings_of(held.batch.settings)
        match self._context.observed.route(held.batch, settings):
            case Later(seconds, reason):
                await self._release(held, seconds, reason)
            case Inline(reason):
                await self._convert_when_free(held, settings, reason)
            case ToEngine() as route:
                sources = await self._context.world.ledger.sources(held.batch)
                await self._delegation.delegate(held, settings, sources, route)

    async def _look_after_run(self, held: Held) -> None:
        converted = await self._delegation.look(held)
        if converted is None:
            return
        settings = await self._context.settings_of(held.batch.settings)
        sources = await self._context.world.ledger.sources(held.batch)
        record = await self._commit_converted(held, settings, sources, converted)
        if record is not None:
            await self._publish(held, record)

    async def _convert_when_free(self, held: Held, settings: DatasetSettings, route: str) -> None:
        await self._slots.acquire()
        try:
            self._started(held.batch)
            record = await self._convert_and_commit(held, settings, route)
        finally:
            self._slots.release()
        if record is not None:
            await self._publish(held, record)

    def _started(self, batch: Batch) -> None:
        self._waiting.discard(batch.id)
        self._recovered.discard(batch.id)
        self._note_room()

    def _note_room(self) -> None:
        if len(self._waiting) < self._context.limits.backlog:
            self.has_room.set()
        else:
            self.has_room.clear()

    async def _convert_and_commit(self, held: Held, settings: DatasetSettings, route: str) -> CommitRecord | None:
        """The accepted commit record; None if the data made the attempt fail."""
        world = self._context.world
        sources = await world.ledger.sources(held.batch)
        await held.advance(Start(route))
        try:
            converted = await world.converter.convert(held.batch, settings, sources)
        except (Outage, LeaseLost, UsageError):
            raise
        except OSError as error:
            if error.errno not in ENVIRONMENT_ERRNOS:
                await self._fail(held, type(error).__name__)
                return None
            raise Outage(f"this machine: {errno.errorcode[error.errno]}") from error
        except Exception as error:  # noqa: BLE001 - whatever the data provoked is a failure of this attempt
            await self._fail(
                held, f"{type(error).__name__}: {error}" if isinstance(error, HeadsawError) else type(error).__name__
            )
            return None
        return await self._commit_converted(held, settings, sources, converted)

    async def _commit_converted(
        self, held: Held, settings: DatasetSettings, sources: Sequence[Source], converted: ConvertedBatch
    ) -> CommitRecord | None:
        self._context.observed.converted(held.batch, converted)
        self._context.tell(converted_fact(held.batch, converted))
        return await self._commit(held, settings, sources, converted)

    async def _commit(
        self, held: Held, settings: DatasetSettings, sources: Sequence[Source], converted: ConvertedBatch
    ) -> CommitRecord | None:
        attempted = held.batch
        record = commit_record(attempted, settings, sources, converted)
        wrong = violations(record, attempted)
        if self._context.world.clock.now() - converted.oldest_upload_at > UPLOAD_AGE_SECONDS_MAX:
            wrong.append("its oldest upload is too old to be sure of")
        if wrong:
            await self._discard(converted, attempted)
            await self._fail(held, "not_committed: " + "; ".join(wrong))
            return None
        body = record.to_json()
        key = self._context.control.key(commit_record_name(held.batch))
        try:
            await self._context.world.store.put(self._context.control.bucket, key, body)
        except Outage:
            # Nothing was asked of the ledger yet, so this attempt can't have committed.
            await self._discard(converted, attempted)
            raise
        event = Commit(CommitPointer(key, digest(body)), record.counts.rows, record.schema_version)
        try:
            await held.advance(event)
        except LeaseLost:
            # A consistent read was behind this. If what it saw is our own commit, rolled forward by somebody else
            # meanwhile, the uploads are that batch's; otherwise the epoch has moved on and they can never be committed.
            if held.batch.commit != event.pointer:
                await self._discard(converted, attempted)
            raise
        # An Outage passes through: the commit may have been accepted, so the uploads must stay.
        self._context.tell(BatchCommitted(held.batch))
        return record

    async def _discard(self, converted: ConvertedBatch, attempted: Batch) -> None:
        """The uploads of an attempt of this worker are aborted. A Spark run's stay: they aren't ours, and its attempt
        outlives our lease, so that whoever holds the batch next takes the same report and commits it."""
        if attempted.run is None:
            await self._context.world.converter.discard(converted)

    async def _publish(self, held: Held, record: CommitRecord) -> None:
        result = await self._context.world.publisher.publish(record)
        if isinstance(result, Unpublishable):
            self._context.tell(BatchUnpublishable(held.batch, len(result.keys)))
            reason = f"{len(result.keys)} uploads are gone: run headsaw repair {held.batch.id}"
            await self._release(held, OUTAGE_BACKOFF.cap_seconds, reason)
            return
        for rejected in record.rejected:
            await dispose(
                self._context,
                held.batch,
                rejected.index,
                record.sources[rejected.index],
                FileMark.REJECTED,
                rejected.reason.value,
            )
        await held.advance(Finish(self._context.world.clock.now()))
        self.finished += 1
        self._context.tell(done_fact(held.batch, record, self._context.world.clock.now()))

    # --- failures

    async def _fail(self, held: Held, reason: str) -> None:
        """One failure more. The next attempt is anybody's, after a pause."""
        pause = FAILURE_BACKOFF.wait(held.batch.failures, self._context.random.random())
        await held.advance(Fail(self._context.world.clock.now() + pause, reason))
        self._context.tell(BatchFailed(held.batch, "retry", reason))

    async def _end_attempts(self, held: Held) -> None:
        """Two halves carry on, each with one attempt before it is halved in turn; a single file is given up."""
        reason = held.batch.reason or "attempts exhausted"
        if held.batch.files == 1:
            await held.advance(GiveUp(reason))
            await self._finish_failing(held)
            return
        ids = (BatchId(self._context.new_id()), BatchId(self._context.new_id()))
        failures = self._context.limits.attempts_max - 1
        ended, *children = lifecycle.split(held.batch, ids, self._context.world.clock.now(), failures=failures)
        match await self._context.world.ledger.split(held.batch, ended, children):
            case Accepted(batch):
                held.batch = batch
                self._context.tell(BatchFailed(batch, "split", reason))
                for child in children:
                    self._expected.add(child)
            case Refused(current):
                held.lost = True
                held.batch = current or held.batch
                raise LeaseLost(held.batch.id)

    async def _finish_failing(self, held: Held) -> None:
        (source,) = await self._context.world.ledger.sources(held.batch)
        reason = held.batch.reason or "attempts exhausted"
        await dispose(self._context, held.batch, held.batch.span.start, source, FileMark.FAILED, reason)
        await held.advance(Finish(self._context.world.clock.now()))
        self._context.tell(BatchFailed(held.batch, "failed", reason))

    async def _release(self, held: Held, pause: float, reason: str) -> None:
        """Given back if possible; if not, its lease will expire. What is over, or was given back, stays as it is."""
        if held.lost or held.batch.lease.owner is None:
            return
        due_at = self._context.world.clock.now() + pause
        # A Spark run goes on without us: only what `Delegation` knows of it ends the attempt.
        waits = held.batch.state is BatchState.DELEGATED
        try:
            await held.advance(Wait(due_at) if waits else Release(due_at, reason))
        except (LeaseLost, Outage):
            return
        self.released += 1
        self._context.tell(BatchReleased(held.batch, reason))

    def _outage_pause(self, batch: Batch) -> float:
        """Grows with every grant of the lease, since the attempt doesn't rise once a batch is committed.

        Up to a lease, no further: grants also follow deaths, and what an outage held up shall soon be done after it.
        """
        cap = min(OUTAGE_BACKOFF.cap_seconds, self._context.limits.lease_seconds)
        return replace(OUTAGE_BACKOFF, cap_seconds=cap).wait(min(batch.lease.epoch, 10), self._context.random.random())


def _whereabouts(batch: Batch) -> Where:
    """The part of the world that a batch in this state depends on most."""
    match batch.state:
        case BatchState.FAILING:
            return Where.DLQ
        case BatchState.DELEGATED:
            return Where.ENGINE
        case _:
            return Where.BUCKET
