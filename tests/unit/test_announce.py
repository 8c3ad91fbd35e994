"""What the log says of an account's messages."""

from __future__ import annotations

import logging

import pytest

from pollerd import diff
from pollerd.announce import Announcer
from pollerd.model import GiveUpReason, Message


def test_every_message_given_up_has_a_line_and_the_usual_log_stays_quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="pollerd.announce")
    bodies = [
        diff.gave_up(Message(number, "default", 0.0, 0.0, polls=5), GiveUpReason.REJECTED_REQUEST, 60.0)
        for number in (17, 18)
    ]
    Announcer("default").told(bodies)
    assert [record.getMessage() for record in caplog.records] == [
        f"message {number}: given up (rejected_request) after 5 polls; take it up again with pollerd retry {number}"
        for number in (17, 18)
    ]
    assert {record.levelno for record in caplog.records} == {logging.DEBUG}
    assert {record.__dict__["event"] for record in caplog.records} == {"message_gave_up"}
