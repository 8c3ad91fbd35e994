"""Keeps the schedule true when the wall clock is stepped: ages and due times move with it, nothing stalls or bursts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Final, Protocol

import msgspec

from pollerd.committer import Committer
from pollerd.errors import StoreUnavailableError
from pollerd.model import Message
from pollerd.poller import Poller

log = logging.getLogger(__name__)

TICK: Final = 1.0
CHUNK: Final = 5000
CLOCK: Final = "clock"
"""The note under which the last known instant is kept."""
BACK: Final = 5.0
"""Seconds behind the last known instant from which the clock was set back, not merely corrected."""


class Steppable(Protocol):
    """A clock that can say how far the wall clock was stepped."""

    def now(self) -> float: ...
    def correct(self) -> float: ...
    def step(self, seconds: float) -> None: ...


class Shiftable(Protocol):
    """A store whose pending messages can be moved in time."""

    async def shift(self, seconds: float, before: float, after: int, limit: int) -> int | None: ...


class Movable(Shiftable, Protocol):
    """A store that gives no message out while they are being moved."""

    def moving(self) -> AbstractContextManager[None]: ...


class Remembering(Shiftable, Protocol):
    """A store that also keeps small notes."""

    async def note(self, name: str) -> bytes | None: ...


def clock_note(now: float) -> bytes:
    """The instant as it is noted now and then."""
    return f"{now:.0f}".encode()


async def catch_up(store: Remembering, now: float) -> None:
    """At a start: when the clock is behind what was noted last, it was set back meanwhile, and due times with it."""
    noted = await store.note(CLOCK)
    back = now - float(noted) if noted else 0.0
    if back >= -BACK:
        return
    log.warning(
        "the system's clock is %.0f s behind the last run; the schedule moves with it",
        -back,
        extra={"event": "clock_stepped", "seconds": round(back, 3)},
    )
    await _shift_all(store, back, now)


async def _shift_all(store: Shiftable, seconds: float, before: float) -> None:
    after: int | None = 0
    while after is not None:
        try:
            after = await store.shift(seconds, before, after, CHUNK)
        except StoreUnavailableError as error:
            log.debug("the schedule waits to be moved: %s", error)
            await asyncio.sleep(TICK)


class ClockWatch:
    """Looks at the wall clock once a second."""

    def __init__(
        self,
        clock: Steppable,
        store: Movable,
        committer: Committer,
        pollers: Iterable[Poller],
        stepped: Callable[[float], None],
    ) -> None:
        self._clock = clock
        self._store = store
        self._committer = committer
        self._pollers = tuple(pollers)
        self._stepped = stepped

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(TICK)
            if (seconds := self._clock.correct()) != 0.0:
                await self._move(seconds)

    async def _move(self, seconds: float) -> None:
        log.warning(
            "the system's clock was stepped by %+.1f s; the schedule moves with it",
            seconds,
            extra={"event": "clock_stepped", "seconds": round(seconds, 3)},
        )
        # What is still to be written has the old times and must be on disk before the rows move; what is settled
        # from then on has the new ones and must wait until they have.
        async with self._committer.exclusive():
            with self._store.moving():
                await self._shift(seconds)

    async def _shift(self, seconds: float) -> None:
        before = self._clock.now()
        self._clock.step(seconds)
        for poller in self._pollers:
            poller.window.shift(seconds, lambda message: moved(message, seconds, before))
            poller.nudge()
        self._stepped(seconds)
        await _shift_all(self._store, seconds, before)


def moved(message: Message, seconds: float, before: float) -> Message:
    """The message in the new time; `frozen_at` keeps its age towards giving up what it was.

    After a step forward, what was last touched later than `before` was planned under a clock that was right.
    """
    if seconds > 0 and (message.base if message.last_poll_at is None else message.last_poll_at) > before:
        return message
    return msgspec.structs.replace(
        message,
        next_poll_at=message.next_poll_at + seconds,
        base=message.base + seconds,
        seen_at=None if message.seen_at is None else message.seen_at + seconds,
        frozen_at=message.frozen_at - seconds,
    )
