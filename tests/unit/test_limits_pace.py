"""The token bucket and its rate, with time in hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pollerd.gateway.limits.pace import Pace
from tests.hypothesis_kit import examples


def run(pace: Pace, start: float, seconds: float) -> list[float]:
    """Ask as fast as is allowed; the instants at which requests went out."""
    now, end, went = start, start + seconds, []
    while now < end:
        wait = pace.delay(now)
        if wait == 0.0:
            pace.take(now)
            went.append(now)
        else:
            now += wait
    return went


def most_in_a_second(went: list[float]) -> int:
    best = first = 0
    for last, instant in enumerate(went):
        while instant - went[first] >= 1.0:
            first += 1
        best = max(best, last - first + 1)
    return best


def test_no_burst_at_the_start() -> None:
    went = run(Pace(50.0, 0.0), 0.0, 10.0)
    assert most_in_a_second(went) <= 51
    assert went[:3] == pytest.approx([0.0, 0.02, 0.04])
    assert 499 <= len(went) <= 501, "and the rate is used to the full"


def test_no_burst_after_idleness() -> None:
    pace = Pace(50.0, 0.0)
    run(pace, 0.0, 1.0)
    assert most_in_a_second(run(pace, 1000.0, 3.0)) <= 51


def test_thousands_a_second_work_with_a_coarse_loop() -> None:
    """Asked every 2 ms, a loop's turn under load, the bucket still gives the whole rate."""
    pace, went = Pace(5000.0, 0.0), 0
    for turn in range(1000):
        now = turn * 0.002
        while pace.delay(now) == 0.0:
            pace.take(now)
            went += 1
    assert 9_900 <= went <= 10_100


@examples(200)
@given(st.floats(10.0, 5000.0), st.lists(st.tuples(st.floats(0.0, 0.7), st.integers(1, 80)), max_size=60))
def test_no_pattern_of_calls_exceeds_the_rate(rate: float, calls: list[tuple[float, int]]) -> None:
    pace, now, went = Pace(rate, 0.0), 0.0, []
    for pause, wanted in calls:
        now += pause
        for _ in range(wanted):
            if pace.delay(now) > 0.0:
                break
            pace.take(now)
            went.append(now)
    assert most_in_a_second(went) <= 1.1 * rate + 1e-6


def test_a_refusal_halves_the_rate_once_a_second() -> None:
    pace = Pace(40.0, 0.0)
    assert [pace.cut(0.0) for _ in range(20)] == [True] + [False] * 19, "twenty answers, one signal"
    assert pace.rate(0.0) == 20.0
    assert pace.cut(1.0)
    assert pace.rate(1.0) == 10.0


@pytest.mark.parametrize(("configured", "lowest"), [(50.0, 0.5), (1.0, 0.05), (0.02, 0.02)])
def test_the_rate_never_falls_below_its_floor(configured: float, lowest: float) -> None:
    pace = Pace(configured, 0.0)
    for second in range(12):
        pace.cut(float(second))
    assert pace.rate(11.0) == lowest


def test_the_rate_returns_a_tenth_every_ten_seconds() -> None:
    pace = Pace(50.0, 0.0)
    pace.cut(0.0)
    assert [pace.rate(t) for t in (9.9, 10.0, 20.0, 40.0, 50.0, 1e9)] == [25.0, 30.0, 35.0, 45.0, 50.0, 50.0]


def test_a_restart_is_gentle() -> None:
    pace = Pace(50.0, 0.0)
    pace.restart(100.0, throttled=False)
    went = run(pace, 100.0, 12.0)
    assert went[0] > 100.0, "the bucket is empty"
    assert sum(t < 101.0 for t in went) <= 11
    assert most_in_a_second(went) <= 51
    assert pace.rate(112.0) == 50.0


def test_a_restart_after_throttling_takes_its_time() -> None:
    pace = Pace(50.0, 0.0)
    pace.restart(100.0, throttled=True)
    assert [pace.rate(t) for t in (100.0, 110.0, 179.0, 180.0)] == [10.0, 15.0, 45.0, 50.0]


def test_a_clock_that_stands_still_or_turns_back_does_no_harm() -> None:
    pace = Pace(10.0, 100.0)
    pace.take(100.0)
    assert pace.delay(99.0) > 0.0
    pace.take(99.0)
    assert pace.delay(100.3) == 0.0
