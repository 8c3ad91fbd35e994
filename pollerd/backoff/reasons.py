"""Why a poll is due when it is, in words for `show` and `plan`."""

from __future__ import annotations

from functools import lru_cache

from pollerd.backoff.protocol import Key
from pollerd.base.text import brief, duration

_brief = lru_cache(1024)(brief)
_whole = lru_cache(8192)(duration)  # More than there are different texts up to a month, see `_old`.
_PRECISE = 9.95  # Seconds from which a duration is shown in whole seconds,
_HOUR, _DAY = 3600, 86400  # from an hour on in minutes, from a day on in hours.

FIRST = "first poll"
FIRST_LEARNED = "first poll, when there usually is news"
FIRST_CONFIGURED = "first poll, after the configured first_poll_after"
NOT_VISIBLE = "the gateway does not show it yet"
UNKNOWN = "the gateway does not know it: it is sent later, or belongs to another account"
EXPIRES = "messages that are not delivered expire about then"
PAST_EXPIRY = "it should have expired by now"
OUTAGE_OVER = "deliveries go on after they stood still"
EXPIRY_KNOWN = "it is known by now when such messages expire"


def _old(age: float) -> str:
    """`duration(age)`, which is asked for at every poll and shows few digits: remembered."""
    if age < _PRECISE:
        return duration(age)
    whole = round(age)
    if whole >= _HOUR:
        whole -= whole % (60 if whole < _DAY else _HOUR)
    return _whole(whole)


def exponential(age: float) -> str:
    """The next gap of exponential backoff, at `age` seconds."""
    return f"exponential backoff: it is {_old(age)} old"


def learned(key: Key, usually: float | None, age: float) -> str:
    """Messages of the operator `key` `usually` arrive within so many seconds (None: many never do); this one was sent
    `age` seconds ago.
    """
    where = f"messages to {key}" if key else "messages"
    if usually is None:
        return f"many {where} never arrive; this one is {_old(age)} old"
    return f"{where} usually arrive within {_brief(usually)}; this one is {_old(age)} old"


def group(key: Key, pending: int, of: int, usually: float | None, age: float) -> str:
    """`pending` of `of` recipients are left; those that the poll is for are of the operator `key`."""
    left = f"{pending} of {of} recipients {'is' if pending == 1 else 'are'} pending"
    return f"{left}; {learned(key, usually, age)}"


def stalled(key: Key) -> str:
    """Deliveries of the operator `key` (all, where it is not known) stand still."""
    return f"deliveries{f' to {key}' if key else ''} seem to stand still: older messages wait"
