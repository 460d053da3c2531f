"""NDJSON of one source while it grows, together with the truth about it."""

from random import Random

from headsaw.core.conversion import FileCounts, LineReason
from headsaw.demo.damage import BLANKS, damage
from headsaw.demo.events import Maker, encode

_BLANK_SHARE = 0.004
_BROKEN_ID = 0x8000_0000_0000


def id_prefix(seed: int, index: int) -> str:
    """What the ids of source number `index` start with; ids look like UUIDs and are unique within a seed."""
    return f"{seed & 0xFFFF_FFFF:08x}-{index >> 24 & 0xFFFF:04x}-7{index >> 12 & 0xFFF:03x}-8{index & 0xFFF:03x}-"


def event_id(prefix: str, number: int) -> str:
    """The id of the valid line number `number` (from 0) of a source."""
    return f"{prefix}{number:012x}"


class Lines:
    """Grows line by line. `text` keeps to what a queue message may hold; `end` ends each line."""

    def __init__(
        self, rng: Random, make: Maker, prefix: str, *, broken: float, text: bool = False, end: bytes = b"\n"
    ) -> None:
        self._rng = rng
        self._make = make
        self._prefix = prefix
        self._broken = broken
        self._text = text
        self._end = end
        self._lines: list[bytes] = []
        self._rows = 0
        self._blank = 0
        self.size = 0
        self.reasons: list[LineReason] = []

    @property
    def counts(self) -> FileCounts:
        """Where every line must go."""
        return FileCounts(len(self._lines), self._rows, len(self.reasons), self._blank)

    @property
    def taken(self) -> int:
        """How many lines there are so far."""
        return len(self._lines)

    def ndjson_from(self, line: int) -> bytes:
        """The lines from that number (from 0) on."""
        return self._end.join((*self._lines[line:], b""))

    def add(self, at: float, progress: float) -> None:
        """One more line: mostly a valid event of that time."""
        chance = self._rng.random()
        if chance < _BLANK_SHARE:
            self._blank += 1
            self._append(self._rng.choice(BLANKS))
        elif chance < _BLANK_SHARE + self._broken:
            line, reason = damage(self._rng, self._event(_BROKEN_ID + len(self.reasons), at, progress), text=self._text)
            self.reasons.append(reason)
            self._append(line)
        else:
            self.add_valid(at, progress)

    def add_valid(self, at: float, progress: float) -> None:
        """One more line, which is a valid event of that time."""
        self._append(self._event(self._rows, at, progress))
        self._rows += 1

    def ndjson(self, *, terminated: bool = True) -> bytes:
        """All lines; the last one without its end if not `terminated`, unless it is empty: it would be no line then."""
        body = self._end.join((*self._lines, b"")) if self._lines else b""
        return body if terminated or not self._lines or not self._lines[-1] else body.removesuffix(self._end)

    def _event(self, number: int, at: float, progress: float) -> bytes:
        return encode(self._rng, self._make(self._rng, event_id(self._prefix, number), at, progress))

    def _append(self, line: bytes) -> None:
        self._lines.append(line)
        self.size += len(line) + len(self._end)
