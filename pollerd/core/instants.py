"""Instants as people and programs write them, when messages are handed over. Pure."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Final

EARLIEST: Final = 946_684_800.0
"""1 January 2000, UNIX seconds: no message is older. Counts of days, and dates in digits, lie before it."""
LATEST: Final = 2_524_608_000.0
"""1 January 2050: nothing is sent later. Milliseconds, and dates with the time in digits, lie behind it."""
_LONGEST_QUOTE: Final = 60  # Characters of a refused value that a message quotes.
_MILLISECONDS: Final = range(10**11, 10**14)
_JULIAN_DAYS: Final = range(2_400_000, 2_500_000)
_SERIALS: Final = range(20_000, 80_000)
"""Days since 1900 in a spreadsheet: from 1954 to 2119."""


def instant(value: object, *, utc: bool = False) -> float:
    """UNIX seconds from a number of them, or from a text: a number, or a time as in RFC 3339.

    `utc`: a text without a zone is UTC, as SQLite's `datetime('now')`. Raises ValueError, to be said after the name of
    the field: what was given, why it cannot be a time, what to give instead.
    """
    seconds = read(value, utc=utc)
    if seconds <= 0.0:
        raise ValueError(_no_time(value))
    if seconds < EARLIEST:
        raise ValueError(
            f"{_shown(value)} cannot be a time: as UNIX seconds it is in {_year(seconds)}{_guess(seconds)}"
        )
    if seconds >= LATEST:
        raise ValueError(
            f"{_shown(value)} cannot be a time{_guess(seconds) or '; nothing is sent so late'}; give seconds"
        )
    return seconds


def read(value: object, *, utc: bool = False) -> float:
    """The same, whether or not it can be a time. Raises ValueError."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, datetime):
        return _zoned(value, utc=utc)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(_no_time(value))  # noqa: TRY004 - one error, whatever programs hand over
    try:
        seconds = float(value)
    except OverflowError:
        seconds = math.inf
    except ValueError:
        seconds = _written(str(value), utc=utc)
    if not math.isfinite(seconds):
        raise ValueError(_no_time(value))
    return seconds


def _written(text: str, *, utc: bool) -> float:
    try:
        when = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(_no_time(text)) from None
    return _zoned(when, utc=utc)


def _zoned(when: datetime, *, utc: bool) -> float:
    try:
        if when.utcoffset() is not None:
            return when.timestamp()
        if utc:
            return when.replace(tzinfo=UTC).timestamp()
        here = when.astimezone().isoformat()
    except (ValueError, OverflowError):
        raise ValueError(_no_time(when)) from None
    raise ValueError(f"{when.isoformat()} has no zone: give {here} (as here) or {when.isoformat()}Z (UTC)")


def _guess(seconds: float) -> str:
    """What it may have been meant as."""
    number = int(seconds)
    if _is_date(str(number)):
        return "; it looks like a date in digits"
    if number in _JULIAN_DAYS:
        return "; it looks like a Julian day"
    if number in _SERIALS:
        return "; it looks like a spreadsheet's serial date"
    if number in _MILLISECONDS:
        return "; it looks like milliseconds"
    return "; it looks like micro- or nanoseconds" if number >= _MILLISECONDS.stop else ""


def _is_date(digits: str) -> bool:
    """YYYYMMDD, and YYYYMMDDHHMM with seconds or without."""
    if len(digits) not in (8, 12, 14) or not "1990" <= digits[:4] < "2100":
        return False
    try:
        datetime.strptime(digits.ljust(14, "0"), "%Y%m%d%H%M%S")  # noqa: DTZ007 - only whether it is one
    except ValueError:
        return False
    return True


def _year(seconds: float) -> int:
    return datetime.fromtimestamp(seconds, UTC).year


def _no_time(value: object) -> str:
    return f"{_shown(value)} is no time; give UNIX seconds (1764000000) or RFC 3339 (2026-11-22T10:30:43+01:00)"


def _shown(value: object) -> str:
    text = f"{value:.0f}" if isinstance(value, float) and value.is_integer() else str(value)
    shown = text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}..."
    return repr(shown) if isinstance(value, str) else shown
