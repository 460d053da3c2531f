"""What people write on the command line, read: points in time, durations, S3 URIs."""

from datetime import UTC, datetime

from headsaw.core.settings import S3Prefix, parse_duration
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


def parse_seconds(option: str, text: str) -> float:
    """Seconds of `300s`, `5m` or `1h`. Raises UsageError."""
    try:
        return parse_duration(text)
    except ValueError:
        raise UsageError(f"{option} {text!r}: no duration; write it as 300s, 5m or 1h") from None


def parse_uri(uri: str) -> S3Prefix:
    """Bucket and key (or prefix) of an s3:// URI. Raises UsageError."""
    try:
        return S3Prefix.model_validate(uri)
    except ValueError:
        raise UsageError(f"{uri}: no S3 URI; write it as s3://bucket/key") from None


def parse_object(uri: str) -> S3Prefix:
    """Bucket and key of an object's s3:// URI. Raises UsageError, also where there is no key."""
    place = parse_uri(uri)
    if not place.prefix:
        raise UsageError(f"{uri}: names a bucket and no object in it; write it as s3://bucket/key")
    return place


def parse_rate(option: str, text: str) -> float:
    """Files a second of `100`, `100/s` or `6000/m`. Raises UsageError."""
    number, _, unit = text.partition("/")
    try:
        rate = float(number) / {"": 1, "s": 1, "m": 60, "h": 3600}[unit.strip()]
    except (ValueError, KeyError):
        rate = 0.0
    if not 0 < rate < float("inf"):
        raise UsageError(f"{option} {text!r}: no rate; write it as 100/s or 6000/m")
    return rate
