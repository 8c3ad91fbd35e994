"""The numbers behind the metrics."""

from __future__ import annotations

import pytest

from pollerd.core import diff
from pollerd.core.diff import Result
from pollerd.core.event import Event
from pollerd.core.model import Answer, HoldReason, Message, NotFound, Outcome, Recipient, Rejected, Trouble
from pollerd.status.metrics.meter import LAG_BOUNDS, AccountMeter, CommitCounts, Histogram

OUTCOMES: list[tuple[str, Outcome]] = [
    ("answered", Answer(())),
    ("not_found", NotFound()),
    ("rejected", Rejected("no", "http_422")),
    *((r.value, Trouble(r, "kind", "detail")) for r in HoldReason if r is not HoldReason.REFUSING),
]


@pytest.mark.parametrize(("name", "outcome"), OUTCOMES)
def test_each_outcome_has_a_name_of_its_own(name: str, outcome: Outcome) -> None:
    meter = AccountMeter()
    meter.polled(outcome, 0.2, 0.05)
    assert {found: count for found, count in meter.polls().items() if count} == {name: 1}
    assert set(meter.polls()) == {each for each, _ in OUTCOMES}
    assert (meter.lag.total, meter.requests.total) == (0.2, 0.05)


def test_buckets_are_cumulative_and_a_bound_belongs_to_its_bucket() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (-5.0, 1.0, 1.5, 2.0, 99.0):
        histogram.add(value)
    assert histogram.buckets() == [("1.0", 2.0), ("2.0", 4.0), ("+Inf", 5.0)]
    assert histogram.total == 103.5


def test_a_poll_ahead_of_its_time_counts_as_no_lag() -> None:
    meter = AccountMeter()
    meter.polled(NotFound(), -3.0, 0.1)
    assert meter.lag.total == 0.0
    assert meter.lag.buckets()[0] == (str(LAG_BOUNDS[0]), 1.0)


def test_delay_is_from_the_gateways_time_and_only_where_it_gave_one() -> None:
    """Three recipients: one final, one on its way, one without a time, which was given ours."""
    recipients = (
        Recipient(1, "DELIVERED", 100.0),
        Recipient(2, "ENROUTE", 103.0),
        Recipient(3, "DELIVERED", None),
    )
    before = Message(1, "default", 90.0, 110.0)
    after = Message(1, "default", 90.0, 110.0, recipients=recipients)
    told = diff.bodies(after, diff.diff(before.recipients, recipients), 110.0)
    meter = AccountMeter()
    meter.reported(Result(after, tuple(told)), 110.0)
    assert (meter.delay_final.total, sum(meter.delay_final.counts)) == (10.0, 1)
    assert (meter.delay_interim.total, sum(meter.delay_interim.counts)) == (7.0, 1)


def test_a_copy_does_not_change_any_more() -> None:
    histogram = Histogram((1.0,))
    histogram.add(0.5)
    taken = histogram.copy()
    histogram.add(0.5)
    assert taken.buckets() == [("1.0", 1.0), ("+Inf", 1.0)]


def test_transactions_count_their_events_by_type() -> None:
    meter = CommitCounts()
    meter.committed(3, (Event(1, "message.status", 1, b"{}"), Event(2, "message.status", 2, b"{}")), 0.01)
    meter.committed(1, (Event(3, "message.completed", 1, b"{}"),), 0.02)
    assert (meter.results, dict(meter.events)) == (4, {"message.status": 2, "message.completed": 1})
    assert meter.duration.total == pytest.approx(0.03)
