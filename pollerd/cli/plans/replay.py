"""What a backoff would have made of the messages that are done with: their own ends, shown only at a poll after them.

The policy begins with nothing learned and learns as it goes, so that it is never asked about what it was shown before.
Left out is what a replay cannot know: limits, holds, 404s right after sending, and messages that have not ended.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from itertools import count
from typing import Final, NamedTuple

import msgspec

from pollerd.backoff import EVERYWHERE, Exponential, Key, Policy, Settings
from pollerd.cli.plans.schedule import Yield, at_equal_polls
from pollerd.core import lifecycle
from pollerd.core.learning import operator
from pollerd.core.model import Message

RECIPIENTS: Final = 6000
"""Recipients that are replayed at most."""
LATEST: Final = 7 * 86400.0
"""Seconds: who ended later was hardly sent when the row says so, and would be polled for ever."""
_UNDER_WAY: Final = "ENROUTE"
_STEPS: Final = 14
"""Halvings of the search for equal polls: each replays the whole past."""
_CLOSE: Final = 0.05
"""Polls a message are called equal within this share."""


class Ending(NamedTuple):
    """One recipient's final state, `age` seconds after sending, and its operator."""

    age: float
    status: str
    key: Key


class Past(msgspec.Struct, frozen=True):
    """One message that is done with: when it was sent (by the wall clock), and how its recipients ended."""

    start: float
    endings: tuple[Ending, ...]
    polls: int = 0
    """How often it was really polled."""


def pasts(messages: Iterable[Message]) -> list[Past]:
    """What can be replayed, in the order of sending: messages all of whose ends the gateway gave with their times."""
    found: list[Past] = []
    room = RECIPIENTS
    for message in messages:
        start = message.sending
        # READ has the time of the reading: when the message arrived is not known.
        ends = [r for r in message.recipients if r.time is not None and r.status in lifecycle.FINAL - {lifecycle.READ}]
        if ends and len(ends) == len(message.recipients) <= room and max(r.time or 0.0 for r in ends) - start < LATEST:
            room -= len(ends)
            endings = tuple(Ending(max(0.0, (r.time or 0.0) - (r.sent or start)), r.status, operator(r)) for r in ends)
            found.append(Past(start, endings, message.polls))
    return sorted(found, key=lambda past: past.start)


def replay(policy: Policy, past: Sequence[Past]) -> Yield:
    """Polls a message, and the mean seconds from a final state to the poll that finds it."""
    world = _World(policy)
    arrivals = iter(past)
    coming = next(arrivals, None)
    while coming is not None or world.due:
        if coming is not None and (not world.due or coming.start <= world.due[0][0]):
            world.take(coming)
            coming = next(arrivals, None)
        else:
            world.poll()
    states = sum(len(one.endings) for one in past)
    return Yield(world.polls / max(len(past), 1), world.waited / max(states, 1))


class _Followed:
    """A message under way: what is left of its recipients, when it was last polled, and its age clock's origin."""

    __slots__ = ("base", "last", "left", "start", "version")

    def __init__(self, past: Past) -> None:
        self.start = self.base = self.last = past.start
        self.left = past.endings
        self.version = 0


class _World:
    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._order = count()
        self._pending: set[_Followed] = set()
        self.due: list[tuple[float, int, int, _Followed]] = []
        self.polls = 0
        self.waited = 0.0

    def take(self, past: Past) -> None:
        one = _Followed(past)
        self._pending.add(one)
        self._plan(one, past.start + self._policy.first(past.start, k=len(past.endings)).delay)

    def _plan(self, one: _Followed, at: float) -> None:
        heapq.heappush(self.due, (at, next(self._order), one.version, one))

    def poll(self) -> None:
        """Make the poll that is due first."""
        now, _, version, one = heapq.heappop(self.due)
        if version != one.version:
            return
        self.polls += 1
        moved = one.base - one.start
        a0, a1 = max(0.0, one.last - one.base), now - one.base
        left = []
        for ending in one.left:
            ended = one.start + ending.age <= now
            age = ending.age - moved if ended else None
            status = ending.status if ended else _UNDER_WAY
            self._policy.observe(now, ending.key, a0, a1, ended, age, status, one.start, one.base)
            if ended:
                self.waited += now - one.start - ending.age
            else:
                left.append(ending)
        one.left, one.last = tuple(left), now
        if left:
            key, k = left[0].key, len(left)
            one.base = self._policy.base_for(key, one.start, one.base)
            self._plan(one, now + self._policy.next(now, key, one.start, one.base, k=k).delay)
        else:
            self._pending.discard(one)
        self._wake(now)

    def _wake(self, now: float) -> None:
        scopes = set(self._policy.take_wake())
        if not scopes:
            return
        # In the order of sending: a set has none, and each answer draws from the policy's random source.
        for one in sorted(self._pending, key=lambda one: one.start):
            key = one.left[0].key
            if one.last > one.start and (EVERYWHERE in scopes or key in scopes):
                one.base = self._policy.base_for(key, one.start, one.base)
                one.version += 1
                again = self._policy.replan(now, key, one.start, one.base, k=len(one.left))
                self._plan(one, now + again.delay)


def equal(past: Sequence[Past], polls: float, settings: Settings, seed: int) -> Yield | None:
    """Exponential backoff at the same `polls` a message; None when there is none."""

    def outcome(first: float, factor: float) -> Yield:
        varied = msgspec.structs.replace(settings, first_poll_after=first, factor=factor)
        return replay(Exponential(varied, seed), past)

    gaps = (settings.min_interval, settings.max_interval)
    found = at_equal_polls(outcome, polls, gaps, settings.factor, _STEPS).expected
    return found if abs(found.polls - polls) <= _CLOSE * polls else None
