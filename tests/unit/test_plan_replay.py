"""A replay of past messages, against sums that can be done by hand."""

from __future__ import annotations

from random import Random

import pytest

from pollerd.backoff import Adaptive, Exponential, Key, Settings
from pollerd.cli.plans.replay import RECIPIENTS, Ending, Past, equal, pasts, replay
from pollerd.cli.plans.schedule import Yield
from pollerd.core.model import Message, Recipient, State

NOW = 1_764_000_000.0
TEN = Settings(first_poll_after=10.0, min_interval=10.0, max_interval=10.0, factor=1.0)


def one(start: float, *ages: float, key: Key = "238/01") -> Past:
    return Past(start, tuple(Ending(age, "DELIVERED", key) for age in ages))


def busy(n: int) -> list[Past]:
    """Messages a second apart, that end a minute or so after they were sent."""
    rng = Random(5)
    return [one(NOW + i, 60.0 * rng.lognormvariate(0.0, 0.3)) for i in range(n)]


@pytest.mark.parametrize(
    ("sentence", "past", "polls", "delay"),
    [
        ("what ended before the first poll is found by it", [one(NOW, 4.0)], 1.0, 6.0),
        ("what ends in the instant of a poll is found at once", [one(NOW, 10.0)], 1.0, 0.0),
        ("recipients are found by the same poll", [one(NOW, 4.0, 8.0)], 1.0, 4.0),
        ("messages do not get in each other's way", [one(NOW, 4.0), one(NOW + 3, 8.0)], 1.0, 4.0),
        ("nothing costs nothing", [], 0.0, 0.0),
    ],
)
def test_what_one_poll_finds(sentence: str, past: list[Past], polls: float, delay: float) -> None:
    assert replay(Exponential(TEN), past) == Yield(polls, delay), sentence


def test_later_recipients_cost_further_polls() -> None:
    found = replay(Exponential(TEN), [one(NOW, 4.0, 15.0)])
    assert found.polls == 2.0
    # The gaps of a backoff are varied by a tenth.
    assert found.delay == pytest.approx((6.0 + 5.0) / 2, abs=0.5)


class Witness(Exponential):
    """Remembers what it observed."""

    def __init__(self) -> None:
        super().__init__(TEN)
        self.told: list[tuple[float, float, bool, float | None]] = []

    def observe(
        self,
        now: float,
        key: Key,
        a0: float,
        a1: float,
        terminal: bool,
        event_age: float | None,
        status: str,
        submit: float,
        base: float,
    ) -> None:
        self.told.append((a0, a1, terminal, event_age))


def test_a_policy_learns_nothing_before_it_polls() -> None:
    witness = Witness()
    replay(witness, [one(NOW, 35.0)])
    assert [terminal for *_, terminal, _ in witness.told] == [False, False, False, True]
    assert [age for *_, age in witness.told] == [None, None, None, 35.0]
    for (_, before, *_), (after, *_) in zip(witness.told, witness.told[1:], strict=False):
        assert after == before, "each look begins where the last one ended"
    a0, a1, *_ = witness.told[-1]
    assert a0 < 35.0 <= a1


def test_who_learns_is_sooner_at_the_same_price() -> None:
    past = busy(1500)
    settings = Settings(polls_per_message=3.0)
    learned = replay(Adaptive(3.0, 1, settings=settings), past)
    rival = equal(past, learned.polls, settings, 1)
    assert rival is not None
    assert rival.polls == pytest.approx(learned.polls, rel=0.05)
    assert learned.delay < 0.7 * rival.delay


def test_an_exponential_backoff_of_an_impossible_price_is_none() -> None:
    assert equal(busy(20), 1000.0, Settings(), 1) is None


def test_only_messages_whose_ends_have_times_are_replayed_in_the_order_of_sending() -> None:
    def message(number: int, sent_at: float, *times: float | None, sendtime: float | None = None) -> Message:
        recipients = tuple(
            Recipient(4500000000 + i, "DELIVERED", time, None, None, "DK") for i, time in enumerate(times)
        )
        return Message(
            number, "default", sent_at, sent_at, state=State.FINISHED, sendtime=sendtime, recipients=recipients
        )

    found = pasts(
        [
            message(1, NOW, NOW + 5),
            message(2, NOW, None),
            message(3, NOW, NOW + 5, None),
            message(4, NOW),
            message(5, NOW - 9, NOW - 10),
            message(6, NOW, NOW + 70, sendtime=NOW + 60),
        ]
    )
    assert found == [one(NOW - 9, 0.0, key="DK"), one(NOW, 5.0, key="DK"), one(NOW + 60, 10.0, key="DK")]


def test_what_would_be_polled_without_end_is_left_out() -> None:
    """A row that says it was sent in 1970, and more recipients than are replayed."""
    few, many = ((Recipient(1, "DELIVERED", NOW + 9),) * count for count in (1, RECIPIENTS))
    found = pasts(
        [
            Message(1, "default", 1.0, 1.0, state=State.FINISHED, polls=3, recipients=few),
            Message(2, "default", NOW, NOW, state=State.FINISHED, polls=4, recipients=few),
            Message(3, "default", NOW, NOW, state=State.FINISHED, polls=5, recipients=many),
        ]
    )
    assert [past.polls for past in found] == [4]
