"""Times of the sample data: Unix seconds inside, RFC 3339 in UTC outside."""

import time
from datetime import UTC, datetime

DAY = 86_400


def parse_now(text: str | None) -> int:
    """Unix seconds of an RFC 3339 time such as ``2026-11-21T10:00:00Z``; the clock's own time for None.

    Raises:
        ValueError: not a time, or a time without its zone.
    """
    if text is None:
        return int(time.time())
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a time: write it as 2026-11-21T10:00:00Z") from None
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone: end it with Z for UTC")
    return int(moment.timestamp())


def iso(seconds: float) -> str:
    """The RFC 3339 form of Unix ``seconds``, in UTC, whole seconds."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
