"""What an audit tells: counts of its own making, and findings that each say what, where, why and what to do."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from headsaw.core.conversion import FileCounts

FINDINGS_MAX = 100
"""Findings of one kind that are named; all of them are counted."""


class Kind(StrEnum):
    """What is wrong."""

    MISSING = "missing"
    DUPLICATED = "duplicated"
    MISCOUNTED = "miscounted"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: `what` (a kind of thing), `where` (its name), `why`, and what to do about it."""

    kind: Kind
    what: str
    where: str
    why: str
    remedy: str


@dataclass(slots=True)
class Findings:
    """Collects findings: all are counted, the first of each kind are kept."""

    counts: dict[Kind, int] = field(default_factory=lambda: dict.fromkeys(Kind, 0))
    kept: dict[Kind, list[Finding]] = field(default_factory=lambda: {kind: [] for kind in Kind})

    def add(self, kind: Kind, what: str, where: str, why: str, remedy: str) -> None:
        """One more."""
        self.counts[kind] += 1
        if len(self.kept[kind]) < FINDINGS_MAX:
            self.kept[kind].append(Finding(kind, what, where, why, remedy))

    def all(self) -> tuple[Finding, ...]:
        """Those that were kept, by kind."""
        return tuple(finding for kind in Kind for finding in self.kept[kind])


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What the audit of one dataset found. Lines are recounted, rows and quarantined lines read back.

    `files` landed in the bucket within the audited time; each is `done`, `pending`, `rejected`, `failed`, or missing.
    `outside` landed earlier, `excluded` are left out by the dataset's globs. `messages` are record messages.
    `not_recounted` sources are gone, so their lines are the commit record's. Times in Unix seconds.
    """

    dataset: str
    since: float
    checked_at: float
    grace_seconds: float
    files: int
    done: int
    pending: int
    rejected: int
    failed: int
    outside: int
    excluded: int
    messages: int
    batches: int
    counts: FileCounts
    not_recounted: int
    outputs: int
    missing: int
    duplicated: int
    miscounted: int
    findings: tuple[Finding, ...]
    fixed: int
    seconds: float

    @property
    def clean(self) -> bool:
        """Nothing is missing, duplicated or miscounted; what is pending isn't judged."""
        return self.missing == self.duplicated == self.miscounted == 0

    def document(self) -> Mapping[str, Any]:
        """As `--json` prints it, described in docs/commands.md."""
        document = asdict(self)
        document.update(document.pop("counts"))
        return document
