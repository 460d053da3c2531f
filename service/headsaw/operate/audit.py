"""Reconciles what landed, what the ledger holds and what is published, trusting none of the service's own counters.

The order makes it safe beside running workers: first what landed is listed, then the batches are read, then the
outputs are listed; so whatever the later look doesn't explain is asked for once more before it is called wrong.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from headsaw.config import ServiceSettings
from headsaw.core.commit import CommitRecord
from headsaw.core.conversion import FileCounts
from headsaw.core.model import Batch, BatchState, FileIdentity, SettingsHash, SourceFile
from headsaw.core.routing import wanted
from headsaw.core.settings import DatasetSettings, S3Prefix
from headsaw.errors import ProtocolViolation
from headsaw.operate.audit_batch import audit_batch
from headsaw.operate.audit_book import AuditBook, Fate, FoundRow, LandedRow
from headsaw.operate.audit_outputs import check_outputs
from headsaw.operate.audit_queue import look_at
from headsaw.operate.audit_report import AuditReport, Findings, Kind
from headsaw.operate.audit_unheld import Unheld, judge_unheld
from headsaw.operate.enqueue import enqueue
from headsaw.operate.site import Ports, Progress, each, iterated, load_record, silent

__all__ = ["AuditOptions", "AuditReport", "audit"]

BATCHES_AT_ONCE = 4
LISTED_AT_ONCE = 1000
SKEW_SECONDS = 300.0
"""S3 and the ledger date things by different clocks."""


@dataclass(frozen=True, slots=True)
class AuditOptions:
    """`since` in Unix seconds, by default the ledger's retention ago; with `reprocess` also before that.

    `grace_seconds`: how long after its landing an object may be nowhere. `fix`: notify of what never was.
    """

    since: float | None = None
    grace_seconds: float | None = None
    reprocess: bool = False
    fix: bool = False


async def audit(
    config: ServiceSettings,
    ports: Ports,
    dataset: str,
    options: AuditOptions = AuditOptions(),
    progress: Progress = silent,
) -> AuditReport:
    """The dataset was reconciled. Raises UsageError for an unknown dataset, Outage where AWS doesn't answer."""
    book = AuditBook()
    try:
        return await _Audit(config, ports, config.dataset(dataset), options, progress, book).run()
    finally:
        book.close()


