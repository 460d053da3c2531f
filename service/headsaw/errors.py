"""The error tree; foreign exceptions are translated into it once, at the edge, most specific first.

    HeadsawError
    ├── UsageError                    what the operator asked or configured can't be done: exit status 2
    │   └── ConfigError               every problem of a configuration, each by path and remedy
    ├── Outage                        not the data's fault: retried for ever with capped backoff, never a failure
    │   ├── Throttled                 the service asked for less
    │   ├── Unreachable               no connection, a timeout or a 5xx: the effect of the call is unknown
    │   └── AccessDenied              credentials or policy: an operator must act, work waits meanwhile
    ├── SourceUnreadable              one source file can't be read as NDJSON: it is rejected, with its reason
    ├── ConversionFailed              the data made a conversion fail: counts as a failure of the batch
    ├── LeaseLost                     another worker may hold the batch: stop, and change nothing
    └── ProtocolViolation             a state that the protocol excludes: stop, alarm, change nothing

Expected outcomes (held, duplicate, refused) are return values, not exceptions.
"""

from collections.abc import Sequence
from dataclasses import dataclass


class HeadsawError(Exception):
    """Base of every error that headsaw raises on purpose."""


class UsageError(HeadsawError):
    """The command can't be done as asked; the message says what, where and what to do next."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a configuration: where it stands, what is wrong, what to do."""

    path: str
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        """One line: path, message, remedy."""
        return f"{self.path}: {self.message}" + (f" ({self.remedy})" if self.remedy else "")


class ConfigError(UsageError):
    """A configuration that can't be used, with all of its problems."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class Outage(HeadsawError):  # noqa: N818 - the vocabulary's word
    """Something around the data failed; the work is retried for ever with capped backoff."""


class Throttled(Outage):
    """The service asked for less traffic."""


class Unreachable(Outage):
    """No answer, a reset, a timeout or a 5xx: whether the call took effect is unknown."""


class AccessDenied(Outage):
    """Credentials or a policy refuse the call."""


class SourceUnreadable(HeadsawError):  # noqa: N818 - the vocabulary's word
    """One source file can't be read as NDJSON; `reason` is a code of `core.conversion.RejectReason`."""

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}" if detail else reason)


class ConversionFailed(HeadsawError):  # noqa: N818 - the vocabulary's word
    """The batch's data made its conversion fail as a whole."""


class LeaseLost(HeadsawError):  # noqa: N818 - the vocabulary's word
    """The lease that covered this work is gone: whatever it made must not be committed."""


class ProtocolViolation(HeadsawError):  # noqa: N818 - the vocabulary's word
    """The ledger or a bucket shows a state that the protocol excludes."""
