"""NDJSON bytes → runs of whole lines.

A line ends with 0x0A or with the file. A byte order mark at the file's start is skipped. A line over the limit isn't
kept: it is reported by its place, unless it is blank.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from headsaw.convert.native import newlines

BOM = b"\xef\xbb\xbf"
_BLANK = b" \t\r"
_NEWLINE = ord("\n")


@dataclass(frozen=True, slots=True)
class Run:
    """Whole lines of one file, in order: `piece[start:end]`, which ends with a newline unless it ends the file.

    `line` (from 0) and `offset` say where it begins in the file's decompressed bytes; `newlines` is how many it has.
    Lines stay where they were decompressed: nothing is copied.
    """

    piece: bytes
    start: int
    end: int
    line: int
    offset: int
    newlines: int

    @property
    def size(self) -> int:
        """Bytes."""
        return self.end - self.start

    @property
    def cut(self) -> bool:
        """The last line lacks its newline."""
        return self.piece[self.end - 1] != _NEWLINE


@dataclass(frozen=True, slots=True)
class LongLine:
    """A line over the limit, which wasn't kept. `length` in bytes, without the newline."""

    line: int
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class BlankLine:
    """A line over the limit that is nothing but white space."""

    line: int


Framed = Run | LongLine | BlankLine


class Framer:
    """Frames one file, or whole lines of it that begin at a later `line` and `offset`.

    Memory is bounded by the line limit and a piece.
    """

    def __init__(self, pieces: Iterable[bytes], line_bytes_max: int, *, line: int = 0, offset: int = 0) -> None:
        self._pieces = pieces
        self._max = line_bytes_max
        self._line = line
        self._offset = offset
        self._open = _OpenLine(line_bytes_max)
        self.bytes = 0
        """Decompressed bytes so far."""

    def __iter__(self) -> Iterator[Framed]:
        """The file's runs and overlong lines, in order."""
        for piece in self._without_bom():
            start = piece.find(b"\n") + 1 if self._open.begun else 0
            if self._open.begun:
                self._open.add(piece[:start] if start else piece)
                if not start:
                    continue
                yield from self._closed()
            end = piece.rfind(b"\n") + 1
            if end > start:
                yield from self._whole(piece, start, end)
            if len(piece) > max(start, end):
                self._open.add(piece[max(start, end) :])
        if self._open.begun:
            yield from self._closed()

    def _without_bom(self) -> Iterator[bytes]:
        """The pieces, none empty; a file that is nothing but a byte order mark has one empty line."""
        pieces = iter(self._pieces)
        if self._offset == 0:
            yield from self._beginning(pieces)
        for piece in pieces:
            self.bytes += len(piece)
            if piece:
                yield piece

    def _beginning(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        start = b""
        for piece in pieces:
            self.bytes += len(piece)
            start += piece
            if len(start) >= len(BOM):
                break
        if start.startswith(BOM):
            self._offset = len(BOM)
            start = start[len(BOM) :]
            self._open.begun = not start
        if start:
            yield start

    def _closed(self) -> Iterator[Framed]:
        """The open line, which has its newline now unless the file has ended."""
        open_, self._open = self._open, _OpenLine(self._max)
        if not open_.length:  # a file that is nothing but a byte order mark
            yield BlankLine(self._line)
            return
        if open_.kept is not None:
            line = open_.take()
            yield from self._whole(line, 0, len(line))
            return
        ended = open_.last == _NEWLINE
        yield self._overlong(open_.length - ended, blank=open_.blank)
        self._advance(1, open_.length)

    def _whole(self, piece: bytes, start: int, end: int) -> Iterator[Framed]:
        """Whole lines as one run, but for overlong ones."""
        at = start
        while end - start > self._max and at < end:
            newline = piece.find(b"\n", at, end)
            stop = end if newline < 0 else newline
            if stop - at <= self._max:
                at = stop + 1
                continue
            if at > start:
                yield self._run(piece, start, at)
            yield self._overlong(stop - at, blank=not piece[at:stop].strip(_BLANK))
            self._advance(1, min(stop + 1, end) - at)
            at = start = stop + 1
        if start < end:
            yield self._run(piece, start, end)

    def _run(self, piece: bytes, start: int, end: int) -> Run:
        run = Run(piece, start, end, self._line, self._offset, newlines(piece, start, end))
        self._advance(run.newlines, run.size)
        return run

    def _overlong(self, length: int, *, blank: bool) -> LongLine | BlankLine:
        return BlankLine(self._line) if blank else LongLine(self._line, self._offset, length)

    def _advance(self, lines: int, length: int) -> None:
        self._line += lines
        self._offset += length


class _OpenLine:
    """A line whose end hasn't come yet; over the limit only its length is kept, and whether it is blank."""

    def __init__(self, bytes_max: int) -> None:
        self._max = bytes_max
        self.begun = False
        self.kept: list[bytes] | None = []
        self.blank = True
        self.length = 0
        self.last = 0

    def take(self) -> bytes:
        """The line, which is kept no longer: it may be large."""
        kept, self.kept = self.kept or [], None
        return b"".join(kept)

    def add(self, data: bytes) -> None:
        """More of the line, perhaps with its newline."""
        self.begun = True
        self.length += len(data)
        self.last = data[-1]
        if self.kept is not None:
            self.kept.append(data)
            if self.length - (self.last == _NEWLINE) <= self._max:
                return
            self.blank = all(not part.strip(_BLANK + b"\n") for part in self.kept)
            self.kept = None
        elif self.blank:
            self.blank = not data.strip(_BLANK + b"\n")
