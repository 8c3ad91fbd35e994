"""When connections are no longer kept, and what a second request costs the pace."""

from __future__ import annotations

import asyncio

import pytest

from pollerd.core.model import HoldReason
from pollerd.gateway.limits.keepalive import LONGEST_PAUSE, MOST_REPEATS, PAUSE, RECENT, Keeping
from tests.unit.limits_kit import GOOD, Bench, trouble


def repeat(keeping: Keeping, times: int, now: float, between: int = 0) -> float | None:
    """So many requests that are made again, with others between them; what the last one led to."""
    pause = None
    for _ in range(times):
        for _ in range(between):
            keeping.asked()
        keeping.asked()
        pause = keeping.repeated(now)
    return pause


def test_a_tenth_is_put_up_with_and_more_is_not() -> None:
    keeping = Keeping(0.0)
    assert repeat(keeping, 200, 0.0, between=RECENT // MOST_REPEATS - 1) is None, "one of ten, for ever"
    assert keeping.on(0.0)
    assert keeping.total == 200
    assert repeat(Keeping(0.0), MOST_REPEATS, 0.0) is None, "ten in a row may be one incident"
    assert repeat(Keeping(0.0), MOST_REPEATS + 1, 0.0) == PAUSE
    assert repeat(Keeping(0.0), MOST_REPEATS + 1, 0.0, between=8) == PAUSE, "one of nine"


def test_keeping_is_tried_again_ever_more_seldom() -> None:
    keeping, now, pauses = Keeping(0.0), 0.0, []
    for _ in range(10):
        pause = repeat(keeping, MOST_REPEATS + 1, now)
        assert pause is not None
        assert not keeping.on(now + pause - 1.0)
        assert repeat(keeping, MOST_REPEATS + 1, now + 1.0) is None, "connections of before: nothing new"
        pauses.append(pause)
        now += pause
        assert keeping.on(now)
    assert pauses[:3] == [PAUSE, 2 * PAUSE, 4 * PAUSE]
    assert pauses[-1] == LONGEST_PAUSE


def test_a_trial_that_goes_well_forgives() -> None:
    keeping = Keeping(0.0)
    assert repeat(keeping, MOST_REPEATS + 1, 0.0) == PAUSE
    assert repeat(keeping, MOST_REPEATS + 1, PAUSE) == 2 * PAUSE
    assert repeat(keeping, MOST_REPEATS + 1, 20 * PAUSE) == PAUSE


async def test_a_second_request_goes_first_and_is_counted() -> None:
    """Two requests are to go out again while the bucket is empty: whoever asks then waits behind both."""
    bench = Bench(rate=20.0)
    bench.send(1)
    assert bench.limiter.delay() == pytest.approx(0.05)
    again = [asyncio.ensure_future(bench.limiter.again()) for _ in range(2)]
    await asyncio.sleep(0)
    assert bench.limiter.delay() == pytest.approx(0.15)
    assert await asyncio.gather(*again) == [True, True]
    assert bench.limiter.repeats == 2


async def test_none_goes_out_while_the_account_is_held() -> None:
    bench = Bench(rate=20.0)
    bench.send(2)
    bench.report(trouble(HoldReason.FORBIDDEN))
    assert not await bench.limiter.again()
    assert bench.limiter.repeats == 0


@pytest.mark.parametrize("over", [False, True])
async def test_none_goes_out_when_a_hold_begins_meanwhile(over: bool) -> None:
    """Also not when that hold is over by then: its end gave the pace back nothing."""
    bench = Bench(rate=20.0)
    bench.send(2)
    again = asyncio.ensure_future(bench.limiter.again())
    await asyncio.sleep(0)
    for _ in range(2):
        bench.report(trouble(HoldReason.FORBIDDEN))
    assert bench.limiter.held is not None
    if over:
        bench.limiter.credentials_changed()
        bench.ask(GOOD)
        assert bench.limiter.held is None
    assert not await again
