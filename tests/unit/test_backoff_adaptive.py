"""The adaptive policy learns where changes happen, and what an operator's outage teaches it."""

from __future__ import annotations

import pytest

from pollerd.backoff import Adaptive
from pollerd.backoff.adaptive import REJOIN_SPREAD
from tests.unit.policy_kit import KEY, NOW, follow, known, taught


@pytest.mark.parametrize("timed", [True, False], ids=["with timestamps", "without"])
def test_polls_gather_where_changes_happen(timed: bool) -> None:
    policy = Adaptive(5, 1)
    follow(policy, 2500, timed=timed, median=40.0)
    ages = [row.age for row in policy.explain(KEY).rows]
    inside = sum(15.0 < a < 110.0 for a in ages)
    assert ages[0] > 10.0
    assert inside >= 4


def test_predicted_and_made_polls_meet_the_budget() -> None:
    for budget in (3.0, 6.0):
        policy = taught(budget, 3000)
        looked = policy.metrics().measured_polls
        predicted = policy.metrics().predicted_polls
        assert looked is not None
        assert predicted is not None
        assert looked == pytest.approx(budget, rel=0.12)
        assert predicted == pytest.approx(budget, rel=0.12)


def test_operators_are_distinguished() -> None:
    policy = Adaptive(5, 1)
    follow(policy, 1500, key="fast", median=3.0)
    follow(policy, 1500, key="slow", start=NOW + 5000, median=120.0)
    fast = policy.next(NOW + 9000, "fast", NOW + 8985, NOW + 8985).delay
    slow = policy.next(NOW + 9000, "slow", NOW + 8985, NOW + 8985).delay
    assert slow > 2 * fast
    assert {info.key: round(info.events, -2) for info in known(policy)} == {"fast": 1500, "slow": 1500}


def test_an_unknown_operator_is_planned_like_all_of_them_together() -> None:
    policy = taught()
    world = policy.explain("never seen")
    assert world.events == pytest.approx(1500, rel=0.05)


def test_ages_may_count_from_sending_or_from_the_moved_clock() -> None:
    plain, moved = Adaptive(5, 1), Adaptive(5, 1)
    submit, base, now = NOW, NOW + 1000.0, NOW + 1010.0
    plain.observe(now, KEY, 2.0, 10.0, True, 5.0, "EXPIRED", submit, base)
    moved.observe(now, KEY, 1002.0, 1010.0, True, 1005.0, "EXPIRED", submit, base)
    assert plain.snapshot() == moved.snapshot()


def test_a_moved_clock_teaches_nothing() -> None:
    policy = Adaptive(5, 1)
    policy.observe(NOW + 1010, KEY, 2.0, 10.0, True, 5.0, "DELIVERED", NOW, NOW + 1000)
    assert policy.metrics().events == 0


def test_a_time_outside_the_polls_is_taken_as_the_nearer_poll() -> None:
    policy = Adaptive(5, 1)
    policy.observe(NOW + 20, KEY, 10.0, 20.0, True, 3.0, "DELIVERED", NOW, NOW)
    policy.observe(NOW + 20, KEY, 10.0, 20.0, True, 900.0, "DELIVERED", NOW, NOW)
    policy.observe(NOW + 20, KEY, 10.0, 20.0, True, -5.0, "DELIVERED", NOW, NOW)
    assert policy.metrics().events == 3


def test_the_index_prefers_what_has_probably_changed_without_starving_the_old() -> None:
    policy = taught()
    assert policy.index(KEY, 0.0, 20.0) > policy.index(KEY, 0.0, 2.0) > 0
    values = [policy.index(KEY, 300.0, 300.0 + wait) for wait in (60.0, 600.0, 6000.0, 60_000.0)]
    assert values == sorted(values)


def test_more_recipients_are_polled_sooner() -> None:
    policy = taught(3, 3000)

    def mean(k: int) -> float:
        return sum(policy.next(NOW, KEY, NOW - 8, NOW - 8, k=k).delay for _ in range(50)) / 50

    assert mean(1) > 1.2 * mean(4) > 1.2 * mean(16)
    assert policy.first(NOW, k=20).delay < policy.first(NOW).delay * 1.25


def stalled() -> tuple[Adaptive, float]:
    """A policy that knows its operator well, and then saw nothing come for a while."""
    policy = taught()
    now = NOW + 1700.0
    for i in range(200):
        now = now + 0.5
        policy.next(now, KEY, now - 20.0, now - 20.0)
        policy.observe(now, KEY, 4.0, 20.0, False, None, "ENROUTE", now - 20.0, now - 20.0)
        if policy.metrics().down:
            assert i > 3
            return policy, now
    raise AssertionError("the outage was not noticed")


def test_while_an_operator_stalls_the_old_wait_longer_and_nothing_is_learned() -> None:
    policy, now = stalled()
    assert KEY in policy.metrics().down
    decision = policy.next(now, KEY, now - 300.0, now - 300.0)
    assert decision.reason == f"deliveries to {KEY} seem to stand still: older messages wait"
    assert decision.delay >= 130.0
    events = policy.metrics().events
    policy.observe(now, KEY, 4.0, 20.0, True, 8.0, "DELIVERED", now - 20.0, now - 20.0)
    assert policy.metrics().events == events


def test_recovery_restarts_the_clock_of_what_waited_and_polls_soon() -> None:
    policy, now = stalled()
    submit = now - 100.0
    assert policy.base_for(KEY, submit, submit) == submit
    now += 1800.0
    for _ in range(5):
        now += 0.5
        policy.observe(now, KEY, 4.0, 20.0, True, 8.0, "DELIVERED", now - 20.0, now - 20.0)
    assert not policy.metrics().down
    assert KEY in policy.take_wake()
    base = policy.base_for(KEY, submit, submit)
    assert base > submit
    for delay in (policy.replan(now, KEY, submit, base).delay, policy.next(now, KEY, submit, base).delay):
        assert 0.0 <= delay <= REJOIN_SPREAD
    again = Adaptive(5, 1)
    again.restore(policy.snapshot())
    assert again.base_for(KEY, submit, submit) == base
