"""Holds of one account: what begins them, what probes them, what ends them. Time is moved by hand."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pollerd import event as events
from pollerd.config import Limits
from pollerd.limits import AccountLimiter
from pollerd.limits.account import THROTTLES_BEFORE_HOLD, TROUBLES_BEFORE_HOLD
from pollerd.model import Answer, HoldReason, NotFound, Outcome, Rejected, Trouble
from pollerd.ports import AccountState, Limiter, Transition

GOOD = Answer(())
UNREADABLE = Rejected("not JSON", "undecodable", decoded=False)


def trouble(reason: HoldReason, retry_after: float | None = None) -> Trouble:
    return Trouble(reason, "kind", f"what happened: {reason.value}", retry_after)


UNREACHABLE = trouble(HoldReason.UNREACHABLE)
SERVER_ERRORS = trouble(HoldReason.SERVER_ERRORS)
UNAUTHORIZED = trouble(HoldReason.UNAUTHORIZED)
FORBIDDEN = trouble(HoldReason.FORBIDDEN)
THROTTLED = trouble(HoldReason.THROTTLED)


class HandClock:
    """A clock that only moves when told; the wall can be stepped on its own."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.wall = 1_764_000_000.0

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> float:
        return self.wall

    def move(self, seconds: float) -> None:
        self.seconds += seconds
        self.wall += seconds


class Bench:
    """A limiter, its clock, and every event it told."""

    def __init__(
        self, rate: float = 10.0, restored: AccountState | None = None, clock: HandClock | None = None
    ) -> None:
        self.clock = clock or HandClock()
        self.limiter = AccountLimiter("default", Limits(rate), self.clock, random.Random(1), restored)
        self.told: list[events.Body] = []
        self.states: list[AccountState] = []

    def report(self, outcome: Outcome) -> Transition | None:
        transition = self.limiter.report(outcome)
        if transition is not None:
            self.told += transition.bodies
            self.states.append(transition.state)
        return transition

    def ask(self, outcome: Outcome) -> float:
        """Wait as told, send one request and hear its outcome; the seconds waited."""
        wait = self.limiter.delay()
        self.clock.move(wait)
        assert self.limiter.delay() == 0.0
        self.limiter.take()
        self.report(outcome)
        return wait

    def send(self, number: int) -> None:
        """Let requests go out that are not answered yet."""
        for _ in range(number):
            self.clock.move(self.limiter.delay())
            self.limiter.take()

    @property
    def types(self) -> list[str]:
        return [events.event_type(body) for body in self.told]


def test_it_is_what_the_loops_expect() -> None:
    limiter: Limiter = Bench().limiter
    assert limiter.held is None


@pytest.mark.parametrize(
    ("why", "outcomes", "reason"),
    [
        ("wrong credentials, at once", [UNAUTHORIZED], HoldReason.UNAUTHORIZED),
        ("not allowed, at once", [FORBIDDEN], HoldReason.FORBIDDEN),
        ("a Retry-After, at once", [trouble(HoldReason.THROTTLED, 5.0)], HoldReason.THROTTLED),
        ("five unreachable in a row", [UNREACHABLE] * 5, HoldReason.UNREACHABLE),
        ("five server errors in a row", [SERVER_ERRORS] * 5, HoldReason.SERVER_ERRORS),
        ("a mixture: the last one names it", [UNREACHABLE] * 4 + [SERVER_ERRORS], HoldReason.SERVER_ERRORS),
        ("five unreadable in a row", [UNREADABLE] * 5, HoldReason.SERVER_ERRORS),
        ("four in a row", [UNREACHABLE] * 4, None),
        ("many hiccups among answers", [UNREACHABLE, UNREACHABLE, GOOD] * 40, None),
        ("404 is a proper answer", ([UNREACHABLE] * 4 + [NotFound()]) * 3, None),
        ("400 is a proper answer", ([UNREACHABLE] * 4 + [Rejected("no", "http_400")]) * 3, None),
        ("a Retry-After of nothing", [trouble(HoldReason.THROTTLED, 0.0)], None),
        ("one refusal for being too fast", [THROTTLED], None),
    ],
)
def test_what_begins_a_hold(why: str, outcomes: list[Outcome], reason: HoldReason | None) -> None:
    bench = Bench()
    for outcome in outcomes:
        bench.ask(outcome)
    held = bench.limiter.held
    assert (held.held_reason if held else None) is reason, why
    assert bench.types == ([events.ACCOUNT_HELD] if reason else [])


