"""A corpus of our own, so that conformance is checked everywhere: every class of line, in every form of file."""

import bz2
import gzip
import json
import lzma
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from tests.conformance.reading import check_values
from tests.unit.convert.harness import Bytes, run

from headsaw.core.conversion import RejectReason

ROW = "row"
BLANK = "blank"

LINES: list[tuple[bytes, str]] = [
    (b'{"id":1,"name":"ann","tags":["x","y"],"geo":{"lat":1.5,"lon":-0.25}}', ROW),
    (b'  {"id" : 2 ,\t"name" : null }  ', ROW),
    (b'{"id":2,"name":"\xf0\x9f\x98\x80 \\ud83d\\ude00 \\u0000 \xe2\x80\xa8"}\r', ROW),
    (b"{}", ROW),
    (b'{"id":18446744073709551615,"geo":{"lat":1e400,"lon":0.1e1}}', ROW),
    (b'{"id":-0,"geo":{"lat":-0.0,"alt":{}}}', ROW),
    (b'{"tags":[1,null,{"deep":[[]]}],"late":{"k":true}}', ROW),
    (b'{"ID":5,"":6,"a.b":7,"a/b~":8}', ROW),
    (b'{"n":' + b"9" * 5000 + b"}", ROW),
    (b'{"d":' + b"[" * 255 + b"]" * 255 + b"}", ROW),
    (b'{"d":' + b"[" * 256 + b"]" * 256 + b"}", "too_deep"),
    (b"[" * 100_000, "too_deep"),
    (b"", BLANK),
    (b" \t\r", BLANK),
    (b"\xef\xbb\xbf{}", "not_json"),
    (b'{"id":1}{"id":2}', "not_json"),
    (b'{"id":1},', "not_json"),
    (b'{"id":01}', "not_json"),
    (b'{"id":+1}', "not_json"),
    (b'{"id":.5}', "not_json"),
    (b'{"id":1.}', "not_json"),
    (b'{"id":0x10}', "not_json"),
    (b'{"id":NaN}', "not_json"),
    (b'{"id":-Infinity}', "not_json"),
    (b"{'id':1}", "not_json"),
    (b"{id:1}", "not_json"),
    (b'{"id":1,}', "not_json"),
    (b'{"id":[1,]}', "not_json"),
    (b'{"id":1 /* one */}', "not_json"),
    (b'{"id":True}', "not_json"),
    (b'{"id":"\t"}', "not_json"),
    (b'{"id":"\\x41"}', "not_json"),
    (b'{"id":"\\u12g4"}', "not_json"),
    (b'{"id":"open', "not_json"),
    (b'{"id":1', "not_json"),
    (b'{"id":1}\x00', "not_json"),
    (b'\x0b{"id":1}', "not_json"),
    (b"\xc2\xa0{}", "not_json"),
    (b'{"id":1,"id":2', "not_json"),
    (b"[1,2]", "not_an_object"),
    (b'"text"', "not_an_object"),
    (b"null", "not_an_object"),
    (b'[{"a":1,"a":2}]', "not_an_object"),
    (b'{"id":1,"id":1}', "duplicate_key"),
    (b'{"geo":{"lat":1,"l\\u0061t":2}}', "duplicate_key"),
    (b'{"id":"\\ud800"}', "lone_surrogate"),
    (b'{"\\udc00x":1}', "lone_surrogate"),
    (b'{"id":"\\ude00\\ud83d"}', "lone_surrogate"),
    (b'{"id":"\xff"}', "invalid_utf8"),
    (b'{"id":"\xed\xa0\x80"}', "invalid_utf8"),
    (b'{"id":"\xc0\xaf"}', "invalid_utf8"),
    (b'{"id":"\xe2\x82', "invalid_utf8"),
]


def _mixed(seed: int, lines: int) -> list[tuple[bytes, str]]:
    chance = random.Random(seed)
    plain = [(json.dumps({"id": number, "name": f"n{number}"}).encode(), ROW) for number in range(lines)]
    mixed = plain + LINES
    chance.shuffle(mixed)
    return mixed


def _gzip_members(data: bytes) -> bytes:
    cut = len(data) // 3 + 1
    return b"".join(gzip.compress(part) for part in (b"", data[:cut], data[cut:], b"")) + b"\0" * 512


def _zstd_frames(data: bytes) -> bytes:
    compress = zstandard.ZstdCompressor(write_checksum=True).compress
    skippable = b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"hello"
    cut = len(data) // 2
    return skippable + compress(data[:cut]) + skippable + compress(data[cut:])


FORMS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "bom": lambda data: b"\xef\xbb\xbf" + data,
    "gzip": gzip.compress,
    "gzip members": _gzip_members,
    "zstd": zstandard.ZstdCompressor().compress,
    "zstd frames": _zstd_frames,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("newline_at_end", [True, False])
