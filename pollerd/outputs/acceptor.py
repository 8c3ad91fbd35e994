"""Takes connections at listening sockets: never more than a fixed number, whatever the other side does.

File descriptors are shared with polling and the database, so each place where others connect has a number of its own
(see `pollerd.base.descriptors`). When it is reached, the connection that has been silent for longest is closed for a
new one. Where none is silent, the new one gets an error and is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Callable
from typing import Final, Protocol, cast

from pollerd.base.descriptors import spare
from pollerd.base.shield import to_end

log = logging.getLogger(__name__)

GOODBYE: Final = 1.0
"""Seconds that a connection which is turned away has, to take the reason and to close."""
_QUIET: Final = 600.0
"""Seconds in which one warning about a full place is enough."""
_PAUSE: Final = 1.0
"""Seconds until connections are taken again after the system had no file descriptor or no memory for one."""
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class AcceptedConnection(Protocol):
    """A connection as seen from here."""

    def shed(self) -> None:
        """Close: the connection was silent, and another needs its place."""
        ...


class Acceptor:
    """The connections of one place. A connection reports itself by `opened`, `silent`, `busy` and `closed`.

    `what` names the place in the log and in metrics.
    """

    def __init__(self, what: str, most: int) -> None:
        self.what: Final = what
        self.most: Final = most
        self.turned_away = 0
        """Connections closed so far, or refused, for want of a place."""
        self._open: set[AcceptedConnection] = set()
        self._silent: dict[AcceptedConnection, None] = {}
        self._refused: set[_Refused] = set()
        self._warned = float("-inf")
        self._since = 0

    @property
    def open(self) -> int:
        """Connections that have a place."""
        return len(self._open)

    @property
    def silent_ones(self) -> list[AcceptedConnection]:
        """Connections that the other side keeps waiting, the longest silent first."""
        return list(self._silent)

    async def serve(
        self, listening: socket.socket, connected: Callable[[], asyncio.BaseProtocol], refusal: bytes
    ) -> None:
        """Take connections until cancelled. `connected` makes the protocol of a new one, an `AcceptedConnection`. One
        for which there is no place gets `refusal`.
        """
        loop = asyncio.get_running_loop()
        knock = asyncio.Event()
        while True:
            # Not `sock_accept`: cancelled at the wrong moment it loses the connection that it has just taken.
            loop.add_reader(listening, knock.set)
            try:
                await self._take_all(listening, knock, connected, refusal)
            except OSError as error:
                self._not_taken(error)
            finally:
                loop.remove_reader(listening)
            await asyncio.sleep(_PAUSE)

    async def _take_all(
        self,
        listening: socket.socket,
        knock: asyncio.Event,
        connected: Callable[[], asyncio.BaseProtocol],
        refusal: bytes,
    ) -> None:
        """Take connections until one cannot be taken."""
        while True:
            await knock.wait()
            # Set again in each turn of the loop while somebody waits.
            knock.clear()
            try:
                connection, _ = listening.accept()
            except (BlockingIOError, ConnectionAbortedError):
                continue
            connection.setblocking(False)
            if len(self._open) < self.most or self._make_room():
                await to_end(_hand_over(connection, connected))
            else:
                await self._refuse(connection, refusal)

    # -- what connections report

    def opened(self, client: AcceptedConnection) -> None:
        """The connection is there, and nothing is done for it yet."""
        self._open.add(client)
        self._silent[client] = None

    def silent(self, client: AcceptedConnection) -> None:
        """From now on the other side is waited for."""
        if client in self._open:
            self._silent.pop(client, None)
            self._silent[client] = None

    def busy(self, client: AcceptedConnection) -> None:
        """The other side is not waited for: it is answered, or reads what comes."""
        self._silent.pop(client, None)

    def closed(self, client: AcceptedConnection) -> None:
        """The connection has gone."""
        self._open.discard(client)
        self._silent.pop(client, None)

    # -- no place

    def _make_room(self) -> bool:
        self._full()
        # Those closed before may still be about to go.
        if not self._silent or len(self._open) + len(self._refused) >= self.most + spare(self.most):
            return False
        longest = next(iter(self._silent))
        del self._silent[longest]
        longest.shed()
        return True

    async def _refuse(self, connection: socket.socket, words: bytes) -> None:
        if len(self._open) + len(self._refused) < self.most + spare(self.most):
            await to_end(_hand_over(connection, lambda: _Refused(words, self._refused)))
            return
        # No time to wait until the other side has read it.
        with contextlib.suppress(OSError):
            connection.send(words)
        connection.close()

    def _full(self) -> None:
        self.turned_away += 1
        self._since += 1
        now = asyncio.get_running_loop().time()
        if now - self._warned < _QUIET:
            return
        log.warning(
            "%s: %d connections are open, as many as there may be: silent ones are closed for new ones, and where none "
            "is silent, new ones are refused (%d so far). Find out who opens so many: ss -xp, ss -tnp",
            self.what,
            self.most,
            self._since,
            extra={"event": "connections_full", "place": self.what, "most": self.most, "turned_away": self._since},
        )
        self._warned = now
        self._since = 0

    def _not_taken(self, error: OSError) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._warned >= _QUIET:
            self._warned = now
            advice = "raise LimitNOFILE; " if error.errno in _EXHAUSTED else ""
            log.error(
                "%s: no connection can be taken: %s; %stried again every %g s",
                self.what,
                error.strerror,
                advice,
                _PAUSE,
                extra={"event": "connections_full", "place": self.what},
            )


async def _hand_over(connection: socket.socket, protocol: Callable[[], asyncio.BaseProtocol]) -> None:
    """Let the protocol have the connection."""
    try:
        await asyncio.get_running_loop().connect_accepted_socket(protocol, connection)
    except OSError as error:
        log.debug("a connection has gone before it was taken: %s", error)
        connection.close()


class _Refused(asyncio.Protocol):
    """Says why there is no place, and reads on until the other side closes: else it could lose the words."""

    def __init__(self, words: bytes, among: set[_Refused]) -> None:
        self._words = words
        self._among = among

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._among.add(self)
        # uvloop's transports are no subclass of asyncio's.
        stream = cast("asyncio.Transport", transport)
        stream.write(self._words)
        stream.write_eof()
        asyncio.get_running_loop().call_later(GOODBYE, stream.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._among.discard(self)
