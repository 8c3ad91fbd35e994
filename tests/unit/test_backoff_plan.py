"""The plan: exact on a grid, true to its own promises, and within the guards."""

from __future__ import annotations

from itertools import accumulate, pairwise, product
from math import exp
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pollerd.backoff import Settings
from pollerd.backoff.expiry import Expiries, windows
from pollerd.backoff.hazard import MIDDLES, PRIOR
from pollerd.backoff.plan import NEVER, Table, curves, envelope, grid, solve, solve_group, weight
from tests.hypothesis_kit import examples

WIDE = Settings(min_interval=0.5, max_interval=86400.0)
NOTHING_KNOWN = 0.0


@st.composite
def small_grids(draw: st.DrawFn) -> tuple[list[float], list[float], list[float], list[float]]:
    """Ages with S, W and M of a random distribution on them."""
    steps = draw(st.lists(st.floats(0.1, 50.0), min_size=2, max_size=14))
    ages = [0.0, *accumulate(steps)]
    masses = [draw(st.floats(0.0, 1.0)) for _ in steps]
    whole = sum(masses) + draw(st.floats(0.01, 1.0))
    s, w, m = [1.0], [0.0], [0.0]
    for (a, b), mass in zip(pairwise(ages), masses, strict=True):
        middle = (a + b) / 2
        s.append(s[-1] - mass / whole)
        w.append(w[-1] + mass / whole * weight(middle))
        m.append(m[-1] + mass / whole * weight(middle) * middle)
    return ages, s, w, m


def brute(ages: list[float], swm: tuple[list[float], ...], price: float, soonest: list[int]) -> list[float]:
    """The recurrence as it is written, over every pair."""
    s, w, m = swm
    last = len(ages) - 1
    cost = [0.0] * (last + 1)
    for i in range(last - 1, -1, -1):
        choices = range(min(max(soonest[i], i + 1), last), last + 1)
        cost[i] = min(price * s[i] + ages[j] * (w[j] - w[i]) - (m[j] - m[i]) + cost[j] for j in choices)
    return cost


@examples(300)
@given(small_grids(), st.floats(0.001, 100.0), st.data())
def test_the_envelope_finds_what_trying_every_pair_finds(
    case: tuple[list[float], list[float], list[float], list[float]], price: float, data: st.DataObject
) -> None:
    ages, s, w, m = case
    n = len(ages)
    gaps = data.draw(st.lists(st.integers(1, 4), min_size=n, max_size=n))
    soonest = list(accumulate((i + g for i, g in enumerate(gaps)), max))
    _, cost, _ = envelope(ages, (s, w, m), price, soonest, [NEVER] * n)
    assert cost == pytest.approx(brute(ages, (s, w, m), price, soonest), abs=1e-7, rel=1e-7)


@examples(100)
@given(small_grids(), st.floats(0.001, 100.0), st.floats(1.0, 60.0))
def test_a_poll_is_never_planned_later_than_allowed_where_the_grid_has_an_earlier_age(
    case: tuple[list[float], list[float], list[float], list[float]], price: float, longest: float
) -> None:
    ages, s, w, m = case
    n = len(ages)
    latest = [a + longest for a in ages]
    following, cost, polls = envelope(ages, (s, w, m), price, list(range(1, n + 1)), latest)
    for i in range(n - 1):
        j = ages.index(following[i])
        assert j == i + 1 or ages[j] <= latest[i]
        looks = max((ages[j] - ages[i]) / longest, 1.0)
        stale = ages[j] * (w[j] - w[i]) - (m[j] - m[i])
        assert cost[i] == pytest.approx(looks * price * s[i] + stale / looks + cost[j], abs=1e-9)
        assert polls[i] == pytest.approx(looks * s[i] + polls[j])


def hazards() -> list[float]:
    """A network that delivers in some seconds, with a tail."""
    return [0.15 * exp(-m / 60.0) + 2e-5 for m in MIDDLES]


def drawn(table: Table, hazard: list[float], rng: Random) -> float:
    """The age of a change, drawn cell by cell from the grid's own model; inf when it outlives the grid."""
    for (a, b), cell in zip(pairwise(table.grid.ages), table.grid.cells, strict=True):
        if rng.random() > exp(-hazard[cell[0]] * cell[1]) * (1.0 - cell[5]):
            return a + rng.random() * (b - a)
    return float("inf")


