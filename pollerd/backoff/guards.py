"""Bounds that hold whatever a policy would like: pure functions shared by both policies.

The random source is always an argument; nothing here keeps state.
"""

from __future__ import annotations

from datetime import UTC, datetime
from math import sqrt
from random import Random

from pollerd.backoff import reasons
from pollerd.backoff.protocol import Decision, Settings

JITTER = 0.1
"""Every wait is varied by this share either way, so that messages sent together do not stay together."""

NOT_VISIBLE_FIRST = 2.0  # Seconds to the poll after a first 404: messages appear within seconds.
NOT_VISIBLE_CAP = 30.0  # Seconds at most between such polls.
NOT_VISIBLE_GROWTH = 1.5  # Factor from one such wait to the next.
UNKNOWN_SHARE = 0.25  # Of the age.
UNKNOWN_MOST = 3600.0  # Seconds, on the first day.
UNKNOWN_LATER = 6 * 3600.0  # Seconds, from then on.
UNKNOWN_DAY = 86400.0
"""After the grace a message is to be sent later, or is none of this account's: the next poll is a quarter of the age
away, at most an hour on the first day and six from then on."""
HAIR = 0.05
"""Seconds past a deadline that make sure it has passed when the poll happens."""

AGE_SHARE = 0.03
"""A poll sooner than this share of the age finds next to nothing new."""

REACH = 1.0  # Ages, while little is known.
REACH_KNOWN = 6.0
"""The next poll is at most so many times the age (plus the first wait) away, while little and when much is known:
a poll for what will hardly come costs most where many recipients wait together."""

REACH_LATE = 21600.0  # Seconds of age from which `REACH_DATES` counts.
REACH_DATES = 0.3
"""From six hours on what ends a message is mostly its expiry. The first ones to get so far are to find out when."""

PAST_EXPIRY_FIRST = 30.0  # Seconds to the first poll once a message is past its expiry.
SCHEDULED_SPREAD = 2.0  # Seconds over which messages of one sendtime are spread.


def jittered(delay: float, rng: Random) -> float:
    """`delay` varied by +-10 %; never negative."""
    return delay * (1.0 + JITTER * (2.0 * rng.random() - 1.0))


def varied(settings: Settings, delay: float, rng: Random) -> float:
    """`delay` varied by +-10 %, within `min_interval` and `max_interval`; at the latter it varies downwards alone."""
    found = jittered(delay, rng)
    if found > settings.max_interval:
        found = settings.max_interval * (1.0 - JITTER * rng.random())
    return found if found > settings.min_interval else settings.min_interval


def first_fixed(settings: Settings) -> Decision | None:
    """The configured wait before the first poll, kept exactly; None when the policy may choose."""
    if settings.first_poll_after is None:
        return None
    return Decision(settings.first_poll_after, reasons.FIRST_CONFIGURED)


def shortest(settings: Settings, age: float) -> float:
    """The soonest next poll at `age`: `min_interval` or 3 % of the age, but never above `max_interval`."""
    return min(max(settings.min_interval, AGE_SHARE * age), settings.max_interval)


def reach(age: float, known: float, k: int = 1, far: float = REACH_KNOWN) -> float:
    """How far the next poll at `age` may be, in ages: `far` where enough is known, up to the age `known`.

    Of a message with `k` recipients one is mostly left so late: it is polled less.
    """
    if age < known:
        return far
    return REACH if age < REACH_LATE else min(REACH_DATES * sqrt(k), REACH)


def longest(settings: Settings, age: float, first: float, reach: float = REACH) -> float:
    """The latest next poll at `age`: `max_interval`, or `reach` times the age and the first wait while that is less."""
    return max(settings.min_interval, min(settings.max_interval, reach * (age + first)))


def bounded(settings: Settings, delay: float, age: float, first: float, reach: float = REACH) -> float:
    """`delay` within `shortest` and `longest`; the upper bound wins."""
    # The two written out, without calls of min() and max(): this runs at every decision.
    least, most = settings.min_interval, settings.max_interval
    soonest, latest = AGE_SHARE * age, reach * (age + first)
    if latest > most:
        latest = most
    if latest < least:
        latest = least
    if delay < least:
        delay = least
    if delay < soonest:
        delay = soonest
    return latest if delay > latest else delay


def not_visible(settings: Settings, age: float, tries: int, rng: Random) -> Decision:
    """The wait after the `tries`-th 404 in a row of a message `age` seconds old.

    Within `not_found_grace` steps grow from 2 s to 30 s, within `min_interval` and `max_interval`, and end exactly
    where it does: the poll there alone may come sooner than `min_interval` after the one before. Then they grow on,
    slowly.
    """
    left = settings.not_found_grace - age
    if left <= 0:
        most = UNKNOWN_MOST if age < UNKNOWN_DAY else UNKNOWN_LATER
        step = jittered(min(most, max(NOT_VISIBLE_CAP, age * UNKNOWN_SHARE)), rng)
        return Decision(max(step, settings.min_interval), reasons.UNKNOWN)
    # The exponent is bounded because a float power overflows long before a caller's counter does.
    grown = NOT_VISIBLE_FIRST * NOT_VISIBLE_GROWTH ** min(max(tries - 1, 0), 20)
    step = varied(settings, min(grown, NOT_VISIBLE_CAP), rng)
    if left < step + min(1.0, settings.min_interval):
        step = left + HAIR
    return Decision(step, reasons.NOT_VISIBLE)


def scheduled(settings: Settings, now: float, sendtime: float, rng: Random) -> Decision:
    """The wait for a message to be sent at `sendtime`: the first poll shortly after it."""
    after = settings.min_interval if settings.first_poll_after is None else settings.first_poll_after
    spread = rng.random() * SCHEDULED_SPREAD
    at = datetime.fromtimestamp(sendtime, tz=UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    return Decision(max(sendtime - now, 0.0) + after + spread, f"scheduled for {at}")


def past_expiry(settings: Settings, since: float, rng: Random) -> Decision:
    """The wait `since` seconds after a message should have expired: half of that, at least 30 s."""
    step = max(since / 2.0, PAST_EXPIRY_FIRST, settings.min_interval)
    return Decision(varied(settings, min(step, settings.max_interval), rng), reasons.PAST_EXPIRY)
