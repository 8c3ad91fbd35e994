"""HTTP at a Unix socket or a TCP address: opened again when it could not be, or when somebody removed the socket."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import Final, Protocol

from aiohttp import web

from pollerd.config import Listen
from pollerd.errors import OutputError
from pollerd.outputs.listener import Listener

log = logging.getLogger(__name__)

RETRY_FIRST: Final = 5.0
RETRY_MAX: Final = 60.0
_GOODBYE: Final = 0.5
"""Seconds that answers under way get when the server stops."""
_LOOK: Final = 1.0


class Door(Protocol):
    """Where requests come in."""

    async def open(self, runner: web.BaseRunner) -> None:
        """Listen. Raises OutputError when that is not possible."""
        ...

    @property
    def in_place(self) -> bool:
        """Whether who looks for the door still finds this one."""
        ...

    def close(self) -> None:
        """Leave nothing behind."""
        ...


class SocketDoor:
    """A Unix socket at `path`, created with exactly `mode`."""

    def __init__(self, path: Path, mode: int) -> None:
        self._path = path
        self._mode = mode
        self._listener: Listener | None = None

    def __str__(self) -> str:
        return str(self._path)

    async def open(self, runner: web.BaseRunner) -> None:
        """Listen; a stale socket is replaced, a live one of another process is not."""
        self._listener = Listener.bind(self._path, self._mode)
        await web.SockSite(runner, self._listener.socket).start()

    @property
    def in_place(self) -> bool:
        """Whether the path still leads to this socket."""
        return self._listener is not None and self._listener.in_place

    def close(self) -> None:
        """Remove the socket's file."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None


class PortDoor:
    """A TCP address. `port` 0 takes a free one; `address` is the one in use."""

    def __init__(self, listen: Listen) -> None:
        self._listen = listen
        self.address: Listen | None = None

    def __str__(self) -> str:
        return str(self.address or self._listen)

    async def open(self, runner: web.BaseRunner) -> None:
        """Listen."""
        site = web.TCPSite(runner, self._listen.host, self._listen.port)
        try:
            await site.start()
        except OSError as error:
            raise OutputError(
                f"cannot listen at {self._listen}: {error.strerror or error}. "
                "Stop the program that uses it, or name another port"
            ) from error
        self.address = Listen(self._listen.host, int(runner.addresses[0][1]))

    @property
    def in_place(self) -> bool:
        """Nobody can take a port away."""
        return True

    def close(self) -> None:
        """The runner closes the port."""
        self.address = None


class HttpServer:
    """Serves an application at a door until cancelled. A door that cannot be opened is tried again for ever."""

    def __init__(self, application: web.Application, door: Door, what: str) -> None:
        self._door = door
        self._what = what
        self._runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=_GOODBYE)
        self._open = False
        self._again = asyncio.Event()
        self.trouble = ""
        """Why nobody is heard; empty while the door is open."""

    async def start(self) -> None:
        """Open the door if that is possible now; `run` goes on trying otherwise."""
        if self._runner.server is None:
            await self._runner.setup()
        try:
            await self._door.open(self._runner)
        except OutputError as error:
            if str(error) != self.trouble:
                log.error("%s: %s", self._what, error, extra={"event": "control_closed"})
            self.trouble = str(error)
            return
        if self.trouble:
            log.info("%s: works again", self._what, extra={"event": "control_open"})
            self.trouble = ""
        self._open = True

    async def run(self) -> None:
        """Serve; `start` may have been called before."""
        delay = RETRY_FIRST
        try:
            while True:
                if self._open:
                    delay = RETRY_FIRST
                    await self._until_removed()
                    log.warning(
                        "%s: %s was removed while it was in use: bound again",
                        self._what,
                        self._door,
                        extra={"event": "socket_rebound"},
                    )
                else:
                    await self._pause(delay)
                    delay = min(2 * delay, RETRY_MAX)
                await self.start()
        finally:
            await self._runner.cleanup()
            self._door.close()

    def reopen(self) -> None:
        """SIGHUP: look at once whether the door is still there."""
        self._again.set()

    async def _until_removed(self) -> None:
        while self._door.in_place:
            await self._pause(_LOOK)
        # Who is connected stays so: only the place where nobody finds us any more is given up.
        self._open = False
        for site in list(self._runner.sites):
            await site.stop()
        self._door.close()

    async def _pause(self, seconds: float) -> None:
        self._again.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._again.wait()
