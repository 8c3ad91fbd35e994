"""The two policies as the daemon sees them."""

from __future__ import annotations

import copy
from collections.abc import Hashable
from functools import cache
from itertools import pairwise
from random import Random

import msgspec
import pytest

from pollerd.backoff import Adaptive, Exponential, KeyInfo, Policy, Settings
from pollerd.backoff.adaptive import REJOIN_SPREAD

KEY = "238/01"
NOW = 1_764_000_000.0
BOUNDS = Settings(min_interval=1.0, max_interval=3600.0)


def both(settings: Settings) -> list[Policy]:
    """One of each kind."""
    return [Exponential(settings, seed=3), Adaptive(5, 3, settings=settings)]


def follow(
    policy: Policy, n: int, *, key: Hashable = KEY, start: float = NOW, timed: bool = True, median: float = 8.0
) -> float:
    """Teach `policy` by `n` messages a second apart, each followed to its end before the next; the last time."""
    rng = Random(9)
    now = start
    for i in range(n):
        submit = start + i
        change = median * rng.lognormvariate(0.0, 0.7)
        now, last = submit + policy.first_delay(submit), submit
        while now - submit < change:
            policy.observe(now, key, last - submit, now - submit, False, None, "ENROUTE", submit, submit)
            last = now
            now += policy.next_delay(now, key, submit, submit)
        age = change if timed else None
        policy.observe(now, key, last - submit, now - submit, True, age, "DELIVERED", submit, submit)
    return now


def taught(budget: float = 5, n: int = 1500) -> Adaptive:
    """A policy that has followed `n` messages; a copy, so that a test may do with it as it likes."""
    return copy.deepcopy(_taught(budget, n))


@cache
def _taught(budget: float, n: int) -> Adaptive:
    policy = Adaptive(budget, 1)
    follow(policy, n)
    return policy


def known(policy: Policy) -> list[KeyInfo]:
    """The keys a policy has learned about."""
    return policy.keys()


# ---------------------------------------------------------------- both


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


# ---------------------------------------------------------------- exponential


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


# ---------------------------------------------------------------- adaptive: learning


@pytest.mark.parametrize("timed", [True, False], ids=["with timestamps", "without"])
def test_looks_gather_where_changes_happen(timed: bool) -> None:
    policy = Adaptive(5, 1)
    follow(policy, 2500, timed=timed, median=40.0)
    ages = [row.age for row in policy.explain(KEY).rows]
    inside = sum(15.0 < a < 110.0 for a in ages)
    assert ages[0] > 10.0
    assert inside >= 4


def test_predicted_and_made_looks_meet_the_budget() -> None:
    for budget in (3.0, 6.0):
        policy = taught(budget, 3000)
        looked = policy.metrics().measured_polls
        predicted = policy.metrics().predicted_polls
        assert looked is not None
        assert predicted is not None
        assert looked == pytest.approx(budget, rel=0.12)
        assert predicted == pytest.approx(budget, rel=0.12)


def test_operators_are_told_apart() -> None:
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


def test_a_time_outside_the_looks_is_taken_as_the_nearer_look() -> None:
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


def test_more_recipients_are_looked_at_sooner() -> None:
    policy = taught(3, 3000)

    def mean(k: int) -> float:
        return sum(policy.next(NOW, KEY, NOW - 8, NOW - 8, k=k).delay for _ in range(50)) / 50

    assert mean(1) > 1.2 * mean(4) > 1.2 * mean(16)
    assert policy.first(NOW, k=20).delay < policy.first(NOW).delay * 1.25


# ---------------------------------------------------------------- adaptive: expiry


def taught_expiry(age: float, *, n: int = 12) -> Adaptive:
    """A policy that has seen `n` messages expire at `age`."""
    policy = taught(n=600)
    for i in range(n):
        submit = NOW + i
        policy.observe(submit + age + 5, KEY, age - 500, age + 5, True, age, "EXPIRED", submit, submit)
    policy.take_wake()
    return policy


def test_the_look_before_an_expiry_leads_right_behind_it() -> None:
    policy = taught_expiry(100_000.0)
    now = NOW + 400_000.0
    decision = policy.next(now, KEY, now - 99_000.0, now - 99_000.0)
    assert decision.reason == "expiry window"
    assert 1000.0 < decision.delay < 1005.0


