"""Outages: noticed, survived and recovered from."""

from __future__ import annotations

from random import Random

import pytest

from pollerd.backoff.outage import CONCERNED, DECAY, LONGEST_OUTAGE, OutageClocks
from pollerd.backoff.protocol import EVERYWHERE

A, B = "238/01", "262/02"


def healthy(outages: OutageClocks, key: str, start: float, seconds: int, rng: Random, *, rate: float = 2.0) -> float:
    """Polls that find what they promise."""
    now = start
    for _ in range(int(seconds * rate)):
        now += 1.0 / rate
        outages.note(now, key, 0.4, rng.random() < 0.4)
    return now


def silent(outages: OutageClocks, key: str, start: float, seconds: int, rate: float = 2.0) -> float:
    """Polls that find nothing."""
    now = start
    for _ in range(int(seconds * rate)):
        now += 1.0 / rate
        outages.note(now, key, 0.4, False)
    return now


def test_an_operator_that_keeps_its_promises_is_up() -> None:
    outages = OutageClocks()
    healthy(outages, A, 0.0, 20_000, Random(1))
    assert not outages.down(A)
    assert outages.take_wake() == []


def test_silence_of_an_operator_is_noticed_within_its_decay() -> None:
    outages = OutageClocks()
    now = healthy(outages, A, 0.0, 600, Random(1))
    silent(outages, A, now, int(DECAY) * 3)
    assert outages.down(A)
    assert A in outages.down_keys()


def test_silence_is_noticed_at_slow_traffic_too() -> None:
    outages = OutageClocks()
    now = healthy(outages, A, 0.0, 20_000, Random(1), rate=0.02)
    assert not outages.down(A)
    silent(outages, A, now, 3000, rate=0.02)
    assert outages.down(A)


def test_recovery_wakes_the_scope_once_and_moves_the_clock_of_the_old() -> None:
    outages = OutageClocks()
    rng = Random(2)
    began = healthy(outages, A, 0.0, 600, rng)
    now = silent(outages, A, began, 1800)
    assert outages.down(A)
    for _ in range(4):
        now += 1.0
        outages.note(now, A, 0.4, True)
    assert not outages.down(A)
    assert outages.take_wake() == [A]
    assert outages.take_wake() == []
    old = began + 10.0
    assert outages.base_for(A, old, old) == now


@pytest.mark.parametrize(
    ("age_at_recovery", "moved"),
    [
        pytest.param(20.0, False, id="a young message probes anyway"),
        pytest.param(600.0, True, id="one sent during the outage"),
        pytest.param(2000.0, True, id="one that was pending when it began"),
        pytest.param(CONCERNED + 5000.0, False, id="one that was late for reasons of its own"),
        pytest.param(-5.0, False, id="one sent after it"),
    ],
)
def test_whose_clock_is_moved(age_at_recovery: float, moved: bool) -> None:
    outages = OutageClocks()
    now = healthy(outages, A, 0.0, 600, Random(2))
    now = silent(outages, A, now, 1800)
    for _ in range(4):
        now += 1.0
        outages.note(now, A, 0.4, True)
    submit = now - age_at_recovery
    assert (outages.base_for(A, submit, submit) != submit) is moved


def test_a_clock_just_moved_is_not_moved_again_by_the_other_scope() -> None:
    outages = OutageClocks()
    outages.load([(A, 0.0, 2000.0), (EVERYWHERE, 0.0, 2010.0)])
    assert outages.base_for(A, 500.0, 500.0) == 2000.0
    assert outages.base_for(A, 500.0, 2000.0) == 2000.0


def test_one_frozen_operator_leaves_the_others_up() -> None:
    outages = OutageClocks()
    rng = Random(3)
    now = 0.0
    for step in range(8000):
        now += 0.25
        frozen = step > 2000
        outages.note(now, A, 0.4, not frozen and rng.random() < 0.4)
        outages.note(now, B, 0.4, rng.random() < 0.4)
    assert outages.down(A)
    assert not outages.down(B)
    assert outages.down_keys() == (A,)


def test_the_outage_of_the_largest_operator_is_not_taken_for_one_of_all() -> None:
    outages = OutageClocks()
    rng = Random(3)
    now = 0.0
    for step in range(8000):
        now += 0.25
        outages.note(now, A, 0.4, step <= 2000 and rng.random() < 0.4)
        if step % 20 == 0:
            outages.note(now, B, 0.4, rng.random() < 0.4)
    assert outages.down_keys() == (A,)


def test_what_an_operator_kept_back_until_it_was_found_out_is_not_held_against_all() -> None:
    outages = OutageClocks()
    now = healthy(outages, A, 0.0, 600, Random(7)) + 10 * DECAY
    while not outages.down(A):
        now = silent(outages, A, now, 1, rate=10.0)
    for _ in range(15):
        now += 0.1
        outages.note(now, B, 0.4, False)
        assert outages.down_keys() == (A,)
    assert not outages.down(B)


def test_when_everything_stalls_keys_of_which_little_is_seen_are_down_too() -> None:
    outages = OutageClocks()
    rng = Random(4)
    now = 0.0
    for step in range(4000):
        now += 0.5
        outages.note(now, f"key {step % 40}", 0.4, step < 2000 and rng.random() < 0.4)
    assert EVERYWHERE in outages.down_keys()
    assert outages.down("never seen")
    for step in range(40):
        now += 0.5
        outages.note(now, f"key {step % 40}", 0.4, True)
    assert EVERYWHERE not in outages.down_keys()
    assert EVERYWHERE in outages.take_wake()


def test_a_few_that_leak_through_are_no_recovery() -> None:
    outages = OutageClocks()
    now = healthy(outages, A, 0.0, 600, Random(5))
    now = silent(outages, A, now, 300)
    for step in range(2000):
        now += 0.5
        outages.note(now, A, 0.4, step % 40 == 0)
    assert outages.down(A)


def test_an_outage_ends_after_six_hours_at_the_latest() -> None:
    outages = OutageClocks()
    now = healthy(outages, A, 0.0, 600, Random(6))
    now = silent(outages, A, now, 300)
    outages.note(now + LONGEST_OUTAGE + 1.0, A, 0.4, False)
    assert not outages.down(A)


def test_the_end_of_an_outage_survives_being_written_down() -> None:
    outages = OutageClocks()
    outages.load([(A, 100.0, 2000.0)])
    again = OutageClocks()
    again.load(outages.dump())
    assert again.base_for(A, 500.0, 500.0) == 2000.0
