"""What a list of poll ages costs and yields, worked out on a survival curve; and exponential backoff at equal cost."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

Curve = Sequence[tuple[float, float]]
"""(age in seconds, share of messages without a final state by then), ages ascending from 0."""

FACTOR: Final = 1.5  # How exponential backoff usually grows.
_SLOWEST: Final = 1.02
"""The least factor tried: below it, exponential backoff is a fixed interval."""
_STEPS: Final = 24
"""Halvings of the search: an expectation takes microseconds."""
_MOST_POLLS: Final = 5000  # Polls of one schedule at most.


class Yield(NamedTuple):
    """`polls` a message, and the mean seconds from a final state to the poll that finds it."""

    polls: float
    delay: float


class Bounds(NamedTuple):
    """The shortest and the longest gap, and the age at which polling ends; seconds."""

    least: float
    most: float
    end: float


class Rival(NamedTuple):
    """Exponential backoff whose gaps begin with `first` seconds and grow by `factor`."""

    first: float
    factor: float
    expected: Yield


def alive(curve: Curve, age: float) -> float:
    """The share without a final state at `age`, between the curve's points on straight lines."""
    place = bisect_right(curve, age, key=lambda point: point[0])
    if place == 0:
        return 1.0
    if place == len(curve):
        return curve[-1][1]
    (a, s), (b, t) = curve[place - 1], curve[place]
    return s + (t - s) * (age - a) / (b - a)


def expected(curve: Curve, ages: Sequence[float]) -> Yield:
    """What polls at `ages` are expected to cost and to yield."""
    polls = waited = 0.0
    before, still = 0.0, 1.0
    found = 1.0 - (alive(curve, ages[-1]) if ages else 1.0)
    for age in ages:
        polls += still
        waited += _staleness(curve, before, age)
        before, still = age, alive(curve, age)
    return Yield(polls, waited / found if found > 1e-9 else 0.0)


def _staleness(curve: Curve, before: float, age: float) -> float:
    """Seconds of not knowing that gather between two polls: the area between the curve and its height at the first."""
    height = alive(curve, before)
    inner = [a for a, _ in curve[bisect_right(curve, before, key=lambda point: point[0]) :] if a < age]
    area, left, level = 0.0, before, height
    for right in (*inner, age):
        reached = alive(curve, right)
        area += (right - left) * (height - (level + reached) / 2)
        left, level = right, reached
    return area


def exponential(first: float, factor: float, bounds: Bounds) -> list[float]:
    """The ages of exponential backoff: gaps from `first` on, each `factor` times the one before, within the bounds."""
    ages, gap = [max(first, 1e-3)], max(first, bounds.least)
    while ages[-1] < bounds.end and len(ages) < _MOST_POLLS:
        gap = min(max(gap * factor, bounds.least), bounds.most)
        ages.append(ages[-1] + gap)
    return ages


def rival(curve: Curve, polls: float, bounds: Bounds) -> Rival | None:
    """The exponential backoff that costs the same `polls` a message; None when there is none."""
    found = at_equal_polls(
        lambda first, factor: expected(curve, exponential(first, factor, bounds)),
        polls,
        (bounds.least, bounds.most),
        FACTOR,
        _STEPS,
    )
    return found if abs(found.expected.polls - polls) < 0.05 * polls + 0.05 else None


def at_equal_polls(
    outcome: Callable[[float, float], Yield], polls: float, gaps: tuple[float, float], factor: float, steps: int
) -> Rival:
    """The exponential backoff whose `outcome` (of its first gap and its factor) comes down to `polls` a message.

    Its first gap is what is varied, within `gaps`; where the shortest one still costs too little, the factor is. The
    search halves the range (by ratio) `steps` times.
    """
    least, most = gaps
    if outcome(least, factor).polls >= polls:
        first = _sought(lambda gap: outcome(gap, factor).polls, polls, least, most, steps)
        return Rival(first, factor, outcome(first, factor))
    slower = _sought(lambda growth: outcome(least, growth).polls, polls, min(_SLOWEST, factor), factor, steps)
    return Rival(least, slower, outcome(least, slower))


def _sought(cost: Callable[[float], float], polls: float, low: float, high: float, steps: int) -> float:
    """Where the falling `cost` comes down to `polls`."""
    for _ in range(steps):
        middle = (low * high) ** 0.5
        if cost(middle) > polls:
            low = middle
        else:
            high = middle
    return high
