"""The guards: bounds that hold whatever a policy would like."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pollerd.backoff import Adaptive, Exponential, Policy, Settings, guards, reasons
from pollerd.base.text import duration

S = Settings(min_interval=2.0, max_interval=3600.0)


@pytest.mark.parametrize(
    ("wanted", "age", "expected"),
    [
        pytest.param(0.1, 10.0, 2.0, id="never sooner than min_interval"),
        pytest.param(1.0, 1000.0, 30.0, id="never sooner than 3 % of the age"),
        pytest.param(1e9, 10.0, 13.0, id="never later than the age plus the first wait, while little is known"),
        pytest.param(1e9, 1e5, 3600.0, id="never later than max_interval"),
        pytest.param(5000.0, 1e6, 3600.0, id="max_interval wins over 3 % of a great age"),
        pytest.param(7.0, 10.0, 7.0, id="otherwise as wanted"),
        pytest.param(0.0, 0.0, 2.0, id="min_interval holds at age zero"),
    ],
)
def test_bounds(wanted: float, age: float, expected: float) -> None:
    assert guards.bounded(S, wanted, age, 3.0) == pytest.approx(expected)


@given(st.floats(0, 1e7), st.floats(0, 1e7), st.floats(0, 100), st.sampled_from([guards.REACH, guards.REACH_KNOWN]))
def test_bounded_agrees_with_its_two_bounds(wanted: float, age: float, first: float, reach: float) -> None:
    got = guards.bounded(S, wanted, age, first, reach)
    assert got <= guards.longest(S, age, first, reach)
    assert got >= min(guards.shortest(S, age), guards.longest(S, age, first, reach))


@given(st.floats(0, 1e5), st.randoms(use_true_random=False))
def test_what_is_varied_stays_within_the_settings(delay: float, random: Random) -> None:
    assert S.min_interval <= guards.varied(S, delay, random) <= S.max_interval


def test_at_max_interval_it_varies_all_the_same() -> None:
    rng = Random(1)
    found = [guards.varied(S, S.max_interval, rng) for _ in range(1000)]
    assert len(set(found)) == 1000
    assert min(found) < 0.91 * S.max_interval
    assert max(found) > 0.99 * S.max_interval


@pytest.mark.parametrize("policy", [Adaptive(5, 1, settings=S), Exponential(S, 1)])
def test_no_policy_waits_longer_than_max_interval(policy: Policy) -> None:
    waits = [policy.next(age, "238/01", 0.0, 0.0).delay for age in range(20_000, 80_000, 100)]
    assert max(waits) <= S.max_interval


def test_jitter_stays_within_ten_percent_and_uses_the_range() -> None:
    rng = Random(1)
    got = [guards.jittered(100.0, rng) for _ in range(2000)]
    assert 90.0 <= min(got) < 91.0
    assert 109.0 < max(got) <= 110.0


def test_steps_of_an_invisible_message_grow_from_two_to_thirty_seconds() -> None:
    steps = [guards.not_visible(S, 10.0, n, Random(n)).delay for n in range(1, 12)]
    assert 1.8 <= steps[0] <= 2.2
    assert all(27.0 <= s <= 33.0 for s in steps[8:])
    assert guards.not_visible(S, 10.0, 10**9, Random(1)).delay <= 33.0


@given(st.integers(0, 2**32))
def test_an_invisible_message_is_last_polled_when_its_grace_ends(seed: int) -> None:
    rng = Random(seed)
    age, tries, looks = 0.0, 0, [0.0]
    while age < S.not_found_grace:
        tries += 1
        decision = guards.not_visible(S, age, tries, rng)
        assert decision.reason == "the gateway does not show it yet"
        age += decision.delay
        looks.append(age)
    assert S.not_found_grace < looks[-1] <= S.not_found_grace + 0.1
    assert all(b - a > 0.9 for a, b in pairwise(looks))
    assert len(looks) < 50


def test_a_scheduled_message_is_polled_shortly_after_it_is_sent() -> None:
    decision = guards.scheduled(S, 1_764_000_000.0, 1_764_003_600.0, Random(1))
    assert 3602.0 <= decision.delay <= 3604.0
    assert decision.reason == "scheduled for 2025-11-24 17:00:00Z"


def test_a_sendtime_that_has_passed_means_soon() -> None:
    assert 2.0 <= guards.scheduled(S, 2000.0, 1000.0, Random(1)).delay <= 4.0


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        pytest.param(0.0, 30.0, id="at first thirty seconds"),
        pytest.param(100.0, 50.0, id="then half of the time since"),
        pytest.param(1e6, 3600.0, id="never above max_interval"),
    ],
)
def test_past_expiry(since: float, expected: float) -> None:
    assert guards.past_expiry(S, since, Random(2)).delay == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"min_interval": 0.0}, "min_interval"),
        ({"min_interval": 10.0, "max_interval": 5.0}, "min_interval"),
        ({"first_poll_after": -1.0}, "first_poll_after"),
        ({"factor": 0.9}, "factor"),
        ({"polls_per_message": 0.5}, "polls_per_message"),
    ],
)
def test_impossible_settings_are_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Settings(**change)


@given(st.integers(1, 50), st.floats(0, 5000), st.integers(0, 2**32), st.sampled_from([0.1, 2.0, 6.0, 45.0]))
def test_steps_of_an_invisible_message_stay_within_the_settings(
    tries: int, age: float, seed: int, least: float
) -> None:
    settings = Settings(min_interval=least, max_interval=3 * least, not_found_grace=1e9)
    assert least <= guards.not_visible(settings, age, tries, Random(seed)).delay <= 3 * least


@given(st.integers(0, 2**32), st.sampled_from([0.1, 2.0, 45.0]), st.sampled_from([5.0, 900.0]))
def test_after_its_grace_an_invisible_message_is_polled_ever_more_seldom(seed: int, least: float, grace: float) -> None:
    """Each hour on the first day, whatever `max_interval` says, every six hours from then on: 200 polls in a month."""
    rng, age = Random(seed), grace
    gaps: list[tuple[float, float]] = []
    settings = Settings(min_interval=least, max_interval=50.0, not_found_grace=grace)
    while age < 30 * 86400.0:
        gaps.append((age, guards.not_visible(settings, age, len(gaps) + 1, rng).delay))
        age += gaps[-1][1]
    assert all(gap >= max(27.0, least) for _, gap in gaps)
    assert all(gap <= 3600.0 * 1.1 for at, gap in gaps if at < 86400.0)
    assert all(19440.0 <= gap <= 23760.0 for at, gap in gaps if at >= 86400.0)
    assert all(gap >= 3240.0 for at, gap in gaps if 14400.0 * 1.2 < at < 86400.0)
    assert len(gaps) < 200


@given(st.floats(0.0, 1e8) | st.integers(0, 10**8))
def test_a_reason_shows_the_age_as_every_other_text_does(age: float) -> None:
    assert reasons.exponential(age) == f"exponential backoff: it is {duration(age)} old"
