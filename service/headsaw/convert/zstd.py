"""One zstd frame, decompressed a few blocks at a time.

The library's decompression object gives out all that its input expands to at once, and a few bytes can expand to
128 KiB. So the frame is cut at its blocks (RFC 8878, 3.1.1), whose headers tell their stored size; the library gets at
most BLOCKS of them together, and the frame's end, a skippable frame and what follows are known to the byte.
"""

from collections.abc import Iterator

import zstandard

from headsaw.core.conversion import RejectReason
from headsaw.errors import SourceUnreadable

MAGIC = b"\x28\xb5\x2f\xfd"
WINDOW_BYTES_MAX = 2**27
"""As zstd's own default; a frame that needs a larger window is refused rather than given the memory."""

BLOCKS = 8
_SKIPPABLE = b"\x2a\x4d\x18"


def is_frame(data: bytes) -> bool:
    """A frame or skippable frame begins so."""
    return data.startswith(MAGIC) or (data[1:4] == _SKIPPABLE and 0x50 <= data[0] <= 0x5F)


class ZstdFrame:
    """Decompresses one frame; a skippable one yields nothing."""

    def __init__(self) -> None:
        self._decompress = zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES_MAX).decompressobj()
        self._data = b""
        self._skip = 0
        self._in_blocks = False
        self._checksum_bytes = 0
        self._eof = False

    @property
    def eof(self) -> bool:
        """The frame is complete, and its checksum right if it has one."""
        return self._eof

    @property
    def unused_data(self) -> bytes:
        """What follows the frame."""
        return self._data if self._eof else b""

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """What the data decompresses to, in pieces of at most BLOCKS blocks."""
        self._data += data
        if not self._in_blocks and not self._begin():
            return
        while not self._eof:
            if self._skip:
                skipped = min(self._skip, len(self._data))
                self._data, self._skip = self._data[skipped:], self._skip - skipped
                self._eof = self._skip == 0
                return
            end = self._blocks_end()
            if end == 0:
                return
            taken, self._data = self._data[:end], self._data[end:]
            piece = self._decompress.decompress(taken)
            if piece:
                yield piece

    def _begin(self) -> bool:
        """The frame's header is read and handed on; False while it isn't all there."""
        data = self._data
        if len(data) < 18:
            needed = 8 if data[:4] != MAGIC and len(data) >= 4 else _header_bytes(data)
            if len(data) < needed:
                return False
        self._in_blocks = True
        if data[:4] != MAGIC:
            size = int.from_bytes(data[4:8], "little")
            self._data, self._skip, self._eof = data[8:], size, size == 0
            return True
        header = _header_bytes(data)
        _check_window(data)
        self._checksum_bytes = 4 if data[4] & 4 else 0
        self._decompress.decompress(data[:header])
        self._data = data[header:]
        return True

    def _blocks_end(self) -> int:
        """Where the whole blocks at hand end (at most BLOCKS, with the checksum after the last); 0 if there is none."""
        at = 0
        for _ in range(BLOCKS):
            if len(self._data) < at + 3:
                break
            block = int.from_bytes(self._data[at : at + 3], "little")
            last, type_, size = block & 1, block >> 1 & 3, block >> 3
            end = at + 3 + (1 if type_ == 1 else size) + (self._checksum_bytes if last else 0)
            if len(self._data) < end:
                break
            at = end
            if last:
                self._eof = True
                break
        return at


def _header_bytes(data: bytes) -> int:
    if len(data) < 5:
        return 5
    descriptor = data[4]
    single = descriptor >> 5 & 1
    content_size = (1 if single else 0, 2, 4, 8)[descriptor >> 6]
    return 5 + (1 - single) + (0, 1, 2, 4)[descriptor & 3] + content_size


def _check_window(data: bytes) -> None:
    descriptor = data[4]
    if descriptor >> 5 & 1:
        return  # the window is the content's size, which the library checks against its limit
    log, mantissa = 10 + (data[5] >> 3), data[5] & 7
    window = (1 << log) + (1 << log) // 8 * mantissa
    if window > WINDOW_BYTES_MAX:
        detail = f"zstd: a window of {window} bytes is over the limit of {WINDOW_BYTES_MAX}"
        raise SourceUnreadable(RejectReason.UNSUPPORTED_FORMAT, detail)
