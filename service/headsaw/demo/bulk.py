"""One large file of valid events, written as fast as a disk takes it: what benchmarks convert.

A thousand real events become templates; in every copy the id, the time and four numbers differ. So values are as varied
as traffic's where it matters to an encoder, and writing costs a fraction of making each event.
"""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import BinaryIO, Literal, Protocol

import zstandard

from headsaw.demo.events import click, encode_compact, instant, verbatim
from headsaw.demo.landing import START
from headsaw.demo.lines import id_prefix

Compression = Literal["none", "gzip", "zstd"]

_TEMPLATES = 1024
_INDEX = 2 << 30
_EARLY = 0.1
_USER_BASE = 1_700_000_000_000_000_000
_MARK = "\x7f"
_HOLES = {"n": b"%012x", "s": b"%b", "m": b"%03d", "u": b"%d", "x": b"%016x", "d": b"%d"}
"""In the order in which they stand in a line: number, second, millisecond, user, session, duration."""


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """What `write_events` wrote: every line is a valid event; ids are those of `event_id(id_prefix, 0 … lines - 1)`."""

    lines: int
    ndjson_bytes: int
    stored_bytes: int
    id_prefix: str


class _Sink(Protocol):
    def write(self, data: bytes, /) -> object: ...


def write_events(path: Path, bytes_target: int, compression: Compression = "none", seed: int = 1) -> WrittenFile:
    """`path` holds at least `bytes_target` bytes of NDJSON (at most one line more), compressed as asked."""
    prefix = id_prefix(seed, _INDEX)
    blocks = _blocks(Random(seed), prefix)  # noqa: S311 - reproducible, not secret
    lines = ndjson_bytes = 0
    with path.open("wb") as file:
        with _compressing(file, compression) as sink:
            while ndjson_bytes < bytes_target:
                data = next(blocks)
                if ndjson_bytes + len(data) > bytes_target:
                    data = _head(data, bytes_target - ndjson_bytes)
                sink.write(data)
                ndjson_bytes += len(data)
                lines += data.count(b"\n")
        stored = file.tell()
    return WrittenFile(lines, ndjson_bytes, stored, prefix)


def _blocks(rng: Random, prefix: str) -> Iterator[bytes]:
    """Endless blocks of whole lines; each block is one second of traffic."""
    template = b"".join(_template(rng, prefix) for _ in range(_TEMPLATES))
    second = START.timestamp()
    number = 0
    while True:
        stamp = instant(second).removesuffix(".000Z").encode()
        yield template % tuple(_values(rng, stamp, number))
        number += _TEMPLATES
        second += 1


def _values(rng: Random, stamp: bytes, first: int) -> Iterator[int | bytes]:
    """What fills the holes of a block, in the order in which `_template` cuts them."""
    bits = rng.getrandbits
    for number in range(first, first + _TEMPLATES):
        yield number
        yield stamp
        yield (number - first) * 1000 // _TEMPLATES
        yield _USER_BASE + bits(56)
        yield bits(64)
        yield bits(12)


def _template(rng: Random, prefix: str) -> bytes:
    """One event as a line with holes in the order of `_HOLES`."""
    event = click(rng, f"{prefix}{_MARK}n", START.timestamp(), _EARLY)
    event["ts"] = f"{_MARK}s.{_MARK}mZ"
    event["user"] = {"segment": "new"} | (event["user"] or {}) | {"id": verbatim(f"{_MARK}u")}
    event["session"]["id"] = f"{_MARK}x"
    event["duration_ms"] = verbatim(f"{_MARK}d")
    line = encode_compact(event).replace(b"%", b"%%")
    for name, hole in _HOLES.items():
        line = line.replace(f"{_MARK}{name}".encode(), hole)
    return line + b"\n"


def _head(block: bytes, wanted: int) -> bytes:
    """The fewest whole lines that hold `wanted` bytes."""
    return block[: block.index(b"\n", max(wanted - 1, 0)) + 1]


@contextmanager
def _compressing(file: BinaryIO, compression: Compression) -> Iterator[_Sink]:
    match compression:
        case "none":
            yield file
        case "gzip":
            with gzip.GzipFile("", "wb", 1, file, mtime=0) as sink:
                yield sink
        case "zstd":
            with zstandard.ZstdCompressor(level=1).stream_writer(file, closefd=False) as writer:
                yield writer
