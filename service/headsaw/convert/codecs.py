"""The compressed formats: how each is recognised and decompressed in pieces of bounded size, whatever it expands to."""

import bz2
import lzma
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, cast

import zstandard
from isal import isal_zlib
from isal.igzip_lib import IsalError

from headsaw.convert.zstd import MAGIC as ZSTD_MAGIC
from headsaw.convert.zstd import ZstdFrame, is_frame

PIECE_BYTES = 1024**2
"""At most this much is decompressed at once."""

HEADER_BYTES_MAX = 256 * 1024
"""A gzip header (it may hold a name and a comment) is waited for up to this size."""

XZ_MEMORY_BYTES = 128 * 1024**2

UNSUPPORTED = {
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"PAR1": "Parquet",
    b"Obj\x01": "Avro",
    b"ORC": "ORC",
    b"ARROW1": "Arrow",
    b"\x04\x22\x4d\x18": "lz4",
    b"\xff\x06\x00\x00sNaPpY": "snappy",
    b"\x82SNAPPY\x00": "snappy",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"\x1f\x9d": "compress",
    b"LZIP": "lzip",
    b"Rar!": "rar",
}
"""First bytes of formats that are recognised only to be named."""

UNMARKED = {".br": "brotli", ".snappy": "snappy", ".sz": "snappy"}
"""Formats without first bytes of their own: a name's ending tells, where the content is no text."""


class Decoder(Protocol):
    """Decompresses one member."""

    @property
    def eof(self) -> bool:
        """The member is complete, and its checksum right."""
        ...

    @property
    def unused_data(self) -> bytes:
        """What was fed beyond the member's end."""
        ...

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """What the data decompresses to, in pieces of at most about PIECE_BYTES."""
        ...


class Inflate:
    """One gzip member; CRC and length are checked by the library, which gets the member's header in one piece."""

    def __init__(self) -> None:
        self._inflate = isal_zlib.decompressobj(wbits=31)
        self._header: bytes | None = b""

    @property
    def eof(self) -> bool:
        """The trailer was read, and right."""
        return bool(self._inflate.eof)

    @property
    def unused_data(self) -> bytes:
        """What follows the trailer."""
        return bytes(self._inflate.unused_data)

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """What the data decompresses to."""
        if self._header is not None:
            self._header += data
            if not _whole_header(self._header) and len(self._header) < HEADER_BYTES_MAX:
                return
            data, self._header = self._header, None
        while not self._inflate.eof:
            piece = self._inflate.decompress(data, PIECE_BYTES)
            data = self._inflate.unconsumed_tail
            if piece:
                yield piece
            if not data and len(piece) < PIECE_BYTES:
                break


def _whole_header(data: bytes) -> bool:
    """A gzip header (RFC 1952, 2.3) is all there."""
    if len(data) < 10:
        return False
    flags, end = data[3], 10
    if flags & 4:
        end += 2 + int.from_bytes(data[10:12], "little")
    for flag in (8, 16):  # name and comment, each ended by a zero byte
        if flags & flag:
            end = data.find(b"\0", end) + 1
            if end == 0:
                return False
    return len(data) >= end + (flags & 2)


class Whole:
    """One bzip2 or xz stream."""

    def __init__(self, decompressor: bz2.BZ2Decompressor | lzma.LZMADecompressor) -> None:
        self._decompressor = decompressor

    @property
    def eof(self) -> bool:
        """The end mark was read, and the checks were right."""
        return self._decompressor.eof

    @property
    def unused_data(self) -> bytes:
        """What follows the end mark."""
        return self._decompressor.unused_data

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """What the data decompresses to."""
        while True:
            piece = self._decompressor.decompress(data, PIECE_BYTES)
            data = b""
            if piece:
                yield piece
            if self._decompressor.eof or self._decompressor.needs_input:
                break


@dataclass(frozen=True, slots=True)
class Codec:
    """One format; `padding` may follow a member and is skipped."""

    name: str
    magic: bytes
    decoder: Callable[[], Decoder]
    errors: tuple[type[Exception], ...]
    padding: bytes = b""

    def starts(self, data: bytes) -> bool:
        """A member begins so."""
        return is_frame(data) if self.magic == ZSTD_MAGIC else data.startswith(self.magic)

    def starts_cut(self, data: bytes) -> bool:
        """A member may begin so, but the data ends within its first bytes."""
        return len(data) < len(self.magic) and self.magic.startswith(data)


CODECS = (
    Codec("gzip", b"\x1f\x8b", Inflate, (cast("type[Exception]", IsalError),), b"\0"),
    Codec("zstd", ZSTD_MAGIC, ZstdFrame, (zstandard.ZstdError,)),
    Codec("bzip2", b"BZh", lambda: Whole(bz2.BZ2Decompressor()), (OSError,), b"\0"),
    Codec(
        "xz",
        b"\xfd7zXZ\0",
        lambda: Whole(lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY_BYTES)),
        (lzma.LZMAError,),
        b"\0",
    ),
)
