"""The ledger's protocol over any `Table`: claims, fenced transitions, and finding out what an unanswered write did.

Rules that live here and nowhere else: a transition's condition is state, lease_epoch, owner and attempt of the value
it came from; a refused or unanswered write is followed by a consistent read before anything is believed; in a
cancelled claim, a source that already is this very batch's is our own earlier success, another batch's is a duplicate,
and a TransactionConflict is neither: it is tried again.
"""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from headsaw.adapters import ledger_items as items
from headsaw.adapters.ledger_schemas import SchemaShelf
from headsaw.adapters.table import (
    Absent,
    Cancelled,
    Equals,
    Item,
    Key,
    Put,
    Reason,
    Table,
    Update,
    Value,
    Write,
    Written,
)
from headsaw.core.model import (
    FORMAT,
    Batch,
    BatchId,
    BatchState,
    FileIdentity,
    FileMark,
    FileRecord,
    SettingsHash,
    Source,
)
from headsaw.core.retry import CALL_BACKOFF, CALL_TRIES_MAX
from headsaw.core.settings import DatasetSettings
from headsaw.core.table_schema import TableSchema
from headsaw.errors import Outage, ProtocolViolation, Throttled
from headsaw.ports import CHUNK_SOURCES_MAX, DUE_SHARDS, Accepted, Claimed, Clock, DuePage, Overlap, Refused

T = TypeVar("T")

END_OF_TIME = 1e11
COUNT_PAGE = 1000

LEASE_TIMES = frozenset({"lease_until", "due_at", "due_shard"})

CHUNK_RETENTIONS = 2.0
"""Chunks live twice the retention: no batch may stay unfinished for longer than its file items protect it."""


