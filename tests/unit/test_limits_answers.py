"""Answers to an account's limiter that come late or give another reason, and refusals for being too fast."""

from __future__ import annotations

import pytest

from pollerd.core import event as events
from pollerd.core.model import HoldReason, Trouble
from pollerd.gateway.limits.account import THROTTLES_BEFORE_HOLD, TROUBLES_BEFORE_HOLD
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


def test_another_reason_is_reported_once() -> None:
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
