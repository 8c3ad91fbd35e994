"""How long a receiver asks to be left alone, whatever it writes."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from pollerd.base.retryafter import MOST_RETRY_AFTER
from pollerd.outputs.webhook.post import asked_pause

NOW = 1764000000.0  # Mon, 24 Nov 2025 16:00:00 GMT


@pytest.mark.parametrize(
    ("sentence", "status", "value", "expected"),
    [
        ("seconds are seconds", 429, "120", 120.0),
        ("blanks around them do no harm", 503, " 7 ", 7.0),
        ("a date is counted from now", 503, "Mon, 24 Nov 2025 16:01:30 GMT", 90.0),
        ("a date in the past asks for nothing", 503, "Mon, 24 Nov 2025 15:00:00 GMT", 0.0),
        ("more than an hour is an hour", 429, "86400", MOST_RETRY_AFTER),
        ("a number beyond all reason is an hour", 429, "9" * 400, MOST_RETRY_AFTER),
        ("a date far away is an hour", 503, "Mon, 24 Nov 2036 16:00:00 GMT", MOST_RETRY_AFTER),
        ("nothing asked is nothing", 503, None, 0.0),
        ("nonsense is nothing", 503, "soon", 0.0),
        ("a negative number is nothing", 503, "-5", 0.0),
        ("other answers do not ask", 500, "120", 0.0),
        ("nor does success", 200, "120", 0.0),
    ],
)
def test_asked(sentence: str, status: int, value: str | None, expected: float) -> None:
    headers = {} if value is None else {"Retry-After": value}
    assert asked_pause(status, headers, NOW) == expected, sentence


@pytest.fixture
def copenhagen(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Copenhagen")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("copenhagen")
def test_a_date_without_a_zone_is_utc_wherever_the_machine_stands() -> None:
    assert asked_pause(503, {"Retry-After": "Mon, 24 Nov 2025 16:01:30 -0000"}, NOW) == 90.0


def test_a_date_is_counted_from_the_answers_own() -> None:
    """On a machine whose clock is an hour wrong it means the same."""
    headers = {"Retry-After": "Mon, 24 Nov 2025 16:01:30 GMT", "Date": "Mon, 24 Nov 2025 16:00:00 GMT"}
    assert asked_pause(503, headers, NOW + 3600) == 90.0
