"""One connection to the gateway, kept between requests, and what its owner must know when it ends."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from aiohttp import ClientError, ClientRequest, ClientTimeout, ServerDisconnectedError, TCPConnector
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection

if TYPE_CHECKING:
    from aiohttp.tracing import Trace

_TIMEOUT: Final = re.compile(r"(?:^|[,;\s])timeout\s*=\s*\"?(\d{1,6})(?!\d)", re.IGNORECASE)
_MARGIN: Final = 1.0
"""Seconds before the end that a server announces from which its connection is not used any more: a request that is on
its way when the server closes is lost. Longer than any usual way there."""


class BrokenConnectionError(ClientError):
    """The connection ended while an answer was awaited; the cause says how."""


class _Hearing(ResponseHandler):
    """aiohttp's protocol, which also notes whether anything came since `heard` was last cleared, and how it ended."""

    heard = False
    failure: BaseException | None = None
    """Why the connection ended; None: the other side closed it."""

    def data_received(self, data: bytes) -> None:
        # aiohttp itself calls with nothing, to go on with what it had set aside.
        if data:
            self.heard = True
        super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.failure = exc
        super().connection_lost(exc)


class OneConnection(TCPConnector):
    """A connector with room for one connection. Without `keep` it is closed after each request.

    It connects once for each request: aiohttp repeats a GET by itself whose connection broke, of which the limiter
    would not know, and which would carry the first one's signature. Call `next_request` before each but the first.
    """

    def __init__(self, *, keep: bool, keepalive_timeout: float, **options: Any) -> None:
        idle = {"keepalive_timeout": keepalive_timeout} if keep else {"force_close": True}
        super().__init__(limit=1, **idle, **options)
        # aiohttp has no public place for a protocol of one's own. Should this one go, nothing is ever `forgotten`.
        made: Callable[..., ResponseHandler] = _Hearing
        self._factory = partial(made, loop=asyncio.get_running_loop())
        self._current: ResponseHandler | None = None
        self.reused = False
        """Whether the last request went over a connection that an earlier one had used."""
        self._asked = False

    def next_request(self) -> None:
        """Another request may connect."""
        self._asked = False

    async def connect(self, req: ClientRequest, traces: list[Trace], timeout: ClientTimeout) -> Connection:
        """The kept connection where it can still be used, else a new one.

        Raises BrokenConnectionError where the request had one already.
        """
        if self._asked:
            failure = self._current.failure if isinstance(self._current, _Hearing) else None
            raise BrokenConnectionError from failure or ServerDisconnectedError()
        self._asked = True
        self.reused = False
        connection = await super().connect(req, traces, timeout)
        protocol = connection.protocol
        if protocol is self._current and protocol is not None and protocol.should_close:
            # The server said something between two requests, such as a 408: no request's answer.
            connection.close()
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
        self.reused = protocol is self._current
        self._current = protocol
        if isinstance(protocol, _Hearing):
            protocol.heard = False
        return connection

    @property
    def forgotten(self) -> bool:
        """Whether the last request went over a used connection and nothing came back: not a byte of an answer."""
        return self.reused and isinstance(self._current, _Hearing) and not self._current.heard

    @property
    def kept(self) -> bool:
        """Whether the connection of the last request is still there."""
        return self._current is not None and self._current.is_connected()


def idle_limit(headers: Mapping[str, str]) -> float:
    """Seconds that an unused connection may be trusted after an answer with these headers; `inf`: nothing is said.

    Source: `Keep-Alive: timeout=5`, by which many servers and proxies announce when they close.
    """
    text = headers.get("Keep-Alive")
    found = _TIMEOUT.search(text) if text else None
    if found is None:
        return math.inf
    announced = float(found[1])
    return max(announced - _MARGIN, announced / 2)
