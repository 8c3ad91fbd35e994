"""How long a receiver asks to be left alone. Pure."""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

MOST: Final = 3600.0
"""No receiver is waited for longer than an hour: a wrong header must not hold back events for days."""
_ASKING: Final = frozenset({429, 503})
_LONGEST: Final = 64


def asked_pause(status: int, value: str | None, now: float) -> float:
    """Seconds from `now` (UNIX seconds), 0 to 3600, that `Retry-After` asks for with a 429 or 503; else 0."""
    if status not in _ASKING or value is None:
        return 0.0
    value = value.strip()
    if value.isascii() and value.isdigit():
        return min(MOST, float(value[:_LONGEST]))
    try:
        when = parsedate_to_datetime(value[:_LONGEST])
        # Without a zone it is UTC, as all dates of HTTP.
        until = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0.0
    return min(MOST, max(0.0, until - now))
