"""What the log says of an account's messages."""

from __future__ import annotations

import logging

import pytest

from pollerd.core import diff
from pollerd.core.model import GiveUpReason, Message, Recipient
from pollerd.polling.poll_log import MOST_UNKNOWN, Announcer


def test_every_message_given_up_has_a_line_and_the_usual_log_stays_quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="pollerd.polling.poll_log")
    bodies = [
        diff.gave_up(Message(number, "default", 0.0, 0.0, polls=5), GiveUpReason.REJECTED_REQUEST, 60.0)
        for number in (17, 18)
    ]
    Announcer("default").reported(bodies)
    assert [record.getMessage() for record in caplog.records] == [
        f"message {number}: given up (rejected_request) after 5 polls; take it up again with pollerd retry {number}"
        for number in (17, 18)
    ]
    assert {record.levelno for record in caplog.records} == {logging.DEBUG}
    assert {record.__dict__["event"] for record in caplog.records} == {"message_gave_up"}


def test_each_unknown_state_is_named_once_and_so_many_of_them(caplog: pytest.LogCaptureFixture) -> None:
    announcer = Announcer("default")
    message = Message(17, "default", 0.0, 0.0)
    for number in (*range(3 * MOST_UNKNOWN), *range(3 * MOST_UNKNOWN)):
        states = (Recipient(1, f"ODD_{number}"), Recipient(2, "READ"))
        announcer.reported(diff.bodies(message, diff.diff((), states), 0.0))
    told = [record.__dict__["status"] for record in caplog.records]
    assert told == [f"ODD_{number}" for number in range(MOST_UNKNOWN)]
    assert f"it is the {MOST_UNKNOWN}th, no further one is named" in caplog.records[-1].getMessage()
    assert "no further one" not in caplog.records[-2].getMessage()
    assert len(announcer._unknown) == MOST_UNKNOWN
