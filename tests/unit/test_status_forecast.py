"""When the backlog is gone: a table of loads, each with what is foretold and said."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pollerd.status import sentences
from pollerd.status.forecast import LOOKING_AHEAD, Load, forecast

NOON = time.mktime((2026, 11, 22, 12, 0, 0, 0, 0, -1))

CASES = [
    ("nothing to do", Load(0, 0, 0.0, 5.0, 10.0), "idle", "nothing to do"),
    ("half of the limit is asked for", Load(3, 40, 1.0, 5.0, 10.0), "keeps_up", "asks for 50% of the limit"),
    ("a handful that is due is no backlog", Load(20, 40, 0.0, 5.0, 10.0), "keeps_up", "0% of the limit"),
    ("9,000 to go with 5 a second to spare: half an hour", Load(9000, 9000, 1.0, 5.0, 10.0), "drains", "gone at 12:30"),
    ("more arrives than may be asked", Load(100, 10**6, 2.5, 5.0, 10.0), "overload", "raise it to 14/s or expect"),
    ("exactly the limit leaves nothing to spare", Load(100, 100, 2.0, 5.0, 10.0), "overload", "raise it to 11/s"),
    ("a burst that the limit let through", Load(0, 20, 20.0, 5.0, 10.0), "keeps_up", "nothing waits"),
    ("a hold stops everything", Load(9000, 9000, 1.0, 5.0, 10.0, held_for=60.0), "held", "gone 30 min after it"),
    ("a hold without a backlog", Load(0, 10, 1.0, 5.0, 10.0, held_for=60.0), "held", "until the hold is over"),
    ("nobody works on it", Load(5, 10, 1.0, 5.0, 10.0, running=False), "stopped", "pollerd run"),
]


@pytest.mark.parametrize(("sentence", "load", "kind", "text"), CASES, ids=[case[0] for case in CASES])
def test_the_forecast(sentence: str, load: Load, kind: str, text: str) -> None:
    found = forecast(load)
    assert found.kind == kind, sentence
    assert text in sentences.outlook(found, NOON).text, sentence


def test_an_overload_is_as_late_as_what_gathers_in_an_hour() -> None:
    found = forecast(Load(backlog=600, pending=10**6, arrivals=3.0, polls=5.0, rate=10.0))
    assert found.delay == pytest.approx((600 + 5.0 * LOOKING_AHEAD) / 10.0)
    assert found.needed_rate == 17.0
    assert "expect 31 min delay" in sentences.outlook(found, NOON).text


def test_no_more_can_wait_than_is_pending() -> None:
    found = forecast(Load(backlog=30, pending=50, arrivals=0.1, polls=200.0, rate=10.0))
    assert found.kind == "overload"
    assert found.delay == pytest.approx((50 + 0.1 * LOOKING_AHEAD) / 10.0)


@given(
    backlog=st.integers(0, 10**7),
    arrivals=st.floats(0, 1e4),
    polls=st.floats(0, 100),
    rate=st.just(0.0) | st.floats(0.01, 1e4),
)
def test_whatever_the_load_the_words_come(backlog: int, arrivals: float, polls: float, rate: float) -> None:
    found = forecast(Load(backlog, backlog, arrivals, polls, rate))
    assert sentences.outlook(found, NOON).text
    if found.kind == "drains":
        assert found.drained_in is not None
        assert found.drained_in * (rate - found.demand) == pytest.approx(backlog)
        assert rate > found.demand
    if found.kind == "overload" and found.needed_rate is not None:
        assert found.needed_rate >= found.demand >= rate
