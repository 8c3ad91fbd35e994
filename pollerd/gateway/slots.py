"""A fixed number of connections, none of them old, and none of them unused for longer than it can be trusted.

Each slot owns one session with room for one connection, so the number of slots is the limit whatever happens. A slot
past its age is closed and opened anew between two requests: that is when DNS is asked again. The last slot given back
is the first taken, so that under little load few connections are kept and the others time out.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from math import inf
from typing import Final, Self

from aiohttp import ClientSession

from pollerd.gateway.transport import KEEP_ALIVE

REST: Final = 0.05
"""Seconds between closing a connection and opening the next in the same slot: the other side shall see them one after
the other, else it may count one too many."""


class Slot:
    """Room for one connection. Times are on the monotonic clock.

    `unused_since`: when its connection was last used; infinite while none is kept. `idle_until`: how long that one can
    be trusted.
    """

    __slots__ = ("expires", "idle_until", "keeps", "rested", "session", "unused_since")

    def __init__(self) -> None:
        self.session: ClientSession | None = None
        self.keeps = True
        self.expires = -inf
        self.rested = -inf
        self.unused_since = inf
        self.idle_until = inf


class Slots:
    """Lends out slots, one request each at a time."""

    def __init__(
        self,
        size: int,
        open_session: Callable[[bool], ClientSession],
        now: Callable[[], float],
        age: Callable[[], float],
    ) -> None:
        """`open_session` hears whether the session is to keep its connection. `age` gives the seconds a new session
        may live; it is asked each time, so that ages can differ.
        """
        self._free = [Slot() for _ in range(size)]
        self._all: Final = list(self._free)
        self._surplus: list[Slot] = []
        self._waiting: deque[asyncio.Future[Slot]] = deque()
        self._open = open_session
        self._now = now
        self._age = age
        self._forgotten = -inf
        self._closed = False

    @property
    def busy(self) -> int:
        """Slots that are lent, and requests that wait for one."""
        return len(self._all) - len(self._free) + len(self._waiting)

    def resize(self, size: int) -> None:
        """Another number of slots, from now on. Those that are too many end with the request that they are lent to."""
        while len(self._all) < size:
            slot = Slot()
            self._all.append(slot)
            self._pass_on(slot)
        for slot in self._all[size:]:
            self._surplus.append(slot)
            if slot in self._free:
                self._free.remove(slot)
        del self._all[size:]

    async def take(self, *, keep: bool = True, fresh: bool = False) -> tuple[Slot, ClientSession]:
        """A slot with an open session; waits for a free one. Give it back with `release`.

        Without `keep` the connection is closed after the request. `fresh`: no connection that was used before.
        """
        slot = self._free.pop() if self._free else await self._wait()
        now = self._now()
        session = slot.session
        if session is not None and now >= slot.rested and not fresh and self._good(slot, now, keep):
            return slot, session
        try:
            return slot, await self._renew(slot, now, keep=keep, fresh=fresh)
        except BaseException:
            self.release(slot, None)
            raise

    def release(self, slot: Slot, idle: float | None) -> None:
        """Give a slot back whose connection is kept, and can be trusted for `idle` seconds; None: it is closed."""
        if slot in self._surplus and not (self._waiting and not self._all):
            # Its connection ends by itself when it is not used.
            return
        now = self._now()
        if idle is None:
            slot.rested = now + REST
            slot.unused_since = slot.idle_until = inf
        else:
            slot.unused_since = now
            slot.idle_until = now + idle
        if self._waiting:
            self._pass_on(slot)
        else:
            self._free.append(slot)

    def forget(self, slot: Slot) -> None:
        """The other side had forgotten the slot's connection. Those that are unused for longer are not trusted either.
        To be called before `release`.
        """
        self._forgotten = max(self._forgotten, slot.unused_since)

    def _good(self, slot: Slot, now: float, keep: bool) -> bool:
        """Whether the slot's session, and the connection in it, can be used now."""
        if now >= slot.expires or now >= slot.idle_until or slot.unused_since < self._forgotten:
            return False
        return keep or not slot.keeps

    def _pass_on(self, slot: Slot) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(slot)
                return
        self._free.append(slot)

    async def close(self) -> None:
        """Close every connection; requests under way fail."""
        self._closed = True
        sessions = [slot.session for slot in (*self._all, *self._surplus) if slot.session is not None]
        await asyncio.gather(*(session.close() for session in sessions))

    async def _wait(self) -> Slot:
        waiter: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._pass_on(waiter.result())
            raise

    async def _renew(self, slot: Slot, now: float, *, keep: bool, fresh: bool) -> ClientSession:
        if self._closed:
            raise RuntimeError("the gateway client is closed")
        used = slot.unused_since < inf
        if slot.session is not None and ((fresh and used) or not self._good(slot, now, keep)):
            old, slot.session = slot.session, None
            await old.close()
            if used and now < slot.unused_since + KEEP_ALIVE:
                slot.rested = now + REST
        if slot.rested > now:
            await asyncio.sleep(slot.rested - now)
        if slot.session is None:
            slot.session, slot.keeps = self._open(keep), keep
            slot.expires = self._now() + self._age()
            slot.unused_since = slot.idle_until = inf
        return slot.session

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
