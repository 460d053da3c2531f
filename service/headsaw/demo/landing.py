"""Generated source files, each with the exact truth of what is in it.

A `Landing` is a pure function of its fields: file number i is the same bytes whoever makes it, and whichever files were
made before it. So it streams, and any number of processes can share one. A valid line's event id is the file's prefix
plus the line's ordinal among the valid ones: a file's ids are a range. The ids on broken lines are others.
"""

import hashlib
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random

import zstandard

from headsaw.core.conversion import FileCounts, LineReason, RejectReason
from headsaw.core.model import SourceFile
from headsaw.demo.events import MAKERS
from headsaw.demo.lines import Lines, event_id, id_prefix

START = datetime(2026, 11, 21, tzinfo=UTC)
SPAN = timedelta(hours=60)
RECORD_MESSAGES_FROM = 1 << 30
"""Source numbers of record messages start here, so that their ids differ from those of files."""
LARGE_FROM = 3 << 30
"""And those of large files here."""

_SUFFIXES = ("",) + (".gz",) * 8 + (".zst",)
_DIRECTORIES = ("eu west/", "a+b/", "café münchen/", "日本/", "100%/", "region=eu&tier=1/", "q?#/", "it's (new)/")
_ODD_DIRECTORY_SHARE = 0.05
_CRLF_SHARE = 0.05
_UNTERMINATED_SHARE = 0.2
_EMPTY_SHARE = 0.0025
_TWO_MEMBERS_SHARE = 0.05
_RECORD_MESSAGE_LINES_MAX = 6
_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class LandedFile:
    """One source file as it is stored, and what must become of it.

    `counts` and `reasons` (of its quarantined lines, in order) are empty if it must be `rejected` as a whole.
    """

    dataset: str
    key: str
    body: bytes
    ndjson_bytes: int
    counts: FileCounts
    reasons: tuple[LineReason, ...]
    id_prefix: str
    rejected: RejectReason | None = None

    @property
    def corrupt(self) -> bool:
        """It can't be read: nothing of it may be published."""
        return self.rejected is not None

    @property
    def etag(self) -> str:
        """As S3 names the content of an object that was put in one piece."""
        return hashlib.md5(self.body, usedforsecurity=False).hexdigest()

    def event_ids(self) -> Iterator[str]:
        """The ids that a reader must find, each once."""
        return (event_id(self.id_prefix, number) for number in range(self.counts.rows))

    def source(self, bucket: str, version_id: str | None = None) -> SourceFile:
        """The object that a notification names."""
        return SourceFile(bucket, self.key, self.etag, len(self.body), version_id)


@dataclass(frozen=True, slots=True)
class RecordMessage:
    """A queue message that holds NDJSON itself, and what must become of its lines."""

    dataset: str
    body: str
    counts: FileCounts
    reasons: tuple[LineReason, ...]
    id_prefix: str

    @property
    def attributes(self) -> Mapping[str, str]:
        """The message attributes that go with the body, all of type String."""
        return {"dataset": self.dataset}

    def event_ids(self) -> Iterator[str]:
        """The ids that a reader must find, each once."""
        return (event_id(self.id_prefix, number) for number in range(self.counts.rows))


