"""How much NDJSON a dataset's stored bytes hold, and how long a worker takes over it: learned from what it finished.

A quotient of totals, in which every further conversion lowers the weight of all earlier ones by a tenth, so that large
batches tell more than small ones, and today's more than yesterday's. It lives as long as its worker.
"""

from dataclasses import dataclass

DECAY = 0.9
EXPANSION_DEFAULT = 1.0
"""Before a batch of the dataset is finished, stored bytes count as they are: plain files, or too low an estimate."""

BYTES_PER_SECOND_DEFAULT = 50e6
"""A fifth of what one conversion does on a core of docs/benchmarks.md's machine."""

SECONDS_PER_FILE_DEFAULT = 0.02
SMALL_FILE_BYTES = 1024**2
"""Below that, on the average of a batch, a file's time is that of its requests; above it, that of its bytes."""


@dataclass(slots=True)
class Quotient:
    """What was seen, decayed; `otherwise` until something was."""

    otherwise: float
    total: float = 0.0
    per: float = 0.0

    def add(self, total: float, per: float) -> None:
        """One conversion's share; nothing where there is nothing to divide by."""
        if per > 0 and total > 0:
            self.total = self.total * DECAY + total
            self.per = self.per * DECAY + per

    @property
    def value(self) -> float:
        """By what was seen."""
        return self.total / self.per if self.per else self.otherwise


class Pace:
    """One dataset's numbers."""

    def __init__(self) -> None:
        self._expansion = Quotient(EXPANSION_DEFAULT)
        self._bytes_per_second = Quotient(BYTES_PER_SECOND_DEFAULT)
        self._seconds_per_file = Quotient(SECONDS_PER_FILE_DEFAULT)
        self._seconds_per_any_file = Quotient(SECONDS_PER_FILE_DEFAULT)

    @property
    def expansion(self) -> float:
        """Bytes of NDJSON for each stored byte."""
        return self._expansion.value

    def read(self, stored_bytes: int, bytes_in: int) -> None:
        """A batch of that size, all of whose files could be read, held that much NDJSON; whoever converted it."""
        self._expansion.add(bytes_in, stored_bytes)

    def converted(self, files: int, bytes_in: int, seconds: float) -> None:
        """This worker took that long over so many files with so much NDJSON in all."""
        self._seconds_per_any_file.add(seconds, files)
        if bytes_in >= files * SMALL_FILE_BYTES:
            self._bytes_per_second.add(bytes_in, seconds)
        else:
            self._seconds_per_file.add(seconds, files)

    def inline_seconds(self, files: int, bytes_in: float) -> float:
        """How long one conversion of so much would take here, by what costs more: its files, or its bytes."""
        return max(bytes_in / self._bytes_per_second.value, files * self._seconds_per_file.value)

    def files_within(self, seconds: float) -> float:
        """How many files like those of late one conversion does in that time."""
        return seconds / self._seconds_per_any_file.value
