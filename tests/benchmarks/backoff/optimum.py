"""The exact optimum for a known distribution: no policy does better at the same mean number of polls."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from pollerd.backoff.plan import envelope, weight
from tests.benchmarks.backoff.populations import Operator, Population

GROWTH = 1.012
FIRST = 0.1
LAST = 80 * 3600.0


@dataclass(frozen=True, slots=True)
class Bound:
    """What the optimum reaches: polls a message, mean delay and mean age-weighted delay."""

    polls: float
    delay: float
    weighted: float


@lru_cache(maxsize=64)
def _curves(operator: Operator) -> tuple[list[float], list[float], list[float], list[float], list[float]]:
    ages = [0.0]
    while ages[-1] < LAST:
        ages.append(max(ages[-1] * GROWTH, ages[-1] + FIRST))
    end = operator.expiry + operator.blur
    dates = [operator.expiry - 1e-3, operator.expiry + operator.blur * 0.25, operator.expiry + operator.blur * 0.5]
    ages = sorted({a for a in ages if a < end} | {*dates, operator.expiry + operator.blur * 0.75, end + 1e-3})
    survival, weighted, moment, plain = [1.0], [0.0], [0.0], [0.0]
    for a, b in pairwise(ages):
        s = operator.survival(b)
        mass, middle = survival[-1] - s, (a + b) / 2
        survival.append(s)
        weighted.append(weighted[-1] + mass * weight(middle))
        moment.append(moment[-1] + mass * weight(middle) * middle)
        plain.append(plain[-1] + mass * middle)
    return ages, survival, weighted, moment, plain


def _at(population: Population, price: float, k: int) -> Bound:
    solved = []
    for share, operator in population.shares():
        ages, survival, weighted, moment, plain = _curves(operator)
        n = len(ages)
        paid = survival if k == 1 else [(1.0 - (1.0 - s) ** k) / k for s in survival]
        soonest = list(range(1, n + 1))
        following, cost, polls = envelope(ages, (paid, weighted, moment), price, soonest, [1e12] * n)
        index = {a: i for i, a in enumerate(ages)}
        delay = [0.0] * n
        for i in range(n - 2, -1, -1):
            j = index[following[i]]
            gone = survival[i] - survival[j]
            delay[i] = delay[j] + gone * ages[j] - (plain[j] - plain[i])
        solved.append((share, ages, survival, weighted, moment, plain, cost, polls, delay))
    common = [a for a in solved[0][1] if a < 7200.0]
    best = None
    for age in common[1:]:
        total = n_polls = n_delay = n_weighted = 0.0
        for share, ages, survival, weighted, moment, plain, cost, polls, delay in solved:
            i = bisect_left(ages, age)
            entry = age * weighted[i] - moment[i]
            total += share * (entry + cost[i])
            n_polls += share * (1.0 + k * polls[i])
            n_delay += share * (age * (1.0 - survival[i]) - plain[i] + delay[i])
            n_weighted += share * (entry + cost[i] - price * polls[i])
        if best is None or total < best[0]:
            best = (total, Bound(n_polls, n_delay, n_weighted))
    assert best is not None
    return best[1]


def bound(population: Population, polls: float, k: int = 1) -> Bound:
    """The optimum at `polls` polls a message of `k` recipients (all of one operator, told nothing in between)."""
    low, high = 1e-4, 1e5
    for _ in range(40):
        middle = (low * high) ** 0.5
        if _at(population, middle, k).polls > polls:
            low = middle
        else:
            high = middle
    a, b = _at(population, low, k), _at(population, high, k)
    f = (polls - b.polls) / (a.polls - b.polls) if a.polls > b.polls else 0.0
    f = min(max(f, 0.0), 1.0)
    return Bound(polls, b.delay + f * (a.delay - b.delay), b.weighted + f * (a.weighted - b.weighted))
