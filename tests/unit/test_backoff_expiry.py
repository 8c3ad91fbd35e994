"""Expiry windows: from single ages, from intervals, and from nothing but habit."""

from __future__ import annotations

from random import Random

import pytest

from pollerd.backoff.expiry import USUAL, Expiries, windows

DAY = 86400.0


def test_until_something_expires_the_usual_periods_stand_in() -> None:
    got = windows(Expiries(), None)
    assert [w.lo for w in got] == list(USUAL)
    assert sum(w.share for w in got) == pytest.approx(1.0)
    assert all(w.seen == 0 for w in got)


def test_exact_ages_give_a_sharp_window() -> None:
    (window,) = Expiries((2 * DAY, 2 * DAY) for _ in range(20)).clusters()
    assert window.lo == 2 * DAY
    assert window.hi <= 2 * DAY + 2
    assert window.seen == 20


def test_intervals_narrow_down_to_what_they_share() -> None:
    rng = Random(1)
    samples = Expiries()
    for _ in range(40):
        samples.add(2 * DAY - rng.uniform(5, 20000), 2 * DAY + rng.uniform(5, 20000))
    (window,) = samples.clusters()
    assert window.lo < 2 * DAY < window.hi
    assert window.hi - window.lo < 3000


def test_spread_ages_give_a_window_that_holds_nearly_all() -> None:
    rng = Random(2)
    ages = [2 * DAY + rng.uniform(0, 600) for _ in range(64)]
    (window,) = Expiries((a, a) for a in ages).clusters()
    assert sum(window.lo <= a <= window.hi for a in ages) >= 55
    assert 400 < window.hi - window.lo < 700
    assert len(window.inner) >= 5


def test_short_intervals_that_share_nothing_are_one_spread_window() -> None:
    rng = Random(3)
    samples = Expiries()
    for _ in range(60):
        at = 2 * DAY + rng.uniform(0, 900)
        samples.add(at - rng.uniform(1, 60), at + rng.uniform(1, 60))
    window = max(samples.clusters(), key=lambda w: w.seen)
    assert window.seen > 50
    assert window.hi - window.lo > 600


def test_two_periods_at_one_operator_are_two_windows() -> None:
    samples = [(DAY, DAY)] * 30 + [(3 * DAY, 3 * DAY)] * 10
    first, second = Expiries(samples).clusters()
    assert (first.lo, second.lo) == (DAY, 3 * DAY)
    assert first.share == pytest.approx(0.75)


def test_only_the_last_sixty_four_count() -> None:
    samples = Expiries([(DAY, DAY)] * 64)
    for _ in range(64):
        samples.add(2 * DAY, 2 * DAY)
    (window,) = samples.clusters()
    assert window.lo == 2 * DAY


def test_an_operators_own_window_outweighs_the_others_and_habit() -> None:
    own = Expiries([(3 * DAY, 3 * DAY)] * 20)
    world = Expiries([(DAY, DAY)] * 40)
    best = max(windows(own, world), key=lambda w: w.share)
    assert best.lo == 3 * DAY
    assert best.share == pytest.approx(1.0)
    assert sum(w.share for w in windows(own, world)) == pytest.approx(1.0)


def test_few_own_expiries_leave_room_for_habit() -> None:
    got = windows(Expiries([(30 * 3600.0, 30 * 3600.0)] * 2), None)
    assert len(got) == 4
    assert max(got, key=lambda w: w.share).lo == 30 * 3600.0
    assert sum(w.share for w in got) == pytest.approx(1.0)


def test_what_is_borrowed_from_others_was_not_seen_here() -> None:
    got = windows(Expiries(), Expiries([(DAY, DAY)] * 40))
    assert all(w.seen == 0 for w in got)


def test_news_is_reported_once() -> None:
    samples = Expiries()
    samples.add(DAY, DAY)
    assert samples.changed()
    samples.add(DAY, DAY)
    assert not samples.changed()
    for _ in range(3):
        samples.add(3 * DAY, 3 * DAY)
    assert samples.changed()


def test_a_window_half_as_wide_is_news() -> None:
    samples = Expiries()
    samples.add(DAY, 2 * DAY)
    assert samples.changed()
    samples.add(1.7 * DAY, 1.9 * DAY)
    assert samples.changed()
    samples.add(1.69 * DAY, 1.9 * DAY)
    assert not samples.changed()
