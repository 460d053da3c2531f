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
    receipts: list[Receipt] = field(default_factory=list)


class Buffer(Generic[Receipt]):
    """Sources of one dataset (under one settings hash) that wait to be claimed. Times are the caller's, in seconds."""

    def __init__(self, limits: BatchLimits) -> None:
        self._limits = limits
        self._entries: dict[FileIdentity, Entry[Receipt]] = {}
        self._bytes = 0
        self._oldest: float | None = None

    def __len__(self) -> int:
        """Distinct sources."""
        return len(self._entries)

    def add(self, source: Source, receipt: Receipt, now: float) -> bool:
        """The source is buffered once, with this receipt among those to settle; False if it was there already."""
        entry = self._entries.get(source.identity)
        if entry is not None:
            entry.receipts.append(receipt)
            return False
        self._entries[source.identity] = Entry(source, [receipt])
        self._bytes += source.stored_bytes
        if self._oldest is None:
            self._oldest = now
        return True

    def due(self, now: float) -> FlushCause | None:
        """Why the buffer must be flushed now, if it must."""
        if len(self._entries) >= self._limits.max_files:
            return FlushCause.FILES
        if self._bytes >= self._limits.max_bytes:
            return FlushCause.BYTES
        if self._oldest is not None and now - self._oldest >= self._limits.max_age:
            return FlushCause.AGE
        return None

    def due_at(self) -> float | None:
        """When max age will flush it; None while empty."""
        return None if self._oldest is None else self._oldest + self._limits.max_age

    def take(self) -> list[Entry[Receipt]]:
        """Everything that was buffered, in order of arrival; the buffer is empty afterwards."""
        entries = list(self._entries.values())
        self._entries.clear()
        self._bytes, self._oldest = 0, None
        return entries