def test_every_class_of_line_ends_where_it_must(form: str, newline_at_end: bool, tmp_path: Path) -> None:
    lines = _mixed(len(form), 300)
    data = b"\n".join(line for line, _ in lines) + (b"\n" if newline_at_end else b"")
    source = Bytes(FORMS[form](data), piece=1000)
    done = run(source)
    if lines[-1][0] == b"" and not newline_at_end:
        lines.pop()
    wanted = {number: kind for number, (_, kind) in enumerate(lines, 1)}
    assert done.reasons() == {number: kind for number, kind in wanted.items() if kind not in (ROW, BLANK)}
    counts = done.report.counts
    assert counts.lines == len(lines)
    assert counts.blank == list(wanted.values()).count(BLANK)
    check_values(source, done, tmp_path)


GOOD = b'{"id":1}\n' * 5000

REJECTED: list[tuple[str, bytes, RejectReason]] = [
    ("cut gzip", gzip.compress(GOOD)[:-9], RejectReason.TRUNCATED_STREAM),
    ("cut gzip trailer", gzip.compress(GOOD)[:-3], RejectReason.TRUNCATED_STREAM),
    ("gzip header alone", b"\x1f\x8b", RejectReason.TRUNCATED_STREAM),
    ("second member cut", gzip.compress(GOOD) + gzip.compress(GOOD)[:30], RejectReason.TRUNCATED_STREAM),
    ("wrong checksum", gzip.compress(GOOD)[:-8] + b"\0\0\0\0" + gzip.compress(GOOD)[-4:], RejectReason.CORRUPT_STREAM),
    ("wrong length", gzip.compress(GOOD)[:-4] + b"\0\0\0\0", RejectReason.CORRUPT_STREAM),
    ("gzip then zstd", gzip.compress(GOOD) + zstandard.compress(GOOD), RejectReason.CORRUPT_STREAM),
    ("cut zstd", zstandard.compress(GOOD)[:-1], RejectReason.TRUNCATED_STREAM),
    ("cut xz", lzma.compress(GOOD)[:-1], RejectReason.TRUNCATED_STREAM),
    ("cut bzip2", bz2.compress(GOOD)[:-1], RejectReason.TRUNCATED_STREAM),
    ("wide window", b"\x28\xb5\x2f\xfd\x00" + bytes([20 << 3]) + b"\x01\x00\x00", RejectReason.UNSUPPORTED_FORMAT),
    ("Parquet", b"PAR1" + GOOD, RejectReason.UNSUPPORTED_FORMAT),
    ("zip", b"PK\x03\x04" + GOOD, RejectReason.UNSUPPORTED_FORMAT),
    ("UTF-16 LE", GOOD.decode().encode("utf-16-le"), RejectReason.UTF16),
    ("UTF-16 BE with mark", b"\xfe\xff" + GOOD.decode().encode("utf-16-be"), RejectReason.UTF16),
    ("UTF-32", GOOD.decode().encode("utf-32"), RejectReason.UTF32),
    ("gzipped UTF-16", gzip.compress(GOOD.decode().encode("utf-16")), RejectReason.UTF16),
]


@pytest.mark.parametrize(("data", "reason"), [case[1:] for case in REJECTED], ids=[case[0] for case in REJECTED])
def test_a_file_that_is_no_ndjson_is_rejected_and_its_neighbours_stand(data: bytes, reason: RejectReason) -> None:
    done = run(b'{"id":1}', Bytes(data, "s3://landing/clicks/x", piece=7), b'{"id":2}')
    assert [(item.index, item.reason) for item in done.report.rejections] == [(1, reason)]
    assert done.rows("id") == [{"id": 1}, {"id": 2}]


def test_brotli_is_named_by_its_ending() -> None:
    done = run(Bytes(b"\x8b\x02\x80abc\x03", "s3://landing/clicks/x.ndjson.br"))
    assert done.report.rejections[0].detail == "this seems to be brotli, not NDJSON"


def test_bytes_after_the_last_member_are_ignored_and_noted() -> None:
    for data in (gzip.compress(GOOD) + b"garbage", zstandard.compress(GOOD) + b"gar"):
        done = run(data)
        assert done.report.counts.rows == 5000
        assert len(done.report.notices) == 1


def test_a_bomb_is_rejected_by_its_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headsaw.convert.decode.EXPANSION_FREE_BYTES", 20_000_000)
    for data in (gzip.compress(b" " * 60_000_000), zstandard.compress(b" " * 60_000_000)):
        done = run(data, b'{"id":1}')
        assert [item.reason for item in done.report.rejections] == [RejectReason.EXPANSION_LIMIT]
        assert done.rows("id") == [{"id": 1}]
