"""The adaptive policy's state: snapshots, copies, seeds, and what it reports of itself."""

from __future__ import annotations

import copy
from collections.abc import Hashable

import msgspec
import pytest

from pollerd.backoff import Adaptive, Policy
from tests.unit.policy_kit import KEY, NOW, follow, known, taught


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
        assert fresh.first(NOW).delay > 0


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
    assert [twin.next(now, KEY, now - a, now - a).delay for a in (3, 30, 300)] == [
        policy.next(now, KEY, now - a, now - a).delay for a in (3, 30, 300)
    ]
    follow(twin, 100, start=now)
    assert twin.metrics().events > policy.metrics().events


def test_the_same_seed_gives_the_same_waits() -> None:
    one, two, other = Adaptive(5, 7), Adaptive(5, 7), Adaptive(5, 8)
    assert follow(one, 50) == follow(two, 50)
    assert one.first(NOW).delay != other.first(NOW).delay


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


def test_the_plan_shows_what_it_expects() -> None:
    policy = taught(n=2500)
    plan = policy.explain(KEY)
    assert plan.polls == pytest.approx(5.0, rel=0.15)
    assert plan.delay is not None
    assert plan.weighted_delay is not None
    assert 0 < plan.weighted_delay <= plan.delay
    survival = [row.survival for row in plan.rows if row.survival is not None]
    assert survival == sorted(survival, reverse=True)
    assert all(row.hazard is not None and row.hazard_prior is not None for row in plan.rows)