def test_a_hold_tells_who_why_and_until_when() -> None:
    bench = Bench()
    bench.ask(FORBIDDEN)
    (body,) = bench.told
    assert isinstance(body, events.Held)
    assert (body.account, body.reason, body.detail) == ("default", "forbidden", "what happened: forbidden")
    state = bench.states[0]
    assert state.held_since == bench.clock.wall
    assert state.held_until is not None
    assert body.until == events.instant(state.held_until)
    assert 22.5 <= state.held_until - bench.clock.wall <= 30.0


@pytest.mark.parametrize(
    ("outcome", "first", "most"),
    [
        (UNAUTHORIZED, 30.0, 900.0),
        (FORBIDDEN, 30.0, 900.0),
        (UNREACHABLE, 2.0, 60.0),
        (SERVER_ERRORS, 2.0, 60.0),
    ],
)
def test_probes_go_out_one_by_one_at_growing_intervals(outcome: Trouble, first: float, most: float) -> None:
    bench = Bench()
    while bench.limiter.held is None:
        bench.ask(outcome)
    expected = first
    for _ in range(12):
        wait = bench.ask(outcome)
        assert 0.75 * expected <= wait <= expected
        expected = min(most, 2 * expected)
    assert bench.types == [events.ACCOUNT_HELD], "a hold that goes on is not told again"
    bench.ask(GOOD)
    assert bench.types == [events.ACCOUNT_HELD, events.ACCOUNT_RECOVERED]
    assert bench.limiter.held is None


def test_while_a_probe_is_under_way_nothing_else_goes_out() -> None:
    bench = Bench()
    bench.ask(UNAUTHORIZED)
    bench.clock.move(bench.limiter.delay())
    bench.limiter.take()
    assert bench.limiter.delay() > 30.0
    bench.clock.move(10.0)
    assert bench.limiter.delay() > 20.0
    bench.report(GOOD)
    assert bench.limiter.held is None


def test_a_probe_that_never_reports_is_given_up_in_the_end() -> None:
    bench = Bench()
    bench.ask(UNAUTHORIZED)
    bench.send(1)
    lost = bench.limiter.delay()
    assert lost < 60.0
    bench.clock.move(lost)
    assert bench.ask(GOOD) == 0.0
    assert bench.limiter.held is None


def test_a_cancelled_probe_makes_room_for_the_next() -> None:
    bench = Bench()
    bench.ask(UNREACHABLE)
    for _ in range(4):
        bench.ask(UNREACHABLE)
    bench.send(1)
    bench.limiter.abandon()
    assert bench.limiter.delay() == 0.0
    bench.ask(GOOD)
    assert bench.limiter.held is None


def test_an_hour_of_failure_costs_a_bounded_number_of_requests() -> None:
    bench = Bench(50.0)
    began, requests = bench.clock.seconds, 0
    while bench.clock.seconds - began < 3600.0:
        bench.ask(UNREACHABLE)
        requests += 1
    assert requests < 100
    assert bench.types == [events.ACCOUNT_HELD]
    assert bench.limiter.delay() <= 60.0, "it recovers within one interval"
    assert bench.limiter.held_total > 3590.0, "no message ages meanwhile"


def test_no_storm_when_a_hold_ends() -> None:
    bench = Bench(50.0)
    for _ in range(TROUBLES_BEFORE_HOLD):
        bench.ask(UNREACHABLE)
    bench.clock.move(3600.0)
    bench.ask(GOOD)
    began, requests = bench.clock.seconds, 0
    while bench.clock.seconds - began < 1.0:
        bench.ask(GOOD)
        requests += 1
    assert requests <= 12


# -- answers to what was asked before


