"""What happened in a simulated world, entry by entry; told in words only when somebody asks."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from headsaw.adapters.table import Put, Update
from headsaw.core.commit import PendingUpload
from headsaw.core.model import Batch
from headsaw.ports import Message, Outgoing

QUIET = frozenset({"BacklogSampled", "MessagesReceived", "FilesSeen", "BatchConverted", "query_due", "depth"})
"""What fills pages and explains nothing."""
LINES_MAX = 400
_KEYS = re.compile(r'"key": "([^"]*)"')
"""The object keys in a notification: all that matters of it."""


@dataclass(slots=True)
class Story:
    """Entries are (virtual time, who, what, about, fault, outcome); values are put into words by `lines`."""

    now: Callable[[], float]
    kept: bool = True
    """Whether entries are kept, or only counted: most seeds hold, and nobody asks what happened in them."""
    entries: list[tuple[float, str, str, Any, str, Any]] = field(default_factory=list)
    events: int = 0

    def add(self, who: str, what: str, about: Any = "", fault: str = "", outcome: Any = "") -> None:
        """One thing more happened, now."""
        self.events += 1
        if self.kept:
            self.entries.append((self.now(), who, what, about, fault, outcome))

    def trace(self) -> list[str]:
        """Everything, to the last argument: equal for two runs that took the same course."""
        return [repr(entry) for entry in self.entries]

    def lines(self, subjects: Iterable[str] = ()) -> list[str]:
        """In words: what concerns the subjects (batch ids, object keys), and every process's fate."""
        wanted = [subject for subject in subjects if subject]
        told = [line for entry in self.entries if (line := _told(entry, wanted)) is not None]
        if len(told) > LINES_MAX:
            told = [f"… {len(told) - LINES_MAX} lines before", *told[-LINES_MAX:]]
        return told


def _told(entry: tuple[float, str, str, Any, str, Any], wanted: list[str]) -> str | None:
    at, who, what, about, fault, outcome = entry
    if what in QUIET:
        return None
    words = f"{describe(about)} {describe(outcome)}"
    fate = what.startswith("*")
    if not fate and wanted and not any(subject in words for subject in wanted):
        return None
    if not fate and not wanted and not fault and what in ("receive", "get", "query"):
        return None
    return f"{at:9.2f}  {who:8} {what:16} {('[' + fault + '] ') if fault else ''}{_clipped(words)}"


def _clipped(words: str) -> str:
    return words if len(words) <= 600 else words[:600] + " …"


def describe(value: Any) -> str:  # noqa: C901 - a table
    """A value in few words."""
    match value:
        case Batch():
            owner = value.lease.owner or "nobody"
            return f"{value.id} {value.state} of {owner} epoch {value.lease.epoch} attempt {value.attempt}"
        case str():
            return ", ".join(_KEYS.findall(value)) or value
        case bytes():
            return f"{len(value)} bytes"
        case Message() | Outgoing():
            return f"<{value.id}: {describe(value.body)}>"
        case Put():
            return f"put {value.key.pk} {value.key.sk} of {value.item.get('batch') or value.item.get('state', '')}"
        case Update():
            return f"update {value.key.pk}: {describe(dict(value.set))} if {describe(value.condition)}"
        case PendingUpload():
            return f"{value.key} ({value.upload_id})"
        case dict():
            return "{" + ", ".join(f"{key}: {describe(item)}" for key, item in value.items()) + "}"
        case tuple() | list():
            return ", ".join(filter(None, map(describe, value)))
        case BaseException():
            return f"{type(value).__name__}: {value}"
        case _ if is_dataclass(value):
            shown = {f.name: getattr(value, f.name) for f in fields(value)}
            return " ".join(f"{name}={describe(item)}" for name, item in shown.items() if item not in (None, "", ()))
        case _:
            return str(value)
