"""Rebuilds the outputs of a committed batch whose uploads are gone. Why in this order: docs/decisions/002-repair.md.

    take the lease ─▶ convert again, into new pending uploads ─▶ PUT the new record
        ─▶ Amend: the batch is the new record's
        ─▶ retire every old output (abort, remove) ─▶ complete the new ones ─▶ DONE

Before Amend nothing has changed, after it whoever holds the batch rolls the new record forward, retirement first. So no
row is ever seen twice, and a crash anywhere leaves a batch that a worker, or the next repair, carries on with.
"""

from dataclasses import dataclass, replace

from headsaw.config import ServiceSettings
from headsaw.core.commit import CommitRecord, digest, violations
from headsaw.core.lifecycle import Amend, Finish, Take, advance
from headsaw.core.model import Batch, BatchId, BatchState, CommitPointer, WorkerId
from headsaw.core.naming import repair_record_name
from headsaw.errors import HeadsawError, LeaseLost, Outage, ProtocolViolation
from headsaw.operate.describe import NotFound
from headsaw.operate.holding import Held
from headsaw.operate.site import Ports, load_record
from headsaw.ports import Accepted, ConvertedBatch, Converter, Publisher, Unpublishable


class NotRepaired(HeadsawError):  # noqa: N818 - what happened
    """Nothing was changed; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Repaired:
    """`gone`: keys of the uploads that were lost (empty: nothing was). `record` is the one that is published now."""

    batch: Batch
    gone: tuple[str, ...]
    record: CommitRecord


_INSTEAD = {
    BatchState.OPEN: "it is being claimed",
    BatchState.READY: "it has no outputs yet",
    BatchState.RUNNING: "it has no outputs yet",
    BatchState.DELEGATED: "it has no outputs yet",
    BatchState.DONE: "it is published; an object that was deleted since must be restored (bucket versioning, backup)",
    BatchState.SPLIT: "its children carry on",
    BatchState.FAILING: "it never had outputs; see headsaw retry",
    BatchState.FAILED: "it never had outputs; see headsaw retry",
}


async def repair(
    config: ServiceSettings, ports: Ports, batch_id: str, converter: Converter, publisher: Publisher, name: WorkerId
) -> Repaired:
    """All of the batch's rows are visible, once. Raises NotFound, NotRepaired, LeaseLost, Outage."""
    batch = await _take(config, ports, batch_id, name)
    held = Held(ports.ledger, ports.clock, batch, config.lease_seconds)
    try:
        return await held.during(_Repair(config, ports, held, converter, publisher).run())
    except BaseException:
        await held.release()
        raise


async def _take(config: ServiceSettings, ports: Ports, batch_id: str, name: WorkerId) -> Batch:
    batch = await ports.ledger.batch(BatchId(batch_id))
    if batch is None:
        raise NotFound(f"batch {batch_id}: the ledger {config.ledger_table} has no such batch")
    if batch.state is not BatchState.PUBLISHING:
        raise NotRepaired(f"batch {batch_id} is {batch.state.value}: {_INSTEAD[batch.state]}")
    now = ports.clock.now()
    if batch.lease.held(now):
        raise NotRepaired(
            f"batch {batch_id}: {batch.lease.owner} is publishing it; try again in {batch.lease.until - now:.0f} s"
        )
    result = await ports.ledger.apply(batch, advance(batch, Take(name, now + config.lease_seconds)))
    if not isinstance(result, Accepted):
        raise NotRepaired(f"batch {batch_id}: a worker has just taken it; try again")
    return result.batch


