"""A message's life in order, in words."""

from __future__ import annotations

import msgspec
import pytest

from pollerd.core import diff, history
from pollerd.core import event as events
from pollerd.core.diff import Change, Diff
from pollerd.core.model import GiveUpReason, HoldReason, Message, Recipient, State
from pollerd.status import timeline as life

SENT = 1_764_000_000.0


def made(*recipients: Recipient, **values: object) -> Message:
    message = Message(17, "default", SENT, SENT + 60, recipients=recipients, polls=3)
    return msgspec.structs.replace(message, **values)


def logged(*bodies: events.Body) -> list[events.Event]:
    return [events.Event(n, events.event_type(body), 17, events.encode(body)) for n, body in enumerate(bodies, 1)]


def test_everything_comes_in_the_order_of_time() -> None:
    before = Recipient(4512345678, "ENROUTE", SENT + 1)
    after = Recipient(4512345678, "UNDELIVERABLE", SENT + 8, code="0x1010")
    kept = history.met(b"", SENT + 2, history.NOT_FOUND)
    kept = history.seen(kept, SENT + 5, "ENROUTE", 1)
    kept = history.met(kept, SENT + 7, HoldReason.UNREACHABLE)
    kept = history.seen(kept, SENT + 10, "UNDELIVERABLE", 0)
    message = made(after, trail=kept, state=State.FINISHED)
    log = logged(
        *diff.bodies(made(before), Diff((before,), (Change(before, None),)), SENT + 5),
        *diff.bodies(message, Diff((after,), (Change(after, "ENROUTE"),)), SENT + 10),
    )
    found = life.timeline(message, log, lambda number: f"+{number}")
    assert [(round(entry.at - SENT), entry.kind) for entry in found] == [
        (0, "sent"),
        (1, "state"),
        (2, "poll"),
        (5, "poll"),
        (7, "poll"),
        (8, "state"),
        (10, "poll"),
        (10, "end"),
    ]
    texts = [entry.text for entry in found]
    assert texts[1] == "+4512345678: ENROUTE (known 4 s later)"
    assert "404" in texts[2]
    assert "could not be reached" in texts[4]
    assert texts[5].startswith("+4512345678: ENROUTE → UNDELIVERABLE, 0x1010: unknown subscriber")
    assert texts[7].startswith("complete after 10 s and 3 polls: 1 UNDELIVERABLE")
    assert life.polls_not_kept(message) == 0
    assert life.polls_not_kept(made(after, trail=kept, polls=20)) == 17


def test_sent_comes_first_even_when_states_are_older_than_the_hand_over() -> None:
    early = Recipient(4512345678, "DELIVERED", SENT - 40)
    message = made(early, sendtime=SENT - 60, state=State.FINISHED)
    found = life.timeline(message, logged(*diff.bodies(message, Diff((early,), (Change(early, None),)), SENT + 5)))
    assert [entry.kind for entry in found] == ["sent", "state", "end"]


@pytest.mark.parametrize(("ahead", "told"), [(None, False), (-60.0, False), (2.0, False), (3600.0, True)])
def test_scheduled_is_what_was_put_off(ahead: float | None, told: bool) -> None:
    message = made(sendtime=None if ahead is None else SENT + ahead)
    assert (life.scheduled(message) is not None) is told
    assert (len(life.timeline(message, [])) == 2) is told


def test_many_recipients_of_one_moment_are_one_entry() -> None:
    crowd = tuple(Recipient(4500000000 + n, "DELIVERED", SENT + n) for n in range(500))
    message = made(*crowd, trail=history.seen(b"", SENT + 600, "DELIVERED", 12))
    log = logged(*diff.bodies(message, Diff(crowd, tuple(Change(r, None) for r in crowd)), SENT + 600))
    found = life.timeline(message, log)
    assert [entry.kind for entry in found] == ["sent", "state", "poll", "end"]
    assert found[1].text == "500 recipients: DELIVERED (known 10 min later at most)"
    assert found[2].text == "polled: 12 of 500 without a final state"


def test_what_was_given_up_says_why() -> None:
    message = made(state=State.GAVE_UP)
    found = life.timeline(message, logged(diff.gave_up(message, GiveUpReason.NOT_FOUND, SENT + 900)))
    assert found[-1].text == "gave up: not found (the gateway does not know it), never seen"
    assert life.deadline(message, 3600.0, 9000.0) is None


def test_an_event_of_a_newer_version_is_left_out() -> None:
    assert len(life.timeline(made(), [events.Event(1, "message.sung", 17, b'{"type":"message.sung"}')])) == 1


@pytest.mark.parametrize(
    ("values", "ends"),
    [
        ({}, 9000.0),
        ({"seen_at": SENT + 2}, 3600.0),
        ({"seen_at": SENT + 2, "validity": 7200.0}, 7200.0),
        ({"seen_at": SENT + 2, "sendtime": SENT + 100}, 3700.0),
        ({"sendtime": SENT + 100}, 3700.0),
    ],
)
def test_when_it_would_be_given_up(values: dict[str, object], ends: float) -> None:
    assert life.deadline(made(**values), 3600.0, 9000.0) == SENT + ends


def test_exceptions_are_what_is_pending_before_what_failed() -> None:
    states = ("DELIVERED", "EXPIRED", "ENROUTE", "ACCEPTED")
    found = life.exceptions([Recipient(n, state) for n, state in enumerate(states)])
    assert [item.status for item in found] == ["ENROUTE", "EXPIRED"]
