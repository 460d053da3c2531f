"""How notifications become batches: a dataset's buffer, which holds notifications and never data.

A buffer flushes at max files, max bytes or max age, whichever comes first. In a backlog it may be told to gather more,
for one bulk batch; max age holds all the same. It deduplicates within itself: a second notification of a buffered
source adds its message to the same entry, so both messages settle together.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from headsaw.core.model import FileIdentity
from headsaw.core.routing import BulkTarget
from headsaw.core.settings import BatchLimits


class Bufferable(Protocol):
    """What can wait for a claim: a source file, or the body of a record message."""

    @property
    def identity(self) -> FileIdentity:
        """Two that are equal in this are the same source."""
        ...

    @property
    def stored_bytes(self) -> int:
        """What it adds to a batch's size."""
        ...


Item = TypeVar("Item", bound=Bufferable)
Receipt = TypeVar("Receipt", bound=Hashable)
"""Whatever the shell needs to settle a message later."""


class FlushCause(StrEnum):
    """Why a buffer was flushed."""

    FILES = "max_files"
    BYTES = "max_bytes"
    AGE = "max_age"
    BULK = "bulk"
    SPACE = "no_space"


@dataclass(slots=True)
class Entry(Generic[Item, Receipt]):
    """One buffered source and the messages that spoke of it."""

    source: Item
    since: float
    receipts: list[Receipt] = field(default_factory=list)


class Buffer(Generic[Item, Receipt]):
    """Sources of one dataset (under one settings hash) that wait to be claimed. Times are the caller's, in seconds.

    `bytes_max` lowers the dataset's own limit.
    """

    def __init__(self, limits: BatchLimits, bytes_max: int | None = None) -> None:
        self._max_age = limits.max_age
        self._own = BulkTarget(limits.max_files, min(int(limits.max_bytes), bytes_max or int(limits.max_bytes)))
        self._bulk: BulkTarget | None = None
        self._gathering = False
        self._entries: dict[FileIdentity, Entry[Item, Receipt]] = {}
        self.bytes = 0

    def __len__(self) -> int:
        """Distinct sources."""
        return len(self._entries)

    def add(self, source: Item, receipt: Receipt, now: float) -> bool:
        """The source is buffered once, with this receipt among those to settle; False if it was there already."""
        entry = self._entries.get(source.identity)
        if entry is not None:
            entry.receipts.append(receipt)
            return False
        self._entries[source.identity] = Entry(source, now, [receipt])
        self.bytes += source.stored_bytes
        return True

    def gather(self, bulk: BulkTarget | None) -> None:
        """It waits for so much, or no longer. What was gathered for a bulk batch becomes one, even if it is less."""
        self._gathering = bulk is not None
        if bulk is not None:
            self._bulk = bulk
        elif len(self._entries) <= self._own.files and self.bytes <= self._own.bytes:
            self._bulk = None

    @property
    def capacity(self) -> int:
        """How many sources it waits for."""
        return self._target.files

    @property
    def _target(self) -> BulkTarget:
        return self._bulk if self._bulk is not None and self._gathering else self._own

    def due(self, now: float) -> FlushCause | None:
        """Why the buffer must be flushed now, if it must."""
        target = self._target
        if len(self._entries) >= target.files:
            return FlushCause.BULK if self._bulk is not None else FlushCause.FILES
        if self.bytes >= target.bytes:
            return FlushCause.BULK if self._bulk is not None else FlushCause.BYTES
        due_at = self.due_at()
        return FlushCause.AGE if due_at is not None and now >= due_at else None

    def due_at(self) -> float | None:
        """When max age will flush it; None while empty."""
        oldest = next(iter(self._entries.values()), None)
        return None if oldest is None else oldest.since + self._max_age

    def take(self) -> list[Entry[Item, Receipt]]:
        """What fits into one batch, oldest first; it isn't buffered any more. At least one source, if there is any."""
        target = self._bulk or self._own
        if not self._gathering:
            self._bulk = None
        taken: list[Entry[Item, Receipt]] = []
        size = 0
        for entry in self._entries.values():
            size += entry.source.stored_bytes
            if taken and (len(taken) >= target.files or size > target.bytes):
                break
            taken.append(entry)
        for entry in taken:
            del self._entries[entry.source.identity]
            self.bytes -= entry.source.stored_bytes
        return taken

    def clear(self) -> list[Entry[Item, Receipt]]:
        """Everything, however much; the buffer is empty afterwards."""
        entries = list(self._entries.values())
        self._entries.clear()
        self.bytes = 0
        return entries
