"""Sources → table files and quarantine: the pipeline decode → frame → parse → partition → write.

A small file is decoded to its end before any of its lines counts, so a damaged one costs nothing. A large file that
turns out to be unreadable dooms the attempt: its outputs are aborted, the remaining sources are only looked through for
more such files, and the conversion starts again without them.
"""

from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass

from headsaw.convert.accounts import Account
from headsaw.convert.background import Background
from headsaw.convert.blocks import SMALL_FILE_BYTES, Block
from headsaw.convert.delivery import Delivery
from headsaw.convert.frame import Framed, Run
from headsaw.convert.growth import Growth
from headsaw.convert.job import Job
from headsaw.convert.memory import keep_memory, release_memory
from headsaw.convert.opening import opened
from headsaw.convert.parser import Parsed
from headsaw.core.conversion import ConversionReport, Notice, Rejection, RejectReason
from headsaw.core.inference import Rules, Seen
from headsaw.core.table_schema import TableSchema
from headsaw.errors import SourceUnreadable


@dataclass(frozen=True, slots=True)
class _Ahead:
    """A block that is being parsed, or only observed, with what was the accepted schema then."""

    block: Block
    schema: TableSchema
    parsed: Future[Parsed] | None
    seen: Future[Seen] | None


DRIFT_FILES = 0.2
"""Growth may close files early while that stays under one file and this fraction of the full ones; else it waits."""

WAITING = 8
"""Blocks wait for the schema to grow up to one in this many of the memory, which no block exceeds either."""


def run(job: Job) -> ConversionReport:
    """The report of the first attempt that isn't doomed; each that is rejects at least one source more."""
    keep_memory()
    rejected: dict[int, Rejection] = {}
    while True:
        try:
            with Background(job.threads if job.parser.parallel else 1) as background:
                report = _attempted(_Attempt(job, rejected, background))
        finally:
            release_memory()
        if report is not None:
            return report


def _attempted(attempt: "_Attempt") -> ConversionReport | None:
    try:
        return attempt.run()
    except BaseException:
        attempt.delivery.abort()
        raise


class _Attempt:
    """One pass over all sources but those in `rejected`, to which it adds."""

    def __init__(self, job: Job, rejected: dict[int, Rejection], background: Background) -> None:
        self._job = job
        self._rejected = rejected
        self._background = background
        self._ahead: deque[_Ahead] = deque()
        self.delivery = Delivery(job, rejected, background)
        directories = [level.directory for level in job.settings.partition_by]
        self._growth = Growth(job.book, Rules.of(job.settings.table_schema, directories))
        self._settled = self._growth.accepted.version > 0
        self._late = False
        self._waiting: list[Block] = []
        self._block_bytes = min(job.parser.block_bytes, job.memory_bytes // WAITING)
        self._block = Block()
        self._notices: list[Notice] = []

    def run(self) -> ConversionReport | None:
        """The report; None if the attempt was doomed."""
        for index in range(len(self._job.sources)):
            if index not in self._rejected:
                self._take(index)
        self._process()
        self._catch_up()
        self._settle()
        if self.delivery.doomed:
            return None
        outputs = self.delivery.close()
        if self._late:
            self._growth.agree()
        accounts = self.delivery.accounts
        return ConversionReport(
            files={index: account.counts for index, account in sorted(accounts.items())},
            rejections=tuple(self._rejected[index] for index in sorted(self._rejected)),
            outputs=outputs,
            schema=self._growth.accepted,
            rescued_values=self.delivery.rescued_values,
            bytes_in=sum(account.bytes for account in accounts.values()),
            notices=tuple(notice for notice in self._notices if notice.index in accounts),
        )

    # Sources into blocks

    def _take(self, index: int) -> None:
        """The source is in blocks to its end, or rejected."""
        source = self._job.sources[index]
        account = self.delivery.accounts[index] = Account(index)
        decode, framer = opened(source, self._job.settings.line.max_bytes)
        held: list[Framed] = []
        size = 0
        try:
            for framed in framer:
                held.append(framed)
                size += framed.size if isinstance(framed, Run) else 0
                if size > SMALL_FILE_BYTES:
                    self._add(index, held)
                    held = []
                    if index in self._rejected:
                        return
        except SourceUnreadable as error:
            rejection = Rejection(index, RejectReason(error.reason), error.detail)
            self.delivery.reject(rejection, exposed=size > SMALL_FILE_BYTES)
            return
        if size <= SMALL_FILE_BYTES and self._block.size + size > self._block_bytes:
            self._process()
        account.bytes = framer.bytes
        self._notices += [Notice(index, note) for note in decode.notes]
        self._block.ended.append(index)
        self._add(index, held)

    def _add(self, index: int, held: list[Framed]) -> None:
        """The lines are in the block, which is processed if it is full."""
        for framed in held:
            self._block.add(index, framed)
        if self._block.size >= self._block_bytes:
            self._process()

    # Blocks into rows

    def _process(self) -> None:
        """The block is being parsed or observed; some that came before are accepted or wait."""
        block, self._block = self._block, Block()
        if block.empty:
            return
        schema, parser, submit = self._growth.accepted, self._job.parser, self._background.submit
        known = self._settled or self.delivery.doomed
        parsed = submit(parser.parse, block.text, schema) if known else None
        seen = None if known else submit(parser.observe, block.text, schema)
        self._ahead.append(_Ahead(block, schema, parsed, seen))
        self._catch_up(ahead=self._background.threads)

    def _catch_up(self, ahead: int = 0) -> None:
        """At most that many blocks are still to be accepted or to wait."""
        while len(self._ahead) > ahead:
            self._place(self._ahead.popleft())

    def _place(self, item: _Ahead) -> None:
        """The block is accepted, or waits for the schema to grow. What was done with another schema is done again."""
        block, schema, parser = item.block, self._growth.accepted, self._job.parser
        timely = item.schema is schema
        if self._settled or self.delivery.doomed:
            parsed = item.parsed.result() if item.parsed and timely else parser.parse(block.text, schema)
            if self.delivery.doomed or not self._grows(parsed.unknown):
                self.delivery.accept(block, parsed, schema)
                return
        else:
            self._growth.collect(item.seen.result() if item.seen and timely else parser.observe(block.text, schema))
        self._waiting.append(block)
        if sum(waiting.size for waiting in self._waiting) * WAITING >= self._job.memory_bytes:
            self._settle()

    def _grows(self, unknown: Seen) -> bool:
        """The schema is to grow by what a block has beyond it, before the block's rows are typed."""
        if not unknown.members or not self._growth.wanted(unknown):
            return False
        self._growth.collect(unknown)
        tables = self.delivery.tables
        tables.wait()
        may_close = tables.begun == 0 or tables.early + tables.begun <= 1 + DRIFT_FILES * tables.full_files
        self._settled = not may_close
        self._late |= not may_close
        return may_close

    def _settle(self) -> None:
        """The schema is agreed on, and what waited for it is accepted."""
        waiting, self._waiting = self._waiting, []
        if not waiting or self.delivery.doomed:
            return
        schema = self._growth.agree()
        self._settled, self._late = True, False
        parsing = [self._background.submit(self._job.parser.parse, block.text, schema) for block in waiting]
        for block, parsed in zip(waiting, parsing, strict=True):
            self.delivery.accept(block, parsed.result(), schema)
