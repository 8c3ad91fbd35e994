"""The budget: the price of a poll that makes the expected polls a message meet `polls_per_message`, and the first poll.

The first poll comes before the operator is known, so its age is chosen over the mixture of all operators.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from math import exp, inf, log2, sqrt

from pollerd.backoff import guards
from pollerd.backoff.plan import Table, base_ages
from pollerd.backoff.protocol import Settings

PRICE_LOW = 0.02  # Weighted seconds of delay that a poll is worth: bounds of the search, far outside real prices.
PRICE_HIGH = 1e5  # Weighted seconds.
STEP = 1.5
"""The most the price moves at once."""

FIRST_START = 3.0  # Seconds: age of the first poll before anything is learned.
FIRST_LEAST = 1.0  # Seconds: the least age of a first poll.
FIRST_MOST = 60.0 / (1.0 + guards.JITTER)
"""Seconds, jitter left out: whatever was learned, a fresh message is first polled within a minute."""

FIRST_REACH = 3.0  # Factor of one search step while young, and later.
FIRST_REACH_LATER = 1.35  # Factor: what is known well moves little.

LEAST_LEFT = 1.5
"""Polls a message that are left to choose, whatever `max_interval` forces."""

OCTAVES = 14  # Plans are made for 1, 2, 4 ... recipients, to 2^14: the vendor allows 10,000.

IDLE_MOST = 30.0
"""Polls a message at most where the gateway is idle: more show nothing that a phone's owner would notice."""

RATES = (600.0, 86400.0)
"""Seconds over which arriving messages are counted: a burst is noticed within minutes, a quiet day as a whole."""

Mixture = Sequence[tuple[float, Table]]
"""Share of the messages, and plan, of each operator."""


def expected_polls(mixture: Mixture, first: float, price: float) -> float:
    """Polls a message over the mixture; a plan made at another price is corrected by the square-root law."""
    total = 0.0
    for share, table in mixture:
        total += share * (1.0 + (table.polls_from(first) - 1.0) * sqrt(table.price / price))
    return total


def forced_polls(settings: Settings, table: Table, first: float) -> float:
    """Polls a message that `max_interval` alone makes of those that are pending for long, whatever the price."""
    most, ages = settings.max_interval, table.grid.ages
    i = bisect_left(ages, most / guards.reach(most, table.limits[0]) - first)
    time = sum(
        (b - a) * (1.0 - (1.0 - s) ** table.k)
        for a, b, s in zip(ages[i:], ages[i + 1 :], table.survival[i:], strict=False)
    )
    return time / most


def best_first(settings: Settings, mixture: Mixture, now_first: float, reach: float) -> float:
    """The age of the first poll with the least expected cost, searched within a factor `reach` of the present."""
    if settings.first_poll_after is not None:
        return settings.first_poll_after
    least = min(FIRST_LEAST, settings.min_interval)
    lo = max(now_first / reach, least)
    hi = min(now_first * reach, FIRST_MOST, settings.max_interval)
    ages = base_ages()
    start, end = bisect_left(ages, lo), bisect_right(ages, hi)
    candidates = ages[start:end]
    if not candidates:
        return max(now_first, least)
    costs = [0.0] * len(candidates)
    for share, table in mixture:
        entries = table.entries(start, candidates)
        costs = [cost + share * entry for cost, entry in zip(costs, entries, strict=True)]
    return max(candidates[costs.index(min(costs))], least)


def steered(price: float, polls: float, target: float, stride: float = STEP) -> float:
    """The next price, one step of at most a factor `stride` towards the one at which `polls` would be `target`."""
    factor = (polls / target) * (polls / target)
    return min(max(price * min(max(factor, 1 / stride), stride), PRICE_LOW), PRICE_HIGH)


class Arrivals:
    """How many messages come a second: the highest of the rates over `RATES`."""

    __slots__ = ("counts", "stamp")

    def __init__(self, settings: Settings) -> None:
        # That the gateway is idle must be seen first: a new installation may be about to become busy.
        self.counts = [0.0, settings.idle_polls_per_second / settings.polls_per_message * RATES[1]]
        self.stamp: float | None = None

    def add(self, now: float) -> None:
        """One message came."""
        if now != self.stamp:
            self._fade(now)
        self.counts[0] += 1.0
        self.counts[1] += 1.0

    def rate(self, now: float) -> float:
        """Messages a second at `now`."""
        if now != self.stamp:
            self._fade(now)
        return self.latest()

    def load(self, counts: Sequence[float], stamp: float | None) -> None:
        """Go on from a snapshot's counts. Raises ValueError when they make no sense; an older snapshot has none."""
        if not counts:
            return
        if len(counts) != len(RATES) or not all(0.0 <= count < inf for count in counts):
            raise ValueError("arrivals are one number, not negative, for each span")
        self.counts, self.stamp = list(counts), stamp

    def latest(self) -> float:
        """Messages a second when last counted."""
        return max(count / span for count, span in zip(self.counts, RATES, strict=True))

    def _fade(self, now: float) -> None:
        # A clock that is set back counts on from there.
        passed = 0.0 if self.stamp is None else max(now - self.stamp, 0.0)
        self.counts = [count * exp(-passed / span) for count, span in zip(self.counts, RATES, strict=True)]
        self.stamp = now


def wanted_polls(settings: Settings, rate: float) -> float:
    """The budget of a message: `polls_per_message`, or what an idle gateway allows where that is more.

    `rate` is how many messages come a second. Messages that come seldom share `idle_polls_per_second`.
    """
    if settings.idle_polls_per_second <= 0.0:
        return settings.polls_per_message
    allowed = settings.idle_polls_per_second / max(rate, 1e-9)
    return max(settings.polls_per_message, min(allowed, IDLE_MOST))


def octave_of(k: float) -> int:
    """The power of two that stands for `k` recipients."""
    return min(max(round(log2(k)), 0), OCTAVES) if k > 1 else 0
