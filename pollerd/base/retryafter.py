"""`Retry-After`, whatever was written there, as seconds that can be waited."""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

MOST_RETRY_AFTER: Final = 3600.0
"""Seconds. Nothing makes us wait longer: a wrong header must not silence an account or a receiver for days."""

_SECONDS: Final = re.compile(r"([+-]?)(\d+)(?:\.\d*)?")
_DIGITS_THAT_MATTER: Final = 9  # More digits are above MOST_RETRY_AFTER anyway, and slow to convert.


def parse_retry_after(value: str | None, date: str | None, now: float) -> float | None:
    """Seconds from now, 0 to 3600; None when there is no such header or it makes no sense.

    `date` is the answer's own `Date` header: against it an HTTP date means the same on a machine whose clock is
    wrong. Without it `now` (by the wall clock) counts.
    """
    if value is None:
        return None
    value = value.strip()[:64]
    match = _SECONDS.fullmatch(value)
    if match is not None:
        if match[1] == "-":
            return 0.0
        return min(MOST_RETRY_AFTER, float(match[2])) if len(match[2]) <= _DIGITS_THAT_MATTER else MOST_RETRY_AFTER
    until = http_date(value)
    if until is None:
        return None
    since = http_date(date) if date is not None else None
    return min(MOST_RETRY_AFTER, max(0.0, until - (since if since is not None else now)))


def http_date(value: str) -> float | None:
    """UNIX seconds of a date as HTTP's headers carry it; None when it makes no sense."""
    try:
        when = parsedate_to_datetime(value.strip()[:64])
        # Without a zone it is UTC, as all dates of HTTP.
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
