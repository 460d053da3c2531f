"""Points in time as people write them: how long ago, or a date."""

from datetime import UTC, datetime

from headsaw.core.settings import parse_duration
from headsaw.errors import UsageError


def parse_time(option: str, text: str, now: float) -> float:
    """Unix seconds of `2h` (ago), `2026-11-23` or `2026-11-23T07:00:00Z` (UTC unless it says otherwise)."""
    try:
        return now - parse_duration(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{option} {text!r}: neither a time nor a duration; write it as 2026-11-23, 2026-11-23T07:00:00Z, or 2h "
            "for two hours ago"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
