"""Each code is said in words once, and every place that shows it says the same."""

from __future__ import annotations

import pytest

from pollerd.core import diff, event, history, phrases
from pollerd.core.model import GiveUpReason, HoldReason, Message
from pollerd.polling.poll_log import Announcer
from pollerd.status import sentences
from pollerd.status.document import AccountDocument, HoldDocument
from pollerd.status.timeline import describe, timeline

NOW = 1_764_000_000.0
RENEWAL = "put another token into /etc/pollerd/token"


def test_every_reason_has_its_phrase() -> None:
    assert phrases.HOLDS.keys() == set(HoldReason)
    assert phrases.GIVE_UPS.keys() == set(GiveUpReason)


@pytest.mark.parametrize("reason", list(HoldReason))
def test_a_hold_is_the_same_in_the_log_the_status_and_the_life_of_a_message(
    reason: HoldReason, caplog: pytest.LogCaptureFixture
) -> None:
    cause, step = phrases.hold_cause(reason), phrases.hold_step(reason, "shop", RENEWAL)
    until = "2026-11-22T10:30:43.512Z"
    held = event.Held(account="shop", observed_at=until, reason=reason, detail="HTTP 4xx", until=until)
    Announcer("shop", RENEWAL).transition([held], 0)
    assert f"shop: {cause} (HTTP 4xx); polling is held" in caplog.text
    assert step in caplog.text
    hold = HoldDocument(reason=reason, detail="HTTP 4xx", since=None, until=None)
    account = AccountDocument(
        name="shop", state="held", hold=hold, rate=1.0, rate_limit=1.0, connections=1, asking=0, polls=0,
        polls_per_second_10s=0.0, polls_per_second_60s=0.0, in_memory=0, backlog=0, due=0, late=0, next_poll_at=None,
        held_seconds_total=0.0, credit=None, currency=None, credit_low=False, renewal=RENEWAL,
    )  # fmt: skip
    shown, advice = sentences.hold(account, NOW), sentences.advice(account)
    assert shown is not None
    assert shown.text == f"on hold: {phrases.label(reason)} (HTTP 4xx)"
    assert advice is not None
    assert advice.startswith(step)
    assert shown.text in describe(held).text
    polled = timeline(Message(1, "shop", NOW, NOW, trail=history.met(b"", NOW, reason)), ())[-1]
    assert polled.text == f"polled: {cause}"


def test_a_reason_of_a_newer_version_is_shown_as_it_is() -> None:
    assert phrases.hold("on_strike", "HTTP 499") == "on strike (HTTP 499)"
    assert phrases.hold_cause("on_strike") == "on strike"
    assert phrases.hold_advice("on_strike", "shop", RENEWAL) is None
    assert phrases.give_up("bored") == "bored"


def test_why_a_message_was_given_up() -> None:
    body = diff.gave_up(Message(1, "shop", NOW, NOW), GiveUpReason.NOT_FOUND, NOW)
    assert isinstance(body, event.GaveUp)
    assert describe(body).text == "gave up: not found (the gateway does not know it), never seen"


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("200", "answered"),
        ("404", "404, not known to the gateway (yet)"),
        ("http_410", "HTTP 410"),
        ("connect_timeout", "connect timeout"),
    ],
)
def test_an_answer_by_its_kind(kind: str, text: str) -> None:
    assert phrases.answer(kind) == text
