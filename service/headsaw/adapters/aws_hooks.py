"""What headsaw adds to botocore: bodies that don't block the loop, times that parse fast, a clock that is corrected."""

import io
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from botocore.utils import parse_timestamp

from headsaw.adapters.clock import LedgerClock

_LARGE_BYTES: Final = 1024**2
"""Bodies above this would occupy the event loop if they were sent in one go."""


def parse_time(value: str | float) -> datetime:
    """A time in any form that AWS sends. botocore's own parser guesses the form, at a tenth of a small GET's cost."""
    try:
        if isinstance(value, str):
            return parsedate_to_datetime(value) if value.endswith("GMT") else datetime.fromisoformat(value)
    except ValueError:
        pass
    parsed: datetime = parse_timestamp(value)
    return parsed


def prepare_body(request: Any, **_: object) -> None:
    """A large body is sent in pieces, after the server said "continue"; a small one at once, a round trip sooner."""
    body = request.body.getvalue() if isinstance(request.body, io.BytesIO) else request.body
    if isinstance(body, bytes):
        large = len(body) > _LARGE_BYTES
        request.body = io.BytesIO(body) if large else body
        if not large and "Expect" in request.headers:
            del request.headers["Expect"]


def correct_clock(client: Any, service: str, clock: LedgerClock) -> None:
    """Every answer to this client from now on tells `clock` the server's time."""

    def sent(request: Any, **_: object) -> None:
        request.context["headsaw_sent_at"] = clock.local()

    def received(response_dict: Any, context: Any, **_: object) -> None:
        date = response_dict["headers"].get("date") if response_dict else None
        sent_at = context.get("headsaw_sent_at")
        if date is not None and sent_at is not None:
            received_at = clock.local()
            try:
                clock.observe(parsedate_to_datetime(date).timestamp(), sent_at, received_at)
            except ValueError:
                return

    client.meta.events.register_first(f"request-created.{service}", sent)
    client.meta.events.register(f"response-received.{service}", received)
