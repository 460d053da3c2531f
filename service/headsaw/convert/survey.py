"""A first look at sources, before anything is written: where the lines of ranges begin, and which keys there are.

A range has the lines that begin in it; a line that begins before its end is read to the line's end.
"""

from collections.abc import Iterator, Sequence

from headsaw.convert.blocks import SMALL_FILE_BYTES, Block
from headsaw.convert.choice import parser_choice
from headsaw.convert.frame import Framed, Framer, Run
from headsaw.convert.native import newlines
from headsaw.convert.opening import opened
from headsaw.convert.parser import ParseRules
from headsaw.core.conversion import SourceStream
from headsaw.core.inference import NODES_MAX, Seen
from headsaw.core.settings import DatasetSettings
from headsaw.core.splits import Found
from headsaw.core.table_schema import TableSchema
from headsaw.errors import SourceUnreadable


def range_begins(start: int) -> int:
    """Where a reader of a range begins: a byte earlier, for only that byte tells whether a line begins at `start`."""
    return max(start - 1, 0)


class RangeLines:
    """The lines that begin in bytes [start, stop) of a plain source, whole; `chunks` go on from `range_begins(start)`.

    No more is read than that takes. `found` is complete once the pieces have been iterated.
    """

    def __init__(self, chunks: Iterator[bytes], start: int, stop: int | None) -> None:
        self._chunks = chunks
        self._at = range_begins(start)
        self._begin = 0 if start == 0 else None
        self._stop = stop
        self._newlines = 0
        self._last = b""

    @property
    def found(self) -> Found:
        """Where they begin, and how many they are."""
        cut = bool(self._last) and self._last != b"\n"
        return Found(self._begin if self._last else None, self._newlines + cut)

    def __iter__(self) -> Iterator[bytes]:
        """Pieces of any size."""
        for chunk in self._chunks:
            piece = self._skip(chunk)
            if piece is None:
                return
            last = self._last_newline(piece)
            end = len(piece) if last is None else last + 1
            if end:
                self._newlines += newlines(piece, 0, end)
                self._last = piece[end - 1 : end]
                yield piece if end == len(piece) else piece[:end]
            if last is not None:
                return
            self._at += len(piece)

    def _skip(self, chunk: bytes) -> bytes | None:
        """The chunk without what is no line of the range; None if no line begins in the range."""
        if self._begin is None:
            newline = chunk.find(b"\n")
            ends = len(chunk) if newline < 0 else newline + 1
            self._at += ends
            self._begin = self._at if newline >= 0 else None
            if self._stop is not None and self._at >= self._stop:
                self._begin = None
                return None
            return chunk[ends:]
        return chunk

    def _last_newline(self, piece: bytes) -> int | None:
        """Where in the piece the range's last line ends; None if it goes on."""
        if self._stop is None or self._at + len(piece) < self._stop:
            return None
        newline = piece.find(b"\n", max(self._stop - 1 - self._at, 0))
        return None if newline < 0 else newline


class Observer:
    """Collects what sources hold beyond a table schema, in bounded memory."""

    def __init__(self, settings: DatasetSettings, schema: TableSchema) -> None:
        rules = ParseRules(settings.line.max_depth, infer_timestamps=settings.table_schema.timestamps == "infer")
        self._parser = parser_choice().parser(rules)
        self._line_bytes_max = settings.line.max_bytes
        self._schema = schema
        self._block = Block()
        self.seen = Seen()

    def take(self, sources: Sequence[SourceStream]) -> None:
        """All lines of the sources are observed; of a source that can't be read, some at most."""
        for source in sources:
            try:
                self._add(opened(source, self._line_bytes_max)[1])
            except SourceUnreadable:
                continue  # converting it will tell why
        self._observe()

    def take_range(self, lines: RangeLines, start: int) -> None:
        """The range's lines are observed."""
        self._add(Framer(lines, self._line_bytes_max, offset=start))
        self._observe()

    def _add(self, framer: Framer) -> None:
        """As in a conversion, a small file counts once it was read to its end."""
        held: list[Framed] = []
        size = 0
        for framed in framer:
            held.append(framed)
            size += framed.size if isinstance(framed, Run) else 0
            if size > SMALL_FILE_BYTES:
                self._hold(held)
                held = []
        self._hold(held)

    def _hold(self, held: Sequence[Framed]) -> None:
        for framed in held:
            if isinstance(framed, Run):
                self._block.add(0, framed)
        if self._block.size >= self._parser.block_bytes:
            self._observe()

    def _observe(self) -> None:
        block, self._block = self._block, Block()
        if block.text.parts and self.seen.nodes < NODES_MAX:
            self.seen.merge(self._parser.observe(block.text, self._schema))