def test_late_failures_neither_grow_the_interval_nor_count_as_probes() -> None:
    bench = Bench()
    bench.send(20)
    for _ in range(TROUBLES_BEFORE_HOLD):
        bench.report(UNREACHABLE)
    until = bench.limiter.delay()
    for _ in range(15):
        assert bench.report(UNREACHABLE) is None
    assert bench.limiter.delay() == until
    assert 1.5 <= bench.ask(UNREACHABLE) <= 2.0
    assert 3.0 <= bench.ask(UNREACHABLE) <= 4.0, "the second interval is the first one doubled"


def test_a_late_failure_is_not_taken_for_that_of_the_probe_under_way() -> None:
    bench = Bench()
    bench.send(8)
    for _ in range(TROUBLES_BEFORE_HOLD):
        bench.report(UNREACHABLE)
    bench.clock.move(bench.limiter.delay())
    bench.limiter.take()
    waiting = bench.limiter.delay()
    for _ in range(3):
        bench.report(UNREACHABLE)
        assert bench.limiter.delay() == waiting, "the probe is still out"
    bench.report(UNREACHABLE)
    assert 3.0 <= bench.limiter.delay() <= 4.0


def test_a_late_answer_proves_that_the_gateway_is_there() -> None:
    bench = Bench()
    bench.send(6)
    for _ in range(TROUBLES_BEFORE_HOLD):
        bench.report(UNREACHABLE)
    bench.report(GOOD)
    assert bench.types == [events.ACCOUNT_HELD, events.ACCOUNT_RECOVERED]


@pytest.mark.parametrize("outcome", [UNAUTHORIZED, FORBIDDEN, trouble(HoldReason.THROTTLED, 20.0)])
def test_a_late_answer_proves_neither_rights_nor_patience(outcome: Trouble) -> None:
    bench = Bench()
    bench.send(3)
    bench.report(outcome)
    assert bench.report(GOOD) is None
    assert bench.limiter.held is not None
    assert bench.limiter.delay() > 30.0, "no probe while an older answer could be taken for its own"
    bench.report(GOOD)
    assert bench.limiter.delay() <= 30.0
    bench.ask(GOOD)
    assert bench.limiter.held is None


def test_answers_that_never_come_do_not_hold_up_the_probe_for_good() -> None:
    bench = Bench()
    bench.send(3)
    bench.report(UNAUTHORIZED)
    bench.clock.move(60.0)
    assert bench.limiter.delay() == 0.0


# -- reasons that change


def test_an_outage_that_shows_itself_in_turns_is_one_hold_with_growing_pauses() -> None:
    bench = Bench()
    for _ in range(TROUBLES_BEFORE_HOLD):
        bench.ask(UNREACHABLE)
    pauses = []
    for reason in (HoldReason.SERVER_ERRORS, HoldReason.THROTTLED, HoldReason.UNREACHABLE) * 3:
        pauses.append(bench.limiter.delay())
        bench.ask(trouble(reason))
    assert pauses[-1] > 20
    assert bench.types == [events.ACCOUNT_HELD]


def test_another_reason_is_told_once() -> None:
    bench = Bench()
    for _ in range(TROUBLES_BEFORE_HOLD):
        bench.ask(UNREACHABLE)
    bench.ask(UNREACHABLE)
    bench.ask(UNAUTHORIZED)
    bench.ask(UNAUTHORIZED)
    assert [body.reason for body in bench.told if isinstance(body, events.Held)] == ["unreachable", "unauthorized"]
    began = bench.states[0].held_since
    assert all(state.held_since == began for state in bench.states), "it is one hold"
    bench.ask(GOOD)
    (end,) = [body for body in bench.told if isinstance(body, events.Recovered)]
    assert end.reason == "unauthorized"


def test_a_probe_that_cannot_be_read_prolongs_the_hold() -> None:
    bench = Bench()
    for _ in range(TROUBLES_BEFORE_HOLD):
        bench.ask(SERVER_ERRORS)
    bench.ask(UNREADABLE)
    assert bench.limiter.held is not None
    assert "cannot be understood" in bench.limiter.held.held_detail


