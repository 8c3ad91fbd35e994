"""Whatever the learner was shown: a fresh message is polled soon, and no plan is worse than exponential backoff."""

from __future__ import annotations

from random import Random
from statistics import median

import pytest
from msgspec import structs

from pollerd.backoff import Adaptive, Settings, rails
from pollerd.backoff.budget import IDLE_MOST
from pollerd.backoff.learned import MOST_KEYS
from pollerd.cli.plans import schedule
from tests.unit.hostile_kit import DAY, HISTORIES, MINUTE, History, followed, scheduled
from tests.unit.policy_kit import KEY, NOW, follow, known

BOUNDS = Settings()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("history", HISTORIES, ids=lambda history: history.__name__)
def test_no_history_puts_the_first_poll_off_for_more_than_a_minute(history: History, seed: int) -> None:
    policy = Adaptive(5, seed, settings=BOUNDS)
    history(policy, Random(seed))
    for i in range(50):
        for recipients in (1, 20):
            assert policy.first(NOW + i, k=recipients).delay <= MINUTE
        policy.maintain(NOW + i)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("history", HISTORIES, ids=lambda history: history.__name__)
def test_no_plan_is_worse_by_its_own_figures_than_exponential_at_equal_polls(history: History, seed: int) -> None:
    policy = Adaptive(5, seed, settings=BOUNDS)
    history(policy, Random(seed))
    while policy.maintain(NOW):
        pass
    plan = policy.explain()
    ages = [row.age for row in plan.rows]
    own = schedule.expected(plan.curve, ages)
    bounds = schedule.Bounds(BOUNDS.min_interval, BOUNDS.max_interval, ages[-1])
    rival = schedule.rival(plan.curve, own.polls, bounds)
    assert rival is None or own.delay <= rival.expected.delay * 1.05 + 0.5


@pytest.mark.parametrize("history", HISTORIES, ids=lambda history: history.__name__)
def test_what_the_latest_messages_contradict_is_forgotten_in_minutes(history: History) -> None:
    policy = Adaptive(5, 1, settings=BOUNDS)
    history(policy, Random(1))
    # Sixty messages take ten minutes. A fresh policy finds most of them within 3 s.
    late = [delay for delay, _ in followed(policy, 120, NOW + MINUTE)]
    assert median(late[60:]) < 6.0
    assert max(late) < MINUTE


def test_a_configured_first_poll_is_kept_whatever_it_is() -> None:
    policy = Adaptive(5, 1, settings=Settings(first_poll_after=300.0))
    scheduled(policy, Random(1))
    assert policy.first(NOW).delay == 300.0


def test_a_plan_that_is_worse_is_replaced_by_exponential_backoff() -> None:
    policy = Adaptive(5, 1, settings=BOUNDS)
    follow(policy, 300)
    table = policy._learned.table(policy._learned.world)
    good, _ = rails.better(BOUNDS, table, policy._planner.first, 0.0, shared=False)
    # Every poll comes at three times the age of the one before: no plan that was solved is so late.
    following = [max(due, 3 * age + 40.0) for due, age in zip(table.following, table.grid.ages, strict=True)]
    late = structs.replace(table, following=tuple(following))
    bad, _ = rails.better(BOUNDS, late, 20.0, 0.0, shared=False)
    assert good is None
    assert bad is not None


def test_decisions_and_explanation_follow_the_replacement() -> None:
    policy = Adaptive(5, 1, settings=BOUNDS)
    follow(policy, 300)
    policy.explain(KEY)
    policy._learned.operators[KEY].rail = rails.Growth(first=2.0, gap=4.0, factor=2.0)
    plan = policy.explain(KEY)
    assert plan.railed
    first = plan.rows[0].age
    for row in plan.rows[:4]:
        gap = policy.next(NOW, KEY, NOW - row.age, NOW - row.age).delay
        assert gap == pytest.approx(8.0 + (row.age - 2.0), rel=0.11)
    assert plan.rows[1].age - first == pytest.approx(8.0 + max(first - 2.0, 0.0), rel=0.01)


def test_steady_traffic_never_contradicts_what_was_learned_from_it() -> None:
    policy = Adaptive(5, 1, settings=BOUNDS)
    now = follow(policy, 400)
    before = policy.metrics().events
    follow(policy, 400, start=now)
    assert policy.metrics().events > before + 300


def test_a_network_starts_again_when_it_is_forgotten_and_the_others_stay() -> None:
    policy = Adaptive(5, 1, settings=BOUNDS)
    now = follow(policy, 200)
    follow(policy, 200, key="262/02", start=now)
    assert policy.forget(KEY)
    assert not policy.forget(KEY)
    assert [info.key for info in known(policy)] == ["262/02"]
    assert policy.metrics().events == pytest.approx(200.0, rel=0.1)
    assert policy.forget(None)
    assert known(policy) == []
    assert policy.explain().events == 0.0
    assert policy.first(NOW).delay <= MINUTE


def test_a_gateway_that_invents_networks_fills_no_memory() -> None:
    policy = Adaptive(5, 1, settings=BOUNDS)
    follow(policy, 300)
    for i in range(2000):
        policy.observe(NOW + i, f"999/{i}", 0.0, 5.0, True, 4.0, "DELIVERED", NOW + i - 5.0, NOW + i - 5.0)
    assert len(known(policy)) == MOST_KEYS
    assert known(policy)[0].key == KEY


IDLE = Settings(idle_polls_per_second=0.1)


def test_a_gateway_that_is_idle_may_be_asked_more_often_for_each_message() -> None:
    policy = Adaptive(5, 1, settings=IDLE)
    assert policy.explain().budget == 5.0
    for i in range(15):
        policy.first(NOW + i * DAY / 5)
    assert policy.explain().budget == IDLE_MOST


@pytest.mark.parametrize(
    ("every", "budget"),
    [
        pytest.param(60.0, 6.0, id="1,440 a day share 0.1 polls a second: six each"),
        pytest.param(1.0, 5.0, id="86,400 a day: polls_per_message"),
    ],
)
def test_a_busy_account_keeps_to_polls_per_message(every: float, budget: float) -> None:
    policy = Adaptive(5, 1, settings=IDLE)
    for i in range(5000):
        policy.first(NOW + i * every)
    found = policy.explain().budget
    assert found == pytest.approx(budget, rel=0.05)


def test_a_burst_after_a_quiet_day_is_no_idle_time() -> None:
    policy = Adaptive(5, 1, settings=IDLE)
    for i in range(60):
        policy.first(NOW + i)
    assert policy.explain().budget == 5.0


def test_a_restart_knows_how_many_messages_come() -> None:
    policy = Adaptive(5, 1, settings=IDLE)
    for i in range(2000):
        policy.first(NOW + i)
    again = Adaptive(5, 1, settings=IDLE)
    again.restore(policy.snapshot())
    assert again.explain().budget == 5.0


def test_without_an_idle_allowance_the_budget_is_the_configured_one() -> None:
    policy = Adaptive(5, 1, settings=BOUNDS)
    policy.first(NOW)
    assert policy.explain().budget == 5.0
