"""Compressed streams in any pieces: whole ones come out as they went in, damaged ones are rejected or harmless."""

import bz2
import gzip
import lzma
from collections.abc import Callable
from contextlib import suppress

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from headsaw.convert.decode import Decode
from headsaw.errors import SourceUnreadable

QUICK = settings(max_examples=60, deadline=None)

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}
MAGIC_BYTES = 6

lines = st.lists(
    st.sampled_from([b'{"a":1}\n', b"\n", b'{"b":"' + b"x" * 500 + b'"}\n', b'{"c":[1,2,3]}\n']), max_size=60
)
bodies = st.tuples(lines.map(b"".join), st.integers(1, 200)).map(lambda pair: pair[0] * pair[1])


def _decoded(data: bytes, piece: int) -> bytes:
    return b"".join(Decode(data[start : start + piece] for start in range(0, len(data), piece)))


@pytest.mark.parametrize("codec", COMPRESS)
@QUICK
@given(members=st.lists(bodies, min_size=1, max_size=3), piece=st.integers(1, 5000))
def test_members_in_any_pieces_come_out_as_they_went_in(codec: str, members: list[bytes], piece: int) -> None:
    stored = b"".join(map(COMPRESS[codec], members))
    assert _decoded(stored, piece) == b"".join(members)


@pytest.mark.parametrize("codec", COMPRESS)
@QUICK
@given(body=bodies, data=st.data())
def test_a_stream_that_is_cut_anywhere_is_rejected(codec: str, body: bytes, data: st.DataObject) -> None:
    stored = COMPRESS[codec](body)
    cut = data.draw(st.integers(MAGIC_BYTES, len(stored) - 1))
    with pytest.raises(SourceUnreadable):
        _decoded(stored[:cut], data.draw(st.integers(1, 5000)))


@pytest.mark.parametrize("codec", COMPRESS)
@QUICK
@given(body=bodies, data=st.data())
def test_a_flipped_bit_is_rejected_or_changes_nothing(codec: str, body: bytes, data: st.DataObject) -> None:
    stored = bytearray(COMPRESS[codec](body))
    at = data.draw(st.integers(MAGIC_BYTES, len(stored) - 1))
    stored[at] ^= 1 << data.draw(st.integers(0, 7))
    with suppress(SourceUnreadable):
        assert _decoded(bytes(stored), data.draw(st.integers(1, 5000))) == body


@QUICK
@given(name=st.binary(max_size=50).map(lambda text: text.replace(b"\0", b"")), piece=st.integers(1, 40), body=bodies)
def test_a_gzip_header_with_every_field_may_come_in_any_pieces(name: bytes, piece: int, body: bytes) -> None:
    plain = gzip.compress(body)
    fields = len(name).to_bytes(2, "little") + name + name + b"\0" + name + b"\0"
    stored = plain[:3] + bytes([4 | 8 | 16]) + plain[4:10] + fields + plain[10:]
    assert _decoded(stored, piece) == body
