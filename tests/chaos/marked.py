"""NDJSON in which every line has an id of its own, and the truth about where each id must be found in the end."""

import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

ID = r'"id":"(\d{6}-\d{5})"'
"""Finds the id of a line, also of a broken one."""

WIDE_BYTES = 2000
"""Of padding in each row of a wide source."""

DAYS = ("2026-11-21", "2026-11-22")


@dataclass(slots=True)
class Truth:
    """Ids that must be rows, ids that must be in quarantine, names of files that must be rejected."""

    rows: set[str] = field(default_factory=set)
    quarantined: set[str] = field(default_factory=set)
    rejected: set[str] = field(default_factory=set)
    files: int = 0
    messages: int = 0

    @property
    def lines(self) -> int:
        """Lines that must be found, each once."""
        return len(self.rows) + len(self.quarantined)


@dataclass(slots=True)
class Marked:
    """Makes sources, and tells `truth` of each. No two of them share an id."""

    random: Random
    truth: Truth = field(default_factory=Truth)
    _made: int = 0

    def file(self, lines: int, broken: Sequence[int] = ()) -> bytes:
        """A readable source; the lines at the positions `broken` are no JSON."""
        self.truth.files += 1
        return self._body(lines, broken)

    def wide(self, lines: int, partitions: int) -> bytes:
        """A gzip whose rows are long and spread over many partitions, so that converting it needs local disk."""
        self.truth.files += 1
        body = []
        for position, (name, line) in enumerate(self._lines(lines)):
            self.truth.rows.add(name)
            more = f',"part":"p{position % partitions:02d}","pad":"{"x" * WIDE_BYTES}"}}\n'
            body.append(line[:-2] + more.encode())
        return gzip.compress(b"".join(body), 1)

    def message(self, lines: int) -> str:
        """The body of a record message."""
        self.truth.messages += 1
        return self._body(lines, ()).decode()

    def corrupt(self, name: str, lines: int) -> bytes:
        """A gzip whose checksum is wrong: nothing of it may be found, and the file `name` must be rejected."""
        self.truth.files += 1
        self.truth.rejected.add(name)
        damaged = bytearray(gzip.compress(b"".join(line for _, line in self._lines(lines))))
        damaged[-8] ^= 1
        return bytes(damaged)

    def _body(self, lines: int, broken: Sequence[int]) -> bytes:
        body = []
        for position, (name, line) in enumerate(self._lines(lines)):
            bad = position in broken
            (self.truth.quarantined if bad else self.truth.rows).add(name)
            body.append(line[:-2] + b"\n" if bad else line)
        return b"".join(body)

    def _lines(self, count: int) -> Iterator[tuple[str, bytes]]:
        number, self._made = self._made, self._made + 1
        for position in range(count):
            name = f"{number:06d}-{position:05d}"
            day, amount = DAYS[position % len(DAYS)], self.random.getrandbits(40)
            line = (
                f'{{"id":"{name}","ts":"{day}T12:00:00Z","amount":{amount},"nested":{{"of":[{number},{position}]}}}}\n'
            )
            yield name, line.encode()
