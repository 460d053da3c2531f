"""Sources → table files and quarantine: the pipeline decode → frame → parse → partition → write, and its accounts.

A small file is decoded to its end before any of its lines counts, so a damaged one costs nothing. A large file that
turns out to be unreadable dooms the attempt: its outputs are aborted, the remaining sources are only looked through for
more such files, and the conversion starts again without them.
"""

from array import array
from bisect import bisect_left
from collections.abc import Sequence

import pyarrow as pa

from headsaw.convert.accounts import Account
from headsaw.convert.blocks import BLOCK_BYTES, SMALL_FILE_BYTES, Block
from headsaw.convert.decode import Decode
from headsaw.convert.frame import Framed, Framer, Run
from headsaw.convert.growth import Growth
from headsaw.convert.parquet import FileContext
from headsaw.convert.parser import Parsed, Parser
from headsaw.convert.partition import Partitioner
from headsaw.convert.quarantine import Quarantined, QuarantineWriter
from headsaw.convert.tables import HIDDEN, Tables
from headsaw.core.conversion import (
    ConversionReport,
    LineReason,
    Notice,
    Outputs,
    Rejection,
    RejectReason,
    SchemaBook,
    SourceStream,
)
from headsaw.core.inference import Rules
from headsaw.core.settings import DatasetSettings
from headsaw.errors import SourceUnreadable

DRIFT_FILES = 0.2
"""Growth may close files early while that stays under one file and this fraction of the full ones; else it waits."""


