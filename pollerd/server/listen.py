"""HTTP at a Unix socket or a TCP address: opened again when it could not be, or when somebody removed the socket."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from aiohttp import web

from pollerd.base.errors import OutputError
from pollerd.base.unixsocket import BACKLOG, Listener
from pollerd.config import Listen
from pollerd.outputs.acceptor import Acceptor
from pollerd.server.connection import ClientConnection, Painter, noting, whole_answer
from pollerd.server.refusals import in_words

log = logging.getLogger(__name__)

RETRY_FIRST: Final = 5.0  # Seconds before the first new try, doubled for each further one, and
RETRY_MAX: Final = 60.0  # at most.
_GOODBYE: Final = 0.5
"""Seconds that answers under way get when the server stops."""
_CHECK_EVERY: Final = 1.0  # Seconds between two checks whether the socket is still there.
_NO_FAMILY: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})
"""Errors of a machine that has no IPv6, although a name such as localhost stands for an address of it too."""


class Endpoint(Protocol):
    """Where requests come in."""

    async def open(self) -> Sequence[socket.socket]:
        """Listen. Raises OutputError when that is not possible."""
        ...

    @property
    def in_place(self) -> bool:
        """Whether clients still find this one at its address."""
        ...

    def close(self) -> None:
        """Listen no more, and leave nothing behind. May be called twice."""
        ...


class UnixEndpoint:
    """A Unix socket at `path`, created with exactly `mode`."""

    def __init__(self, path: Path, mode: int) -> None:
        self._path = path
        self._mode = mode
        self._listener: Listener | None = None

    def __str__(self) -> str:
        return str(self._path)

    async def open(self) -> Sequence[socket.socket]:
        """Listen; a stale socket is replaced, a live one of another process is not."""
        self._listener = Listener.bind(self._path, self._mode)
        return [self._listener.socket]

    @property
    def in_place(self) -> bool:
        """Whether the path still leads to this socket."""
        return self._listener is not None and self._listener.in_place

    def close(self) -> None:
        """Remove the socket's file."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None


class TcpEndpoint:
    """A TCP address. `port` 0 takes a free one; `address` is the one in use."""

    def __init__(self, listen: Listen) -> None:
        self._listen = listen
        self._sockets: list[socket.socket] = []
        self.address: Listen | None = None

    def __str__(self) -> str:
        return str(self.address or self._listen)

    async def open(self) -> Sequence[socket.socket]:
        """Listen, at every address that the host's name stands for."""
        try:
            self._sockets = await _listen_everywhere(self._listen)
        except OSError as error:
            raise OutputError(
                f"cannot listen at {self._listen}: {error.strerror or error}. "
                "Stop the program that uses it, or name another port"
            ) from error
        self.address = Listen(self._listen.host, int(self._sockets[0].getsockname()[1]))
        return self._sockets

    @property
    def in_place(self) -> bool:
        """A port cannot be taken away."""
        return True

    def close(self) -> None:
        """Give the port back."""
        for each in self._sockets:
            each.close()
        self._sockets = []
        self.address = None


async def _listen_everywhere(listen: Listen) -> list[socket.socket]:
    """A socket for each address that the host's name stands for and that this machine has, all at one port."""
    found = await asyncio.get_running_loop().getaddrinfo(
        listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    made: list[socket.socket] = []
    missing = OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    try:
        for family, (name, port, *rest) in dict.fromkeys((entry[0], entry[4]) for entry in found):
            try:
                made.append(_listening(family, (name, made[0].getsockname()[1] if made else port, *rest)))
            except OSError as error:
                if error.errno not in _NO_FAMILY:
                    raise
                missing = error
    except BaseException:
        for each in made:
            each.close()
        raise
    if not made:
        raise missing
    return made


def _listening(family: int, address: tuple[Any, ...]) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # The same port for IPv4 is a socket of its own.
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
        made.listen(BACKLOG)
    except BaseException:
        made.close()
        raise
    return made


class HttpServer:
    """Serves an application at an endpoint until cancelled. One that cannot be opened is tried again for ever.

    `acceptor` bounds the number of connections, and none may keep the server waiting for long (see `connection`).
    `painter` says so to whom it concerns.
    """

    def __init__(
        self, application: web.Application, endpoint: Endpoint, acceptor: Acceptor, painter: Painter = in_words
    ) -> None:
        self._endpoint = endpoint
        self._what = acceptor.what
        self._acceptor = acceptor
        self._painter = painter
        application.middlewares.insert(0, noting())
        self._runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=_GOODBYE)
        self._sockets: Sequence[socket.socket] = ()
        self._again = asyncio.Event()
        self.trouble = ""
        """Why no connection is possible; empty while the endpoint is open."""

    async def start(self) -> None:
        """Open the endpoint if that is possible now; `run` goes on trying otherwise, and takes connections."""
        if self._runner.server is None:
            await self._runner.setup()
        try:
            self._sockets = await self._endpoint.open()
        except OutputError as error:
            if str(error) != self.trouble:
                log.error("%s: %s", self._what, error, extra={"event": "control_closed"})
            self.trouble = str(error)
            return
        if self.trouble:
            log.info("%s: works again", self._what, extra={"event": "control_open"})
            self.trouble = ""

    async def run(self) -> None:
        """Serve; `start` may have been called before."""
        delay = RETRY_FIRST
        sweeping = asyncio.create_task(self._shed_overdue(), name=f"silence {self._what}")
        try:
            while True:
                if self._sockets:
                    delay = RETRY_FIRST
                    await self._until_removed()
                    log.warning(
                        "%s: %s was removed while it was in use: bound again",
                        self._what,
                        self._endpoint,
                        extra={"event": "socket_rebound"},
                    )
                else:
                    await self._pause(delay)
                    delay = min(2 * delay, RETRY_MAX)
                await self.start()
        finally:
            sweeping.cancel()
            await self.close()

    async def close(self) -> None:
        """Let everybody go and listen no more. May be called twice, and instead of `run`."""
        self._sockets = ()
        self._endpoint.close()
        if self._runner.server is not None:
            await self._runner.cleanup()

    def reopen(self) -> None:
        """SIGHUP: check at once whether the endpoint is still there."""
        self._again.set()

    async def _until_removed(self) -> None:
        full = f"{self._acceptor.most} connections are open here, as many as there may be: close some, or ask later"
        refusal = whole_answer(self._painter, 503, "too_many_connections", full)
        try:
            async with asyncio.TaskGroup() as group:
                accepting = [
                    group.create_task(self._acceptor.serve(each, self._connection, refusal)) for each in self._sockets
                ]
                while self._endpoint.in_place:
                    await self._pause(_CHECK_EVERY)
                for task in accepting:
                    task.cancel()
        finally:
            # Who is connected stays so: only the path that leads to us no more is given up.
            self._sockets = ()
            self._endpoint.close()

    def _connection(self) -> ClientConnection:
        server = self._runner.server
        assert server is not None
        return ClientConnection(server, self._acceptor, self._painter)

    async def _shed_overdue(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_CHECK_EVERY)
            now = loop.time()
            for connection in self._acceptor.silent_ones:
                if isinstance(connection, ClientConnection) and connection.overdue(now):
                    connection.shed()

    async def _pause(self, seconds: float) -> None:
        self._again.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._again.wait()
