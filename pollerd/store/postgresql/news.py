"""News of commits: the active member sends a NOTIFY after them, the others hear it and look at once.

A notification is a hint to look and carries nothing: a false one costs a look, a lost one costs `SLOW`. Both ends have
a thread and a connection of their own, so that no commit ever waits for them; and NOTIFY is a transaction of its own,
since inside a commit it would hold a lock of the whole server until that is on disk.
"""

from __future__ import annotations

import asyncio
import logging
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any, Final, Protocol, Self
from uuid import uuid4

from pollerd.base.errors import StoreError
from pollerd.store.postgresql.link import Connection, Link, Target

log = logging.getLogger(__name__)

FOLLOW: Final = 0.25
"""Seconds between two looks of a member that hears nothing."""
SLOW: Final = 2.0
"""Seconds between two looks of one that hears: a notification is lost where the active member dies after a commit."""
SPACING: Final = 0.1
"""Seconds between two notifications: ten a second, whatever is committed."""
PAUSE: Final = 0.05
"""Seconds from a look to the next one at the earliest, whoever sends notifications, and how many."""
PROBE: Final = 20.0
"""Seconds between two probes of the listening connection."""
ANSWER: Final = 3.0
"""Seconds until a probe has to be heard, and for any other piece of work."""
AGAIN: Final = 5.0
"""Seconds until another attempt to listen."""
_RETRY: Final = 1.0
"""Seconds until a notification is tried again."""
_DRAINED: Final = 0.002
"""Seconds that the thread rests after each piece of notifications, so that a flood of them leaves room for others."""
_LEAVING: Final = 0.2
"""Seconds that an end waits for a thread. One that connects to a silent server is left alone: nothing is lost by it."""
_NOTIFY: Final = b"SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, '')"
"""It does not wait for the disk, nor for a replica: there is nothing in it to lose."""
_TELL: Final = b"""
SELECT set_config('synchronous_commit', 'off', true), pg_notify('pollerd_' || store_id, '') FROM cluster
"""
_WHERE: Final = b"SELECT 'pollerd_' || store_id, pg_backend_pid() FROM cluster"
"""The channel is the store's: notifications go to a whole database, which may have several stores in its schemas."""


class UnheardError(StoreError):
    """Notifications do not arrive; the text says why."""


class Ear:
    """A connection that listens. Raises StoreError, and psycopg's errors within `listening`."""

    def __init__(self, target: Target, connection: Connection) -> None:
        self._target = target
        self._connection = connection
        self._own = f"pollerd_{uuid4()}".encode()
        found: Any = connection.execute(_WHERE).fetchone()
        channel, backend = found
        if backend != connection.info.backend_pid:
            # To listen there would leave the pooler's connection listening, for whoever gets it next.
            raise UnheardError("a pooler such as pgbouncer stands between")
        connection.execute(b'LISTEN "%b"; LISTEN "%b"' % (channel.encode(), self._own))

    def fileno(self) -> int:
        """What becomes readable when something arrives."""
        return self._connection.fileno()

    def probe(self, told: Callable[[], None]) -> None:
        """Send a notification to itself over another connection. Raises UnheardError when it does not arrive."""
        with closing(Link(self._target, deadline=ANSWER)) as link:
            link.once(lambda connection: connection.execute(_NOTIFY, (self._own.decode(),)))
        until = time.monotonic() + ANSWER
        while (left := until - time.monotonic()) > 0:
            if _ready(left, self) and self.read(told):
                return
        raise UnheardError("a notification sent by another connection does not arrive")

    def read(self, told: Callable[[], None]) -> bool:
        """Take what has arrived: calls `told` for news of the store. Whether a probe was among it."""
        self._connection.pgconn.consume_input()
        probed = False
        while (found := self._connection.pgconn.notifies()) is not None:
            if found.relname == self._own:
                probed = True
            else:
                told()
        return probed


@contextmanager
def listening(target: Target) -> Iterator[Ear]:
    """Listen with a connection of its own. Raises StoreError."""
    with closing(Link(target, deadline=ANSWER)) as link, link.connected() as connection:
        yield Ear(target, connection)