def test_polls_and_cost_are_what_a_simulation_of_the_plan_gives() -> None:
    known = Expiries((172800.0, 172800.0) for _ in range(64))
    cells = grid(WIDE, windows(known, known))
    hazard = hazards()
    table = solve(WIDE, cells, hazard, 0.5, (NOTHING_KNOWN, 3.0))
    rng = Random(3)
    first = cells.ages[30]
    n, polls, cost = 30_000, 0, 0.0
    for _ in range(n):
        change = drawn(table, hazard, rng)
        age = first
        polls += 1
        while age < change and age < cells.ages[-1]:
            age = table.next_age(age)
            polls += 1
        cost += weight(change) * (age - change) if change < cells.ages[-1] else 0.0
    assert polls / n == pytest.approx(table.polls_from(first), rel=0.02)
    (entry,) = table.entries(30, [first])
    predicted = entry - table.price * (table.polls_from(first) - 1.0)
    # Expiry is weighed higher in the plan than by its age: it comes last, and at once, so it hardly shows.
    assert cost / n == pytest.approx(predicted, rel=0.05)


def test_a_higher_price_buys_fewer_polls() -> None:
    cells = grid(WIDE, ())
    polls = [
        solve(WIDE, cells, PRIOR, price, (NOTHING_KNOWN, 3.0)).polls_from(3.0) for price in (0.1, 1.0, 10.0, 100.0)
    ]
    assert polls == sorted(polls, reverse=True)
    assert polls[0] > 2 * polls[-1]


def test_gaps_keep_the_shortest_and_the_longest_wait_at_every_age() -> None:
    bounds = Settings(min_interval=2.0, max_interval=3600.0)
    cells = grid(bounds, ())
    for price, known in product((0.001, 1.0, 1e4), (NOTHING_KNOWN, 600.0, 1e9)):
        table = solve(bounds, cells, PRIOR, price, (known, 3.0))
        for age, following in zip(cells.ages, table.following, strict=True):
            if following >= NEVER or following == cells.ages[-1]:
                continue
            cell = max(0.2, 0.1 * following)
            assert following - age >= min(max(2.0, 0.03 * age), 3600.0) - 1e-6
            assert (
                following - age <= min(3600.0, (6 if age < known else 1 if age < 21600.0 else 0.3) * (age + 3.0)) + cell
            )


def test_the_last_poll_before_a_sharp_expiry_is_followed_by_one_right_after_it() -> None:
    known = Expiries((172800.0, 172800.0) for _ in range(64))
    cells = grid(WIDE, windows(known, known))
    table = solve(WIDE, cells, hazards(), 1.0, (NOTHING_KNOWN, 3.0))
    age, looks = 3.0, [3.0]
    while (age := table.next_age(age)) < NEVER:
        looks.append(age)
    assert any(172800.0 < x <= 172802.0 for x in looks)
    assert not any(172800.0 * 0.95 < x < 172800.0 for x in looks)


def test_a_poll_just_before_the_end_of_a_window_is_followed_by_one_at_its_end() -> None:
    known = Expiries((150_000.0, 172_800.0) for _ in range(64))
    cells = grid(WIDE, windows(known, known))
    table = solve(WIDE, cells, hazards(), 1.0, (NOTHING_KNOWN, 3.0))
    for age in (172_000.0, 172_700.0, 172_799.4):
        assert age < table.next_age(age) <= 172_801.0


def test_survival_falls_and_an_expiry_takes_what_is_left() -> None:
    known = Expiries((86400.0, 86400.0) for _ in range(64))
    cells = grid(WIDE, windows(known, known))
    s, w, m = curves(cells, hazards())
    assert all(a >= b for a, b in pairwise(s))
    assert all(a <= b for a, b in pairwise(w))
    assert all(a <= b for a, b in pairwise(m))
    before = s[cells.ages.index(86400.0)]
    after = s[cells.ages.index(86401.0)]
    assert after < 0.05 * before


def test_many_recipients_are_worth_more_polls_at_the_same_price() -> None:
    cells = grid(WIDE, ())
    one = solve(WIDE, cells, hazards(), 2.0, (NOTHING_KNOWN, 3.0))
    gaps = [one.next_age(10.0) - 10.0]
    for k in (4, 16, 64):
        group = solve_group(WIDE, one, 2.0, k)
        gaps.append(group.next_age(10.0) - 10.0)
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < gaps[0] / 2
