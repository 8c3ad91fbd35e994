"""Upkeep of the adaptive policy: plans are made one at a time, and the price is moved to where it can do something."""

from __future__ import annotations

import pytest

from pollerd.backoff import Adaptive, Group, Part, Settings
from tests.unit.policy_kit import NOW


def plans_made(policy: Adaptive) -> int:
    """Plans of operators, of all together, and of groups."""
    learned = policy._learned
    operators = (learned.world, *learned.operators.values())
    return sum((o.table is not None) + len(o.groups) for o in operators)


def restarted(keys: int) -> Adaptive:
    """A policy that knows `keys` operators from a snapshot and has planned for none of them."""
    policy = Adaptive(5, 1)
    for i in range(600):
        policy.observe(NOW + 20, f"key {i % keys}", 10.0, 20.0, True, 13.0, "DELIVERED", NOW, NOW)
    again = Adaptive(5, 1)
    again.restore(policy.snapshot())
    return again


def test_a_crowd_of_answers_right_after_a_restart_makes_one_plan_at_a_time() -> None:
    policy = restarted(20)
    before = 0
    for second in range(12):
        for i in range(20):
            assert policy.next(NOW + second, f"key {i}", NOW - 9.0, NOW - 9.0).delay > 0
        assert plans_made(policy) <= before + 1
        before = plans_made(policy)
    assert before >= 6


def test_mailings_of_many_operators_are_planned_one_at_a_time_too() -> None:
    policy = restarted(20)
    while policy.maintain(NOW):
        pass
    policy.next(NOW + 1.0, "key 0", NOW - 9.0, NOW - 9.0, k=20)
    before = plans_made(policy)
    for second in range(2, 12):
        for i in range(20):
            assert policy.next(NOW + second, f"key {i}", NOW - 9.0, NOW - 9.0, k=20).delay > 0
        # The first of a second may be a steering's, for all operators together.
        assert plans_made(policy) <= before + 2
        before = plans_made(policy)


@pytest.mark.parametrize("group", [None, Group(2, (Part("key 0", 1, NOW),))])
def test_an_end_before_any_other_answer_leaves_a_plan_for_all(group: Group | None) -> None:
    """After a restart or a reload the first answer may be a final state, and the next one comes at once."""
    policy, key = restarted(2), "another" if group is None else "key 0"
    policy.observe(NOW + 50.0, "key 0", 0.0, 50.0, True, 40.0, "DELIVERED", NOW, NOW)
    assert policy.next(NOW + 50.001, key, NOW, NOW, group=group).delay > 0


def test_a_fresh_start_finds_its_price_step_by_step() -> None:
    policy = Adaptive(5, 1)
    prices = [policy.metrics().price]
    while policy.maintain(NOW):
        prices.append(policy.metrics().price)
    assert len(set(prices)) >= 3
    assert policy.metrics().predicted_polls == pytest.approx(5.0, rel=0.1)


def test_a_budget_that_max_interval_alone_uses_up_leaves_polls_for_the_young() -> None:
    policy = Adaptive(2, 1, settings=Settings(min_interval=0.25, max_interval=450.0))
    while policy.maintain(NOW):
        pass
    price = policy.metrics().price
    assert price is not None
    assert price < 100.0
    assert policy.first(NOW).delay < 15.0