class TableLedger:
    """`ports.Ledger` over a table. `chance` gives uniform numbers in [0, 1) for jitter."""

    def __init__(self, table: Table, clock: Clock, chance: Callable[[], float], retention_seconds: float) -> None:
        self._table = table
        self._clock = clock
        self._chance = chance
        self._retention = retention_seconds
        self._schemas = SchemaShelf(table, self._patiently)

    # --- claims

    async def claim(self, batch: Batch, sources: Sequence[Source]) -> Claimed | Overlap:
        """All sources, their chunk and the batch exist afterwards; or nothing does, and the owners are named."""
        if batch.chunks != 1 or batch.files != len(sources):
            raise ValueError("a claim makes a batch with its first chunk")
        writes = [*self._file_and_chunk_writes(batch, 0, sources), items.put_batch(batch, self._retention)]
        result = await self._transact(writes)
        if isinstance(result, Written):
            return Claimed(batch)
        foreign, own = _owners(result, len(sources), batch.id)
        batch_reason, batch_item = result.reasons[-1]
        if batch_reason is Reason.CONDITION and batch_item is not None:
            if len(own) == len(sources):
                return Claimed(items.read_batch(batch_item))
            raise ProtocolViolation(f"batch id {batch.id} exists with other sources")
        return _overlap(foreign, batch)

    async def extend(self, batch: Batch, sources: Sequence[Source], lease_until: float) -> Claimed | Overlap | Refused:
        """The OPEN batch holds these sources too, and its lease lasts until then; or nothing changed."""
        if batch.state is not BatchState.OPEN:
            raise ValueError("only an OPEN batch can be extended")
        grown = replace(
            batch,
            chunks=batch.chunks + 1,
            span=replace(batch.span, stop=batch.span.stop + len(sources)),
            bytes=batch.bytes + sum(source.stored_bytes for source in sources),
            lease=replace(batch.lease, until=lease_until),
            due_at=lease_until,
        )
        writes = [
            *self._file_and_chunk_writes(batch, batch.chunks, sources),
            items.update_batch(batch, grown, self._retention),
        ]
        result = await self._transact(writes)
        if isinstance(result, Written):
            return Claimed(grown)
        foreign, own = _owners(result, len(sources), batch.id)
        batch_reason, batch_item = result.reasons[-1]
        if batch_reason is Reason.CONDITION:
            current = items.read_batch(batch_item) if batch_item is not None else None
            ours = current is not None and current.chunks == grown.chunks and len(own) == len(sources)
            return Claimed(current) if current is not None and ours else Refused(current)
        return _overlap(foreign, batch)

    def _file_and_chunk_writes(self, batch: Batch, chunk: int, sources: Sequence[Source]) -> list[Write]:
        if not 1 <= len(sources) <= CHUNK_SOURCES_MAX:
            raise ValueError(f"a chunk of {len(sources)} sources")
        expires_at = int(batch.created_at + self._retention * CHUNK_RETENTIONS)
        return [
            *(items.put_file(source, batch, self._retention) for source in sources),
            items.put_chunk(batch.id, chunk, sources, expires_at),
        ]

    # --- batches

    async def batch(self, batch_id: BatchId) -> Batch | None:
        """A consistent read."""
        item = await self._patiently(lambda: self._table.get(items.batch_key(batch_id)))
        return items.read_batch(item) if item is not None else None

    async def sources(self, batch: Batch) -> tuple[Source, ...]:
        """From the root's chunks, which never change."""
        found: list[Source] = []
        for item in await self._query_all(f"batch#{batch.span.root}", "chunk#"):
            found.extend(items.read_chunk(item))
        if len(found) < batch.span.stop:
            raise ProtocolViolation(f"batch {batch.id}: {len(found)} sources in the chunks, {batch.span.stop} expected")
        return tuple(found[batch.span.start : batch.span.stop])

    async def apply(self, before: Batch, after: Batch) -> Accepted | Refused:
        """One conditional update."""
        update = items.update_batch(before, after, self._retention)
        for attempt in range(CALL_TRIES_MAX):
            try:
                result = await self._table.write(update)
            except Outage as error:
                current = await self._after_unanswered(before, error)
            else:
                if isinstance(result, Written):
                    return Accepted(after)
                current = items.read_batch(result.old) if result.old is not None else None
            if current is not None and self._took_effect(before, after, current):
                return Accepted(current)
            if current is None or items.fence(current) != items.fence(before):
                return Refused(current)
            await self._pause(attempt)
        raise Throttled(f"the ledger took no transition of batch {before.id} after {CALL_TRIES_MAX} tries")

    async def split(self, before: Batch, after: Batch, children: Sequence[Batch]) -> Accepted | Refused:
        """Parent and children in one transaction."""
        writes: list[Write] = [
            items.update_batch(before, after, self._retention),
            *(items.put_batch(child, self._retention) for child in children),
        ]
        return await self._apply_together(writes, before, after)

    async def retry(self, before: Batch, after: Batch, source: Source) -> Accepted | Refused:
        """The batch is live again and its file no longer claimable, or neither."""
        unmark = Update(
            items.file_key(source.identity),
            set={},
            remove=("mark", "reason"),
            condition=Equals({"batch": before.span.root, "mark": FileMark.FAILED}),
        )
        return await self._apply_together([items.update_batch(before, after, self._retention), unmark], before, after)

    async def _apply_together(self, writes: Sequence[Write], before: Batch, after: Batch) -> Accepted | Refused:
        result = await self._transact(writes)
        if isinstance(result, Written):
            return Accepted(after)
        current = await self.batch(before.id)
        ours = current is not None and self._took_effect(before, after, current)
        return Accepted(after) if ours else Refused(current)

    async def _after_unanswered(self, before: Batch, error: Outage) -> Batch | None:
        """What the ledger holds after a write whose answer was lost; if that can't be read either, an Outage."""
        try:
            return await self.batch(before.id)
        except Outage:
            raise error from None

    def _took_effect(self, before: Batch, after: Batch, current: Batch) -> bool:
        """Whether `current` is what writing `after` leads to.

        While somebody holds the batch, its lease may have been renewed by a write whose answer was lost too: then only
        the fence and what isn't the lease count, and for a renewal itself, how far the lease reaches.
        """
        if after.lease.owner is not None and items.fence(before) == items.fence(after):
            return items.fence(current) == items.fence(after) and current.lease.until >= after.lease.until
        ignored = frozenset(items.REGISTRATION) | (LEASE_TIMES if after.lease.owner is not None else frozenset[str]())
        left, right = (items.batch_attributes(batch, self._retention) for batch in (current, after))
        return all(left.get(name) == right.get(name) for name in (left.keys() | right.keys()) - ignored)

    async def register_driver(self, batch_id: BatchId, attempt: int, driver: str, run_id: str | None) -> Batch | None:
        """One conditional update; the batch is read after it, so that an unanswered one is settled too."""
        update = items.register_driver(batch_id, attempt, driver, run_id)
        await self._patiently(lambda: self._table.write(update))
        batch = await self.batch(batch_id)
        if batch is None or batch.attempt != attempt or batch.run is None or batch.run.driver != driver:
            return None
        return batch if batch.state is BatchState.DELEGATED else None

    async def due(self, shard: int, now: float, cursor: object | None, limit: int) -> DuePage:
        """Straight from the index: the caller reads each batch consistently before it acts."""
        page = await self._patiently(lambda: self._table.query_due(str(shard), now, cursor, limit))
        return DuePage(tuple(BatchId(str(item["pk"]).removeprefix("batch#")) for item in page.items), page.cursor)

    async def unfinished(self) -> int:
        """Counted in the due index, page by page."""
        total = 0
        for shard in range(DUE_SHARDS):
            cursor: object | None = None
            while True:
                page = await self.due(shard, END_OF_TIME, cursor, COUNT_PAGE)
                total += len(page.batches)
                cursor = page.cursor
                if cursor is None:
                    break
        return total

    async def batches(self) -> AsyncIterator[Batch]:
        """A scan; items of a newer format are left out."""
        async for item in self._table.scan(items.BATCH):
            if item["format"] == FORMAT:
                yield items.read_batch(item)

    # --- files

    async def mark(self, source: Source, root: BatchId, mark: FileMark, reason: str) -> bool:
        """Claimable again, if it still was the root's."""
        update = Update(
            items.file_key(source.identity),
            set={"mark": mark.value, "reason": reason[: items.REASON_CHARS_MAX]},
            remove=(),
            condition=Equals({"batch": root}),
        )
        return isinstance(await self._patiently(lambda: self._table.write(update)), Written)

    async def file(self, identity: FileIdentity) -> FileRecord | None:
        """A consistent read."""
        item = await self._patiently(lambda: self._table.get(items.file_key(identity)))
        return items.read_file(item) if item is not None else None

    async def files(self, scope: str) -> AsyncIterator[FileRecord]:
        """Every version of that object or message that the ledger still remembers."""
        for item in await self._query_all(f"file#{scope}", ""):
            yield items.read_file(item)

    # --- settings and schemas

    async def put_settings(self, settings: DatasetSettings) -> SettingsHash:
        """Stored once, under its hash."""
        item: dict[str, Value] = {
            "pk": f"settings#{settings.hash}",
            "sk": "settings",
            "format": FORMAT,
            "snapshot": settings.snapshot(),
        }
        await self._patiently(lambda: self._table.write(Put(item, Absent())))
        return settings.hash

    async def settings(self, settings_hash: SettingsHash) -> DatasetSettings | None:
        """Read back from the snapshot."""
        item = await self._patiently(lambda: self._table.get(Key(f"settings#{settings_hash}", "settings")))
        if item is None:
            return None
        snapshot = item["snapshot"]
        try:
            return DatasetSettings.from_snapshot(snapshot if isinstance(snapshot, bytes) else str(snapshot).encode())
        except ValueError as error:
            raise ProtocolViolation(f"settings {settings_hash} were written by a newer version: {error}") from None

    async def schema_head(self, dataset: str) -> TableSchema:
        """The newest version, or the empty version 0."""
        return await self._schemas.head(dataset)

    async def schema_history(self, dataset: str) -> tuple[TableSchema, ...]:
        """Oldest first."""
        return await self._schemas.history(dataset)

    async def add_schema(self, dataset: str, schema: TableSchema) -> bool:
        """True if the version now exists with this content."""
        return await self._schemas.add(dataset, schema)

    async def ping(self) -> None:
        """The table is there, with its keys and its index."""
        await self._table.check_shape()

    # --- patience

    async def _transact(self, writes: Sequence[Write]) -> Written | Cancelled:
        """The outcome, after conflicts and unanswered calls were tried again; a cancelled one has no bare conflict.

        One token per payload: within its ten minutes a repetition after a lost answer says Written again; later, the
        cancellation reasons show our own batch id, and the caller recognises its earlier success.
        """
        token = hashlib.sha256(repr(writes).encode()).hexdigest()[:36]
        for attempt in range(CALL_TRIES_MAX):
            try:
                result = await self._table.transact(writes, token)
            except Outage:
                if attempt == CALL_TRIES_MAX - 1:
                    raise
            else:
                if isinstance(result, Written) or any(reason is Reason.CONDITION for reason, _ in result.reasons):
                    return result
            await self._pause(attempt)
        raise Throttled(f"the ledger cancelled a transaction {CALL_TRIES_MAX} times over conflicts")

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        """The call's answer; an Outage only after bounded tries. For calls that are safe to repeat."""
        for attempt in range(CALL_TRIES_MAX - 1):
            try:
                return await call()
            except Outage:
                await self._pause(attempt)
        return await call()

    async def _pause(self, attempt: int) -> None:
        await self._clock.sleep(CALL_BACKOFF.wait(attempt, self._chance()))

    async def _query_all(self, pk: str, sk_prefix: str) -> list[Item]:
        found: list[Item] = []
        cursor: object | None = None
        while True:
            page = await self._patiently(partial(self._table.query, pk, sk_prefix, cursor))
            found.extend(page.items)
            cursor = page.cursor
            if cursor is None:
                return found


def _owners(result: Cancelled, files: int, batch_id: BatchId) -> tuple[dict[int, BatchId], set[int]]:
    """Which sources (by position) other batches have, and which this very batch has already."""
    foreign: dict[int, BatchId] = {}
    own: set[int] = set()
    for position, (reason, old) in enumerate(result.reasons[:files]):
        if reason is Reason.CONDITION and old is not None:
            owner = BatchId(str(old["batch"]))
            if owner == batch_id:
                own.add(position)
            else:
                foreign[position] = owner
    return foreign, own


def _overlap(foreign: dict[int, BatchId], batch: Batch) -> Overlap:
    if not foreign:
        raise ProtocolViolation(f"a claim for batch {batch.id} was cancelled, but no source belongs to another batch")
    return Overlap(foreign)
