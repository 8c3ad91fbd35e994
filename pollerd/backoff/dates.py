"""When the date of an expiry, known or configured, decides about the next poll. Ages count from sending."""

from __future__ import annotations

from random import Random

from pollerd.backoff import guards, plan, reasons
from pollerd.backoff.plan import Table
from pollerd.backoff.protocol import Decision, Settings

SHARP_JITTER = 0.5  # Seconds after a sharp expiry within which it is polled.
DATE_SHARE = 0.1
"""A window with at least this share of the expiries is a date to poll at, whatever the clock of the plan."""


def deciding(
    settings: Settings, table: Table, age: float, due: float | None, validity: float | None, *, rng: Random
) -> Decision | None:
    """The wait when an expiry decides it: the next poll falls into a window, or the last one is over.

    `due` is the age of the poll that `table` plans, None where the age clock was moved.
    """
    if validity is not None:
        return guards.past_expiry(settings, age - validity, rng) if age >= validity else None
    over = table.grid.over
    if due is not None and age < over - SHARP_JITTER:
        window = plan.window_at(table.grid.windows, due)
        if window is not None and due - age <= settings.max_interval:
            spread = min(SHARP_JITTER + 0.02 * (window.hi - window.lo), guards.JITTER * (due - age))
            return Decision(max(due - age, settings.min_interval) + rng.random() * spread, reasons.EXPIRES)
    # A poll at the very end may come a rounding error before it.
    if age > over - SHARP_JITTER:
        return guards.past_expiry(settings, age - over, rng)
    return None


def passed_over(settings: Settings, table: Table, age: float, delay: float, validity: float | None) -> float | None:
    """The age of an expiry that `delay` would pass over because the plan does not see it."""
    known = (w.date for w in table.grid.windows if w.share > DATE_SHARE)
    dates = known if validity is None else (validity,)
    soonest, latest = age + settings.min_interval, age + delay * (1.0 + guards.JITTER)
    return next((date for date in dates if soonest < date < latest), None)
