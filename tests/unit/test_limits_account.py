"""Holds of one account: what begins them, what probes them, what ends them. Time is moved by hand."""

from __future__ import annotations

import pytest

from pollerd.core import event as events
from pollerd.core.model import HoldReason, NotFound, Outcome, Rejected, Trouble
from pollerd.core.ports import Limiter
from pollerd.gateway.limits.account import TROUBLES_BEFORE_HOLD
from tests.unit.limits_kit import (
    FORBIDDEN,
    GOOD,
    SERVER_ERRORS,
    THROTTLED,
    UNAUTHORIZED,
    UNREACHABLE,
    UNREADABLE,
    Bench,
    trouble,
)


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


async def test_a_request_that_is_no_poll_has_its_turn_but_not_while_polling_is_held() -> None:
    bench = Bench()
    assert await bench.limiter.turn()
    assert bench.limiter.delay() > 0.0
    bench.limiter.abandon()
    bench.ask(FORBIDDEN)
    assert not await bench.limiter.turn()


def test_a_hold_reports_who_why_and_until_when() -> None:
    bench = Bench()
    bench.ask(FORBIDDEN)
    (body,) = bench.told
    assert isinstance(body, events.Held)
    assert (body.account, body.reason, body.detail) == ("default", "forbidden", "what happened: forbidden")
    state = bench.states[0]
    assert state.held_since == bench.clock.now()
    assert state.held_until is not None
    assert body.until == events.instant(bench.clock.to_wall(state.held_until))
    assert body.observed_at == events.instant(bench.clock.wall())
    assert 22.5 <= state.held_until - bench.clock.now() <= 30.0


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


REFUSED = Rejected("410: gone", "http_410")


def refusing(restored: bool = False) -> Bench:
    bench = Bench()
    transition = bench.limiter.refuse("http_410", "410 for all")
    assert transition is not None
    bench.told += transition.bodies
    bench.states.append(transition.state)
    if not restored:
        return bench
    bench.clock.move(3600.0)
    return Bench(restored=bench.states[-1], clock=bench.clock)


def test_a_gateway_that_refuses_everything_is_asked_one_by_one_at_growing_intervals() -> None:
    bench = refusing()
    expected = 10.0
    for outcome in (REFUSED, NotFound(), UNREADABLE, UNREACHABLE, SERVER_ERRORS, REFUSED, NotFound(), REFUSED):
        wait = bench.ask(outcome)
        assert 0.75 * expected <= wait <= expected, "one hold, whatever shows itself in it"
        expected = min(300.0, 2 * expected)
    assert bench.types == [events.ACCOUNT_HELD]
    held = bench.limiter.held
    assert held is not None
    assert held.held_detail == "410 for all"
    bench.ask(GOOD)
    assert bench.types == [events.ACCOUNT_HELD, events.ACCOUNT_RECOVERED]
    assert not bench.limiter.trusting


def test_an_answer_to_an_older_request_ends_it_too_and_no_refusal_does() -> None:
    bench = Bench()
    bench.send(3)
    bench.limiter.refuse("http_410", "410 for all")
    bench.report(REFUSED)
    bench.report(NotFound())
    assert bench.limiter.refusing
    bench.report(GOOD)
    assert not bench.limiter.refusing


@pytest.mark.parametrize("restored", [False, True])
def test_after_a_week_it_is_believed_until_something_is_answered(restored: bool) -> None:
    bench = refusing(restored)
    for _ in range(7 * 24):
        assert bench.limiter.expire_hold() is None
        bench.clock.move(3590.0)
    bench.clock.move(7 * 24 * 10.0)
    transition = bench.limiter.expire_hold()
    assert transition is not None
    (body,) = transition.bodies
    assert isinstance(body, events.Recovered)
    assert "believed" in body.detail
    assert transition.state.trusting
    again = Bench(restored=transition.state, clock=bench.clock)
    trusting = [again.limiter.trusting]
    for answer in (REFUSED, GOOD):
        again.ask(answer)
        trusting.append(again.limiter.trusting)
    assert trusting == [True, True, False]
    assert not again.states[-1].trusting, "and that is to be committed"


def test_a_command_ends_it_and_no_other_hold() -> None:
    bench = refusing()
    transition = bench.limiter.resume()
    assert transition is not None
    assert bench.limiter.held is None
    assert bench.limiter.trusting
    assert bench.limiter.resume() is None
    bench.ask(UNAUTHORIZED)
    assert bench.limiter.resume() is None
    assert bench.limiter.refuse("http_410", "410 for all") is None, "one hold at a time"


def test_want_of_rights_is_reported_even_then() -> None:
    bench = refusing()
    bench.ask(UNAUTHORIZED)
    assert bench.types == [events.ACCOUNT_HELD, events.ACCOUNT_HELD]
    assert not bench.limiter.refusing
