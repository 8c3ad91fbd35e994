"""The two policies as the daemon sees them."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from pollerd.backoff import Adaptive, Exponential, Policy, Settings, reasons
from tests.unit.policy_kit import KEY, NOW

BOUNDS = Settings(min_interval=1.0, max_interval=3600.0)


def both(settings: Settings) -> list[Policy]:
    """One of each kind."""
    return [Exponential(settings, seed=3), Adaptive(5, 3, settings=settings)]


@pytest.mark.parametrize("policy", both(BOUNDS), ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("age", [0.0, 0.1, 5.0, 100.0, 5000.0, 90_000.0, 1e6, 1e8])
def test_waits_keep_their_bounds_at_every_age(policy: Policy, age: float) -> None:
    for k in (1, 7, 10_000):
        decision = policy.next(NOW, KEY, NOW - age, NOW - age, k=k)
        assert 1.0 <= decision.delay <= 3600.0 * 1.1
        assert decision.reason


@pytest.mark.parametrize("first", [0.0, 7.5])
def test_a_configured_first_wait_is_kept_exactly(first: float) -> None:
    for policy in both(Settings(first_poll_after=first)):
        for k in (1, 50):
            assert policy.first(NOW, k=k).delay == first
        assert policy.explain(KEY).rows[0].age == first


@pytest.mark.parametrize("policy", both(BOUNDS), ids=lambda p: type(p).__name__)
def test_the_clock_may_be_set_back(policy: Policy) -> None:
    policy.first(NOW)
    for now in (NOW, NOW - 3600.0, NOW - 7200.0):
        assert policy.next(now, KEY, NOW, NOW).delay >= 1.0
        policy.observe(now, KEY, 5.0, now - NOW, False, None, "ENROUTE", NOW, NOW)
        assert policy.maintain(now) in (True, False)


@pytest.mark.parametrize("policy", both(BOUNDS), ids=lambda p: type(p).__name__)
def test_a_plan_can_be_laid_open_before_anything_is_known(policy: Policy) -> None:
    plan = policy.explain(KEY)
    assert len(plan.rows) > 5
    assert all(a.age < b.age for a, b in pairwise(plan.rows))
    assert all(row.delay > 0 for row in plan.rows)


def test_exponential_gaps_grow_by_the_factor_up_to_the_cap() -> None:
    plan = Exponential(Settings(factor=1.5, min_interval=2.0, max_interval=60.0)).explain()
    gaps = [row.delay for row in plan.rows[1:]]
    grown = [b / a for a, b in pairwise(gaps) if b < 60.0]
    assert gaps[0] == pytest.approx(3.0)
    assert grown == pytest.approx([1.5] * len(grown))
    assert max(gaps) == 60.0


def test_exponential_needs_no_memory() -> None:
    once, again = Exponential(BOUNDS, seed=5), Exponential(BOUNDS, seed=5)
    once.next(NOW, KEY, NOW - 10, NOW - 10)
    again.restore(b"anything")
    again.next(NOW, "other", NOW - 5000, NOW - 5000)
    assert once.next(NOW, KEY, NOW - 30, NOW - 30) == again.next(NOW, "other", NOW - 30, NOW - 30)


def test_exponential_ranks_by_what_is_longest_overdue() -> None:
    policy = Exponential(Settings(factor=1.5))
    # Due at 10 * 1.5 + 2 = 17 and at 100 * 1.5 + 2 = 152.
    assert policy.index(KEY, 10.0, 20.0) == pytest.approx(3.0)
    assert policy.index(KEY, 100.0, 153.0) == pytest.approx(1.0)
    assert policy.index(KEY, 0.0, 9.0) == pytest.approx(7.0)


def test_a_reason_says_when_messages_usually_arrive_and_how_old_this_one_is() -> None:
    usually = Adaptive(settings=Settings()).next(1000.0, "242/02", 916.0, 916.0).reason
    assert re.fullmatch(r"messages to 242/02 usually arrive within \d+ s; this one is 1 min 24 s old", usually)
    moved = Adaptive(settings=Settings()).next(1000.0, None, 400.0, 916.0).reason
    assert moved.endswith("; this one is 10 min old"), "its age counts from sending, whatever clock the plan goes by"
    assert reasons.learned("242/02", None, 84.0) == "many messages to 242/02 never arrive; this one is 1 min 24 s old"
    assert (
        Exponential(Settings()).next(1000.0, None, 916.0, 916.0).reason == "exponential backoff: it is 1 min 24 s old"
    )