def test_after_its_expiry_a_message_is_looked_at_every_half_minute_and_then_less() -> None:
    policy = taught_expiry(100_000.0)
    now = NOW + 400_000.0
    for since, expected in ((5.0, 30.0), (600.0, 300.0)):
        decision = policy.next(now, KEY, now - 100_001.0 - since, now - 100_001.0 - since)
        assert decision.reason == "past expiry"
        assert decision.delay == pytest.approx(expected, rel=0.12)


def test_an_expiry_that_becomes_known_wakes_what_is_past_it() -> None:
    policy = taught(n=600)
    age, now = 100_000.0, NOW + 200_000.0
    policy.observe(now, KEY, age - 500, age + 900, True, age, "EXPIRED", now - age - 900, now - age - 900)
    assert policy.take_wake() == [KEY]
    submit = now - age - 3000.0
    assert policy.replan(now + 0.2, KEY, submit, submit).delay <= REJOIN_SPREAD
    assert policy.next_delay(now, KEY, submit, submit) <= REJOIN_SPREAD
    assert policy.replan(now + 0.2, KEY, now - 50_000.0, now - 50_000.0).delay > 600.0


def test_a_validity_period_is_kept_whatever_was_learned() -> None:
    policy = taught_expiry(100_000.0)
    now = NOW + 400_000.0
    decision = policy.next(now, KEY, now - 280.0, now - 280.0, validity=300.0)
    assert decision.delay <= 21.0
    assert policy.next(now, KEY, now - 310.0, now - 310.0, validity=300.0).reason == "past expiry"


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


def test_an_operator_without_own_expiries_is_looked_at_when_those_of_others_expire() -> None:
    policy = Adaptive(5, 1, settings=Settings(max_interval=3600.0))
    policy.restore(taught_expiry(100_000.0).snapshot())
    now = NOW + 400_000.0
    policy.observe(now, "262/02", 3.0, 9.0, True, 5.0, "DELIVERED", now - 9.0, now - 9.0)
    for submit, base in ((now - 99_000.0, now - 99_000.0), (now - 99_900.0, now - 3000.0)):
        decision = policy.next(now, "262/02", submit, base)
        assert 0.0 <= decision.delay - (submit + 100_000.0 - now) <= 5.0
        assert decision.reason == "expiry window"


def test_the_budget_holds_where_max_interval_forces_looks() -> None:
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


# ---------------------------------------------------------------- adaptive: outage


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
    assert decision.reason == f"{KEY} seems to stall"
    assert decision.delay >= 130.0
    events = policy.metrics().events
    policy.observe(now, KEY, 4.0, 20.0, True, 8.0, "DELIVERED", now - 20.0, now - 20.0)
    assert policy.metrics().events == events


def test_recovery_restarts_the_clock_of_what_waited_and_looks_soon() -> None:
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
    for delay in (policy.replan(now, KEY, submit, base).delay, policy.next_delay(now, KEY, submit, base)):
        assert 0.0 <= delay <= REJOIN_SPREAD
    again = Adaptive(5, 1)
    again.restore(policy.snapshot())
    assert again.base_for(KEY, submit, submit) == base


# ---------------------------------------------------------------- adaptive: state


def decisions(policy: Policy) -> list[float]:
    """What a policy plans, free of jitter."""
    rows = [row.age for key in (KEY, "other", None) for row in policy.explain(key).rows]
    return rows + [policy.index(KEY, 3.0, a) for a in (5.0, 50.0, 5000.0)]


def settle(policy: Policy, now: float) -> None:
    """Do all maintenance that is due."""
    for _ in range(50):
        if not policy.maintain(now):
            return
    raise AssertionError("maintenance does not end")