class Attempt:
    """One pass over all sources but those in `rejected`, to which it adds. Use once."""

    def __init__(
        self,
        sources: Sequence[SourceStream],
        settings: DatasetSettings,
        batch: str,
        ingested_at: float,
        book: SchemaBook,
        outputs: Outputs,
        parser: Parser,
        memory_bytes: int,
        rejected: dict[int, Rejection],
    ) -> None:
        self._sources = sources
        self._settings = settings
        self._parser = parser
        self.rejected = rejected
        self.doomed = False
        directories = [level.directory for level in settings.partition_by]
        self._growth = Growth(book, Rules.of(settings.table_schema, directories))
        self._settled = self._growth.accepted.version > 0
        self._late = False
        self._partitioner = Partitioner(settings.partition_by, ingested_at, [source.key for source in sources])
        context = FileContext(settings, batch, tuple(source.name for source in sources))
        self._tables = Tables(outputs, context, memory_bytes // 2)
        self._quarantine = QuarantineWriter(outputs)
        self._waiting: list[Block] = []
        self._waiting_bytes_max = memory_bytes // 8
        self._block = Block()
        self._accounts: dict[int, Account] = {}
        self._notices: list[Notice] = []
        self._rescued_values = 0

    def run(self) -> ConversionReport | None:
        """The report; None if the attempt was doomed, with `rejected` telling why."""
        for index in range(len(self._sources)):
            if index not in self.rejected:
                self._take(index)
        self._process()
        self._settle()
        if self.doomed:
            return None
        return self._report()

    def abort(self) -> None:
        """Nothing that the attempt wrote will be seen."""
        self._tables.abort()
        self._quarantine.abort()

    def _report(self) -> ConversionReport:
        tables = self._tables.close()
        quarantine = self._quarantine.close()
        if self._late:
            self._growth.agree()
        return ConversionReport(
            files={index: account.counts for index, account in sorted(self._accounts.items())},
            rejections=tuple(self.rejected[index] for index in sorted(self.rejected)),
            outputs=(*tables, *([quarantine] if quarantine else ())),
            schema=self._growth.accepted,
            rescued_values=self._rescued_values,
            bytes_in=sum(account.bytes for account in self._accounts.values()),
            notices=tuple(notice for notice in self._notices if notice.index not in self.rejected),
        )

    # Sources

    def _take(self, index: int) -> None:
        """The source is in blocks to its end, or rejected."""
        source = self._sources[index]
        account = self._accounts[index] = Account(index)
        held: list[Framed] | None = []
        size = 0
        try:
            decode = Decode(source.chunks(), name=source.key)
            framer = Framer(decode, self._settings.line.max_bytes)
            for framed in framer:
                if held is None:
                    self._add(index, framed)
                    continue
                held.append(framed)
                size += len(framed.data) if isinstance(framed, Run) else 0
                if size > SMALL_FILE_BYTES:
                    self._add_all(index, held)
                    held = None
                    if self._block.size >= BLOCK_BYTES:
                        self._process()
        except SourceUnreadable as error:
            self._reject(Rejection(index, RejectReason(error.reason), error.detail), exposed=held is None)
            return
        if index in self.rejected:
            return
        if held is not None:
            if self._block.size + size > BLOCK_BYTES:
                self._process()
            self._add_all(index, held)
        account.bytes = framer.bytes
        self._notices += [Notice(index, note) for note in decode.notes]
        self._block.ended.append(index)
        if self._block.size >= BLOCK_BYTES:
            self._process()

    def _add_all(self, index: int, held: list[Framed]) -> None:
        for framed in held:
            self._block.add(index, framed)

    def _add(self, index: int, framed: Framed) -> None:
        if index not in self.rejected:
            self._block.add(index, framed)
            if self._block.size >= BLOCK_BYTES:
                self._process()

    def _reject(self, rejection: Rejection, *, exposed: bool) -> None:
        self.rejected[rejection.index] = rejection
        del self._accounts[rejection.index]
        if exposed and not self.doomed:
            self.doomed = True
            self.abort()

    # Blocks

    def _process(self) -> None:
        """The block is accepted, or waits for the schema to grow."""
        block, self._block = self._block, Block()
        if block.empty:
            return
        schema = self._growth.accepted
        if self.doomed:
            self._accept(block, self._parser.parse(block.data(), schema))
            return
        if self._settled:
            parsed = self._parser.parse(block.data(), schema)
            if not parsed.unknown.members or not self._growth.wanted(parsed.unknown):
                self._accept(block, parsed)
                return
            self._growth.collect(parsed.unknown)
            if not self._may_grow():
                self._late = True
                self._accept(block, parsed)
                return
            self._settled = False
        else:
            self._growth.collect(self._parser.observe(block.data(), schema))
        self._waiting.append(block)
        if sum(waiting.size for waiting in self._waiting) >= self._waiting_bytes_max:
            self._settle()

    def _may_grow(self) -> bool:
        begun = self._tables.begun
        return begun == 0 or self._tables.early + begun <= 1 + DRIFT_FILES * self._tables.full_files

    def _settle(self) -> None:
        """The schema is agreed on, and what waited for it is accepted."""
        if self.doomed:
            self._waiting = []
        if not self._waiting:
            return
        schema = self._growth.agree()
        self._settled = True
        waiting, self._waiting = self._waiting, []
        for block in waiting:
            self._accept(block, self._parser.parse(block.data(), schema))

    def _accept(self, block: Block, parsed: Parsed) -> None:
        """The block's lines are in the accounts, and unless their file is rejected in the outputs."""
        ranges = self._count(block, parsed)
        self._judge(block)
        if self.doomed:
            return
        self._rescued_values += parsed.rescued_values
        self._write_quarantine(block, parsed)
        self._write_rows(block, parsed, ranges)

    def _count(self, block: Block, parsed: Parsed) -> list[tuple[int, int]]:
        """The lines are in the accounts; the rows of each segment are returned as ranges of the batch."""
        ranges: list[tuple[int, int]] = []
        first = 0
        for segment in block.segments:
            end = bisect_left(parsed.row_lines, segment.block_line + segment.lines, first)
            ranges.append((first, end))
            self._account(segment.source).rows += end - first
            first = end
        for reject in parsed.rejects:
            self._account(block.segment_of(reject.line).source).quarantined += 1
        for source, _ in block.overlong:
            self._account(source).quarantined += 1
        for source in [block.segment_of(line).source for line in parsed.blanks] + block.blank:
            self._account(source).blank += 1
        for row in parsed.unknown_rows:
            self._account(block.segment_of(parsed.row_lines[row]).source).unknown_rows += 1
        for source in block.sources:
            self._account(source).blocks += 1
        return ranges

    def _account(self, source: int) -> Account:
        """The source's account; one that nobody reads if the source was rejected meanwhile."""
        return self._accounts.get(source) or Account(source)

    def _judge(self, block: Block) -> None:
        """Files that can't stand are rejected."""
        ended = set(block.ended)
        for source in block.sources:
            account = self._accounts.get(source)
            if account is not None:
                rejection = account.verdict(self._settings, ended=source in ended)
                if rejection is not None:
                    self._reject(rejection, exposed=not (source in ended and account.blocks == 1))

    def _write_quarantine(self, block: Block, parsed: Parsed) -> None:
        for source, long in block.overlong:
            if source not in self.rejected:
                item = Quarantined(source, long.line + 1, long.offset, LineReason.TOO_LONG, "", None, long.length)
                self._quarantine.add(self._sources[source].name, item)
        for reject in parsed.rejects:
            segment = block.segment_of(reject.line)
            if segment.source in self.rejected:
                continue
            data = block.data()[reject.offset : reject.offset + reject.length]
            line = segment.line + reject.line - segment.block_line + 1
            offset = segment.offset + reject.offset - segment.block_offset
            item = Quarantined(segment.source, line, offset, reject.reason, reject.detail, data, len(data))
            self._quarantine.add(self._sources[segment.source].name, item)

    def _write_rows(self, block: Block, parsed: Parsed, ranges: list[tuple[int, int]]) -> None:
        sources, lines = array("i"), array("q")
        kept: list[tuple[int, int]] = []
        dropped = False
        for segment, (first, end) in zip(block.segments, ranges, strict=True):
            if segment.source in self.rejected:
                dropped = True
                continue
            kept.append((first, end))
            sources.extend([segment.source] * (end - first))
            shift = segment.line - segment.block_line + 1
            lines.extend(line + shift for line in parsed.row_lines[first:end])
        batch = parsed.batch
        if dropped:
            rows = array("q", [row for first, end in kept for row in range(first, end)])
            batch = batch.take(pa.array(rows, pa.int64()))
        source_column = pa.array(sources, pa.int32())
        columns = [*batch.columns, source_column, pa.array(lines, pa.int64())]
        full = pa.RecordBatch.from_arrays(columns, schema=pa.schema([*batch.schema, *HIDDEN]))
        for directory, part in self._partitioner.split(full, source_column):
            self._tables.append(directory, self._growth.accepted, part)
