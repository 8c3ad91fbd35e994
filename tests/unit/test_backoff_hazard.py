"""What is learned: exposure, events, and the hazard between data and prior."""

from __future__ import annotations

from itertools import pairwise
from math import log
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pollerd.backoff.hazard import (
    BINS,
    EDGES,
    LAST_AGE,
    MIDDLES,
    PRIOR,
    PRIOR_KNEE,
    WIDTHS,
    History,
    bin_of,
    expose_all,
    key_hazards,
    spread_all,
    survival_at_edges,
    world_hazards,
)

AGES = st.floats(0.0, 340000.0)


@given(AGES)
def test_an_age_lies_in_its_bin(age: float) -> None:
    b = bin_of(age)
    assert EDGES[b] * (1 - 1e-9) <= age <= EDGES[b + 1] * (1 + 1e-9)


def test_ages_beyond_the_grid_fall_into_the_last_bin() -> None:
    assert bin_of(1e9) == BINS - 1


@given(st.lists(st.tuples(AGES, AGES), max_size=20))
def test_exposure_is_the_sum_of_the_overlaps(intervals: list[tuple[float, float]]) -> None:
    history = History()
    expected = [0.0] * BINS
    for x, y in intervals:
        a, b = min(x, y), max(x, y)
        history.expose(a, b)
        for i, (lo, hi) in enumerate(pairwise(EDGES)):
            expected[i] += max(0.0, min(b, hi) - max(a, lo))
    assert history.exposure() == pytest.approx(expected, abs=1e-3)


@given(AGES, AGES)
def test_an_untimed_change_counts_as_one_event_within_its_interval(x: float, y: float) -> None:
    a0, a1 = min(x, y), max(x, y)
    history = History()
    spread_all((history,), a0, a1, survival_at_edges(PRIOR))
    assert sum(history.events) == pytest.approx(1.0)
    assert all(e >= -1e-12 for e in history.events)
    outside = [b for b in range(BINS) if EDGES[b + 1] < a0 * (1 - 1e-9) or EDGES[b] > a1 * (1 + 1e-9)]
    assert all(history.events[b] == 0 for b in outside)
    assert sum(history.exposure()) <= a1 - a0 + 1e-6


def test_an_untimed_change_is_shared_out_by_hazard() -> None:
    hazards = [0.0] * BINS
    hazards[10] = 5.0
    history = History()
    spread_all((history,), EDGES[8], EDGES[13], survival_at_edges(hazards))
    assert history.events[10] == pytest.approx(1.0)


def test_without_data_the_hazard_is_the_prior_early_on() -> None:
    learned = world_hazards(History())
    assert learned[:20] == pytest.approx(list(PRIOR[:20]))


def test_much_data_outweighs_the_prior() -> None:
    rng = Random(1)
    history = History()
    for _ in range(20_000):
        age = rng.expovariate(0.1)
        history.expose(0.0, age)
        history.event(age)
    learned = world_hazards(history)
    for b in range(2, bin_of(20.0)):
        assert learned[b] == pytest.approx(0.1, rel=0.12), EDGES[b]


def test_a_bin_without_events_takes_after_its_neighbours() -> None:
    history = History()
    b = bin_of(30.0)
    for _ in range(500):
        expose_all((history,), 0.0, 200.0)
    for i in range(b - 3, b + 4):
        history.events[i] = 0.0 if i == b else 50.0
    lonely = History()
    for _ in range(500):
        expose_all((lonely,), 0.0, 200.0)
    assert world_hazards(history)[b] > 1.5 * world_hazards(lonely)[b]


def test_long_silence_lowers_the_hazard_of_the_ages_not_yet_reached() -> None:
    history = History()
    for _ in range(200):
        history.expose(0.0, 7200.0)
    for later in (bin_of(20_000.0), bin_of(60_000.0)):
        assert world_hazards(history)[later] < PRIOR[later] / 3


def test_a_key_starts_from_the_world_and_ends_with_itself() -> None:
    world = [0.05] * BINS
    assert key_hazards(History(), world) == pytest.approx(world)
    own = History()
    b = bin_of(10.0)
    own.events[b], own.partial[b] = 400.0, 400.0 / 0.5
    assert key_hazards(own, world)[b] == pytest.approx(0.5, rel=0.1)


def test_half_is_forgotten_in_a_week() -> None:
    history = History()
    history.expose(0.0, 1000.0)
    history.event(1000.0)
    before = history.exposure()
    history.decay(7 * 86400.0)
    assert history.total == pytest.approx(0.5)
    assert sum(history.events) == pytest.approx(0.5)
    assert history.exposure() == pytest.approx([e / 2 for e in before])


def test_a_history_survives_being_written_down() -> None:
    history = History()
    history.expose(3.0, 5000.0)
    history.event(5000.0)
    again = History.load(*history.dump())
    assert again.exposure() == pytest.approx(history.exposure())
    assert again.events == history.events
    assert again.total == history.total


@pytest.mark.parametrize(
    ("events", "exposure"),
    [
        ([], []),
        ([0.0] * (BINS - 1), [0.0] * BINS),
        ([-1.0] + [0.0] * (BINS - 1), [0.0] * BINS),
        ([0.0] * BINS, [float("nan")] + [0.0] * (BINS - 1)),
    ],
)
def test_numbers_that_cannot_be_a_history_are_refused(events: list[float], exposure: list[float]) -> None:
    with pytest.raises(ValueError, match="age bin"):
        History.load(events, exposure)


def test_bins_grow_by_a_constant_share() -> None:
    assert all(log(b / a) == pytest.approx(log(1.3)) for a, b in pairwise(EDGES[1:]))
    assert sum(WIDTHS) == pytest.approx(EDGES[-1])
    assert PRIOR[0] == pytest.approx(0.6 / PRIOR_KNEE)
    assert MIDDLES[0] == 0.25


def test_what_enough_messages_were_followed_through_is_known() -> None:
    history = History()
    assert history.followed(20.0) < 200.0
    for _ in range(25):
        history.expose(0.0, 4000.0)
    history.expose(4000.0, 200_000.0)
    assert 2000.0 < history.followed(20.0) <= 4000.0
    for _ in range(25):
        history.expose(0.0, EDGES[-1])
    assert history.followed(20.0) == LAST_AGE