def test_a_snapshot_brings_back_the_same_decisions() -> None:
    policy = Adaptive(5, 1)
    now = follow(policy, 900)
    follow(policy, 300, key="other", start=now, median=60.0)
    policy.observe(now, KEY, 80_000.0, 90_000.0, True, 86_400.0, "EXPIRED", now - 90_000.0, now - 90_000.0)
    for later in range(10):
        settle(policy, now + 500.0 * later)
    again = Adaptive(5, 1)
    again.restore(policy.snapshot())
    once_more = Adaptive(5, 2)
    once_more.restore(again.snapshot())
    for p in (again, once_more):
        settle(p, now + 5000.0)
    assert decisions(again) == pytest.approx(decisions(once_more))
    # The original's plans are a step older than its knowledge; the knowledge is the same.
    assert again.metrics().events == pytest.approx(policy.metrics().events, rel=0.02)
    mine, theirs = policy.explain(KEY), again.explain(KEY)
    assert theirs.price == pytest.approx(mine.price, rel=0.1)
    assert theirs.rows[0].age == pytest.approx(mine.rows[0].age, rel=0.1)
    assert theirs.expiry == ((86_400.0, 86_401.0),)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xff\x00garbage", id="garbage"),
        pytest.param(msgspec.msgpack.encode({"a": 1}), id="something else"),
        pytest.param(msgspec.msgpack.encode([99, [[None, [], [], [], None], []], 1.0, 1.0, []]), id="a later version"),
        pytest.param(msgspec.msgpack.encode([1, [[None, [1.0], [], [], None], []], 1.0, 1.0, []]), id="wrong lengths"),
    ],
)
def test_damaged_state_means_a_fresh_start(data: bytes) -> None:
    policy = Adaptive(5, 1)
    follow(policy, 50)
    policy.restore(data)
    assert policy.metrics().events == 0
    assert decisions(policy) == decisions(Adaptive(5, 1))


def test_a_snapshot_cut_short_anywhere_is_no_error() -> None:
    policy = Adaptive(5, 1)
    follow(policy, 50)
    data = policy.snapshot()
    for cut in range(0, len(data), 97):
        fresh = Adaptive(5, 1)
        fresh.restore(data[:cut])
        assert fresh.first_delay(NOW) > 0


def test_keys_of_any_plain_kind_survive_a_snapshot() -> None:
    policy = Adaptive(5, 1)
    keys: list[Hashable] = ["238/01", "DK", None, 45, ("238", "01")]
    for key in keys:
        policy.observe(NOW + 20, key, 10.0, 20.0, True, 13.0, "DELIVERED", NOW, NOW)
    again = Adaptive(5, 1)
    again.restore(policy.snapshot())
    assert {info.key for info in known(again)} == set(keys)


def test_a_copy_goes_its_own_way() -> None:
    policy = Adaptive(5, 1)
    now = follow(policy, 300)
    twin = copy.deepcopy(policy)
    assert [twin.next_delay(now, KEY, now - a, now - a) for a in (3, 30, 300)] == [
        policy.next_delay(now, KEY, now - a, now - a) for a in (3, 30, 300)
    ]
    follow(twin, 100, start=now)
    assert twin.metrics().events > policy.metrics().events


def test_the_same_seed_gives_the_same_waits() -> None:
    one, two, other = Adaptive(5, 7), Adaptive(5, 7), Adaptive(5, 8)
    assert follow(one, 50) == follow(two, 50)
    assert one.first_delay(NOW) != other.first_delay(NOW)


def test_maintenance_makes_one_plan_a_call_and_ends() -> None:
    policy = Adaptive(5, 1)
    for i in range(20):
        policy.observe(NOW + 20, f"key {i}", 10.0, 20.0, True, 13.0, "DELIVERED", NOW, NOW)
    calls = 0
    while policy.maintain(NOW + 30):
        calls += 1
        assert calls < 60
    assert calls >= 19
    assert not policy.maintain(NOW + 30)


def test_the_plan_tells_what_it_expects() -> None:
    policy = taught(n=2500)
    plan = policy.explain(KEY)
    assert plan.polls == pytest.approx(5.0, rel=0.15)
    assert plan.delay is not None
    assert plan.weighted_delay is not None
    assert 0 < plan.weighted_delay <= plan.delay
    survival = [row.survival for row in plan.rows if row.survival is not None]
    assert survival == sorted(survival, reverse=True)
    assert all(row.hazard is not None and row.hazard_prior is not None for row in plan.rows)