class _Repair:
    """One repair of a batch that is held."""

    def __init__(
        self, config: ServiceSettings, ports: Ports, held: Held, converter: Converter, publisher: Publisher
    ) -> None:
        self._control = config.control
        self._ports = ports
        self._held = held
        self._converter = converter
        self._publisher = publisher

    async def run(self) -> Repaired:
        record = await load_record(self._ports.store, self._control, self._held.batch)
        result = await self._publisher.publish(record)
        if not isinstance(result, Unpublishable):
            return Repaired(await self._finish(record), (), record)
        amended = await self._amend(record, await self._convert(record))
        again = await self._publisher.publish(amended)
        if isinstance(again, Unpublishable):
            raise NotRepaired(
                f"batch {self._held.batch.id}: {len(again.keys)} of the new uploads are gone too; see who aborts "
                "uploads at the destination, and repair it again"
            )
        return Repaired(await self._finish(amended), result.keys, amended)

    async def _convert(self, record: CommitRecord) -> tuple[ConvertedBatch, list[int]]:
        """The sources that the record counted, converted again, and their indices; the same lines, or NotRepaired."""
        settings = await self._ports.ledger.settings(self._held.batch.settings)
        if settings is None:
            raise ProtocolViolation(f"the ledger has no settings snapshot {self._held.batch.settings}")
        # What the record rejected stays rejected: its redrive may be another batch's by now.
        indices = sorted(record.files)
        next_attempt = replace(self._held.batch, attempt=self._held.batch.attempt + 1)
        converted = await self._converter.convert(next_attempt, settings, [record.sources[i] for i in indices])
        if trouble := _lost_lines(record, converted, indices):
            await self._converter.discard(converted)
            raise NotRepaired(f"batch {self._held.batch.id}: {trouble}")
        return converted, indices

    async def _amend(self, old: CommitRecord, result: tuple[ConvertedBatch, list[int]]) -> CommitRecord:
        """The ledger says that the batch is the new record's."""
        converted, indices = result
        after = replace(self._held.batch, attempt=self._held.batch.attempt + 1)
        report = converted.report
        record = replace(
            old,
            attempt=after.attempt,
            lease_epoch=after.lease.epoch,
            engine="inline",
            schema_version=report.schema.version,
            files={indices[position]: counts for position, counts in report.files.items()},
            uploads=converted.uploads,
            oldest_upload_at=converted.oldest_upload_at,
            rescued_values=report.rescued_values,
            bytes_in=report.bytes_in,
            replaces=(*old.replaces, *old.uploads),
        )
        if wrong := violations(record, after):
            await self._converter.discard(converted)
            raise NotRepaired(f"batch {after.id}: {'; '.join(wrong)}")
        body, key = record.to_json(), self._control.key(repair_record_name(after))
        pointer = CommitPointer(key, digest(body))
        try:
            await self._ports.store.put(self._control.bucket, key, body)
        except Outage:  # nothing was asked of the ledger: these uploads can't be the batch's
            await self._converter.discard(converted)
            raise
        try:
            await self._held.advance(Amend(pointer, record.counts.rows, record.schema_version))
        except LeaseLost:
            if self._held.batch.commit != pointer:
                await self._converter.discard(converted)
                raise
            # Our own amendment, seen after a lost answer and already rolled forward by a worker: publishing is safe.
        return record

    async def _finish(self, record: CommitRecord) -> Batch:
        """DONE; or PUBLISHING and due at once, where rejected files still need their DLQ messages from a worker."""
        if not record.rejected and not self._held.lost:
            return await self._held.advance(Finish(self._ports.clock.now()))
        await self._held.release()
        return self._held.batch


def _lost_lines(old: CommitRecord, converted: ConvertedBatch, indices: list[int]) -> str | None:
    """Why the new conversion must not take the old one's place: some lines that were promised wouldn't be there."""
    for rejection in converted.report.rejections:
        name = old.sources[indices[rejection.index]].name
        return (
            f"{name} was converted, and can't be read any more ({rejection.reason.value}): rebuilding without it would "
            "lose rows; restore that object as it was, and repair again"
        )
    for position, counts in converted.report.files.items():
        before = old.files[indices[position]]
        if counts.lines != before.lines:
            name = old.sources[indices[position]].name
            return f"{name} had {before.lines} lines when it was converted, and has {counts.lines} now"
    return None
