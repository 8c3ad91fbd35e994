"""The adaptive policy and expiry: a date, not a chance."""

from __future__ import annotations

import pytest

from pollerd.backoff import Adaptive, Settings, reasons
from pollerd.backoff.adaptive import REJOIN_SPREAD
from tests.unit.policy_kit import KEY, NOW, taught


def taught_expiry(age: float, *, n: int = 12) -> Adaptive:
    """A policy that has seen `n` messages expire at `age`."""
    policy = taught(n=600)
    for i in range(n):
        submit = NOW + i
        policy.observe(submit + age + 5, KEY, age - 500, age + 5, True, age, "EXPIRED", submit, submit)
    policy.take_wake()
    return policy


def test_the_poll_before_an_expiry_leads_right_behind_it() -> None:
    policy = taught_expiry(100_000.0)
    now = NOW + 400_000.0
    decision = policy.next(now, KEY, now - 99_000.0, now - 99_000.0)
    assert decision.reason == reasons.EXPIRES
    assert 1000.0 < decision.delay < 1005.0


def test_after_its_expiry_a_message_is_polled_every_half_minute_and_then_less() -> None:
    policy = taught_expiry(100_000.0)
    now = NOW + 400_000.0
    for since, expected in ((5.0, 30.0), (600.0, 300.0)):
        decision = policy.next(now, KEY, now - 100_001.0 - since, now - 100_001.0 - since)
        assert decision.reason == reasons.PAST_EXPIRY
        assert decision.delay == pytest.approx(expected, rel=0.12)


def test_an_expiry_that_becomes_known_wakes_what_is_past_it() -> None:
    policy = taught(n=600)
    age, now = 100_000.0, NOW + 200_000.0
    policy.observe(now, KEY, age - 500, age + 900, True, age, "EXPIRED", now - age - 900, now - age - 900)
    assert policy.take_wake() == [KEY]
    submit = now - age - 3000.0
    assert policy.replan(now + 0.2, KEY, submit, submit).delay <= REJOIN_SPREAD
    assert policy.next(now, KEY, submit, submit).delay <= REJOIN_SPREAD
    assert policy.replan(now + 0.2, KEY, now - 50_000.0, now - 50_000.0).delay > 600.0


def test_a_validity_period_is_kept_whatever_was_learned() -> None:
    policy = taught_expiry(100_000.0)
    now = NOW + 400_000.0
    decision = policy.next(now, KEY, now - 280.0, now - 280.0, validity=300.0)
    assert decision.delay <= 21.0
    assert policy.next(now, KEY, now - 310.0, now - 310.0, validity=300.0).reason == reasons.PAST_EXPIRY


def test_an_expiry_is_met_though_max_interval_forbids_to_wait_for_it() -> None:
    policy = Adaptive(5, 1, settings=Settings(max_interval=3600.0))
    policy.restore(taught_expiry(100_000.0).snapshot())
    now = NOW + 400_000.0
    age, looks = 90_000.0, []
    while age < 100_000.0:
        delay = policy.next(now, KEY, now - age, now - age).delay
        assert delay <= 3600.0 * 1.1 + 1.0
        age += delay
        looks.append(age)
    assert 100_000.0 <= looks[-1] < 100_005.0


def test_an_operator_without_own_expiries_is_polled_when_those_of_others_expire() -> None:
    policy = Adaptive(5, 1, settings=Settings(max_interval=3600.0))
    policy.restore(taught_expiry(100_000.0).snapshot())
    now = NOW + 400_000.0
    policy.observe(now, "262/02", 3.0, 9.0, True, 5.0, "DELIVERED", now - 9.0, now - 9.0)
    for submit, base in ((now - 99_000.0, now - 99_000.0), (now - 99_900.0, now - 3000.0)):
        decision = policy.next(now, "262/02", submit, base)
        assert 0.0 <= decision.delay - (submit + 100_000.0 - now) <= 5.0
        assert decision.reason == reasons.EXPIRES


def test_the_budget_holds_where_max_interval_forces_polls() -> None:
    policy = Adaptive(5, 1, settings=Settings(max_interval=3600.0))
    policy.restore(taught_expiry(100_000.0, n=60).snapshot())
    plan = policy.explain(KEY)
    gaps = [row.delay for row in plan.rows]
    assert max(gaps) <= 3600.0
    table_polls = policy.metrics().predicted_polls
    assert table_polls is None or table_polls > 0
    assert plan.polls == pytest.approx(sum(row.survival or 0.0 for row in plan.rows[:-1]) + 1.0, rel=0.01)


def test_an_expiry_counts_from_sending_even_after_an_outage() -> None:
    policy = taught_expiry(100_000.0)
    now = NOW + 400_000.0
    decision = policy.next(now, KEY, now - 99_990.0, now - 3000.0)
    assert decision.delay <= 13.0
