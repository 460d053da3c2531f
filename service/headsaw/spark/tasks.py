"""What a Spark task does, wherever it runs: look at a split, or convert it. Trouble is an answer, never an exception.

So Spark's own retries are left for executors that die; a task whose result isn't counted leaves uploads under names
that no other task attempt has, which the bucket's lifecycle rule takes.
"""

import asyncio
import secrets
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial

from headsaw.adapters.inline import UNDO_SECONDS, LedgerSchemaBook
from headsaw.adapters.inline_outputs import UploadOutputs, abort_uploads
from headsaw.adapters.inline_sources import Bridge, Denials, Prefetch, StoredSource, open_range, read_ahead
from headsaw.convert import Observer, RangeLines, convert, parser_choice, range_begins
from headsaw.core.conversion import ConversionReport, Rejection, RejectReason, SourcePart, SourceStream
from headsaw.core.delegation import Trouble
from headsaw.core.inference import Seen
from headsaw.core.model import Source, SourceFile
from headsaw.core.settings import DatasetSettings
from headsaw.core.splits import LineRun, Range, Together
from headsaw.core.table_schema import TableSchema
from headsaw.errors import HeadsawError, LeaseLost, Outage, SourceUnreadable, UsageError
from headsaw.ports import ObjectStore
from headsaw.spark.reach import Connection, connected
from headsaw.spark.work import Convert, Converted, Failed, Look, Looked, Outcome, Rehearse, Rehearsed, Task, Work


def perform(work: Work, task: Task, number: int) -> Outcome:
    """The task's outcome. `number`, from 1, is this task attempt's alone in its run: it names the outputs."""
    started = time.process_time()
    try:
        connection = connected(work.site)
        outcome: Rehearsed | Looked | Converted
        match task:
            case Rehearse():
                outcome = _rehearsed(work)
            case Look():
                outcome = _look(work, task, connection)
            case Convert():
                outcome = _Conversion(work, task, connection, number).run()
    except (Outage, LeaseLost, UsageError, OSError) as error:  # of which an operator must mend some, but none is data
        return Failed(Trouble.OUTAGE, told(error), time.process_time() - started)
    except Exception as error:  # noqa: BLE001 - whatever the data provoked is a failure of this attempt
        return Failed(Trouble.DATA, told(error), time.process_time() - started)
    return replace(outcome, cpu_seconds=time.process_time() - started)


def told(error: Exception) -> str:
    """What may be told: others' messages may quote the data, but for those that name a module."""
    return f"{type(error).__name__}: {error}" if isinstance(error, HeadsawError | ImportError) else type(error).__name__


def _rehearsed(work: Work) -> Rehearsed:
    """The parser was loaded, and has parsed."""
    line = (b'{"n":1}\n',)
    observer = Observer(work.settings, TableSchema())
    observer.take_range(RangeLines(iter(line), 0, None), 0)
    return Rehearsed(str(parser_choice()), 0.0)


# -------------------------------------------------------------------------------------------------------------- looking


def _look(work: Work, task: Look, connection: Connection) -> Looked:
    reading = _Reading(work, connection, task.sources)
    observer = Observer(work.settings, task.schema) if task.schema is not None else None
    found = rejection = None
    with reading:
        match task.split:
            case Range(index, start, stop):
                chunks = reading.stored_range(range_begins(start), None).chunks()
                lines = RangeLines(chunks, start, stop)
                try:
                    if observer is None:
                        for _ in lines:
                            pass
                    else:
                        observer.take_range(lines, start)
                except SourceUnreadable as error:
                    rejection = Rejection(index, RejectReason(error.reason), error.detail)
                found = lines.found
            case Together() if observer is not None:
                observer.take(reading.stored())
            case Together():
                pass
    seen = observer.seen if observer is not None else Seen()
    seen.limit(task.nodes_max)
    return Looked(found, rejection, seen, 0.0)


# ----------------------------------------------------------------------------------------------------------- converting


