"""A plan in detail: the polls of a fresh message, and what is expected of them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from pollerd.backoff import hazard
from pollerd.backoff.learned import OperatorModel
from pollerd.backoff.plan import NEVER, Table, next_age, weight
from pollerd.backoff.protocol import Key, Plan, PlanRow, Settings
from pollerd.backoff.rails import gap_at

ROWS = 20_000
"""Polls that are listed at most: more than four days of one every 20 seconds."""

LEAST_PENDING = 1e-6  # Share of messages still pending that is none.


def explained(settings: Settings, key: Key, operator: OperatorModel, table: Table, first: float, budget: float) -> Plan:
    """The polls of a fresh message, without jitter, the first at age `first`, for a `budget` of polls a message."""
    rail = operator.rail if table.k == 1 else None
    age, k = first, table.k
    previous = 0.0
    rows: list[PlanRow] = []
    polls = waited = weighed = 0.0
    while len(rows) < ROWS and age < min(NEVER, table.grid.ages[-1]):
        before, after = table.alive(previous), table.alive(age)
        polls += before if k == 1 else 1.0 - (1.0 - before) ** k
        stale = _staleness(table, previous, age)
        waited += stale
        weighed += stale * weight((previous + age) / 2)
        b = hazard.bin_of(age)
        mean = stale / (before - after) if before - after > 1e-12 else (age - previous) / 2
        rows.append(PlanRow(age, age - previous, after, operator.hazards[b], hazard.PRIOR[b], polls, mean))
        if after < LEAST_PENDING:
            break
        previous = age
        age = next_age(settings, table, age, first) if rail is None else age + gap_at(settings, rail, age)
    windows = tuple((w.lo, w.hi) for w in table.grid.windows if w.seen)
    events = operator.history.total
    curve = tuple(zip(table.grid.ages, table.survival, strict=True))
    figures = (polls, waited, weighed, events, table.price)
    return Plan(key, "adaptive", tuple(rows), *figures, windows, curve, budget, rail is not None)


def _staleness(table: Table, previous: float, age: float) -> float:
    """Seconds of not knowing that gather for the changes between two polls."""
    ages = table.grid.ages
    alive = table.alive(previous)
    area = 0.0
    a, s = previous, alive
    for g in (*ages[bisect_right(ages, previous) : bisect_left(ages, age)], age):
        t = table.alive(g)
        area += (g - a) * (alive - (s + t) / 2)
        a, s = g, t
    return area
