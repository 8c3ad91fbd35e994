"""Durations counted in bins that widen with their length."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from math import exp, log
from typing import Final

FIRST: Final = 0.5
"""Seconds: the first bin's bound, below the whole seconds in which the gateway gives times."""
FACTOR: Final = 1.25
"""Each bin is so much wider than the one before: a quantile is exact to an eighth."""
BINS: Final = 62
"""As many as reach beyond `give_up_after`."""
BOUNDS: Final = tuple(FIRST * FACTOR**number for number in range(BINS - 1))
"""Upper bounds in seconds, up to four days; the last bin has none."""


def empty() -> list[int]:
    """No durations."""
    return [0] * BINS


def bin_of(seconds: float) -> int:
    """The bin of a duration; what is negative (two clocks disagree) counts as zero."""
    return bisect_left(BOUNDS, seconds)


def quantile(counts: Sequence[int], share: float) -> float | None:
    """The seconds that `share` (0 to 1) of all do not exceed, between bounds interpolated; None when there are none."""
    total = sum(counts)
    if not total:
        return None
    wanted, below = share * total, 0
    for number, count in enumerate(counts):
        if count and below + count >= wanted:
            within = max(0.0, wanted - below) / count
            if number == 0:
                return BOUNDS[0] * within
            low = BOUNDS[number - 1]
            return low * exp(within * log(FACTOR))
        below += count
    return BOUNDS[-1]


def gathered(counts: Sequence[int], bounds: Sequence[float]) -> list[int]:
    """The counts in wider bins: up to each of `bounds` (seconds), and above the last."""
    found = [0] * (len(bounds) + 1)
    for number, count in enumerate(counts):
        if count:
            # A bin goes where its middle lies.
            upper = BOUNDS[min(number, len(BOUNDS) - 1)]
            middle = upper / FACTOR**0.5 if number < len(BOUNDS) else upper * FACTOR
            found[bisect_left(bounds, middle)] += count
    return found
