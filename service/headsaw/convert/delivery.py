"""A parsed block's lines → accounts, quarantine and tables; and the verdict over files that can't stand."""

from array import array
from bisect import bisect_left
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from headsaw.convert.accounts import Account
from headsaw.convert.background import Background
from headsaw.convert.blocks import Block, Segment
from headsaw.convert.expressions import Expressions
from headsaw.convert.filtering import evaluated
from headsaw.convert.job import Job
from headsaw.convert.layout import HIDDEN, Layout
from headsaw.convert.parquet import FileContext
from headsaw.convert.parser import Parsed
from headsaw.convert.partition import Partitioner
from headsaw.convert.quarantine import Quarantined, QuarantineWriter
from headsaw.convert.rescue import count_rescued
from headsaw.convert.tables import Tables
from headsaw.core.conversion import LineReason, OutputFile, Rejection
from headsaw.core.table_schema import RESCUED, TableSchema

Kept = list[tuple[Segment, int, int]]
"""Segments with the range of the batch's rows that they have."""


class Delivery:
    """Where everything goes, unless the attempt is doomed: then files are only judged. `rejected` is added to."""

    def __init__(self, job: Job, rejected: dict[int, Rejection], background: Background) -> None:
        settings = job.settings
        self._job = job
        self.rejected = rejected
        self.doomed = False
        self.accounts: dict[int, Account] = {}
        self.rescued_values = 0
        self._partitioner = Partitioner(settings.partition_by, job.ingested_at, [item.key for item in job.sources])
        self._expressions = Expressions(settings)
        self._layout = Layout(self._expressions, lineage=settings.lineage)
        memory = job.memory_bytes // 2
        context = FileContext(
            settings,
            job.batch,
            sources=tuple(item.name for item in job.sources),
            row_group_bytes=min(settings.parquet.row_group_bytes, memory),
            native=job.parser.parallel,
            threads=background.threads,
        )
        self.tables = Tables(job.outputs, context, self._layout, memory, background)
        self._quarantine = QuarantineWriter(job.outputs)

    def close(self) -> tuple[OutputFile, ...]:
        """All outputs are complete."""
        tables = self.tables.close()
        quarantine = self._quarantine.close()
        return (*tables, quarantine) if quarantine else tuple(tables)

    def abort(self) -> None:
        """Nothing will be seen."""
        self.tables.abort()
        self._quarantine.abort()

    def reject(self, rejection: Rejection, *, exposed: bool) -> None:
        """The file counts for nothing; if some of its lines were delivered (`exposed`), the attempt is doomed."""
        self.rejected[rejection.index] = rejection
        del self.accounts[rejection.index]
        if exposed and not self.doomed:
            self.doomed = True
            self.abort()

    def accept(self, block: Block, parsed: Parsed, schema: TableSchema) -> None:
        """The block's lines are in the accounts and, unless their file is rejected, in the outputs."""
        parsed, computed = evaluated(self._expressions, block, parsed)
        kept = self._count(block, parsed)
        self._judge(block)
        if self.doomed:
            return
        self._write_quarantine(block, parsed)
        standing = [item for item in kept if item[0].source not in self.rejected]
        if len(standing) == len(kept):
            self.rescued_values += parsed.rescued_values
        self._write_rows(parsed, computed, standing, schema, whole=len(standing) == len(kept))

    def _account(self, source: int) -> Account:
        """The source's account; one that nobody reads if the source was rejected meanwhile."""
        return self.accounts.get(source) or Account(source)

    def _count(self, block: Block, parsed: Parsed) -> Kept:
        kept: Kept = []
        first = unknown = 0
        for segment in block.segments:
            end = bisect_left(parsed.row_lines, segment.block_line + segment.lines, first)
            kept.append((segment, first, end))
            account = self._account(segment.source)
            account.rows += end - first
            first = end
            known, unknown = unknown, bisect_left(parsed.unknown_rows, end, unknown)
            account.unknown_rows += unknown - known
        for reject in parsed.rejects:
            self._account(block.segment_of(reject.line).source).quarantined += 1
        for source, _ in block.overlong:
            self._account(source).quarantined += 1
        for source in [block.segment_of(line).source for line in parsed.blanks] + block.blank:
            self._account(source).blank += 1
        for line in parsed.filtered:
            self._account(block.segment_of(line).source).filtered += 1
        for source in block.sources:
            self._account(source).blocks += 1
        return kept

    def _judge(self, block: Block) -> None:
        ended = set(block.ended)
        for source in block.sources:
            account = self.accounts.get(source)
            if account is not None:
                rejection = account.verdict(self._job.settings, ended=source in ended)
                if rejection is not None:
                    self.reject(rejection, exposed=not (source in ended and account.blocks == 1))

    def _write_quarantine(self, block: Block, parsed: Parsed) -> None:
        for source, long in block.overlong:
            if source not in self.rejected:
                item = Quarantined(long.line + 1, long.offset, LineReason.TOO_LONG, "", None, long.length)
                self._quarantine.add(self._job.sources[source].name, item)
        for reject in parsed.rejects:
            segment = block.segment_of(reject.line)
            if segment.source in self.rejected:
                continue
            data = block.text.joined()[reject.offset : reject.offset + reject.length]
            line = segment.line + reject.line - segment.block_line + 1
            offset = segment.offset + reject.offset - segment.block_offset
            item = Quarantined(line, offset, reject.reason, reject.detail, data, len(data))
            self._quarantine.add(self._job.sources[segment.source].name, item)

    def _write_rows(
        self, parsed: Parsed, computed: pa.Table | None, kept: Kept, schema: TableSchema, *, whole: bool
    ) -> None:
        count = sum(end - first for _, first, end in kept)
        if not count:
            return
        source_column, line_column = _lineage(parsed.row_lines, kept, count)
        batch = parsed.batch
        if not whole:
            standing = pa.array([row for _, first, end in kept for row in range(first, end)], pa.int64())
            batch, computed = batch.take(standing), None if computed is None else computed.take(standing)
            self.rescued_values += count_rescued(batch.column(RESCUED))
        columns = [*batch.columns, source_column, line_column]
        typed = pa.RecordBatch.from_arrays(columns, schema=pa.schema([*batch.schema, *HIDDEN]))
        shown = self._layout.select(typed, computed, schema)
        for directory, rows in self._partitioner.split(typed, source_column):
            self.tables.append(directory, schema, shown if rows is None else shown.take(rows))


def _lineage(row_lines: Sequence[int], kept: Kept, rows: int) -> tuple[pa.Array, pa.Array]:
    """The source and the line in it, from 1, of each row that is kept."""
    sources, shifts = array("i"), array("q")
    for segment, first, end in kept:
        sources += array("i", [segment.source]) * (end - first)
        shifts += array("q", [segment.line - segment.block_line + 1]) * (end - first)
    if isinstance(row_lines, range) and len(row_lines) == rows:
        lines = pa.arange(row_lines.start, row_lines.stop)
    else:
        lines = pa.array([line for _, first, end in kept for line in row_lines[first:end]], pa.int64())
    return _column(sources, pa.int32()), pc.add(lines, _column(shifts, pa.int64()))


def _column(values: "array[int]", type_: pa.DataType) -> pa.Array:
    return pa.Array.from_buffers(type_, len(values), [None, pa.py_buffer(values)])
