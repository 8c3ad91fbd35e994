"""The daemon's own time against real time, whatever is done to the machine's clocks."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from pollerd.base.anchor import Anchor, Clocks
from pollerd.daemon.clock import SystemClock
from pollerd.daemon.gateway_time import ASK_EVERY, LONG, SECOND_WITNESS_WAIT, WAITING
from tests.unit.clock_kit import START, Daemon, World, anything, restarted, started

CLOSE = 8.0
"""Seconds: the witnesses' tolerance, and what passes until they are asked."""
HOUR = 3600.0
DAY = 86400.0

HAPPENS: list[tuple[str, Callable[[World], None]]] = [
    ("set forward", lambda world: setattr(world, "wrong", 5 * DAY)),
    ("set back", lambda world: setattr(world, "wrong", -5 * DAY)),
    ("asleep", lambda world: world.sleep(8 * HOUR)),
    ("stopped", lambda world: world.stop(8 * HOUR)),
    ("stopped, and the clock set wrong beside", lambda world: world.stop(8 * HOUR, wrong=3 * HOUR)),
]


@pytest.mark.parametrize(("sentence", "happens"), HAPPENS, ids=[case[0] for case in HAPPENS])
@pytest.mark.parametrize("again", [False, True], ids=["running", "while it is away"])
def test_what_really_passed_has_passed(sentence: str, happens: Callable[[World], None], again: bool) -> None:
    daemon = started()
    happens(daemon.world)
    if again:
        daemon = restarted(daemon)
    daemon.run()
    assert abs(daemon.lost) < CLOSE, sentence
    assert daemon.clock.doubted == 0.0
    assert daemon.clock.wall() == daemon.world.wall()
    assert daemon.clock.to_wall(daemon.clock.now()) == pytest.approx(daemon.world.wall())
    # And it is settled: nothing more comes of it.
    corrections = len(daemon.corrections)
    daemon.run(200.0)
    assert len(daemon.corrections) == corrections
    assert not daemon.witness.undecided


@pytest.mark.parametrize("seed", range(300))
def test_any_sequence(seed: int) -> None:
    """Time is never counted that did not pass, and what passed is counted once the witnesses were heard."""
    rng = random.Random(seed)
    daemon, told = started(), []
    for _ in range(rng.randint(2, 12)):
        told.append(anything(daemon.world, rng))
        before = daemon.clock.now()
        if rng.random() < 0.3:
            daemon = restarted(daemon)
            told.append("restart")
        assert daemon.clock.now() >= before - 1e-6, told
        daemon.run(12.0)
        assert abs(daemon.lost) < CLOSE + 3.0 * len(told), told
    assert daemon.clock.doubted == 0.0, told


@pytest.mark.parametrize("seed", range(300))
def test_any_sequence_too_fast_to_be_checked(seed: int) -> None:
    """What a stop lasted may be missed when the clock is set at the same time; what did not pass is never counted."""
    rng = random.Random(seed)
    daemon, told = started(), []
    for _ in range(rng.randint(2, 12)):
        told.append(anything(daemon.world, rng))
        if rng.random() < 0.3:
            daemon = restarted(daemon)
            told.append("restart")
        for _ in range(rng.choice([0, 1, 3, 12])):
            daemon.run(1.0)
            assert daemon.lost > -CLOSE, told
    daemon.run(15.0)
    assert -CLOSE < daemon.lost < CLOSE + daemon.world.stopped, told


def test_a_stop_that_only_the_gateway_has_noticed_counts_when_the_wall_clock_is_set() -> None:
    daemon = started()
    daemon.world.stop(HOUR, wrong=-HOUR)
    daemon.run(600.0)
    assert daemon.corrections == []
    assert daemon.lost == pytest.approx(HOUR, abs=CLOSE)
    daemon.world.wrong = 0.0
    daemon.run()
    assert abs(daemon.lost) < CLOSE