def test_new_credentials_are_tried_at_once() -> None:
    bench = Bench()
    bench.ask(UNAUTHORIZED)
    bench.ask(UNAUTHORIZED)
    assert bench.limiter.delay() > 20.0
    bench.limiter.credentials_changed()
    assert bench.ask(UNAUTHORIZED) == 0.0
    assert 22.0 <= bench.limiter.delay() <= 60.0
    bench.limiter.credentials_changed()
    bench.ask(GOOD)
    assert bench.types == [events.ACCOUNT_HELD, events.ACCOUNT_RECOVERED]


def test_new_credentials_do_not_override_a_retry_after() -> None:
    bench = Bench()
    bench.ask(trouble(HoldReason.THROTTLED, 60.0))
    bench.limiter.credentials_changed()
    assert bench.limiter.delay() >= 60.0


# -- throttling


@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [(1.0, 1.0, 1.1), (30.0, 30.0, 33.0), (3600.0, 3600.0, 3605.0), (1e12, 3600.0, 3605.0), (1e308, 3600.0, 3605.0)],
)
def test_a_retry_after_is_kept_never_early(asked: float, least: float, most: float) -> None:
    bench = Bench()
    bench.ask(trouble(HoldReason.THROTTLED, asked))
    assert least <= bench.limiter.delay() <= most


def test_the_longest_of_several_retry_afters_counts() -> None:
    bench = Bench()
    bench.send(3)
    for asked in (5.0, 50.0, 10.0):
        bench.report(trouble(HoldReason.THROTTLED, asked))
    assert bench.limiter.delay() >= 50.0
    assert bench.types == [events.ACCOUNT_HELD]


def test_twenty_refusals_at_once_are_one_signal() -> None:
    bench = Bench(40.0)
    bench.send(20)
    for _ in range(20):
        bench.report(THROTTLED)
    assert bench.limiter.rate == 20.0
    assert bench.limiter.held is None


def test_the_rate_falls_at_once_and_returns_gradually() -> None:
    bench = Bench(40.0)
    bench.ask(THROTTLED)
    assert bench.limiter.rate == 20.0
    bench.clock.move(10.0)
    assert bench.limiter.rate == 24.0
    bench.clock.move(60.0)
    assert bench.limiter.rate == 40.0


def test_refusals_and_nothing_else_become_a_hold() -> None:
    bench = Bench(10.0)
    for _ in range(THROTTLES_BEFORE_HOLD - 1):
        bench.ask(THROTTLED)
        bench.clock.move(1.0)
    assert bench.types == []
    bench.ask(THROTTLED)
    assert bench.types == [events.ACCOUNT_HELD]
    assert bench.states[-1].held_reason is HoldReason.THROTTLED
    assert bench.limiter.rate < 1.0
    bench.ask(GOOD)
    assert bench.limiter.rate <= 2.0, "and it begins again slowly"


def test_refusals_among_answers_only_slow_down() -> None:
    bench = Bench(10.0)
    for _ in range(5 * THROTTLES_BEFORE_HOLD):
        bench.ask(THROTTLED)
        bench.clock.move(1.0)
        bench.ask(GOOD)
    assert bench.limiter.held is None
    assert bench.limiter.rate < 5.0


# -- what outlives a restart, and time


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
    bench.clock.wall += step
    assert bench.limiter.delay() == wait
    assert bench.limiter.held_total == total
    bench.ask(GOOD)
    bench.clock.wall += step
    assert bench.limiter.delay() <= 1.0
    assert bench.limiter.held_total == pytest.approx(wait)


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


outcomes = st.sampled_from(
    [
        GOOD,
        NotFound(),
        UNREADABLE,
        Rejected("no", "http_400"),
        UNREACHABLE,
        SERVER_ERRORS,
        UNAUTHORIZED,
        FORBIDDEN,
        THROTTLED,
        trouble(HoldReason.THROTTLED, 7.0),
        trouble(HoldReason.THROTTLED, 1e300),
        trouble(HoldReason.UNREACHABLE, -1.0),
    ]
)


@settings(max_examples=400, deadline=None)
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