def unheard(target: Target) -> str:
    """Why notifications do not arrive at whoever connects to `target`; empty where they do. Raises StoreError."""
    try:
        with listening(target) as ear:
            ear.probe(lambda: None)
    except UnheardError as error:
        return str(error)
    return ""


class Listener:
    """Hears of news on a thread of its own, for one waiter in the running loop."""

    def __init__(self, target: Target) -> None:
        self.hears = False
        """Whether the last probe has arrived."""
        self._target = target
        self._said: str | None = None
        self._ended = False
        self._woken, self._waker = socket.socketpair()
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._told = False
        self._thread = threading.Thread(target=self._live, name="news", daemon=True)

    async def __aenter__(self) -> Self:
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._ended = True
        self._waker.close()
        await asyncio.to_thread(self._thread.join, _LEAVING)

    async def wait(self) -> None:
        """Return when there is news, or when it is time to look without any."""
        await asyncio.sleep(PAUSE)
        with suppress(TimeoutError):
            async with asyncio.timeout((SLOW if self.hears else FOLLOW) - PAUSE):
                await self._news.wait()
        self._told = False
        self._news.clear()

    # -- on the thread

    def _tell(self) -> None:
        if not (self._told or self._ended):
            self._told = True
            self._loop.call_soon_threadsafe(self._news.set)

    def _live(self) -> None:
        with self._woken:
            try:
                while not self._ended:
                    try:
                        with listening(self._target) as ear:
                            self._listen(ear)
                    except StoreError as error:
                        self._note(str(error))
                    _ready(AGAIN, self._woken)
            finally:
                self.hears = False

    def _listen(self, ear: Ear) -> None:
        while not self._ended:
            ear.probe(self._tell)
            self._note("")
            until = time.monotonic() + PROBE
            while not self._ended and (left := until - time.monotonic()) > 0:
                if ear.fileno() in _ready(left, ear, self._woken):
                    ear.read(self._tell)
                    _ready(_DRAINED, self._woken)

    def _note(self, why: str) -> None:
        """Say whether notifications arrive, and why not, where that is news."""
        self.hears = not why
        if why == self._said or self._ended:
            return
        self._said = why
        # What was committed meanwhile was told to nobody here; and without them looks come more often from now on.
        self._tell()
        if why:
            log.info(
                "PostgreSQL's notifications do not arrive (%s): this member looks for news every %.2f s",
                why.rstrip("."),
                FOLLOW,
                extra={"event": "notifications_missing"},
            )
        else:
            log.info("PostgreSQL's notifications arrive: news is read at once", extra={"event": "notifications_heard"})


class Announcer:
    """Tells the other members of commits, while it runs."""

    def __init__(self, target: Target) -> None:
        self._link = Link(target, deadline=ANSWER)
        self._due = threading.Event()
        self._ended = threading.Event()

    async def run(self) -> None:
        """Tell them on a thread of its own, until cancelled."""
        thread = threading.Thread(target=self._live, name="news", daemon=True)
        thread.start()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self._ended.set()
            self._due.set()
            await asyncio.to_thread(thread.join, _LEAVING)

    def tell(self) -> None:
        """Something was committed. Returns at once, from any thread."""
        self._due.set()

    def _live(self) -> None:
        with closing(self._link):
            while self._due.wait() and not self._ended.is_set():
                self._due.clear()
                try:
                    self._link.run(lambda connection: connection.execute(_TELL))
                except StoreError as error:
                    log.debug("the other members look by themselves: %s", error)
                    self._due.set()
                    self._ended.wait(_RETRY)
                self._ended.wait(SPACING)


class _File(Protocol):
    def fileno(self) -> int: ...


def _ready(seconds: float, *files: _File) -> set[int]:
    """Wait until there is something to read from one of them, `seconds` at most; those where there is."""
    # Not select(): that knows descriptors below 1024 only.
    poll = select.poll()
    for file in files:
        poll.register(file, select.POLLIN)
    return {number for number, _ in poll.poll(seconds * 1000)}
