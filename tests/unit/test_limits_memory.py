"""What an account's limiter keeps over a restart and a step of the clock, whom it wakes, and that it stays sound."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pollerd.core import event as events
from pollerd.core.model import HoldReason, Outcome
from pollerd.core.ports import AccountState
from tests.hypothesis_kit import examples
from tests.unit.limits_kit import GOOD, UNAUTHORIZED, UNREACHABLE, Bench, outcomes, trouble


def test_a_hold_outlives_a_restart() -> None:
    before = Bench()
    before.ask(UNAUTHORIZED)
    before.clock.move(100.0)
    state = before.states[-1]
    before.clock.seconds = 5.0
    after = Bench(restored=state, clock=before.clock)
    assert after.limiter.held == state
    assert after.limiter.held_total == pytest.approx(100.0), "the time between counts as held"
    assert after.ask(UNAUTHORIZED) == 0.0, "the first probe goes out at once"
    assert after.types == [], "and the hold is not told again"
    after.ask(GOOD)
    assert after.types == [events.ACCOUNT_RECOVERED]
    assert after.states[-1].held_total == pytest.approx(after.limiter.held_total)


def test_what_else_is_known_of_the_account_is_kept() -> None:
    known = AccountState("default", held_total=50.0, credit=12.5, currency="DKK", credit_low=True)
    bench = Bench(restored=known)
    bench.ask(UNAUTHORIZED)
    bench.clock.move(10.0)
    bench.ask(GOOD)
    end = bench.states[-1]
    assert msgspec.structs.replace(end, held_total=50.0) == known
    assert end.held_total > 60.0


def test_held_time_adds_up_over_holds() -> None:
    bench = Bench()
    assert bench.limiter.held_total == 0.0
    for _ in range(3):
        bench.ask(UNAUTHORIZED)
        bench.clock.move(100.0)
        bench.ask(GOOD)
    assert bench.limiter.held_total == pytest.approx(300.0)
    bench.clock.move(100.0)
    assert bench.limiter.held_total == pytest.approx(300.0)


@pytest.mark.parametrize("step", [3600.0, -3600.0])
def test_a_step_of_the_wall_clock_moves_nothing(step: float) -> None:
    bench = Bench()
    bench.ask(UNAUTHORIZED)
    wait, total = bench.limiter.delay(), bench.limiter.held_total
    bench.clock.ahead += step
    assert bench.limiter.delay() == wait
    assert bench.limiter.held_total == total
    bench.ask(GOOD)
    bench.clock.ahead += step
    assert bench.limiter.delay() <= 1.0
    assert bench.limiter.held_total == pytest.approx(wait)


def test_a_hold_goes_on_while_the_machine_sleeps() -> None:
    bench = Bench()
    bench.ask(trouble(HoldReason.THROTTLED, 3000.0))
    bench.clock.instant += 4000.0
    assert bench.limiter.delay() == 0.0
    assert bench.limiter.held_total == pytest.approx(4000.0)


@pytest.mark.parametrize(
    "change",
    [
        lambda bench: bench.report(UNAUTHORIZED),
        lambda bench: bench.limiter.abandon(),
    ],
)
async def test_who_waits_for_a_change_hears_of_it(change: Callable[[Bench], object]) -> None:
    bench = Bench()
    bench.send(1)
    waiting = asyncio.ensure_future(bench.limiter.changed())
    await asyncio.sleep(0)
    assert not waiting.done()
    change(bench)
    await asyncio.wait_for(waiting, 5.0)


async def test_the_end_of_a_hold_and_new_credentials_are_changes() -> None:
    bench = Bench()
    bench.ask(UNAUTHORIZED)
    for change in (bench.limiter.credentials_changed, lambda: bench.ask(GOOD)):
        waiting = asyncio.ensure_future(bench.limiter.changed())
        await asyncio.sleep(0)
        change()
        await asyncio.wait_for(waiting, 5.0)


@examples(400)
@given(st.lists(st.tuples(st.integers(1, 5), st.lists(outcomes, max_size=6), st.floats(0.0, 120.0)), max_size=30))
def test_whatever_happens_it_stays_sound(turns: list[tuple[int, list[Outcome], float]]) -> None:
    """Held and recovered alternate but for a new reason, totals never fall, and asking is possible again in time."""
    bench = Bench()
    total, under_way, held = 0.0, 0, False
    for wanted, answers, pause in turns:
        for _ in range(wanted):
            if bench.limiter.delay() == 0.0:
                bench.limiter.take()
                under_way += 1
        for outcome in answers[:under_way]:
            before = len(bench.told)
            bench.report(outcome)
            under_way -= 1
            for body in bench.told[before:]:
                assert held or isinstance(body, events.Held)
                held = isinstance(body, events.Held)
            assert held == (bench.limiter.held is not None)
        bench.clock.move(pause)
        assert bench.limiter.held_total >= total - 1e-6
        total = bench.limiter.held_total
        assert 0.0 <= bench.limiter.delay() <= 3605.0
        assert 0.1 - 1e-9 <= bench.limiter.rate <= 10.0
    for _ in range(under_way):
        bench.report(GOOD)
    bench.ask(GOOD)
    assert bench.limiter.held is None


@pytest.mark.parametrize(
    ("sentence", "outcome", "down", "left"),
    [
        ("what the gateway asked for holds over a restart", trouble(HoldReason.THROTTLED, 12.0), 4.0, 8.0),
        ("what has passed meanwhile is passed", trouble(HoldReason.THROTTLED, 12.0), 20.0, 0.0),
        ("our own spacing begins with a probe", UNAUTHORIZED, 4.0, 0.0),
    ],
)
def test_a_restart_does_not_shorten_what_the_gateway_asked_for(
    sentence: str, outcome: Outcome, down: float, left: float
) -> None:
    before = Bench()
    before.ask(outcome)
    state = before.states[-1]
    assert state.held_until is not None
    before.clock.instant += down
    after = Bench(restored=state, clock=before.clock)
    # A wait that was asked for is drawn out by a tenth at most.
    assert left <= after.limiter.delay() <= 1.2 * left, sentence


def test_what_is_asked_for_during_a_hold_of_another_kind_holds_over_a_restart_too() -> None:
    before = Bench()
    while before.limiter.held is None:
        before.ask(UNREACHABLE)
    before.ask(trouble(HoldReason.THROTTLED, 600.0))
    assert Bench(restored=before.states[-1], clock=before.clock).limiter.delay() >= 600.0
    before.ask(UNREACHABLE)
    assert Bench(restored=before.states[-1], clock=before.clock).limiter.delay() == 0.0, "our own spacing"


def test_the_longest_wait_asked_for_is_the_one_kept() -> None:
    """Several requests were under way; each answer asks for another wait."""
    before = Bench()
    before.send(3)
    for seconds in (10.0, 900.0, 20.0):
        before.report(trouble(HoldReason.THROTTLED, seconds))
    assert len(before.told) == 1, "told once"
    after = Bench(restored=before.states[-1], clock=before.clock)
    assert 900.0 <= after.limiter.delay() <= 905.0
    assert after.limiter.held is not None
    assert after.limiter.held.held_until == pytest.approx(after.clock.now() + after.limiter.delay())
