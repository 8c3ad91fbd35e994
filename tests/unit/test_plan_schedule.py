"""What polls cost and yield, against sums that can be done by hand; and the plot."""

from __future__ import annotations

import pytest

from pollerd.backoff import Adaptive, Settings
from pollerd.cli.plans import schedule
from pollerd.cli.terminal.plot import Axis, area, marks

STRAIGHT = [(0.0, 1.0), (100.0, 0.0)]
"""Final states come evenly over 100 s."""
BOUNDS = schedule.Bounds(0.5, 3600.0, 250_000.0)


def test_one_poll_at_the_end_costs_one_and_waits_for_half() -> None:
    assert schedule.expected(STRAIGHT, [100.0]) == schedule.Yield(1.0, 50.0)


def test_a_poll_halfway_is_paid_by_all_and_the_second_by_half() -> None:
    assert schedule.expected(STRAIGHT, [50.0, 100.0]) == pytest.approx(schedule.Yield(1.5, 25.0))


def test_no_poll_costs_and_yields_nothing() -> None:
    assert schedule.expected(STRAIGHT, []) == schedule.Yield(0.0, 0.0)


def test_the_rival_costs_the_same() -> None:
    curve = Adaptive(5).explain().curve
    rival = schedule.rival(curve, 5.0, BOUNDS)
    assert rival is not None
    assert rival.expected.polls == pytest.approx(5.0, rel=0.05)
    ages = schedule.exponential(rival.first, rival.factor, BOUNDS)
    assert schedule.expected(curve, ages) == rival.expected


def test_where_the_shortest_gap_costs_too_little_the_factor_is_smaller() -> None:
    bounds = schedule.Bounds(2.0, 3600.0, 100.0)
    rival = schedule.rival(STRAIGHT, 10.0, bounds)
    assert rival is not None
    assert rival.first == 2.0
    assert rival.factor < schedule.FACTOR
    assert rival.expected.polls == pytest.approx(10.0, rel=0.06)


def test_a_price_that_no_gap_meets_has_no_rival() -> None:
    assert schedule.rival(STRAIGHT, 500.0, schedule.Bounds(2.0, 3600.0, 100.0)) is None


def test_the_learned_plan_agrees_with_the_policys_own_account() -> None:
    plan = Adaptive(5, settings=Settings()).explain()
    found = schedule.expected(plan.curve, [row.age for row in plan.rows])
    assert found.polls == pytest.approx(plan.polls)
    shares = 1.0 - schedule.alive(plan.curve, plan.rows[-1].age)
    assert found.delay * shares == pytest.approx(plan.delay)


def test_the_plot_falls_from_the_left_to_the_right() -> None:
    axis = Axis(1.0, 100.0, 40)
    lines = area(axis, lambda age: 1.0 - age / 100.0, 4)
    heights = [sum(" ▁▂▃▄▅▆▇█".index(line[column]) for line in lines) for column in range(40)]
    assert heights == sorted(heights, reverse=True)
    assert (heights[0], heights[-1]) == (32, 0)
    assert marks(axis, [1.0, 10.0, 100.0, 1e9]).count("▲") == 3
    assert axis.labels().split() == ["1", "s", "10", "s", "1", "min"]
