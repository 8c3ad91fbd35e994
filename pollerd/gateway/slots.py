"""A fixed number of connections, none of them old.

Each slot owns one session with room for one connection, so the number of slots is the limit whatever happens. A slot
past its age is closed and opened anew between two requests: that is when DNS is asked again. The last slot given back
is the first taken, so that under little load few connections are kept and the others time out.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Self

from aiohttp import ClientSession

from pollerd.gateway.transport import KEEP_ALIVE

REST: Final = 0.05
"""Seconds between closing a connection and opening the next in the same slot: the other side shall see them one after
the other, else it may count one too many."""


class Slot:
    """Room for one connection. Times are on the monotonic clock."""

    __slots__ = ("expires", "rested", "session")

    def __init__(self) -> None:
        self.session: ClientSession | None = None
        self.expires = float("-inf")
        self.rested = float("-inf")


class Slots:
    """Lends out slots, one request each at a time."""

    def __init__(
        self, size: int, open_session: Callable[[], ClientSession], now: Callable[[], float], age: Callable[[], float]
    ) -> None:
        """`age` gives the seconds a new session may live; it is asked each time, so that ages can differ."""
        self._free = [Slot() for _ in range(size)]
        self._all: Final = tuple(self._free)
        self._waiting: deque[asyncio.Future[Slot]] = deque()
        self._open = open_session
        self._now = now
        self._age = age
        self._closed = False

    async def take(self) -> tuple[Slot, ClientSession]:
        """A slot with an open session; waits for a free one. Give it back with `release`."""
        slot = self._free.pop() if self._free else await self._wait()
        now = self._now()
        session = slot.session
        if session is not None and now < slot.expires and now >= slot.rested:
            return slot, session
        try:
            return slot, await self._renew(slot, now)
        except BaseException:
            self.release(slot)
            raise

    def release(self, slot: Slot, *, broken: bool = False) -> None:
        """Give a slot back. `broken`: its connection has just been closed by us."""
        if broken:
            slot.rested = self._now() + REST
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(slot)
                return
        self._free.append(slot)

    async def close(self) -> None:
        """Close every connection; requests under way fail."""
        self._closed = True
        sessions = [slot.session for slot in self._all if slot.session is not None]
        await asyncio.gather(*(session.close() for session in sessions))

    async def _wait(self) -> Slot:
        waiter: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.release(waiter.result())
            raise

    async def _renew(self, slot: Slot, now: float) -> ClientSession:
        if self._closed:
            raise RuntimeError("the gateway client is closed")
        if slot.session is not None and now >= slot.expires:
            old, slot.session = slot.session, None
            await old.close()
            if now < slot.expires + KEEP_ALIVE:
                slot.rested = now + REST
        if slot.rested > now:
            await asyncio.sleep(slot.rested - now)
        if slot.session is None:
            slot.session = self._open()
            slot.expires = self._now() + self._age()
        return slot.session

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
