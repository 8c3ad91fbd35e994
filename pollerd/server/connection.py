"""One HTTP connection of a client: how long the server waits for it, and what it answers when that is over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum, auto
from http import HTTPStatus
from typing import Any, Final, cast

from aiohttp import web
from aiohttp.typedefs import Middleware
from aiohttp.web_protocol import RequestHandler

from pollerd.outputs.acceptor import GOODBYE, Acceptor

Painter = Callable[[int, str, str], tuple[str, bytes]]
"""Content type and body of a refusal, from its status, a word for programs and a sentence for people."""
Handler = Callable[[web.Request], Any]


class Wait(Enum):
    """What the other side is waited for."""

    HEAD = auto()
    """A request's line and headers, whole."""
    BODY = auto()
    """A request's body, whole."""
    ANSWER = auto()
    """That it takes an answer."""
    NEXT = auto()
    """Another request on the same connection."""


TIMEOUTS: Final = {Wait.HEAD: 10.0, Wait.BODY: 30.0, Wait.ANSWER: 300.0, Wait.NEXT: 75.0}
"""Seconds. Every client sends a head in one piece; 4 MiB of a body take milliseconds on the same machine; a person may
read an answer page by page; between requests it is what nginx allows by default."""


class ClientConnection(RequestHandler):
    """aiohttp's protocol, which reports to the acceptor what it waits for. An answer that streams may take for ever."""

    __slots__ = ("_acceptor", "_painter", "_request", "_since", "_stream", "_wait")

    def __init__(self, server: web.Server, acceptor: Acceptor, painter: Painter) -> None:
        options: dict[str, Any] = {"access_log": None}
        super().__init__(server, loop=asyncio.get_running_loop(), **options)
        self._acceptor = acceptor
        self._painter = painter
        self._wait: Wait | None = None
        self._since = 0.0
        self._request: web.BaseRequest | None = None
        self._stream: asyncio.Transport | None = None

    def overdue(self, now: float) -> bool:
        """Whether the other side has kept us waiting for too long, at `now` (seconds of the loop's clock)."""
        return self._wait is not None and now - self._since > TIMEOUTS[self._wait]

    def shed(self) -> None:
        """Close, with a word where one may be said."""
        stream, wait = self._stream, self._wait
        if stream is None or stream.is_closing():
            return
        if wait is Wait.ANSWER or stream.get_write_buffer_size():
            # What was written is not taken: it would be waited for.
            stream.abort()
            return
        if wait is not Wait.NEXT:
            text = "no whole request came in time, or before others needed this connection's place: ask again"
            stream.write(whole_answer(self._painter, 408, "too_slow", text))
        self.force_close()
        self._loop.call_later(GOODBYE, stream.abort)

    # -- what happens to the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # uvloop's transports are no subclass of asyncio's.
        self._stream = cast("asyncio.Transport", transport)
        self._acceptor.opened(self)
        self._waits(Wait.HEAD)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._wait is Wait.NEXT and data:
            self._waits(Wait.HEAD)
        elif self._wait is Wait.BODY and self._request is not None and self._request.content.is_eof():
            self._waits(None)

    def handles(self, request: web.BaseRequest) -> None:
        """A request's head is here and its handler begins."""
        self._request = request
        self._waits(None if request.content.is_eof() else Wait.BODY)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send the answer, or what is left of it."""
        self._request = None
        self._waits(Wait.ANSWER)
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self._waits(Wait.NEXT)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._acceptor.closed(self)
        self._stream = self._request = None

    def _waits(self, wait: Wait | None) -> None:
        self._wait = wait
        self._since = self._loop.time()
        if wait is None:
            self._acceptor.busy(self)
        else:
            self._acceptor.silent(self)


def noting() -> Middleware:
    """The outermost middleware of an application served over such connections."""

    @web.middleware
    async def note(request: web.Request, handler: Handler) -> web.StreamResponse:
        if isinstance(request.protocol, ClientConnection):
            request.protocol.handles(request)
        answer: web.StreamResponse = await handler(request)
        return answer

    return note


def whole_answer(painter: Painter, status: int, reason: str, message: str) -> bytes:
    """An HTTP answer after which the connection is closed, for those whose request reaches no handler."""
    content_type, body = painter(status, reason, message)
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
