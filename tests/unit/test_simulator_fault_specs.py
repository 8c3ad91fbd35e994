"""How faults are written, and which request meets which."""

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pollerd.simulator import KINDS, Fault, parse_fault
from pollerd.simulator.clock import SimClock
from pollerd.simulator.faults import Action, FaultBoard, retry_after_header
from pollerd.simulator.outages import Outages


def board() -> FaultBoard:
    return FaultBoard(SimClock(), Outages(1.0), seed=7)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("500", Fault(kind="500")),
        ("500:0.05", Fault(kind="500", probability=0.05)),
        ("429:0.1:retry_after=5", Fault(kind="429", probability=0.1, retry_after="5")),
        ("503:retry_after=date+30", Fault(kind="503", retry_after="date+30")),
        ("503:1:retry_after=-5", Fault(kind="503", retry_after="-5")),
        ("hang:0.01:seconds=60", Fault(kind="hang", probability=0.01, seconds=60.0)),
        ("reset:next=3", Fault(kind="reset", times=3)),
        ("reset:rest=1.5", Fault(kind="reset", rest=1.5)),
        ("401:from=2:until=5", Fault(kind="401", since=2.0, until=5.0)),
        ("422:ids=17+18:on=read", Fault(kind="422", ids=frozenset({17, 18}), on="read")),
        ("redirect:1:to=http://127.0.0.1:80/", Fault(kind="redirect", to="http://127.0.0.1:80/")),
        ("gzip_bomb:size=1000", Fault(kind="gzip_bomb", size=1000)),
        ("outage:operator=238/01:until=60", Fault(kind="outage", operator=(238, 1), until=60.0)),
        ("404:form=text", Fault(kind="404", form="text")),
        ("404:0.5:by=connection", Fault(kind="404", probability=0.5, by="connection")),
        ("404:0.5:by=60", Fault(kind="404", probability=0.5, by=60.0)),
    ],
)
def test_a_fault_is_read_from_its_text(text: str, fault: Fault) -> None:
    assert parse_fault(text) == fault


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("200", "unknown fault"),
        ("banana:0.5", "unknown fault"),
        ("500:1.5", "between 0 and 1"),
        ("500:-0.1", "between 0 and 1"),
        ("500:often", "could not convert"),
        ("500:colour=red", "unknown key 'colour'"),
        ("500:on=sundays", "use read, send"),
        ("500:ids=a+b", "invalid literal"),
        ("404:form=poem", "vendor, text, empty"),
        ("reset:form=text", "a status takes"),
        ("404:by=moon", "could not convert"),
        ("404:by=0", "seconds above 0"),
        ("404:by=nan", "seconds above 0"),
        ("outage", "which network"),
        ("outage:operator=DK", "MCC/MNC"),
    ],
)
def test_a_wrong_fault_is_refused_by_name(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        parse_fault(text)
    assert repr(text) in str(caught.value)


@given(st.text(max_size=40))
def test_any_text_is_a_fault_or_a_value_error(text: str) -> None:
    try:
        fault = parse_fault(text)
    except ValueError:
        return
    assert fault.kind in KINDS or fault.status is not None


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("5", "5"),
        ("-5", "-5"),
        ("soon", "soon"),
        ("date", "Thu, 01 Jan 1970 00:01:40 GMT"),
        ("date+30", "Thu, 01 Jan 1970 00:02:10 GMT"),
        ("date-100", "Thu, 01 Jan 1970 00:00:00 GMT"),
    ],
)
def test_retry_after_is_sent_as_written_or_as_a_date(text: str, header: str) -> None:
    assert retry_after_header(text, now=100.0) == header


@pytest.mark.parametrize(
    ("fault", "action", "message_id", "elapsed", "concerned"),
    [
        ("500", "read", 1, 0.0, True),
        ("500", "balance", None, 0.0, True),
        ("500:on=read", "balance", None, 0.0, False),
        ("500:ids=1", "read", 1, 0.0, True),
        ("500:ids=1", "read", 2, 0.0, False),
        ("500:ids=1", "balance", None, 0.0, False),
        ("500:from=5", "read", 1, 4.9, False),
        ("500:from=5", "read", 1, 5.0, True),
        ("500:until=5", "read", 1, 5.0, False),
        ("outage:operator=238/1", "read", 1, 0.0, False),
    ],
)
def test_whom_a_fault_concerns(
    fault: str, action: Action, message_id: int | None, elapsed: float, *, concerned: bool
) -> None:
    assert parse_fault(fault).concerns(action, message_id, elapsed) is concerned


def test_the_next_requests_meet_the_fault_and_no_more() -> None:
    faults = board()
    faults.set("500:next=3")
    met = [faults.draw("read", 1) for _ in range(5)]
    assert [fault is not None for fault in met] == [True, True, True, False, False]


def test_a_sequence_is_played_in_the_order_it_was_set() -> None:
    faults = board()
    faults.set("500:next=1", "reset:next=2", "html")
    kinds = [fault.kind for fault in (faults.draw("read", 1) for _ in range(5)) if fault]
    assert kinds == ["500", "reset", "reset", "html", "html"]


def test_probability_is_kept_and_repeatable() -> None:
    def draws() -> list[bool]:
        faults = board()
        faults.set("500:0.2")
        return [faults.draw("read", 1) is not None for _ in range(5000)]

    first = draws()
    assert 0.17 < Counter(first)[True] / 5000 < 0.23
    assert first == draws()


def test_setting_replaces_and_setting_nothing_clears() -> None:
    faults = board()
    faults.set("500")
    faults.set("503")
    assert faults.active == (Fault(kind="503"),)
    faults.set()
    assert faults.draw("read", 1) is None
    assert len(faults.active) == 0


def test_a_wrong_fault_leaves_the_old_ones_in_force() -> None:
    faults = board()
    faults.set("500")
    with pytest.raises(ValueError, match="unknown fault"):
        faults.set("503", "banana")
    assert faults.active == (Fault(kind="500"),)


def test_an_outage_without_end_lasts_until_faults_are_set_again() -> None:
    clock, outages = SimClock(), Outages(1.0)
    faults = FaultBoard(clock, outages, seed=1)
    faults.set("outage:operator=238/01")
    later = clock.now() + 5
    assert outages.delayed(later, 238, 1, 0.5) == math.inf
    assert outages.delayed(later, 238, 2, 0.5) == later
    faults.set()
    assert outages.delayed(later, 238, 1, 0.5) == later
