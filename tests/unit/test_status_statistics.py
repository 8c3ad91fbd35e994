"""What became of messages: counted by country, hour and delivery time, and kept over a restart."""

from __future__ import annotations

import pytest

from pollerd.core import diff, history
from pollerd.core.diff import Result
from pollerd.core.model import HoldReason, Message, Recipient
from pollerd.status import histogram
from pollerd.status.builder import group_by_age
from pollerd.status.snapshot import RateHistory
from pollerd.status.statistics import Statistics

NOW = 1_764_000_000.0


def told(status: str, *, after: float, seen: float, country: str = "DK", timed: bool = True) -> tuple[Result, float]:
    """A recipient reached `status` so many seconds after sending, and was seen so many seconds after that."""
    recipient = Recipient(4512345678, status, NOW + after if timed else None, country=country)
    message = Message(1, "default", NOW, NOW, recipients=(recipient,))
    now = NOW + after + seen
    bodies = diff.bodies(message, diff.Diff((recipient,), (diff.Change(recipient, None),)), now)
    return Result(message, tuple(bodies)), now


def test_states_are_counted_by_country_with_delivery_times() -> None:
    counted = Statistics(NOW)
    for after in range(1, 100):
        counted.count(*told("DELIVERED", after=after, seen=3))
    counted.count(*told("UNDELIVERABLE", after=5, seen=3))
    counted.count(*told("DELIVERED", after=5, seen=3, country="SE"))
    report = counted.report(NOW)
    assert report.seen == 101
    assert report.reached == {"DELIVERED": 100, "UNDELIVERABLE": 1}
    denmark, sweden = report.countries
    assert (denmark.country, denmark.states) == ("DK", {"DELIVERED": 99, "UNDELIVERABLE": 1})
    assert (sweden.country, sweden.states) == ("SE", {"DELIVERED": 1})
    assert denmark.median == pytest.approx(50, rel=0.15)
    assert denmark.p95 == pytest.approx(95, rel=0.15)
    assert sum(denmark.times) == 99


def test_how_late_we_are_is_reported_of_the_last_hours_and_of_times_that_the_gateway_gave() -> None:
    counted = Statistics(NOW)
    for _ in range(10):
        counted.count(*told("DELIVERED", after=5, seen=4))
    counted.count(*told("DELIVERED", after=5, seen=4000, timed=False))
    found = counted.report(NOW).detection
    assert found is not None
    assert found.count == 10
    assert found.median == pytest.approx(4, rel=0.15)
    assert counted.report(NOW + 3 * 3600).detection is None


def test_hours_older_than_two_days_are_forgotten() -> None:
    counted = Statistics(NOW)
    counted.count(*told("DELIVERED", after=5, seen=1))
    counted.count(*told("DELIVERED", after=49 * 3600, seen=1))
    assert len(counted.report(NOW + 49 * 3600).hours) == 1


def test_a_snapshot_outlives_a_restart_and_rubbish_does_no_harm() -> None:
    counted = Statistics(NOW)
    counted.count(*told("DELIVERED", after=5, seen=1))
    again = Statistics(NOW + 999)
    again.restore(counted.snapshot())
    assert again.report(NOW) == counted.report(NOW)
    for rubbish in (b"", b"\x00", b"{}", b"\x81\xa7version\x01"):
        fresh = Statistics(NOW)
        fresh.restore(rubbish)
        assert fresh.report(NOW).seen == 0


def test_what_a_gateway_invents_takes_no_more_memory() -> None:
    counted = Statistics(NOW)
    for number in range(1000):
        counted.count(*told(f"STATE{number}", after=1, seen=1, country=f"X{number}"))
    counted.count(*told("DELIVERED", after=1, seen=1))
    reached = counted.report(NOW).reached
    assert len(reached) <= 42
    assert (sum(reached.values()), reached["DELIVERED"], reached["other states"]) == (1001, 1, 960)
    many = Statistics(NOW)
    for number in range(1000):
        many.count(*told("DELIVERED", after=1, seen=1, country=f"X{number}"))
    countries = many.report(NOW).countries
    assert len(countries) <= 301
    assert sum(country.states["DELIVERED"] for country in countries) == 1000


def test_quantiles_lie_between_the_bounds_of_their_bin() -> None:
    counts = histogram.empty()
    assert histogram.quantile(counts, 0.5) is None
    counts[histogram.bin_of(1e9)] += 1
    assert histogram.quantile(counts, 0.5) is not None
    counts = histogram.empty()
    for _ in range(7):
        counts[histogram.bin_of(10.0)] += 1
    for share in (0.01, 0.5, 1.0):
        assert 8.0 <= (histogram.quantile(counts, share) or 0.0) <= 12.5
    assert histogram.gathered(counts, (2.0, 20.0)) == [0, 7, 0]


def test_pending_messages_fall_into_groups_of_age() -> None:
    groups = group_by_age([(NOW - 30, 3), (NOW - 7200, 4), (NOW - 10 * 86400, 5)], 15.0, NOW)
    assert [(group.up_to, group.count) for group in groups if group.count] == [(60.0, 3), (7200.0, 4), (None, 5)]


def test_the_history_has_polls_by_step_and_arrivals_over_minutes() -> None:
    rates = RateHistory()
    for second in range(361):
        rates.count(NOW + second, second, 10 * second, {"default": 2 * second})
    assert [step.polls for step in rates.throughput()] == pytest.approx([10.0] * 24)
    assert rates.arrivals("default", 720, 360.0) == pytest.approx(2.0)
    assert rates.arrivals("other", 0, 360.0) == 0.0


def test_a_burst_soon_after_the_start_is_no_rate() -> None:
    rates = RateHistory()
    rates.count(NOW, 0.0, 0, {})
    assert rates.arrivals("default", 60, 2.0) == pytest.approx(60 / 300)


def test_the_trail_keeps_the_last_polls_and_folds_repeated_failures() -> None:
    kept = b""
    for number in range(20):
        kept = history.seen(kept, NOW + number, "ENROUTE", 1)
    assert [poll.at for poll in history.polls(kept)] == [NOW + number for number in range(4, 20)]
    assert len(kept) < 200
    kept = history.met(b"", NOW, history.NOT_FOUND)
    kept = history.met(kept, NOW + 1.5, history.NOT_FOUND)
    for second in range(2, 9):
        kept = history.met(kept, NOW + second, HoldReason.UNREACHABLE)
    kept = history.seen(kept, NOW + 9, "PAUSED", 70_000)
    polls = history.polls(kept)
    assert [poll.answer for poll in polls] == ["404", "404", "unreachable", "another state"]
    assert [poll.at - NOW for poll in polls] == [0.0, 1.5, 8.0, 9.0]
    assert [poll.failed for poll in polls] == [False, False, True, False]
    assert polls[-1].pending == 65535


@pytest.mark.parametrize("kept", [b"", b"x", b"\xff" * 8, b"\x00" * 129])
def test_a_damaged_trail_is_no_error(kept: bytes) -> None:
    assert len(history.polls(kept)) == len(kept) // 8