def test_nobody_answers_until_long_after_the_stop() -> None:
    daemon = started()
    daemon.world.stop(HOUR)
    daemon.reachable = False
    daemon.run(600.0)
    assert daemon.lost == pytest.approx(HOUR)
    daemon.reachable = True
    daemon.run(ASK_EVERY + 10.0, every=0)
    assert abs(daemon.lost) < CLOSE


@pytest.mark.parametrize(
    ("sentence", "headers"),
    [
        ("kept by a cache that says so", {"Age": "3600"}),
        ("nothing that can be read", {"Date": "yesterday"}),
        ("no year", {"Date": "Sun, 99 Nov 99999 99:99:99 GMT"}),
    ],
)
def test_dates_that_say_nothing(sentence: str, headers: dict[str, str]) -> None:
    daemon = started()
    daemon.world.wrong = HOUR
    daemon.run(2.0, every=0)
    for _ in range(3):
        daemon.answer(**headers)
    daemon.run()
    assert daemon.corrections == [], sentence
    assert abs(daemon.lost) < CLOSE


def test_one_wrong_date_among_right_ones_is_overruled() -> None:
    daemon = started()
    daemon.world.wrong = HOUR
    daemon.run(4.0, every=0)
    daemon.answer(Date="Sun, 22 Nov 2026 10:30:43 GMT")
    daemon.run()
    assert daemon.corrections == []


def test_a_gateway_whose_clock_is_set_moves_nothing_and_is_believed_again_after_hours() -> None:
    daemon = started()
    daemon.world.gateway = HOUR
    daemon.run(LONG + 700.0, every=60)
    assert daemon.corrections == []
    assert daemon.gateway.ahead == pytest.approx(HOUR, abs=CLOSE)
    daemon.world.wrong = 2 * HOUR
    daemon.run()
    assert daemon.corrections == [], "it does not vouch for half of that"
    assert abs(daemon.lost) < CLOSE


@pytest.mark.parametrize(("off", "told"), [(DAY, DAY), (-HOUR, -HOUR), (30.0, 0.0)])
def test_a_wall_clock_that_is_wrong_is_reported(off: float, told: float) -> None:
    daemon = started()
    assert daemon.witness.wrong == 0.0
    daemon.world.wrong = off
    daemon.run()
    assert daemon.witness.wrong == pytest.approx(told, abs=CLOSE)


def test_gateways_without_a_date_leave_a_step_a_step_at_once() -> None:
    daemon = Daemon(World())
    daemon.dates = False
    daemon.run(10.0)
    daemon.world.wrong = 5 * DAY
    daemon.run(2.0)
    assert abs(daemon.lost) < 1e-3
    assert not daemon.witness.undecided, "what is new need not wait"


# -- the machine is switched off


@pytest.mark.parametrize(
    ("sentence", "wrong", "dates", "doubted"),
    [
        ("both say so", None, True, 0.0),
        ("the clock is days ahead", 5 * DAY, True, 0.0),
        ("the clock has not gone on", -2 * HOUR, True, 2 * HOUR),
        ("the clock begins in 1970", -START, True, 2 * HOUR),
        ("no gateway says when it is", None, False, 2 * HOUR),
    ],
)
def test_two_hours_without_power(sentence: str, wrong: float | None, dates: bool, doubted: float) -> None:
    daemon = started()
    daemon.world.reboot(2 * HOUR, wrong)
    daemon = restarted(daemon)
    daemon.dates = dates
    sure_at_first = daemon.clock.sure
    daemon.run(SECOND_WITNESS_WAIT + 10.0)
    assert abs(daemon.lost) < CLOSE, sentence
    assert daemon.clock.doubted == pytest.approx(doubted, abs=CLOSE), "by one clock alone nobody ages"
    assert (sure_at_first, daemon.clock.sure) == (False, True)
    assert daemon.clock.sure_since > START + daemon.world.time - SECOND_WITNESS_WAIT - 20.0
    assert len(daemon.corrections) == 1


