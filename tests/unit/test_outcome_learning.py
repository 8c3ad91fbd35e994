"""What a message teaches: each recipient's age counts from its own sending, and only from the hand-over on.

The import is tried with 100,000 ids by: POLLERD_IMPORTED=100000 pytest tests/unit/test_outcome_learning.py
"""

from __future__ import annotations

import os
import random
from statistics import mean
from typing import Any

import pytest

from pollerd.backoff import Adaptive, Settings
from pollerd.core.model import Answer, Message, Outcome, Recipient, State
from pollerd.core.outcome import OutcomeRules

NOW = 1_764_000_000.0
HOUR = 3600.0
SETTINGS = Settings()
NUMBER = 4512345678


class Student(Adaptive):
    """The learner, with a list of what it was shown: (a0, a1, event_age or None where it is pending, submit)."""

    def __init__(self) -> None:
        super().__init__(5, 1, settings=SETTINGS)
        self.shown: list[tuple[float, float, float | None, float]] = []

    def observe(
        self,
        now: float,
        key: Any,
        a0: float,
        a1: float,
        terminal: bool,
        event_age: float | None,
        status: str,
        submit: float,
        base: float,
    ) -> None:
        self.shown.append((a0, a1, event_age, submit))
        super().observe(now, key, a0, a1, terminal, event_age, status, submit, base)


def recipient(status: str = "ENROUTE", time: float | None = None, sent: float | None = None, n: int = 0) -> Recipient:
    return Recipient(NUMBER + n, status, time, country="DK", mcc="238", mnc="01", sent=sent)


def taught(message: Message, *looks: tuple[float, Outcome], taken_at: float = NOW) -> tuple[Student, Message]:
    """A learner and the message after these polls (instant, what was met); it was taken in at `taken_at`."""
    policy = Student()
    rules = OutcomeRules(policy, SETTINGS, random.Random(1))
    message = rules.first(message, taken_at, 0.0)
    for at, outcome in looks:
        message = rules.settle(message, outcome, at, 0.0).message
    return policy, message


def message(sent_at: float = NOW, **more: Any) -> Message:
    return Message(7, "default", sent_at, sent_at, state=State.NEW, **more)


def test_the_age_counts_from_the_gateways_own_time_of_sending() -> None:
    sent = NOW - 90.0
    policy, after = taught(
        message(), (NOW + 3.0, Answer((recipient(sent=sent),))),
        (NOW + 20.0, Answer((recipient("DELIVERED", NOW + 10.0, sent),))),
    )  # fmt: skip
    assert policy.shown == [(90.0, 93.0, None, sent), (93.0, 110.0, 100.0, sent)]
    assert after.sending == sent
    assert after.sent_at == NOW


def test_each_recipient_has_its_own_time_of_sending() -> None:
    both = (recipient("DELIVERED", NOW + 5.0, NOW + 1.0), recipient("DELIVERED", NOW + 306.0, NOW + 301.0, n=1))
    policy, _ = taught(message(), (NOW + 310.0, Answer(both)))
    assert [(age, submit) for _, _, age, submit in policy.shown] == [(4.0, NOW + 1.0), (5.0, NOW + 301.0)]


def test_a_message_is_as_old_as_the_last_recipient_that_it_waits_for() -> None:
    both = (recipient(sent=NOW + 1.0), recipient(sent=NOW + 301.0, n=1))
    _, after = taught(message(), (NOW + 310.0, Answer(both)))
    assert after.sending == NOW + 301.0
    assert after.base == NOW + 301.0


def test_a_gateway_whose_clock_is_an_hour_behind_changes_no_age() -> None:
    hour = -HOUR
    shown = recipient("DELIVERED", NOW + 6.0 + hour, NOW + 1.0 + hour)
    policy, after = taught(message(), (NOW + 10.0, Answer((shown,), ahead=hour)))
    assert policy.shown == [(0.0, 9.0, 5.0, NOW + 1.0)]
    assert after.sending == NOW + 1.0


@pytest.mark.parametrize("sent", [NOW + HOUR, None], ids=["a time ahead", "no time"])
def test_without_a_usable_time_the_hand_over_is_the_sending(sent: float | None) -> None:
    policy, after = taught(message(), (NOW + 4.0, Answer((recipient(sent=sent),))))
    assert policy.shown == [(0.0, 4.0, None, NOW)]
    assert after.sending == NOW