class _Audit:
    """One run."""

    def __init__(
        self,
        config: ServiceSettings,
        ports: Ports,
        dataset: DatasetSettings,
        options: AuditOptions,
        progress: Progress,
        book: AuditBook,
    ) -> None:
        self._config = config
        self._ports = ports
        self._dataset = dataset
        self._progress = progress
        self._book = book
        self._fix = options.fix
        self._now = ports.clock.now()
        remembered = 0.0 if options.reprocess else self._now - config.ledger_retention
        self._since = max(options.since or 0.0, remembered)
        default_grace = 2 * dataset.batch.max_age + config.visibility_seconds
        self._grace = default_grace if options.grace_seconds is None else options.grace_seconds
        self._findings = Findings()
        self._outside = 0
        self._excluded = 0
        self._settings: dict[SettingsHash, DatasetSettings] = {}
        self._messages = 0
        self._not_recounted = 0
        self._counts = FileCounts()
        self._batches = 0
        self._lacking: dict[str, int] = {}

    async def run(self) -> AuditReport:
        started = self._ports.clock.monotonic()
        await self._list_landed()
        published = await self._read_batches()
        await self._verify(published)
        await self._check_outputs()
        unheld = await self._judge_unheld()
        await self._report_held_twice()
        fixed = await self._notify() if self._fix else 0
        return await self._report(unheld, fixed, self._ports.clock.monotonic() - started)

    # --- what landed

    async def _list_landed(self) -> None:
        source = self._dataset.source
        rows: list[LandedRow] = []
        count = 0
        async for head in self._ports.store.list(source.bucket, source.prefix):
            if not wanted(self._dataset, head.key):
                self._excluded += 1
            elif head.modified_at < self._since:
                self._outside += 1
            else:
                version = "-" if self._dataset.identity == "key" else head.etag
                rows.append(LandedRow(f"{source.bucket}/{head.key}", version, head.etag, head.size, head.modified_at))
            count += 1
            if len(rows) >= LISTED_AT_ONCE:
                self._book.land(rows)
                rows.clear()
                self._progress("listing the landing bucket", count, None)
        self._book.land(rows)
        self._progress("listing the landing bucket", count, count)

    # --- what batches hold

    async def _read_batches(self) -> list[Batch]:
        """The published batches; what unfinished and failed ones hold is in the book."""
        published: list[Batch] = []
        others: list[Batch] = []
        async for batch in self._ports.ledger.batches():
            if batch.dataset != self._dataset.name or not self._in_time(batch):
                continue
            if batch.state in (BatchState.DONE, BatchState.PUBLISHING):
                published.append(batch)
            elif batch.state is not BatchState.SPLIT:
                others.append(batch)
        await each(iterated(others), BATCHES_AT_ONCE, self._hold)
        return published

    def _in_time(self, batch: Batch) -> bool:
        """A file that landed within the time can be in the batch, or an object of that time be the batch's."""
        return batch.finished_at is None or batch.finished_at >= self._since - SKEW_SECONDS

    async def _hold(self, batch: Batch) -> None:
        fate = Fate.FAILED if batch.state is BatchState.FAILED else Fate.PENDING
        sources = await self._ports.ledger.sources(batch)
        self._book.hold(batch.id, [(source.identity, fate) for source in sources])

    async def _verify(self, published: list[Batch]) -> None:
        done = 0

        async def verify(batch: Batch) -> None:
            nonlocal done
            await self._verify_batch(batch)
            done += 1
            self._progress("counting again", done, len(published))

        self._progress("counting again", 0, len(published))
        await each(iterated(published), BATCHES_AT_ONCE, verify)

    async def _verify_batch(self, batch: Batch) -> None:
        sources = await self._ports.ledger.sources(batch)
        try:
            record = await load_record(self._ports.store, self._config.control, batch)
        except ProtocolViolation as error:
            remedy = "restore the commit record as it was (bucket versioning, backup)"
            self._findings.add(Kind.MISSING, "commit record", batch.id, str(error), remedy)
            self._book.hold(batch.id, [(source.identity, Fate.DONE) for source in sources])
            return
        if record.sources != sources:
            why = f"its commit record lists {len(record.sources)} sources, the ledger {len(sources)}, or others"
            self._findings.add(Kind.MISSING, "batch", batch.id, why, "describe the batch; backfill what it lacks")
        finished = batch.state is BatchState.DONE
        own = [(f"{upload.bucket}/{upload.key}", upload.size) for upload in record.uploads]
        self._book.promise(batch.id, own, published=finished)
        if not finished:  # a repair is under way: what it replaces is about to go
            retired = [(f"{upload.bucket}/{upload.key}", upload.size) for upload in record.replaces]
            self._book.promise(batch.id, retired, published=False)
        self._book.hold(batch.id, _fates(record, finished=finished))
        if finished:
            await self._recount(batch, record)

    async def _recount(self, batch: Batch, record: CommitRecord) -> None:
        settings = await self._settings_of(batch.settings)
        result = await audit_batch(self._ports.store, batch, record, settings, self._findings)
        self._counts += result.counts
        self._not_recounted += result.not_recounted
        self._lacking.update(result.lacking)
        self._batches += 1
        self._messages += sum(not isinstance(source, SourceFile) for source in record.sources)

    async def _settings_of(self, settings_hash: SettingsHash) -> DatasetSettings:
        known = self._settings.get(settings_hash)
        if known is None:
            known = await self._ports.ledger.settings(settings_hash)
            if known is None:
                raise ProtocolViolation(f"the ledger has no settings snapshot {settings_hash}")
            self._settings[settings_hash] = known
        return known

    # --- what is there

    async def _check_outputs(self) -> None:
        quarantine = self._config.quarantine
        own = [
            self._dataset.destination,
            S3Prefix(bucket=quarantine.bucket, prefix=quarantine.key(f"{self._dataset.name}/")),
        ]
        earlier = [settings.destination for settings in self._settings.values()]
        places = {str(place): place for place in (*own, *earlier)}
        for place in places.values():
            await self._list_found(place)
        await check_outputs(
            self._ports, self._config.control, self._book, self._findings, self._lacking, own=own, since=self._since
        )

    async def _list_found(self, place: S3Prefix) -> None:
        rows: list[FoundRow] = []
        count = 0
        async for head in self._ports.store.list(place.bucket, place.prefix):
            rows.append(FoundRow(f"{place.bucket}/{head.key}", head.size, head.modified_at))
            count += 1
            if len(rows) >= LISTED_AT_ONCE:
                self._book.find(rows)
                rows.clear()
                self._progress("listing the outputs", count, None)
        self._book.find(rows)
        self._progress("listing the outputs", count, count)

    # --- what nobody has

    async def _judge_unheld(self) -> Unheld:
        underway = await look_at(self._ports.queues)
        return await judge_unheld(
            self._ports, self._book, self._findings, underway, now=self._now, grace_seconds=self._grace
        )

    async def _report_held_twice(self) -> None:
        for file, batches in await asyncio.to_thread(lambda: list(self._book.held_twice())):
            remedy = "describe both batches; remove the later one's outputs from the destination"
            self._findings.add(Kind.DUPLICATED, "file", f"s3://{file}", f"batches {batches} all published it", remedy)

    async def _notify(self) -> int:
        async def files() -> AsyncIterator[SourceFile]:
            for row in self._book.lost():
                bucket, _, key = row.scope.partition("/")
                yield SourceFile(bucket, key, row.etag, row.size)

        return await enqueue(self._ports.queues[0], self._ports.clock, files())

    async def _report(self, unheld: Unheld, fixed: int, seconds: float) -> AuditReport:
        fates = await asyncio.to_thread(self._book.fates)
        return AuditReport(
            dataset=self._dataset.name,
            since=self._since,
            checked_at=self._now,
            grace_seconds=self._grace,
            files=await asyncio.to_thread(self._book.landed),
            done=fates[Fate.DONE] + unheld.earlier,
            pending=fates[Fate.PENDING] + unheld.pending,
            rejected=fates[Fate.REJECTED],
            failed=fates[Fate.FAILED],
            outside=self._outside,
            excluded=self._excluded,
            messages=self._messages,
            batches=self._batches,
            counts=self._counts,
            not_recounted=self._not_recounted,
            outputs=await asyncio.to_thread(self._book.found),
            missing=self._findings.counts[Kind.MISSING],
            duplicated=self._findings.counts[Kind.DUPLICATED],
            miscounted=self._findings.counts[Kind.MISCOUNTED],
            findings=self._findings.all(),
            fixed=fixed,
            seconds=round(seconds, 3),
        )


def _fates(record: CommitRecord, *, finished: bool) -> list[tuple[FileIdentity, Fate]]:
    """What became of each source of a batch that has committed."""
    rejected = {source.index for source in record.rejected}
    published = Fate.DONE if finished else Fate.PENDING
    return [
        (source.identity, Fate.REJECTED if index in rejected and finished else published)
        for index, source in enumerate(record.sources)
    ]
