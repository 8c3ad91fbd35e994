"""What can be known of messages when they are handed over, in whatever form it comes. Pure."""

from __future__ import annotations

import math
from typing import Final

import msgspec

from pollerd.core.model import Priority

LONGEST_OVERDUE_AFTER: Final = 365 * 86400.0
"""Seconds. No message is waited for longer than that, so that nothing is overdue later."""


class Particulars(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of messages beside their ids and their account; None: not known.

    `sent_at` and `sendtime` (when they are to be sent) are UNIX seconds, `overdue_after` is seconds, 0: never.
    """

    userref: str | None = None
    sent_at: float | None = None
    sendtime: float | None = None
    priority: Priority | None = None
    overdue_after: float | None = None


NOTHING: Final = Particulars()


def priority(value: object) -> Priority:
    """A priority by its name. Raises ValueError."""
    found = Priority.named(value)
    if found is None:
        *names, last = Priority.__members__
        raise ValueError(f"priority {value!r:.60} is unknown; give {', '.join(names)} or {last}")
    return found


def overdue_after(value: object) -> float:
    """Seconds, from a number of them, or a text with or without a unit. Raises ValueError."""
    seconds = _seconds(value)
    if not 0.0 <= seconds <= LONGEST_OVERDUE_AFTER:
        raise ValueError(
            f'overdue_after {value!r:.60} is no such time; give seconds or a duration such as "10m", up to "365d", '
            "or 0 for never"
        )
    return seconds


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        pass
    # Here only: a row or a command without a unit shall not pay for the configuration.
    from pollerd.base.duration import parse_duration

    try:
        return parse_duration(str(value))
    except ValueError:
        return math.nan
