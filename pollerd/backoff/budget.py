"""The budget: the price of a look that makes the expected looks a message meet `polls_per_message`, and the first look.

The first look comes before the operator is known, so its age is chosen over the mixture of all operators.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from math import log2, sqrt

from pollerd.backoff.plan import Table, base_ages
from pollerd.backoff.protocol import Settings

PRICE_LOW = 0.02
PRICE_HIGH = 1e5
STEP = 1.5
"""The most the price moves at once."""

FIRST_START = 3.0
FIRST_LEAST = 1.0
FIRST_MOST = 1800.0
FIRST_REACH = 3.0
FIRST_REACH_LATER = 1.35

OCTAVES = 14

Mixture = Sequence[tuple[float, Table]]
"""Share of the messages, and plan, of each operator."""


def expected_polls(mixture: Mixture, first: float, price: float) -> float:
    """Looks a message over the mixture; a plan made at another price is corrected by the square-root law."""
    total = 0.0
    for share, table in mixture:
        total += share * (1.0 + (table.polls_from(first) - 1.0) * sqrt(table.price / price))
    return total


def best_first(settings: Settings, mixture: Mixture, now_first: float, reach: float) -> float:
    """The age of the first look with the least expected cost, searched within a factor `reach` of the present."""
    if settings.first_poll_after is not None:
        return settings.first_poll_after
    least = min(FIRST_LEAST, settings.min_interval)
    lo = max(now_first / reach, least)
    hi = min(now_first * reach, FIRST_MOST, settings.max_interval)
    ages = base_ages()
    best, chosen = float("inf"), now_first
    for age in ages[bisect_left(ages, lo) : bisect_left(ages, hi) + 1]:
        cost = sum(share * table.entry(bisect_left(table.grid.ages, age)) for share, table in mixture)
        if cost < best:
            best, chosen = cost, age
    return max(chosen, least)


def steered(price: float, polls: float, target: float) -> float:
    """The next price, one bounded step towards the one at which `polls` would be `target`."""
    factor = (polls / target) * (polls / target)
    return min(max(price * min(max(factor, 1 / STEP), STEP), PRICE_LOW), PRICE_HIGH)


def octave_of(k: float) -> int:
    """The power of two that stands for `k` recipients."""
    return min(max(round(log2(k)), 0), OCTAVES) if k > 1 else 0
