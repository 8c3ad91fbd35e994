"""Rails: what a learned plan may never be, whatever the history it was learned from.

A history can mislead: messages handed over long after they were sent, ids that begin to exist when they are asked for,
a gateway whose clock is wrong. By its own figures a plan is therefore held against plain exponential backoff at equal
polls, and exponential backoff is used where the plan is the worse of the two.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from math import exp, log
from typing import NamedTuple

from pollerd.backoff.plan import Table, next_age
from pollerd.backoff.protocol import Settings

FACTOR = 1.5
"""How exponential backoff usually grows; the first gap is varied to spend what the plan spends."""

SLOWEST = 1.02  # The least factor tried: below it, exponential backoff is a fixed interval.
TRIES = 8
"""Schedules tried at most to find the one of equal polls; from the last one found on, two or three are enough."""

MOST_STEPS = 400
"""Polls of one schedule that are counted: 96 hours of hourly polls four times over."""

LEAST_PENDING = 1e-6
"""A share of messages still pending that is none."""

EQUAL = 0.1
"""Schedules within this share of each other's polls are compared, the delay corrected for the rest."""

CLEARLY = 1.02
"""A plan is called worse from this factor on: below it lie the errors of the grid."""


FELT = 60.0
"""Seconds of mean delay. A plan weighs delays by age on purpose: below this the plain mean is no reason to leave it."""


class Cost(NamedTuple):
    """`polls` a message, and the mean seconds of not knowing, plain and weighted by age."""

    polls: float
    delay: float
    weighted: float


class Growth(NamedTuple):
    """Exponential backoff: the age of the first poll, the gap after it, and what each gap is multiplied by."""

    first: float
    gap: float
    factor: float


class Yardstick:
    """Works out on a plan's own curves what a schedule costs and yields."""

    def __init__(self, table: Table, settings: Settings) -> None:
        self._table = table
        self._ages = table.grid.ages
        self._settings = settings
        area, total = [0.0], 0.0
        s = table.survival
        for i in range(1, len(self._ages)):
            total += (self._ages[i] - self._ages[i - 1]) * (s[i - 1] + s[i]) / 2
            area.append(total)
        self._area = area

    def _at(self, age: float) -> tuple[float, float, float, float]:
        """S, W, M and the area under S at `age`."""
        ages = self._ages
        i = min(bisect_right(ages, age) - 1, len(ages) - 2)
        f = min((age - ages[i]) / (ages[i + 1] - ages[i]), 1.0)
        t = self._table
        s = t.survival[i] + f * (t.survival[i + 1] - t.survival[i])
        w = t.weighted[i] + f * (t.weighted[i + 1] - t.weighted[i])
        m = t.moment[i] + f * (t.moment[i + 1] - t.moment[i])
        return s, w, m, self._area[i] + (age - ages[i]) * (t.survival[i] + s) / 2

    def cost(self, first: float, following: Callable[[float], float]) -> Cost:
        """Of polls at the age `first`, at `following(first)` and so on, up to the end of the grid."""
        end = self._ages[-1]
        age, before = first, (1.0, 0.0, 0.0, 0.0)
        last = 0.0
        polls = delay = weighted = 0.0
        for _ in range(MOST_STEPS):
            if age >= end or before[0] < LEAST_PENDING:
                break
            here = self._at(age)
            polls += before[0]
            delay += (age - last) * before[0] - (here[3] - before[3])
            weighted += age * (here[1] - before[1]) - (here[2] - before[2])
            before, last = here, age
            age = following(age)
        return Cost(polls, delay, weighted)

    def plan(self, first: float) -> Cost:
        """Of the plan itself, the first poll at the age `first`."""
        return self.cost(first, lambda age: next_age(self._settings, self._table, age, first))

    def growth(self, growth: Growth) -> Cost:
        """Of exponential backoff."""
        return self.cost(growth.first, lambda age: age + gap_at(self._settings, growth, age))

    def rival(self, polls: float, first: float | None, start: float) -> tuple[float, Growth, Cost]:
        """Exponential backoff that spends about `polls` a message, sought from the step `start` on.

        Its first poll comes at the age `first`; None: after its own first gap. Returns the step it was found at too.
        """
        least, most = self._settings.min_interval, self._settings.max_interval

        def made(step: float) -> Growth:
            # From 0 on the first gap grows; below it, where the shortest one spends too little, the factor shrinks.
            gap = min(least * exp(max(step, 0.0)), most)
            factor = 1.0 + max((FACTOR - 1.0) * exp(min(step, 0.0)), SLOWEST - 1.0)
            return Growth(gap if first is None else first, gap, factor)

        lowest, highest = log((SLOWEST - 1.0) / (FACTOR - 1.0)), log(most / least)
        low, high, step = lowest, highest, min(max(start, lowest), highest)
        growth = made(step)
        found = self.growth(growth)
        for _ in range(TRIES):
            off = log(found.polls / polls)
            if abs(off) < EQUAL / 3 or high - low < 0.01:
                break
            low, high = (step, high) if off > 0 else (low, step)
            # A gap e times as long spends about one poll in five less; half of the range where that leads astray.
            guess = step + 4.0 * off
            step = guess if low < guess < high else (low + high) / 2
            growth = made(step)
            found = self.growth(growth)
        return step, growth, found


def gap_at(settings: Settings, growth: Growth, age: float) -> float:
    """The gap after a poll at `age`: it follows from the age alone, as gaps add up to ages."""
    gap = growth.gap * growth.factor + max(age - growth.first, 0.0) * (growth.factor - 1.0)
    return min(max(gap, settings.min_interval), settings.max_interval)


def better(
    settings: Settings, table: Table, first: float, start: float, *, shared: bool
) -> tuple[Growth | None, float]:
    """The exponential backoff that beats `table` by the plan's own figures at equal polls; None where there is none.

    `first` is the age of the first poll. `shared`: it was chosen for all operators together, so the rival begins there
    too, and the plain delay counts only where the difference can be felt. Returned with the step to `start` from next
    time.
    """
    yardstick = Yardstick(table, settings)
    own = yardstick.plan(first)
    step, growth, other = yardstick.rival(own.polls, first if shared else None, start)
    # Delays fall about as polls rise: what is left of the difference in polls is taken out.
    fair = other.polls / own.polls * CLEARLY
    later = own.delay > other.delay * fair and (not shared or own.delay - other.delay > FELT)
    worse = later or own.weighted > other.weighted * fair
    equal = abs(other.polls / own.polls - 1.0) <= EQUAL
    return (growth if worse and equal else None), step
