"""Histories that mislead a learner, and ordinary messages after them."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from pollerd.backoff import Adaptive
from tests.unit.policy_kit import KEY, NOW

MINUTE = 60.0
HOUR = 3600.0
DAY = 24 * HOUR

History = Callable[[Adaptive, Random], None]


def ended(policy: Adaptive, submit: float, at: float, event_age: float | None, a0: float = 0.0) -> None:
    """One message sent at `submit` was found ended at the instant `at`."""
    policy.observe(at, KEY, a0, at - submit, True, event_age, "DELIVERED", submit, submit)


def scheduled(policy: Adaptive, rng: Random) -> None:
    """150 messages handed over 150 s before they were sent."""
    for i in range(150):
        submit = NOW - 2000.0 + i
        policy.first(submit)
        ended(policy, submit, submit + 151.0, 150.0 + rng.random())


def imported(policy: Adaptive, rng: Random) -> None:
    """5,000 messages that had ended before they were handed over."""
    for i in range(5000):
        now, age = NOW - 2000.0 + i * 0.2, rng.uniform(HOUR, DAY)
        policy.first(now)
        ended(policy, now - age, now, age - rng.random() * 3000.0)


def held(policy: Adaptive, rng: Random) -> None:
    """An hour in which nothing could be asked, and no times afterwards."""
    for i in range(300):
        submit = NOW - 8000.0 + i * 10.0
        policy.first(submit)
        ended(policy, submit, NOW - 4000.0 + i * 0.01, None)


def born_when_asked(policy: Adaptive, rng: Random) -> None:
    """Messages that are sent when they are asked about for the first time."""
    for i in range(600):
        submit = NOW - 4000.0 + i * 5.0
        now = submit + policy.first(submit).delay
        end, last = now + rng.lognormvariate(1.6, 0.8), submit
        while now < end:
            policy.observe(now, KEY, last - submit, now - submit, False, None, "ENROUTE", submit, submit)
            last = now
            now += policy.next(now, KEY, submit, submit).delay
        policy.observe(now, KEY, last - submit, now - submit, True, end - submit, "DELIVERED", submit, submit)


def an_hour_off(policy: Adaptive, rng: Random) -> None:
    """A gateway whose clock is an hour behind: whatever is sent seems an hour old."""
    for i in range(1000):
        submit = NOW - 9000.0 + i * 5.0
        policy.first(submit)
        age = HOUR + rng.lognormvariate(1.6, 0.8)
        ended(policy, submit, submit + age, age, a0=HOUR)


def stepped(policy: Adaptive, rng: Random) -> None:
    """A clock that jumps by up to a day, either way, between any two messages."""
    for _ in range(500):
        submit = NOW + rng.uniform(-DAY, DAY)
        policy.first(submit)
        ended(policy, submit, submit + rng.lognormvariate(3.0, 3.0), None)


HISTORIES = [scheduled, imported, held, born_when_asked, an_hour_off, stepped]


def followed(policy: Adaptive, n: int, start: float) -> list[tuple[float, int]]:
    """`n` ordinary messages, ten seconds apart, ended some 5 s after sending: how late each is noticed, its polls."""
    rng, found = Random(4), []
    for i in range(n):
        submit = start + 10.0 * i
        change = 5.0 * rng.lognormvariate(0.0, 0.6)
        now, last, polls = submit + policy.first(submit).delay, submit, 1
        while now - submit < change:
            policy.observe(now, KEY, last - submit, now - submit, False, None, "ENROUTE", submit, submit)
            last = now
            now += policy.next(now, KEY, submit, submit).delay
            polls += 1
        policy.observe(now, KEY, last - submit, now - submit, True, change, "DELIVERED", submit, submit)
        policy.maintain(now)
        found.append((now - submit - change, polls))
    return found
