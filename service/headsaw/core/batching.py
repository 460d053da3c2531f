"""How notifications become batches: a dataset's buffer, which holds notifications and never data.

A buffer flushes at max files, max bytes or max age, whichever comes first. It deduplicates within itself: a second
notification of a buffered source adds its message to the same entry, so both messages settle together.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar

from headsaw.core.model import FileIdentity, Source
from headsaw.core.settings import BatchLimits

Receipt = TypeVar("Receipt", bound=Hashable)
"""Whatever the shell needs to settle a message later."""


class FlushCause(StrEnum):
    """Why a buffer was flushed."""

    FILES = "max_files"
    BYTES = "max_bytes"
    AGE = "max_age"


@dataclass(slots=True)
class Entry(Generic[Receipt]):
    """One buffered source and the messages that spoke of it."""

    source: Source
    since: float
    receipts: list[Receipt] = field(default_factory=list)


class Buffer(Generic[Receipt]):
    """Sources of one dataset (under one settings hash) that wait to be claimed. Times are the caller's, in seconds."""

    def __init__(self, limits: BatchLimits) -> None:
        self._limits = limits
        self._entries: dict[FileIdentity, Entry[Receipt]] = {}
        self._bytes = 0

    def __len__(self) -> int:
        """Distinct sources."""
        return len(self._entries)

    def add(self, source: Source, receipt: Receipt, now: float) -> bool:
        """The source is buffered once, with this receipt among those to settle; False if it was there already."""
        entry = self._entries.get(source.identity)
        if entry is not None:
            entry.receipts.append(receipt)
            return False
        self._entries[source.identity] = Entry(source, now, [receipt])
        self._bytes += source.stored_bytes
        return True

    def due(self, now: float) -> FlushCause | None:
        """Why the buffer must be flushed now, if it must."""
        if len(self._entries) >= self._limits.max_files:
            return FlushCause.FILES
        if self._bytes >= self._limits.max_bytes:
            return FlushCause.BYTES
        due_at = self.due_at()
        return FlushCause.AGE if due_at is not None and now >= due_at else None

    def due_at(self) -> float | None:
        """When max age will flush it; None while empty."""
        oldest = next(iter(self._entries.values()), None)
        return None if oldest is None else oldest.since + self._limits.max_age

    def take(self) -> list[Entry[Receipt]]:
        """What fits into one batch, oldest first; it isn't buffered any more. At least one source, if there is any."""
        taken: list[Entry[Receipt]] = []
        size = 0
        for entry in self._entries.values():
            size += entry.source.stored_bytes
            if taken and (len(taken) >= self._limits.max_files or size > self._limits.max_bytes):
                break
            taken.append(entry)
        for entry in taken:
            del self._entries[entry.source.identity]
            self._bytes -= entry.source.stored_bytes
        return taken

    def clear(self) -> list[Entry[Receipt]]:
        """Everything, however much; the buffer is empty afterwards."""
        entries = list(self._entries.values())
        self._entries.clear()
        self._bytes = 0
        return entries