class _Conversion:
    """One task's conversion: everything it reports is uploaded and pending, everything else aborted."""

    def __init__(self, work: Work, task: Convert, connection: Connection, number: int) -> None:
        self._work = work
        self._task = task
        self._connection = connection
        self._store = connection.reach.store
        self._reading = _Reading(work, connection, task.sources)
        self._outputs = UploadOutputs(
            self._reading.bridge,
            self._store,
            connection.reach.clock,
            work.batch,
            work.settings,
            work.quarantine,
            new_token,
            number,
        )

    def run(self) -> Converted:
        """See the class. Raises what the conversion raises."""
        try:
            with self._reading:
                report = self._convert()
        except BaseException:
            self._abort([(o.bucket, o.key, o.upload_id) for o in self._outputs.created])
            raise
        self._abort([(o.bucket, o.key, o.upload_id) for o in self._outputs.unreported(report.outputs)])
        return self._converted(report)

    def _convert(self) -> ConversionReport:
        reading, work = self._reading, self._work
        sources: Sequence[SourceStream]
        match self._task.portion:
            case LineRun(_, start, stop, line):
                sources = [SourcePart(reading.stored_range(start, stop), line, start)]
            case Together():
                sources = reading.stored()
        return convert(
            sources,
            settings=self._settings(),
            batch=work.batch.id,
            ingested_at=work.ingested_at,
            schema=LedgerSchemaBook(reading.bridge, self._connection.reach.ledger, work.batch.dataset),
            outputs=self._outputs,
        )

    def _settings(self) -> DatasetSettings:
        """The error budget of a source in parts is judged by the driver, over all of them."""
        if isinstance(self._task.portion, Together):
            return self._work.settings
        return self._work.settings.model_copy(update={"max_bad_fraction": 1.0})

    def _converted(self, report: ConversionReport) -> Converted:
        portion = self._task.portion
        indexes = portion.sources if isinstance(portion, Together) else (portion.source,)
        return Converted(
            files={indexes[at]: counts for at, counts in report.files.items()},
            rejections=tuple(replace(item, index=indexes[item.index]) for item in report.rejections),
            uploads=self._outputs.pending(report.outputs),
            schema_version=report.schema.version,
            rescued_values=report.rescued_values,
            bytes_in=report.bytes_in,
            oldest_upload_at=self._outputs.oldest_at,
            cpu_seconds=0.0,
            notices=tuple(replace(item, index=indexes[item.index]) for item in report.notices),
        )

    def _abort(self, uploads: list[tuple[str, str, str]]) -> None:
        if uploads:
            self._connection.call(abort_in_time(self._store, uploads))


def new_token() -> str:
    """Identifies an upload, or a driver."""
    return secrets.token_hex(16)


async def abort_in_time(store: ObjectStore, uploads: list[tuple[str, str, str]]) -> None:
    """The uploads (bucket, key, id) are gone, as far as the store answers soon; the lifecycle rule takes the rest."""
    try:
        async with asyncio.timeout(UNDO_SECONDS):
            await abort_uploads(store, uploads)
    except TimeoutError:
        return


# -------------------------------------------------------------------------------------------------------------- reading


class _Reading:
    """A task's sources as streams: small ones fetched ahead, inside the context."""

    def __init__(self, work: Work, connection: Connection, sources: Sequence[Source]) -> None:
        self._connection = connection
        self._store = connection.reach.store
        self._sources = sources
        self.bridge = connection.bridge()
        self._prefetch = Prefetch(self._store, sources)
        self._fetching: Future[None] | None = None
        self._denials = Denials(self._store, [*sources, *work.probes], work.batch.attempt)

    def __enter__(self) -> None:
        """Nothing is read before somebody asks."""

    def __exit__(self, *_: object) -> None:
        """Nothing is fetched any more."""
        if self._fetching is not None:
            self._fetching.cancel()
        self._connection.call(self._prefetch.stop())

    def stored(self) -> list[StoredSource]:
        """All of them, whole."""
        self._fetching = self._connection.start(self._prefetch.run())
        return [
            StoredSource(self.bridge, self._store, self._prefetch, at, source, self._denials)
            for at, source in enumerate(self._sources)
        ]

    def stored_range(self, start: int, stop: int | None) -> StoredSource:
        """Bytes [start, stop) of the only one."""
        (source,) = self._sources
        if not isinstance(source, SourceFile):
            raise TypeError("only files are read in ranges")
        return _StoredRange(self.bridge, self._store, self._prefetch, source, self._denials, start, stop)


class _StoredRange(StoredSource):
    """Some of a file's bytes."""

    def __init__(
        self,
        bridge: Bridge,
        store: ObjectStore,
        prefetch: Prefetch,
        source: SourceFile,
        denials: Denials,
        start: int,
        stop: int | None,
    ) -> None:
        super().__init__(bridge, store, prefetch, 0, source, denials)
        self._open = partial(open_range, store, source, start, stop)

    def _chunks(self) -> Iterator[bytes]:
        return read_ahead(self._bridge, self._open())