def test_a_scheduled_message_is_sent_at_its_sendtime() -> None:
    sendtime = NOW + 150.0
    delivered = recipient("DELIVERED", sendtime + 4.0)
    policy, after = taught(message(sendtime=sendtime), (sendtime + 6.0, Answer((delivered,), sendtime=sendtime)))
    assert policy.shown == [(0.0, 6.0, 4.0, sendtime)]
    assert after.sending == sendtime


def test_nothing_is_learned_from_what_ended_before_the_hand_over() -> None:
    policy, after = taught(message(), (NOW + 2.0, Answer((recipient("DELIVERED", NOW - HOUR, NOW - 2 * HOUR),))))
    assert policy.shown == []
    assert after.state is State.FINISHED


def test_nor_where_nobody_knows_whether_it_had() -> None:
    policy, _ = taught(message(), (NOW + 2.0, Answer((recipient("DELIVERED", None, NOW - 2 * HOUR),))))
    assert policy.shown == []


def test_an_interval_begins_at_the_hand_over() -> None:
    late = NOW - 600.0
    policy, _ = taught(message(late), (NOW + 5.0, Answer((recipient(),))), (NOW + 9.0, Answer((recipient(),))))
    assert [shown[:2] for shown in policy.shown] == [(600.0, 605.0), (605.0, 609.0)]


def test_what_ended_after_the_hand_over_is_learned_with_its_whole_age() -> None:
    policy, _ = taught(message(NOW - 600.0), (NOW + 9.0, Answer((recipient("DELIVERED", NOW + 4.0, NOW - 600.0),))))
    assert policy.shown == [(600.0, 609.0, 604.0, NOW - 600.0)]


def test_the_deadline_counts_from_the_sending() -> None:
    rules = OutcomeRules(Adaptive(5, 1, settings=SETTINGS), SETTINGS, random.Random(1))
    old = rules.first(message(), NOW, 0.0)
    answer = Answer((recipient(sent=NOW - SETTINGS.give_up_after),))
    for at in (1.0, 500.0, 1000.0):
        old = rules.settle(old, answer, NOW + at, 0.0).message
    assert old.state is State.GAVE_UP


IMPORTED = int(os.environ.get("POLLERD_IMPORTED", "10000"))


def test_imported_ids_change_nothing_for_fresh_messages() -> None:
    with_import, without = Adaptive(5, 1, settings=SETTINGS), Adaptive(5, 1, settings=SETTINGS)
    rules = OutcomeRules(with_import, SETTINGS, random.Random(1))
    for number in range(IMPORTED):
        at = NOW + number * 0.01
        # Handed over without `sent_at`, as a plain INSERT does: it counts as sent now.
        old = rules.first(Message(number + 1, "default", at, at, state=State.NEW), at, 0.0)
        age = 4 * HOUR + number % 997
        delivered = recipient("DELIVERED", at - age + 7.0, at - age)
        assert rules.settle(old, Answer((delivered,)), at + 1.0, 0.0).message.state is State.FINISHED
    start = NOW + IMPORTED * 0.01 + 10.0
    fresh, twin = _followed(with_import, start), _followed(without, start)
    assert with_import.explain().events == pytest.approx(without.explain().events, rel=0.01)
    assert mean(polls for polls, _ in fresh[100:]) == pytest.approx(mean(polls for polls, _ in twin[100:]), rel=0.1)
    assert mean(late for _, late in fresh) <= mean(late for _, late in twin) * 1.1
    assert max(late for _, late in fresh) <= max(late for _, late in twin) * 1.5


def _followed(policy: Adaptive, start: float) -> list[tuple[int, float]]:
    """240 fresh messages, ten seconds apart: how often each was polled, and how late its end was noticed."""
    rules, rng, found = OutcomeRules(policy, SETTINGS, random.Random(2)), random.Random(5), []
    for i in range(240):
        sent = start + 10.0 * i
        end = sent + 5.0 * rng.lognormvariate(0.0, 0.7)
        one = rules.first(Message(10**6 + i, "default", sent, sent, state=State.NEW), sent, 0.0)
        while one.state is not State.FINISHED:
            at = one.next_poll_at
            shown = recipient("DELIVERED", end, sent) if at >= end else recipient(sent=sent)
            one = rules.settle(one, Answer((shown,)), at, 0.0).message
        policy.maintain(at)
        found.append((one.polls, at - end))
    return found