@dataclass(frozen=True, slots=True)
class Landing:
    """`files` source files of about `file_bytes` of NDJSON each, spread over `span` from `start`.

    Four of five belong to the first dataset, the others in turn have the fifth one. `corrupt` of them (at most a
    quarter) can't be read; `broken` is the share of lines that must be quarantined.
    """

    files: int = 200
    file_bytes: int = 10_000
    seed: int = 1
    datasets: tuple[str, ...] = ("clicks", "orders")
    start: datetime = START
    span: timedelta = SPAN
    corrupt: int = 1
    broken: float = 0.01

    def __iter__(self) -> Iterator[LandedFile]:
        """All files, made one at a time, in the order of their event times."""
        return (self.file(index) for index in range(self.files))

    def file(self, index: int) -> LandedFile:
        """File number `index`."""
        rng = self._rng(index)
        dataset = self._dataset(index)
        end = b"\r\n" if rng.random() < _CRLF_SHARE else b"\n"
        rejected = self._rejected(index)
        lines = Lines(rng, MAKERS[dataset], id_prefix(self.seed, index), broken=self.broken, end=end)
        self._fill(rng, lines, index, self._target(rng) if rejected is None else self.file_bytes)
        ndjson = lines.ndjson(terminated=rng.random() >= _UNTERMINATED_SHARE)
        suffix = rng.choice(_SUFFIXES) if rejected is None else ".gz"
        body = _stored(ndjson, suffix, rng.randrange(len(ndjson)) if self._in_two(rng, ndjson, rejected) else 0)
        return LandedFile(
            dataset,
            self._key(rng, index, dataset, suffix),
            body if rejected is None else _spoilt(body, rejected),
            len(ndjson),
            lines.counts if rejected is None else FileCounts(),
            tuple(lines.reasons) if rejected is None else (),
            id_prefix(self.seed, index),
            rejected,
        )

    def large(self, index: int, stored_bytes: int, *, compressed: bool) -> LandedFile:
        """Large file number `index`: as many bytes are stored, or a little more, plain or as gzip."""
        number = LARGE_FROM + index
        rng = self._rng(number)
        dataset = self._dataset(4 * index)
        lines = Lines(rng, MAKERS[dataset], id_prefix(self.seed, number), broken=self.broken)
        at, deflated = self.start.timestamp(), 0
        pieces: list[bytes] = []
        while (deflated if compressed else lines.size) < stored_bytes:
            grown, taken = lines.size + _PIECE_BYTES, lines.taken
            while lines.size < grown:
                at += 0.01
                lines.add(at, 0.0)
            if compressed:
                pieces.append(zlib.compress(lines.ndjson_from(taken), 1, wbits=31))
                deflated += len(pieces[-1])
        body = b"".join(pieces) if compressed else lines.ndjson()
        key = f"{dataset}/{self.start:%Y/%m/%d}/large-{index:03d}.ndjson{'.gz' if compressed else ''}"
        return LandedFile(
            dataset, key, body, lines.size, lines.counts, tuple(lines.reasons), id_prefix(self.seed, number)
        )

    def record_messages(self, count: int) -> Iterator[RecordMessage]:
        """`count` messages that carry a few records each, at times over the whole span."""
        for index in range(count):
            number = RECORD_MESSAGES_FROM + index
            rng = self._rng(number)
            dataset = self._dataset(index)
            prefix = id_prefix(self.seed, number)
            lines = Lines(rng, MAKERS[dataset], prefix, broken=self.broken, text=True)
            progress = index / count
            at = self.start.timestamp() + progress * self.span.total_seconds()
            lines.add_valid(at, progress)
            for _ in range(rng.randrange(_RECORD_MESSAGE_LINES_MAX)):
                lines.add(at, progress)
            body = lines.ndjson(terminated=rng.random() < 0.5).decode()
            yield RecordMessage(dataset, body, lines.counts, tuple(lines.reasons), prefix)

    def _rng(self, index: int) -> Random:
        return Random(f"{self.seed}/{index}")  # noqa: S311 - reproducible, not secret

    def _dataset(self, index: int) -> str:
        others = self.datasets[1:]
        return others[index // 5 % len(others)] if others and index % 5 == 4 else self.datasets[0]

    def _rejected(self, index: int) -> RejectReason | None:
        """Corrupt files are spread evenly; they are cut off and damaged in turn."""
        corrupt = min(self.corrupt, self.files // 4)
        nth = index * corrupt // self.files if corrupt else 0
        if not corrupt or index != (2 * nth + 1) * self.files // (2 * corrupt):
            return None
        return RejectReason.TRUNCATED_STREAM if nth % 2 else RejectReason.CORRUPT_STREAM

    def _in_two(self, rng: Random, ndjson: bytes, rejected: RejectReason | None) -> bool:
        """Some compressed files are two members or frames, as appended ones are; never a file that is cut off later."""
        return bool(ndjson) and rejected is None and rng.random() < _TWO_MEMBERS_SHARE

    def _target(self, rng: Random) -> float:
        """NDJSON bytes: log-normal around the mean, as file sizes are; seldom none at all."""
        if rng.random() < _EMPTY_SHARE:
            return 0
        return self.file_bytes * min(rng.lognormvariate(-0.125, 0.5), 6.0)

    def _fill(self, rng: Random, lines: Lines, index: int, target: float) -> None:
        step = self.span.total_seconds() / self.files
        progress = index / self.files
        at = self.start.timestamp() + index * step
        while lines.size < target:
            lines.add(at + rng.random() * step, progress)

    def _key(self, rng: Random, index: int, dataset: str, suffix: str) -> str:
        at = self.start + self.span * (index / self.files)
        odd = rng.choice(_DIRECTORIES) if rng.random() < _ODD_DIRECTORY_SHARE else ""
        return f"{dataset}/{at:%Y/%m/%d/%H}/{odd}part-{index:05d}.ndjson{suffix}"


def _stored(ndjson: bytes, suffix: str, cut: int) -> bytes:
    """Compressed as the suffix says, in two parts if there is a `cut`."""
    pieces = (ndjson[:cut], ndjson[cut:]) if cut else (ndjson,)
    match suffix:
        case ".gz":
            return b"".join(zlib.compress(piece, 6, wbits=31) for piece in pieces)
        case ".zst":
            return b"".join(zstandard.ZstdCompressor(level=3).compress(piece) for piece in pieces)
        case _:
            return ndjson


def _spoilt(gzip: bytes, how: RejectReason) -> bytes:
    """A gzip whose damage shows late: cut in the middle, or whole but for one bit of its checksum."""
    if how is RejectReason.TRUNCATED_STREAM:
        return gzip[: len(gzip) // 2]
    return gzip[:-8] + bytes([gzip[-8] ^ 1]) + gzip[-7:]
