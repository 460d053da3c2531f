"""NDJSON bytes → runs of whole lines.

A line ends with 0x0A or with the file. A byte order mark at the file's start is skipped. A line over the limit isn't
kept: it is reported by its place, unless it is blank.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

BOM = b"\xef\xbb\xbf"
_BLANK = b" \t\r"


@dataclass(frozen=True, slots=True)
class Run:
    """Whole lines of one file, in order: `data` ends with a newline unless it ends the file.

    `line` (from 0) and `offset` say where it begins in the file's decompressed bytes; `newlines` is how many it has.
    """

    data: bytes
    line: int
    offset: int
    newlines: int


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
    """Frames one file; memory is bounded by the line limit and a piece."""

    def __init__(self, pieces: Iterable[bytes], line_bytes_max: int) -> None:
        self._pieces = pieces
        self._max = line_bytes_max
        self._line = 0
        self._offset = 0
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
                yield from self._whole(piece[start:end])
            if len(piece) > max(start, end):
                self._open.add(piece[max(start, end) :])
        if self._open.begun:
            yield from self._closed()

    def _without_bom(self) -> Iterator[bytes]:
        """The pieces, none empty; a file that is nothing but a byte order mark has one empty line."""
        start = b""
        pieces = iter(self._pieces)
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
        for piece in pieces:
            self.bytes += len(piece)
            if piece:
                yield piece

    def _closed(self) -> Iterator[Framed]:
        """The open line, which has its newline now unless the file has ended."""
        open_, self._open = self._open, _OpenLine(self._max)
        if not open_.length:  # a file that is nothing but a byte order mark
            yield BlankLine(self._line)
            return
        if open_.kept is not None:
            yield from self._whole(open_.take())
            return
        ended = open_.last == ord("\n")
        yield self._overlong(open_.length - ended, blank=open_.blank)
        self._advance(1, open_.length)

    def _whole(self, data: bytes) -> Iterator[Framed]:
        """Whole lines as one run, but for overlong ones."""
        at = start = 0
        while len(data) - start > self._max and at < len(data):
            newline = data.find(b"\n", at)
            end = len(data) if newline < 0 else newline
            if end - at <= self._max:
                at = end + 1
                continue
            if at > start:
                yield self._run(data[start:at])
            yield self._overlong(end - at, blank=not data[at:end].strip(_BLANK))
            self._advance(1, min(end + 1, len(data)) - at)
            at = start = end + 1
        if start < len(data):
            yield self._run(data[start:] if start else data)

    def _run(self, data: bytes) -> Run:
        run = Run(data, self._line, self._offset, data.count(b"\n"))
        self._advance(run.newlines, len(data))
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
            if self.length - (self.last == ord("\n")) <= self._max:
                return
            self.blank = all(not part.strip(_BLANK + b"\n") for part in self.kept)
            self.kept = None
        elif self.blank:
            self.blank = not data.strip(_BLANK + b"\n")