def test_a_clock_that_is_set_right_after_the_start_is_heard_in_time() -> None:
    """A machine without a battery: its clock stands at the last shutdown until the network is there."""
    daemon = started()
    daemon.world.reboot(2 * HOUR, -2 * HOUR)
    daemon = restarted(daemon)
    daemon.run(30.0)
    assert daemon.corrections == []
    daemon.world.wrong = 0.0
    daemon.run()
    assert abs(daemon.lost) < CLOSE
    assert daemon.clock.doubted == 0.0


def test_a_question_that_could_not_be_asked_does_not_count() -> None:
    """The pace is used up, or the account is held, in the first seconds after the start."""
    daemon = started()
    daemon.world.reboot(2 * HOUR)
    daemon = restarted(daemon)
    daemon.may_ask = False
    daemon.run(20.0, every=0)
    daemon.may_ask = True
    daemon.run(10.0, every=0)
    assert abs(daemon.lost) < CLOSE
    assert not daemon.witness.undecided


def test_a_gateway_that_answers_a_little_later_is_asked_again_soon() -> None:
    daemon = started()
    daemon.world.reboot(2 * HOUR)
    daemon = restarted(daemon)
    daemon.reachable = False
    daemon.run(10.0, every=0)
    daemon.reachable = True
    daemon.run(15.0, every=0)
    assert abs(daemon.lost) < CLOSE


def test_new_messages_wait_for_no_gateway_whose_clock_was_never_known() -> None:
    world = World()
    daemon = Daemon(world)
    daemon.run(1.0, every=0)
    world.reboot(2 * HOUR)
    assert not restarted(daemon).witness.undecided


def test_killed_before_it_is_decided_it_is_still_open() -> None:
    daemon = started()
    daemon.world.reboot(2 * HOUR)
    daemon = restarted(daemon)
    daemon.run(1.0, every=0)
    daemon = restarted(daemon)
    assert not daemon.clock.sure
    daemon.run()
    assert abs(daemon.lost) < CLOSE


def test_what_passed_asleep_has_passed_before_anybody_looks() -> None:
    """An answer that is settled in the moment after a sleep: its next poll counts from now."""
    daemon = started()
    before = daemon.clock.now()
    daemon.world.sleep(HOUR)
    assert daemon.clock.now() == pytest.approx(before + HOUR)
    daemon.tick()
    assert daemon.clock.now() == pytest.approx(daemon.world.time + START, abs=CLOSE)
    assert daemon.looks[-1].asleep == pytest.approx(HOUR)


# -- what others write and read


@pytest.mark.parametrize("step", [5 * DAY, -5 * DAY, HOUR, -300.0])
def test_an_id_handed_over_before_the_step_is_noticed_is_new(step: float) -> None:
    daemon = started()
    clock, world = daemon.clock, daemon.world
    clock.taken_until = clock.now()
    world.time += 0.3
    before = world.wall()
    world.wrong += step
    world.time += 0.3
    for _ in range(2):
        for wall in (before, world.wall()):
            assert clock.taken_until <= clock.taken(wall) <= clock.now()
        daemon.tick()
    yesterday = world.wall() - DAY - 20.0
    assert clock.taken(yesterday) == pytest.approx(clock.now() - DAY - 20.0)
    clock.taken_until = clock.now() + 5.0
    by_then = min(clock.now() - 2.3 - step, clock.now())
    assert clock.taken(before) == pytest.approx(by_then), "long ago it was another time"


@pytest.mark.parametrize("ahead", [5.0, HOUR, 5 * DAY])
def test_an_id_handed_over_by_a_clock_that_nobody_saw_ahead_is_new(ahead: float) -> None:
    daemon = started()
    daemon.clock.taken_until = daemon.clock.now()
    daemon.world.time += 0.3
    written = daemon.world.wall() + ahead
    for _ in range(2):
        assert daemon.clock.taken(written) == daemon.clock.now()
        daemon.tick()


