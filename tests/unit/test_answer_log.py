"""What the log says of damaged answers: once a message, bounded in lines and in memory."""

from __future__ import annotations

import logging

import pytest

from pollerd.core.model import Answer, Recipient
from pollerd.gateway.answerlog import DAMAGED_KNOWN, DAMAGED_NAMED, DAMAGED_QUIET, AnswerLog

ENROUTE = Recipient(4587654321, "ENROUTE")
NAMELESS = Recipient(0, "DELIVERED")
START = "account default: message 17: in the gateway's answer this cannot be used"
END = "all the rest is reported"
LOST = Answer((ENROUTE, NAMELESS), unusable=(("msisdn", 1),))


class Log:
    """An AnswerLog, its clock, and the warnings that it gave."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog
        self.now = 0.0
        self.log = AnswerLog("default", lambda: self.now)

    @property
    def warnings(self) -> list[str]:
        return [record.getMessage() for record in self._caplog.records if record.levelno == logging.WARNING]


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Log:
    caplog.set_level(logging.DEBUG, logger="pollerd.gateway")
    return Log(caplog)


def test_a_damaged_answer_is_reported_once_a_message_and_says_what_is_lost(
    log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(5):
        log.log.damaged(17, LOST)
    nameless = "the recipient without a usable number counts by its state, no event names it"
    assert log.warnings == [f"{START}: msisdn (in one place); {nameless}; {END}"]
    (record,) = caplog.records
    assert (record.__dict__["event"], record.__dict__["fields"]) == ("answer_damaged", {"msisdn": 1})
    assert (record.__dict__["recipients"], record.__dict__["unidentified"]) == (2, 1)
    worse = Answer((ENROUTE, NAMELESS, NAMELESS), unusable=(("dsntime", 2), ("msisdn", 2)))
    for _ in range(5):
        log.log.damaged(17, worse)
    nameless = "the 2 recipients without a usable number count by their states, no event names them"
    assert log.warnings[1:] == [f"{START}: dsntime (in 2 places), msisdn (in 2 places); {nameless}; {END}"]


def test_a_gateway_that_damages_all_answers_fills_neither_log_nor_memory(log: Log) -> None:
    for number in range(3 * DAMAGED_KNOWN):
        log.log.damaged(number, LOST)
    assert len(log.warnings) == DAMAGED_NAMED
    for hour in range(1, 3 * DAMAGED_KNOWN // DAMAGED_NAMED):
        log.now = hour * DAMAGED_QUIET
        for number in range(DAMAGED_NAMED + 2):
            log.log.damaged(10_000 + hour * 100 + number, LOST)
    assert len(log.warnings) == 3 * DAMAGED_KNOWN
    assert "(and 2 times more since it was last logged)" in log.warnings[-DAMAGED_NAMED]
    assert len(log.log._damaged) == DAMAGED_KNOWN
