"""When a message is overdue, and what is reported then: once, by the message's own time, only while it is pending."""

from __future__ import annotations

import random

import msgspec
import pytest

from pollerd.backoff import Exponential, Settings
from pollerd.core import event as events
from pollerd.core import overdue
from pollerd.core.model import (
    UNIDENTIFIED,
    Answer,
    HoldReason,
    Message,
    NotFound,
    Outcome,
    Recipient,
    Rejected,
    State,
    Trouble,
)
from pollerd.core.outcome import OutcomeRules

NOW = 1_764_000_000.0
AFTER = 600.0
WAITS = Recipient(4512345678, "ENROUTE")
ENDED = Recipient(4587654321, "DELIVERED")
NAMELESS = Recipient(UNIDENTIFIED, "BUFFERED")


def rules(after: float | None = AFTER) -> OutcomeRules:
    return OutcomeRules(Exponential(Settings(), 1), Settings(), random.Random(1), overdue_after=after)


def planned(sent_at: float = NOW, after: float | None = AFTER, **more: object) -> Message:
    return rules(after).first(Message(1, "default", sent_at, sent_at, state=State.NEW, **more), NOW, 0.0)  # type: ignore[arg-type]


def asked(message: Message, outcome: Outcome, now: float) -> tuple[Message, list[events.Overdue]]:
    """The message after a poll, and what was reported of it."""
    result = rules().settle(message, outcome, now, 0.0)
    return result.message, [body for body in result.bodies if isinstance(body, events.Overdue)]


def seen(*recipients: Recipient, **more: object) -> Answer:
    return Answer(recipients, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("why", "message", "due"),
    [
        ("by its account", planned(), NOW + AFTER),
        ("nobody wants to know", planned(after=None), None),
        ("its own goes first", planned(overdue_after=30.0), NOW + 30),
        ("its own, where the account has none", planned(after=None, overdue_after=30.0), NOW + 30),
        ("never, by its own word", planned(overdue_after=0.0), None),
        ("from its own time of sending", planned(NOW - 100), NOW + 500),
        ("to be sent later", planned(sendtime=NOW + 3600), NOW + 3600 + AFTER),
        ("handed over later than that: it is asked about first", planned(NOW - 86400), NOW + AFTER),
    ],
)
def test_when_it_is_due(why: str, message: Message, due: float | None) -> None:
    assert message.overdue_at == due, why


@pytest.mark.parametrize(
    ("why", "outcome", "told"),
    [
        ("still on its way", seen(WAITS), (1, [(4512345678, "ENROUTE")])),
        ("one of three", seen(ENDED, WAITS, ENDED), (1, [(4512345678, "ENROUTE")])),
        ("no usable number", seen(NAMELESS), (1, [(None, "BUFFERED")])),
        ("no state at all", seen(Recipient(4512345678, "")), (1, [(4512345678, "UNKNOWN")])),
        ("seen without recipients", seen(), (0, [])),
        ("never seen", NotFound(), (None, [])),
        ("refused", Rejected("bad argument", "http_400"), (None, [])),
        ("ended by now", seen(ENDED), None),
        ("a failure says nothing", Trouble(HoldReason.UNREACHABLE, "timeout", ""), None),
    ],
)
def test_what_an_answer_after_its_time_means(
    why: str, outcome: Outcome, told: tuple[int | None, list[tuple[int | None, str]]] | None
) -> None:
    late, wanted = NOW + AFTER, [] if told is None else [told]
    message, early = asked(planned(), outcome, late - 1)
    assert early == [], why
    # What has ended is not polled again; here it ends late.
    message, found = asked(message if message.state is State.PENDING else planned(), outcome, late)
    assert [(body.pending, [(r.msisdn, r.status) for r in body.recipients]) for body in found] == wanted, why
    assert message.overdue is bool(told)
    assert told is None or asked(message, outcome, late + 60)[1] == [], "once"


def test_the_time_of_sending_becomes_known_and_moves_it() -> None:
    later = msgspec.structs.replace(WAITS, sent=NOW + 50)
    message, _ = asked(planned(), seen(later), NOW + 60)
    assert message.overdue_at == NOW + 50 + AFTER
    earlier = msgspec.structs.replace(WAITS, sent=NOW - 2 * AFTER)
    message, told = asked(planned(), seen(earlier), NOW + 5)
    assert len(told) == 1, "it was sent long before it was handed over"


def test_imported_it_is_reported_by_its_first_answer() -> None:
    message = planned(NOW - 86400)
    assert not overdue.is_due(message, NOW + 1)
    assert len(asked(message, seen(WAITS), NOW + 1)[1]) == 1
    assert asked(message, seen(ENDED), NOW + 1)[1] == []


def test_given_up_in_the_same_moment_it_is_not_reported_as_overdue_as_well() -> None:
    message = msgspec.structs.replace(planned(), polls=9, first_poll_at=NOW, seen_at=NOW, recipients=(WAITS,))
    result = rules().settle(message, seen(WAITS), NOW + 30 * 86400, 0.0)
    assert [body.__struct_config__.tag for body in result.bodies] == ["message.gave_up"]


def test_taken_up_again_only_what_was_never_reported_is_reported() -> None:
    for told in (False, True):
        given_up = msgspec.structs.replace(planned(), state=State.GAVE_UP, overdue=told)
        again = rules().again(given_up, NOW + 86400, 0.0)
        assert len(asked(again, seen(WAITS), NOW + 86401)[1]) == (not told)


def test_ten_thousand_are_counted_and_a_hundred_named() -> None:
    many = tuple(Recipient(4500000000 + n, "ENROUTE") for n in range(10_000))
    _, told = asked(planned(), seen(*many), NOW + AFTER)
    assert (told[0].pending, len(told[0].recipients)) == (10_000, events.OVERDUE_NAMED)
    assert len(events.encode(told[0])) < 8192
