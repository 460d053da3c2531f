"""Counts the lines of a source again, by other means than the converter's: a decoder and a counter of its own.

A line ends with 0x0A or with the file; it is blank if it holds nothing but spaces, tabs and carriage returns. A byte
order mark at the start of a file is no part of a line.
"""

import asyncio
import bz2
import lzma
import re
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

import zstandard

from headsaw.core.model import RecordRange, Source, SourceFile
from headsaw.errors import SourceUnreadable
from headsaw.ports import ObjectStore

_FEED_BYTES = 8 * 1024
"""Compressed bytes that are expanded at once, which bounds what they can become."""

_HEAD_BYTES = 6
_BOM = b"\xef\xbb\xbf"
_WHITE = b" \t\r"
_BLANK_LINE = re.compile(rb"\n[ \t\r]*(?=\n)")
_ZSTD_WINDOW_BYTES_MAX = 2**27


@dataclass(frozen=True, slots=True)
class Recounted:
    """How many lines the source has, and how many of them are blank."""

    lines: int
    blank: int


@dataclass(frozen=True, slots=True)
class Gone:
    """The source can't be read any more (`missing`, `superseded`, ...), so nobody can count it again."""

    reason: str


@dataclass(frozen=True, slots=True)
class Damaged:
    """The source is there, and can't be decompressed."""

    detail: str


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


def _zstd() -> _Decompressor:
    return zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES_MAX).decompressobj()


_FORMATS: tuple[tuple[re.Pattern[bytes], Callable[[], _Decompressor]], ...] = (
    (re.compile(rb"\x1f\x8b"), lambda: zlib.decompressobj(wbits=31)),
    (re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"), _zstd),
    (re.compile(rb"BZh"), bz2.BZ2Decompressor),
    (re.compile(rb"\xfd7zXZ\0"), lzma.LZMADecompressor),
)
_ERRORS = (zlib.error, zstandard.ZstdError, OSError, lzma.LZMAError, EOFError)


class Tally:
    """Counts what it is fed: stored bytes, in pieces of any size."""

    def __init__(self) -> None:
        self._head: bytes | None = b""
        self._begins: re.Pattern[bytes] | None = None
        self._new: Callable[[], _Decompressor] | None = None
        self._member: _Decompressor | None = None
        self._between = b""
        self._over = False
        self._lines = _Lines()

    def feed(self, data: bytes) -> None:
        """The bytes are counted. Raises ValueError where they can't be decompressed."""
        if self._head is not None:
            self._head += data
            if len(self._head) < _HEAD_BYTES:
                return
            data = self._recognised()
        self._expand(data)

    def finish(self) -> Recounted:
        """The counts of everything that was fed. Raises ValueError where the stream isn't complete."""
        if self._head is not None:
            self._expand(self._recognised())
        if self._member is not None:
            raise ValueError("the compressed stream is cut off")
        return self._lines.finish()

    def _recognised(self) -> bytes:
        head, self._head = self._head or b"", None
        for begins, new in _FORMATS:
            if begins.match(head):
                self._begins, self._new, self._member = begins, new, new()
        return head

    def _expand(self, data: bytes) -> None:
        if self._new is None:
            self._lines.feed(data)
            return
        try:
            for start in range(0, len(data), _FEED_BYTES):
                for piece in self._members(data[start : start + _FEED_BYTES]):
                    self._lines.feed(piece)
        except _ERRORS as error:
            raise ValueError(str(error)) from error

    def _members(self, data: bytes) -> Iterator[bytes]:
        """What the bytes expand to, over the ends of members; what follows the last one is no data."""
        while data and not self._over:
            if self._member is None:
                data = (self._between + data).lstrip(b"\0")
                self._between = b""
                if len(data) < _HEAD_BYTES:
                    self._between = data
                    return
                if self._begins is None or self._new is None or not self._begins.match(data):
                    self._over = True
                    return
                self._member = self._new()
            yield self._member.decompress(data)
            if not self._member.eof:
                return
            data, self._member = self._member.unused_data, None


class _Lines:
    """Counts lines of plain bytes."""

    def __init__(self) -> None:
        self._start: bytes | None = b""
        self._lines = 0
        self._blank = 0
        self._open = False
        self._open_blank = True

    def feed(self, data: bytes) -> None:
        if self._start is not None:
            self._start += data
            if len(self._start) < len(_BOM) and _BOM.startswith(self._start):
                return
            data, self._start = self._start, None
            if data.startswith(_BOM):
                self._open = data == _BOM  # a file that is nothing else has one blank line
                data = data[len(_BOM) :]
        if data:
            self._count(data)

    def _count(self, data: bytes) -> None:
        first, last = data.find(b"\n"), data.rfind(b"\n")
        rest_blank = not data[last + 1 :].strip(_WHITE)
        if first < 0:
            self._open, self._open_blank = True, self._open_blank and rest_blank
            return
        self._lines += data.count(b"\n")
        self._blank += self._open_blank and not data[:first].strip(_WHITE)
        self._blank += sum(1 for _ in _BLANK_LINE.finditer(data, first, last + 1))
        self._open, self._open_blank = last + 1 < len(data), rest_blank

    def finish(self) -> Recounted:
        if self._start:  # shorter than a byte order mark
            start, self._start = self._start, None
            self._count(start)
        return Recounted(self._lines + self._open, self._blank + (self._open and self._open_blank))


async def recount(store: ObjectStore, source: Source) -> Recounted | Gone | Damaged:
    """The source's lines, counted from its stored bytes with bounded memory."""
    tally = Tally()
    try:
        async with _opened(store, source) as chunks:
            async for chunk in chunks:
                await asyncio.to_thread(tally.feed, chunk)
        return await asyncio.to_thread(tally.finish)
    except SourceUnreadable as gone:
        return Gone(gone.reason)
    except ValueError as error:
        return Damaged(str(error))


def _opened(store: ObjectStore, source: Source) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
    match source:
        case SourceFile(bucket, key, etag, _, version_id):
            return store.read(bucket, key, etag=etag, version_id=version_id)
        case RecordRange(_, bucket, key, offset, length):
            return store.read(bucket, key, start=offset, length=length)
