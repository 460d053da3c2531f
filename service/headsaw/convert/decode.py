"""Stored bytes → NDJSON bytes, by content and never by name; in pieces of bounded size.

A damaged, cut or unsupported stream raises SourceUnreadable. What follows the last gzip member or zstd frame and is no
further one is ignored and noted.
"""

from collections.abc import Iterator

from headsaw.convert.codecs import CODECS, PIECE_BYTES, UNMARKED, UNSUPPORTED, Codec
from headsaw.core.conversion import RejectReason
from headsaw.errors import SourceUnreadable

EXPANSION_FREE_BYTES = 1024**3
EXPANSION_RATIO_MAX = 250
"""Beyond EXPANSION_FREE_BYTES, decompressed bytes are at most this many times the stored ones; logs stay under 100."""

HEAD_BYTES = 16
"""What a source is, its first bytes tell, so many of them."""

_MAGIC_BYTES = 6


class Decode:
    """The NDJSON bytes of one source. `notes` says afterwards what was odd about it but no reason to reject it.

    `plain`: they are the chunks, whatever those look like.
    """

    def __init__(self, chunks: Iterator[bytes], *, name: str = "", plain: bool = False) -> None:
        self._chunks = chunks
        self._name = name
        self._known_plain = plain
        self._stored = 0
        self._plain = 0
        self.notes: list[str] = []

    def __iter__(self) -> Iterator[bytes]:
        """The decompressed pieces; raises SourceUnreadable."""
        if self._known_plain:
            yield from self._cut(self._chunks)
            return
        head = b""
        for chunk in self._chunks:
            self._stored += len(chunk)
            head += chunk
            if len(head) >= HEAD_BYTES:
                break
        codec = _codec(head, self._name)
        pieces = self._cut(self._stored_pieces(head)) if codec is None else self._members(head, codec)
        checked = False
        start = b""
        for piece in pieces:
            self._plain += len(piece)
            self._check_expansion()
            if not checked:
                start += piece
                if len(start) < 4:
                    continue
                checked, piece = True, start
                _refuse_wide(start)
            yield piece
        if not checked and start:
            _refuse_wide(start)
            yield start

    def _check_expansion(self) -> None:
        if self._plain > EXPANSION_FREE_BYTES and self._plain > EXPANSION_RATIO_MAX * self._stored:
            detail = f"{self._stored} stored bytes are more than {self._plain} decompressed"
            raise SourceUnreadable(RejectReason.EXPANSION_LIMIT, detail)

    def _cut(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """The same bytes in pieces of at most PIECE_BYTES."""
        for piece in pieces:
            for start in range(0, len(piece), PIECE_BYTES):
                yield piece if len(piece) <= PIECE_BYTES else piece[start : start + PIECE_BYTES]

    def _stored_pieces(self, head: bytes) -> Iterator[bytes]:
        if head:
            yield head
        for chunk in self._chunks:
            self._stored += len(chunk)
            yield chunk

    def _members(self, head: bytes, codec: Codec) -> Iterator[bytes]:
        """What all members hold, one after the other."""
        decoder, between, tail = codec.decoder(), False, b""
        for data in self._stored_pieces(head):
            while data:
                if between:
                    data, tail = (tail + data).lstrip(codec.padding), b""
                    if len(data) < _MAGIC_BYTES:
                        tail = data
                        break
                    if not codec.starts(data):
                        self._trailing(data, codec)
                        return
                    decoder, between = codec.decoder(), False
                yield from self._guarded(codec, decoder.pieces(data))
                data, between = decoder.unused_data, decoder.eof
        if not between:
            raise SourceUnreadable(RejectReason.TRUNCATED_STREAM, f"the {codec.name} stream ends before its end mark")
        if tail:
            self._trailing(tail, codec)

    def _guarded(self, codec: Codec, pieces: Iterator[bytes]) -> Iterator[bytes]:
        try:
            yield from pieces
        except codec.errors as error:
            raise SourceUnreadable(RejectReason.CORRUPT_STREAM, f"{codec.name}: {error}") from error

    def _trailing(self, data: bytes, codec: Codec) -> None:
        """Bytes after the last member are noted; another compressed stream is data, and can't be left out."""
        if codec.starts_cut(data):
            raise SourceUnreadable(RejectReason.TRUNCATED_STREAM, f"the {codec.name} stream ends within a header")
        other = next((other.name for other in CODECS if other.starts(data)), None)
        if other is not None:
            raise SourceUnreadable(RejectReason.CORRUPT_STREAM, f"a {other} stream follows the {codec.name} stream")
        self.notes.append(f"bytes after the last {codec.name} member were ignored")


def is_plain(head: bytes, name: str) -> bool:
    """A source of that name whose first HEAD_BYTES are `head` is NDJSON as it is stored: not compressed, no UTF-16."""
    try:
        _refuse_wide(head)
        return _codec(head, name) is None
    except SourceUnreadable:
        return False


def _codec(head: bytes, name: str) -> Codec | None:
    """The codec of a stream that begins so; None for plain text. Raises SourceUnreadable for what is something else."""
    for codec in CODECS:
        if codec.starts(head):
            return codec
    for magic, format_ in UNSUPPORTED.items():
        if head.startswith(magic):
            raise SourceUnreadable(RejectReason.UNSUPPORTED_FORMAT, f"this is {format_}, not NDJSON")
    if head and head[0] not in _TEXT:
        for ending, format_ in UNMARKED.items():
            if name.endswith(ending):
                raise SourceUnreadable(RejectReason.UNSUPPORTED_FORMAT, f"this seems to be {format_}, not NDJSON")
    return None


_TEXT = b' \t\r\n{[\xef"'
_OPENERS = b" \t\r\n{["


def _refuse_wide(start: bytes) -> None:
    """Raise SourceUnreadable for UTF-16 and UTF-32, known by their byte order mark or by their zero bytes."""
    head = start[:4]
    zeros = tuple(byte == 0 for byte in head)
    first = next((byte for byte in head if byte), 0)
    if head in (b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff"):
        reason = RejectReason.UTF32
    elif head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        reason = RejectReason.UTF16
    elif zeros in ((False, True, True, True), (True, True, True, False)) and first in _OPENERS:
        reason = RejectReason.UTF32
    elif zeros in ((False, True, False, True), (True, False, True, False)) and first in _OPENERS:
        reason = RejectReason.UTF16
    else:
        return
    raise SourceUnreadable(reason, "write the file as UTF-8")
