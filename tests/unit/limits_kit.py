"""An account's limiter with its clock, and the outcomes that it meets."""

from __future__ import annotations

import random

from hypothesis import strategies as st

from pollerd.config import LimitsConfig
from pollerd.core import event as events
from pollerd.core.model import Answer, HoldReason, NotFound, Outcome, Rejected, Trouble
from pollerd.core.ports import AccountState, Transition
from pollerd.gateway.limits.account import AccountLimiter

GOOD = Answer(())
UNREADABLE = Rejected("not JSON", "undecodable", decoded=False)


def trouble(reason: HoldReason, retry_after: float | None = None) -> Trouble:
    return Trouble(reason, "kind", f"what happened: {reason.value}", retry_after)


UNREACHABLE = trouble(HoldReason.UNREACHABLE)
SERVER_ERRORS = trouble(HoldReason.SERVER_ERRORS)
UNAUTHORIZED = trouble(HoldReason.UNAUTHORIZED)
FORBIDDEN = trouble(HoldReason.FORBIDDEN)
THROTTLED = trouble(HoldReason.THROTTLED)


class HandClock:
    """A clock that only moves when the test moves it; the wall can be stepped on its own."""

    def __init__(self) -> None:
        self.seconds = self.instant = 1000.0
        self.ahead = 1_764_000_000.0

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> float:
        return self.instant

    def wall(self) -> float:
        return self.to_wall(self.instant)

    def to_wall(self, instant: float) -> float:
        return instant + self.ahead

    def move(self, seconds: float) -> None:
        self.seconds += seconds
        self.instant += seconds


class Bench:
    """A limiter, its clock, and every event it made."""

    def __init__(
        self, rate: float = 10.0, restored: AccountState | None = None, clock: HandClock | None = None
    ) -> None:
        self.clock = clock or HandClock()
        self.limiter = AccountLimiter("default", LimitsConfig(rate), self.clock, random.Random(1), restored)
        self.told: list[events.Body] = []
        self.states: list[AccountState] = []

    def report(self, outcome: Outcome) -> Transition | None:
        transition = self.limiter.report(outcome)
        if transition is not None:
            self.told += transition.bodies
            self.states.append(transition.state)
        return transition

    def ask(self, outcome: Outcome) -> float:
        """Wait as long as it says, send one request and report its outcome; the seconds waited."""
        wait = self.limiter.delay()
        self.clock.move(wait)
        assert self.limiter.delay() == 0.0
        self.limiter.take()
        self.report(outcome)
        return wait

    def send(self, number: int) -> None:
        """Let requests go out that are not answered yet."""
        for _ in range(number):
            self.clock.move(self.limiter.delay())
            self.limiter.take()

    @property
    def types(self) -> list[str]:
        return [events.event_type(body) for body in self.told]


outcomes = st.sampled_from(
    [
        GOOD,
        NotFound(),
        UNREADABLE,
        Rejected("no", "http_400"),
        UNREACHABLE,
        SERVER_ERRORS,
        UNAUTHORIZED,
        FORBIDDEN,
        THROTTLED,
        trouble(HoldReason.THROTTLED, 7.0),
        trouble(HoldReason.THROTTLED, 1e300),
        trouble(HoldReason.UNREACHABLE, -1.0),
    ]
)
