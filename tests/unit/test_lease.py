"""The rules of the lease, at instants that the test names: nobody polls while another one does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pollerd.core.lease import GAP, HOLD, LOOK, RENEW, UNREACHABLE, WATCH, Beat, Lease, Reach, Watch, offset

QUICK = 0.01
"""Seconds that a look takes where all is well."""


def looks(watch: Watch, beat: Beat, begin: float, count: int, took: float = QUICK) -> list[bool]:
    return [watch.saw(beat, at, at + took) for at in (begin + n * LOOK for n in range(count))]


def test_a_lease_ends_by_the_sending_of_its_last_renewal_whenever_the_answer_came() -> None:
    lease = Lease(100.0)
    lease.renewed(102.0)
    lease.renewed(101.0)
    assert lease.holds(102.0 + HOLD - QUICK)
    assert not lease.holds(102.0 + HOLD)
    assert lease.left(102.0) == HOLD


def test_the_same_renewal_is_seen_for_the_whole_time_before_anybody_takes_over() -> None:
    found = looks(Watch(), Beat("a", 7), 0.0, 20)
    first = found.index(True)
    assert first * LOOK - QUICK >= WATCH > (first - 1) * LOOK - QUICK
    assert all(found[first:])


@pytest.mark.parametrize("other", [Beat("a", 8), Beat("b", 7)], ids=["renewed", "another holder"])
def test_any_change_begins_the_watch_anew(other: Beat) -> None:
    watch = Watch()
    looks(watch, Beat("a", 7), 0.0, 11)
    assert looks(watch, other, 5.5, 13)[-1] is False
    assert looks(watch, other, 12.0, 2)[-1] is True


def test_a_connection_that_was_lost_begins_the_watch_anew() -> None:
    watch = Watch()
    looks(watch, Beat("a", 7), 0.0, 12)
    watch.lost()
    assert not any(looks(watch, Beat("a", 7), 6.0, 12))


@pytest.mark.parametrize(
    ("sent", "received"),
    [(5.6, 60.0), (59.9, 60.0)],
    ids=["the store stood still during a look", "this machine slept between two"],
)
def test_whoever_stood_still_begins_the_watch_anew(sent: float, received: float) -> None:
    watch = Watch()
    looks(watch, Beat("a", 7), 0.0, 12)
    assert not watch.saw(Beat("a", 7), sent, received)
    assert not any(looks(watch, Beat("a", 7), received + QUICK, 12))
    assert watch.silent(received + 1.0) == 1.0


@given(
    answers=st.lists(st.floats(0.0, 4.0), min_size=1, max_size=30),
    applied=st.lists(st.floats(0.0, 1.0), min_size=30, max_size=30),
    took=st.lists(st.floats(0.0, 3.0), min_size=60, max_size=60),
    read=st.lists(st.floats(0.0, 1.0), min_size=60, max_size=60),
    phase=st.floats(0.0, 2.0),
    stops=st.integers(0, 29),
)
def test_the_holder_has_ended_before_anybody_takes_over(
    answers: list[float], applied: list[float], took: list[float], read: list[float], phase: float, stops: int
) -> None:
    """However long renewals and looks take, and whenever within that time the store carries them out: at the instant
    at which a watcher may take over, with the renewal still the last, no lease counted from its sending holds.
    """
    sent, renewals = 0.0, []
    for answer, when in zip(answers[: stops + 1], applied, strict=False):
        renewals.append((sent + when * answer, sent))
        sent += max(RENEW, answer)
    at, watch = phase, Watch()
    for duration, when in zip(took, read, strict=True):
        seen_at = at + when * duration
        done = [n for n, (applied_at, _) in enumerate(renewals) if applied_at <= seen_at]
        number = max(done, default=-1)
        if watch.saw(Beat("a", number), at, at + duration):
            # The takeover fails in the store when any renewal has been carried out by then.
            still_last = all(applied_at > at + duration for applied_at, _ in renewals[number + 1 :])
            if still_last and number >= 0:
                assert not Lease(renewals[number][1]).holds(at)
        at += max(LOOK, duration)


@pytest.mark.parametrize(
    ("store", "away"),
    [(100.5, 0.0), (100.0, 0.0), (101.0, 0.0), (107.0, 6.0), (94.0, -6.0)],
    ids=["within", "at its beginning", "at its end", "ahead", "behind"],
)
def test_a_clock_is_away_by_what_no_delay_explains(store: float, away: float) -> None:
    assert offset(store, 100.0, 101.0) == away


def test_the_duty_is_offered_after_half_a_minute() -> None:
    reach = Reach()
    asked = [reach.noted(True, at) for at in (0.0, UNREACHABLE - 1)]
    asked.append(reach.noted(False, UNREACHABLE - 0.5))
    asked += [reach.noted(True, UNREACHABLE + at) for at in (0.0, UNREACHABLE)]
    assert asked == [False, False, False, False, True]


def test_the_bounds_leave_room_for_one_another() -> None:
    assert LOOK < GAP < RENEW < HOLD < WATCH
