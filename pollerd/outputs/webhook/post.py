"""One POST to a receiver: to no address that is not allowed, through no proxy, after no redirect, in bounded time."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any, Final, NamedTuple, Self
from urllib.parse import urlsplit

from aiohttp import (
    ClientConnectorError,
    ClientError,
    ClientOSError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    ServerDisconnectedError,
    TCPConnector,
)

from pollerd.base import failpoints
from pollerd.base.retryafter import parse_retry_after
from pollerd.config import WebhookRouteConfig
from pollerd.config.addresses import is_private
from pollerd.outputs.webhook.sign import Signer

TIMEOUT: Final = 15.0
"""Seconds in which a receiver has to answer, connecting included."""
_KEEP_ALIVE: Final = 1.0
"""Seconds an unused connection is kept: less than receivers keep theirs, so that we are the ones to close."""
_ANSWER: Final = 16 * 1024  # Bytes of an answer that are read, and
_ANSWER_TIMEOUT: Final = 1.0  # seconds for it: so that the connection can serve the next post.
_HEADERS: Final = {"Content-Type": "application/json", "User-Agent": f"pollerd/{version('pollerd')}"}
_ASKING: Final = frozenset({429, 503})
_DOWN: Final = frozenset({429, 502, 503, 504})
"""Answers that say that the receiver, not the event, is the trouble."""


class PostResult(NamedTuple):
    """What became of a post. `down`: the receiver is not there at all. `detail` says what a failure was.

    `pause`: seconds that the receiver asks to be left alone.
    """

    taken: bool
    down: bool = False
    detail: str = ""
    pause: float = 0.0


_NOT_MINE: Final = PostResult(taken=False, down=True, detail="not posted: another machine may be posting by now")


class NotAllowedError(OSError):
    """The receiver's name leads to an address outside of loopback and private networks."""


class Receiver:
    """Posts to one URL. Closed by `close`."""

    def __init__(
        self,
        route: WebhookRouteConfig,
        *,
        allow_remote: bool,
        connections: int,
        timeout: float = TIMEOUT,
        protect: Callable[[str], None] | None = None,
        may_post: Callable[[], bool] = lambda: True,
    ) -> None:
        """No post begins while `may_post` says no: another machine may be posting."""
        self._may_post = may_post
        parts = urlsplit(route.url)
        self.name = f"{parts.scheme}://{parts.netloc}{parts.path}"
        """The URL without its query, which may hold a secret."""
        self._url = route.url
        self._signer = Signer(route.secret, self.name, protect)
        self._timeout = timeout
        connector = TCPConnector(
            limit=connections,
            ttl_dns_cache=5,
            keepalive_timeout=_KEEP_ALIVE,
            # Judged where the connection is made: what a name led to a moment ago proves nothing.
            socket_factory=None if allow_remote else _guarded,
        )
        self._session = ClientSession(
            connector=connector,
            cookie_jar=DummyCookieJar(),
            timeout=ClientTimeout(total=timeout),
            trust_env=False,
            headers=_HEADERS,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    def reload(self) -> None:
        """Check the secret's source again."""
        self._signer.reload()

    async def post(self, body: bytes) -> PostResult:
        """Post once. Every failure is a value; only cancellation is raised."""
        if not self._may_post():
            return _NOT_MINE
        failpoints.hit("webhook.before_post")
        headers = self._signer.headers(body)
        try:
            try:
                return await self._post(body, headers)
            except ClientConnectorError:
                raise
            except (ServerDisconnectedError, ClientOSError, ConnectionResetError):
                # Most often a kept connection that the receiver was just closing, or has forgotten; this one attempt
                # deserves a new one: unless the machine slept meanwhile.
                if not self._may_post():
                    return _NOT_MINE
                return await self._post(body, headers)
        except TimeoutError:
            return PostResult(taken=False, down=True, detail=f"no answer within {self._timeout:g} s")
        except (ClientError, OSError) as error:
            return PostResult(taken=False, down=True, detail=_words(error))

    async def _post(self, body: bytes, headers: dict[str, str]) -> PostResult:
        response = await self._session.post(self._url, data=body, headers=headers, allow_redirects=False)
        try:
            status = response.status
            if 200 <= status < 300:
                await _drain(response)
                return PostResult(taken=True)
        finally:
            # After a whole body the connection is free already; else this closes it.
            response.close()
        location = " (redirects are not followed)" if 300 <= status < 400 else ""
        pause = asked_pause(status, response.headers, time.time())
        asks = f" and asks to wait {pause:.0f} s" if pause else ""
        return PostResult(taken=False, down=status in _DOWN, detail=f"answered {status}{location}{asks}", pause=pause)


def asked_pause(status: int, headers: Mapping[str, str], now: float) -> float:
    """Seconds from `now` (by the wall clock), 0 to 3600, that `Retry-After` asks for with a 429 or 503; else 0."""
    if status not in _ASKING:
        return 0.0
    return parse_retry_after(headers.get("Retry-After"), headers.get("Date"), now) or 0.0


async def _drain(response: ClientResponse) -> None:
    """Take the rest of a short answer, so that the connection can be used again."""
    with contextlib.suppress(ClientError, OSError):
        async with asyncio.timeout(_ANSWER_TIMEOUT):
            left = _ANSWER
            while left > 0 and (piece := await response.content.read(left)):
                left -= len(piece)


def _guarded(address: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol, _, place = address
    if not is_private(str(place[0])):
        raise NotAllowedError(
            errno.EACCES,
            f"{place[0]} is neither a loopback nor a private address; set allow_remote = true to post there",
        )
    return socket.socket(family, kind, protocol)


def _words(error: Exception) -> str:
    refused: BaseException | None = error
    while refused is not None:
        if isinstance(refused, NotAllowedError):
            return str(refused.strerror)
        refused = refused.__cause__ or refused.__context__
    match error:
        case ClientConnectorError():
            return f"cannot be connected to: {error.os_error.strerror or error.os_error}"
        case ServerDisconnectedError() | ConnectionResetError():
            return "closed the connection without an answer"
        case ClientOSError() | OSError():
            return f"connection failed: {error.strerror or error}"
        case _:
            return f"{type(error).__name__}: {error}"
