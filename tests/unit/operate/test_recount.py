import bz2
import gzip
import io
import lzma
from itertools import pairwise

import pytest
import zstandard
from small_lake import Lake

from headsaw.demo.landing import Landing
from headsaw.operate.recount import Damaged, Gone, Recounted, Tally, recount

BOM = b"\xef\xbb\xbf"


def counted(data: bytes, piece: int = 7) -> tuple[int, int]:
    tally = Tally()
    for start in range(0, len(data), piece):
        tally.feed(data[start : start + piece])
    result = tally.finish()
    return result.lines, result.blank


@pytest.mark.parametrize("piece", [1, 2, 3, 5, 1000])
@pytest.mark.parametrize(
    ("data", "lines", "blank"),
    [
        (b"", 0, 0),
        (b"a", 1, 0),
        (b"a\n", 1, 0),
        (b"a\nb", 2, 0),
        (b"\n", 1, 1),
        (b"\n\n\n", 3, 3),
        (b" \t\r\n", 1, 1),
        (b"a\n \r\n\n\tb\n", 4, 2),
        (b"a\n  ", 2, 1),
        (b"   ", 1, 1),
        (b"\x0b\n", 1, 0),  # a vertical tab is no JSON white space
        (BOM, 1, 1),
        (BOM + b"\n", 1, 1),
        (BOM + b"{}\n{}", 2, 0),
        (BOM + b" \n{}\n", 2, 1),
        (BOM[:2], 1, 0),
        (b"\n" + BOM + b"\n", 2, 1),
        (b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n\n" * 50, 100, 50),
    ],
)
def test_lines_and_blank_lines_are_counted_however_the_bytes_arrive(
    data: bytes, lines: int, blank: int, piece: int
) -> None:
    assert counted(data, piece) == (lines, blank)


def zstd_streamed(data: bytes) -> bytes:
    out = io.BytesIO()
    with zstandard.ZstdCompressor().stream_writer(out, closefd=False) as writer:
        writer.write(data)
    return out.getvalue()


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, zstandard.compress, zstd_streamed])
@pytest.mark.parametrize("piece", [1, 64, 100_000])
def test_every_compression_is_recognised_by_its_content_in_one_member_or_several(compress, piece: int) -> None:  # type: ignore[no-untyped-def]
    text = b"".join(b'{"n":%d}\n\n' % n for n in range(500))
    assert counted(compress(text), piece) == (1000, 500)
    assert counted(compress(text[:777]) + compress(text[777:]), piece) == (1000, 500)
    assert counted(compress(b""), piece) == (0, 0)


def test_what_follows_the_last_member_is_no_data() -> None:
    assert counted(gzip.compress(b"a\n") + b"\0" * 600) == (1, 0)
    assert counted(gzip.compress(b"a\n") + b"trailing garbage") == (1, 0)
    assert counted(zstandard.compress(b"a\n") + b"trailing garbage") == (1, 0)


def test_a_skippable_zstd_frame_holds_no_lines() -> None:
    skippable = b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"\n\n\n\n\n"
    assert counted(skippable + zstandard.compress(b"a\nb\n")) == (2, 0)


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, zstandard.compress])
def test_a_cut_or_damaged_stream_is_no_count(compress) -> None:  # type: ignore[no-untyped-def]
    body = compress(b"".join(b'{"n":%d}\n' % n for n in range(5000)))
    with pytest.raises(ValueError, match="cut off"):
        counted(body[: len(body) // 2])


def test_a_wrong_checksum_is_no_count() -> None:
    body = bytearray(gzip.compress(b"a\n" * 100))
    body[-6] ^= 1
    with pytest.raises(ValueError, match="incorrect"):
        counted(bytes(body))


async def test_generated_files_have_as_many_lines_as_they_were_made_with(lake: Lake) -> None:
    for made in Landing(files=60, file_bytes=2000, seed=5):
        source = await lake.land(made.key, made.body)
        result = await recount(lake.store, source)
        if made.corrupt:
            assert isinstance(result, Damaged)
        else:
            assert result == Recounted(made.counts.lines, made.counts.blank)


async def test_a_record_message_is_its_range_of_the_spool_object(lake: Lake) -> None:
    assert await recount(lake.store, await lake.spool("m1", "{}\n\n{}")) == Recounted(3, 1)


async def test_a_source_that_is_gone_or_overwritten_is_not_counted(lake: Lake) -> None:
    gone, old = [await lake.land(f"clicks/{name}", "{}\n") for name in "ab"]
    lake.store.delete("landing", gone.key)
    await lake.land(old.key, "{}\n{}\n")
    assert await recount(lake.store, gone) == Gone("missing")
    assert await recount(lake.store, old) == Gone("superseded")


def test_memory_stays_bounded_however_much_a_stream_expands_to() -> None:
    body = gzip.compress(b"\n" * 50_000_000)
    tally = Tally()
    cuts = [*range(0, len(body), 4096), len(body)]
    for start, end in pairwise(cuts):
        tally.feed(body[start:end])
    assert tally.finish() == Recounted(50_000_000, 50_000_000)
