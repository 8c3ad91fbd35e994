"""The seam between the daemon and the backoff: values, bounds and the `Policy` both policies implement.

All times are seconds. `now`, `submit`, `base` and `sendtime` are instants of one clock, whichever; ages count from the
age clock's origin.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple, Protocol

import msgspec

Key = Hashable
"""The operator a recipient belongs to, such as ``"238/01"`` or ``"DK"``; None while unknown."""

EVERYWHERE = "*"
"""The scope in `Policy.take_wake` that stands for all keys."""


class Decision(msgspec.Struct, frozen=True):
    """When to poll next: `delay` in seconds from now, and the reason in words for `show` and `plan`."""

    delay: float
    reason: str


class Part(NamedTuple):
    """`k` pending recipients of a message, all of the operator `key`, whose age clocks begin at about `base`."""

    key: Key
    k: int
    base: float


class Group(NamedTuple):
    """A message of several recipients: `of` in all, as many as an answer shows, and those pending in their `parts`."""

    of: int
    parts: tuple[Part, ...] = ()


class Settings(msgspec.Struct, frozen=True):
    """Bounds that hold whatever the policy. Seconds, except `factor`, `polls_per_message` and the polls a second.

    `first_poll_after` None leaves the first poll to the policy; a value, zero included, is kept exactly. Where few
    messages come, they may share `idle_polls_per_second` instead of keeping to `polls_per_message` (0: never).
    What is left of a message with many recipients may wait up to `patience` times `max_interval`.
    """

    min_interval: float = 2.0
    max_interval: float = 3600.0
    first_poll_after: float | None = None
    factor: float = 1.5
    polls_per_message: float = 5.0
    not_found_grace: float = 900.0
    give_up_after: float = 259200.0
    scheduled_horizon: float = 2592000.0
    idle_polls_per_second: float = 0.0
    patience: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.min_interval <= self.max_interval:
            raise ValueError("min_interval must be above 0 and not above max_interval")
        if self.first_poll_after is not None and self.first_poll_after < 0:
            raise ValueError("first_poll_after must not be negative")
        if self.factor < 1:
            raise ValueError("factor must not be below 1")
        if self.polls_per_message < 1:
            raise ValueError("polls_per_message must be at least 1")


class PlanRow(msgspec.Struct, frozen=True):
    """One poll of a plan. Hazards are per second and None where the policy knows none.

    `polls` is the expected number of polls up to and including this one; `expected_delay` the mean seconds from a
    change since the previous poll to this one.
    """

    age: float
    delay: float
    survival: float | None
    hazard: float | None
    hazard_prior: float | None
    polls: float | None
    expected_delay: float | None


class Plan(msgspec.Struct, frozen=True):
    """What a policy would do with a fresh message of `key`: its polls in order, and what they are expected to yield.

    `delay` is the expected mean seconds from change to poll, `weighted_delay` the same weighted by age. `events` is the
    (decayed) number of final states it was learned from. `expiry` holds (from, to) ages at which messages expire.
    `budget` is the polls a message that are aimed at now; `railed`: what was learned was no better than exponential
    backoff, which is used instead.
    """

    key: Key
    policy: str
    rows: tuple[PlanRow, ...]
    polls: float | None
    delay: float | None
    weighted_delay: float | None
    events: float
    price: float | None
    expiry: tuple[tuple[float, float], ...]
    curve: tuple[tuple[float, float], ...] = ()
    """(age, share of messages still pending) from the age 0 on; empty where the policy knows none."""

    budget: float | None = None
    railed: bool = False


class KeyInfo(msgspec.Struct, frozen=True):
    """A key the policy has learned about, with its decayed number of final states; `down` while it seems to stall."""

    key: Key
    events: float
    down: bool


class Metrics(msgspec.Struct, frozen=True):
    """The policy's own account. None where a policy does not predict or has not measured yet."""

    predicted_polls: float | None
    measured_polls: float | None
    price: float | None
    events: float
    down: tuple[Key, ...]


class Policy(Protocol):
    """When to poll next, and why. Pure: no clock, no I/O; the random source is seeded by the constructor."""

    def first(self, now: float, *, k: int = 1) -> Decision:
        """The wait before the first poll of a message with `k` recipients."""
        ...

    def next(
        self,
        now: float,
        key: Key,
        submit: float,
        base: float,
        *,
        k: int = 1,
        validity: float | None = None,
        group: Group | None = None,
    ) -> Decision:
        """The wait after an answer at `now` that left `k` recipients pending.

        `submit` is when the message was sent, `base` the origin of its age clock (see `base_for`), `validity` its
        validity period in seconds or None. `group` says more of several recipients; without it, they are `k` of `key`.
        """
        ...

    def replan(
        self,
        now: float,
        key: Key,
        submit: float,
        base: float,
        *,
        k: int = 1,
        validity: float | None = None,
        group: Group | None = None,
    ) -> Decision:
        """The wait for a message of a scope from `take_wake`, which was not polled now; else as `next`."""
        ...

    def not_visible(self, now: float, submit: float, tries: int) -> Decision:
        """The wait after the `tries`-th answer in a row that a message sent at `submit` does not exist (yet)."""
        ...

    def scheduled(self, now: float, sendtime: float) -> Decision:
        """The wait for a message that is to be sent at `sendtime`."""
        ...

    def together(self, of: int) -> None:
        """Up to the next decision or call of this, `observe` tells of one message, of which `of` recipients are shown.

        Without it, those observed at one time of one time of sending are taken for one message's.
        """
        ...

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
        """Learn from a poll: pending at age `a0` (0: sent), and at `a1` = now either still or `terminal` with `status`.

        `event_age` is the age of the final state by the gateway's own time, None when it gave none.
        """
        ...

    def index(self, key: Key, a0: float, a1: float) -> float:
        """Priority of a due message last polled at age `a0` and now `a1` old: the highest goes first."""
        ...

    def base_for(self, key: Key, submit: float, base: float) -> float:
        """The age clock's origin of a pending message, moved to the end of an outage where there was one."""
        ...

    def take_wake(self) -> list[Key]:
        """The scopes (keys, or `EVERYWHERE`) whose pending messages are to be re-planned now; empties the list."""
        ...

    def maintain(self, now: float) -> bool:
        """Do one small step (below 5 ms) of work that is due; True while more remains. Left out, `next` does it."""
        ...

    def snapshot(self) -> bytes:
        """What was learned, to be kept in the store."""
        ...

    def restore(self, data: bytes) -> None:
        """Take up a `snapshot`. Empty, foreign or damaged data is no error: the policy starts afresh."""
        ...

    def forget(self, key: Key | None) -> bool:
        """Forget what was learned about `key`, or about all (None); False where nothing was known.

        The messages concerned are to be re-planned: see `take_wake`.
        """
        ...

    def explain(self, key: Key = None, *, k: int = 1) -> Plan:
        """The polls of a fresh message with `k` recipients of `key`."""
        ...

    def keys(self) -> list[KeyInfo]:
        """The known keys, most events first."""
        ...

    def metrics(self) -> Metrics:
        """Polls a message, predicted and measured, and the current price."""
        ...
