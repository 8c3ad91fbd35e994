"""The best schedule for a kind of mailing that is fixed in advance: exact, whatever its recipients share."""

from __future__ import annotations

from bisect import bisect_left
from itertools import pairwise

from pollerd.backoff.plan import envelope, weight
from tests.benchmarks.backoff.mailings import Mailing
from tests.benchmarks.backoff.optimum import Bound

GROWTH = 1.015
FIRST = 0.1
SLOTS = 12
"""Steps of sending on which it is worked out."""


def _ages(kind: Mailing) -> list[float]:
    ages = [0.0]
    expiries = sorted({o.expiry for o in kind.population.operators})
    while ages[-1] < max(expiries) + kind.over:
        ages.append(max(ages[-1] * GROWTH, ages[-1] + FIRST))
    dates = [e + f * kind.over + x for e in expiries for f in (0.0, 0.25, 0.5, 0.75, 1.0) for x in (-1e-3, 1e-3)]
    return sorted({*ages, *dates})


class OpenLoop:
    """Knows the distribution, the networks' shares and each fate's chance; is told nothing in between."""

    def __init__(self, kind: Mailing) -> None:
        self.k = kind.k
        self.ages = ages = _ages(kind)
        n = len(ages)
        # The chance that any is pending, a recipient's share of it; per step what ends, plain and weighted.
        self.paid, masses, weighted = [0.0] * n, [0.0] * n, [0.0] * n
        starts = [kind.over * (i + 0.5) / SLOTS for i in range(SLOTS)] if kind.over else [0.0]
        for fate in kind.fates:
            alive = [0.0] * n
            for share, operator in kind.population.shares():
                for start in starts:
                    part = share / len(starts)
                    s = [1.0 if age <= start else fate.survival(operator, age - start) for age in ages]
                    for i in range(1, n):
                        mass = fate.chance * part * (s[i - 1] - s[i])
                        masses[i] += mass
                        weighted[i] += mass * weight(max((ages[i - 1] + ages[i]) / 2 - start, 0.0))
                    alive = [a + part * b for a, b in zip(alive, s, strict=True)]
            for i, a in enumerate(alive):
                self.paid[i] += fate.chance * (1.0 - (1.0 - min(a, 1.0)) ** self.k) / self.k
        self.weighted, self.moment, self.ended, self.plain = [0.0], [0.0], [0.0], [0.0]
        for i, (a, b) in enumerate(pairwise(ages), 1):
            middle = (a + b) / 2
            self.weighted.append(self.weighted[-1] + weighted[i])
            self.moment.append(self.moment[-1] + weighted[i] * middle)
            self.ended.append(self.ended[-1] + masses[i])
            self.plain.append(self.plain[-1] + masses[i] * middle)

    def at(self, price: float) -> Bound:
        """What the best schedule at this price costs and yields."""
        ages, n = self.ages, len(self.ages)
        curves = (self.paid, self.weighted, self.moment)
        following, _, _ = envelope(ages, curves, price, list(range(1, n + 1)), [1e12] * n)
        i, polls, delay, weighted = 0, 0.0, 0.0, 0.0
        while i < n - 1:
            j = bisect_left(ages, following[i])
            polls += self.k * self.paid[i]
            weighted += ages[j] * (self.weighted[j] - self.weighted[i]) - (self.moment[j] - self.moment[i])
            delay += ages[j] * (self.ended[j] - self.ended[i]) - (self.plain[j] - self.plain[i])
            i = j
        return Bound(polls, delay, weighted)

    def bound(self, polls: float) -> Bound:
        """The same at `polls` polls a mailing."""
        low, high = 1e-7, 1e5
        for _ in range(40):
            middle = (low * high) ** 0.5
            if self.at(middle).polls > polls:
                low = middle
            else:
                high = middle
        a, b = self.at(low), self.at(high)
        f = (polls - b.polls) / (a.polls - b.polls) if a.polls > b.polls else 0.0
        f = min(max(f, 0.0), 1.0)
        return Bound(polls, b.delay + f * (a.delay - b.delay), b.weighted + f * (a.weighted - b.weighted))