def test_an_id_handed_over_while_the_daemon_was_away_is_as_old_as_it_is() -> None:
    daemon = started()
    daemon.clock.taken_until = away = daemon.clock.now()
    daemon.save()
    handed_over = []
    for _ in range(3):
        daemon.world.time += 100.0
        handed_over.append(daemon.world.wall())
        daemon.world.wrong -= DAY
        # Killed before it has checked.
        daemon = restarted(daemon)
    handed_over.append(daemon.world.wall())
    ages = [daemon.clock.taken(wall) - away for wall in handed_over]
    assert ages == pytest.approx([100.0, 200.0, 300.0, 300.0])


def test_a_time_that_nobody_has_set_apart_stays_the_same_number() -> None:
    daemon = started()
    daemon.world.wrong = 0.7
    for wall in (START - 7200.25, START - 86400.0):
        assert daemon.clock.taken(wall) == wall


def test_new_messages_wait_no_longer_than_a_minute_for_what_time_it_is() -> None:
    daemon = started()
    undecided = [daemon.witness.undecided]
    daemon.world.stop(HOUR)
    daemon.reachable = False
    undecided.append(daemon.witness.undecided)
    for seconds in (WAITING - 5.0, 10.0):
        daemon.run(seconds)
        undecided.append(daemon.witness.undecided)
    assert undecided == [False, True, True, False], "at first, before the next check already, waiting, then no more"


def test_a_gateway_whose_clock_wavers_keeps_no_message_waiting() -> None:
    daemon = started()
    for _ in range(20):
        daemon.world.gateway = 30.0 - daemon.world.gateway
        daemon.run(10.0)
        assert not daemon.witness.undecided
    assert daemon.corrections == []


def test_readers_find_the_wall_time_of_an_instant_whatever_was_set_since_the_note() -> None:
    world = World()
    daemon = started(world)
    anchor = Anchor.read(daemon.note)
    assert anchor is not None
    instant = daemon.clock.now()
    world.time += 50.0
    world.sleep(100.0)
    world.wrong = -HOUR
    assert anchor.at(world.clocks()) == pytest.approx(instant + 150.0)
    world.reboot(500.0)
    assert anchor.at(world.clocks()) == instant, "the clock is behind: not before the note"
    world.wrong = 0.0
    assert anchor.at(world.clocks()) == pytest.approx(instant + 650.0)


@pytest.mark.parametrize("note", [None, b"", b"1764000000", b"{}", b"\xff", b"[1, 2]"])
def test_a_note_that_says_nothing_begins_with_the_wall_clock(note: bytes | None) -> None:
    daemon = Daemon(World(), note)
    assert daemon.clock.now() == START
    assert daemon.clock.sure


def test_a_machine_without_a_battery_begins_after_1970() -> None:
    world = World()
    world.wrong = -START
    daemon = Daemon(world)
    assert daemon.clock.now() > 1.6e9
    assert daemon.clock.to_wall(daemon.clock.now()) == pytest.approx(world.wall())


def test_where_nobody_says_which_boot_it_is_two_clocks_that_agree_do() -> None:
    def nameless(wall: float, boottime: float) -> Clocks:
        return Clocks(wall, boottime, boottime, "")

    anchor = Anchor(START, nameless(START, 500.0))
    assert anchor.passed(nameless(START + 60.0, 560.0)) == 60.0
    assert anchor.passed(nameless(START + 9000.0, 560.0)) is None, "stepped, or another boot"
    assert anchor.passed(nameless(START + 60.0, 20.0)) is None


def test_the_monotonic_clock_is_the_machines() -> None:
    world = World()
    clock = SystemClock(None, world)
    world.sleep(100.0)
    world.time += 5.0
    assert clock.monotonic() == 5.0
    clock.noticed()
    assert clock.now() == START + 105.0
