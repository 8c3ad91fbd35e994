"""The control socket: which request goes where."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Final

from aiohttp import web

from pollerd.base.descriptors import CONTROL, METRICS
from pollerd.base.errors import DurabilityError, root_cause
from pollerd.config import Listen
from pollerd.outputs.acceptor import Acceptor
from pollerd.server.api import query
from pollerd.server.api.documents import HealthDocument
from pollerd.server.api.endings import Endings
from pollerd.server.api.messages import MessageRoutes
from pollerd.server.api.openapi import document
from pollerd.server.api.stream import EventStream, Feed
from pollerd.server.hosts import meant_for
from pollerd.server.listen import HttpServer, TcpEndpoint, UnixEndpoint
from pollerd.server.refusals import answer, explaining, refusal
from pollerd.status.metrics.meter import Meter
from pollerd.status.metrics.scrape import ConnectionUse, Scrape
from pollerd.status.parts import Parts
from pollerd.status.snapshot import Observer

MODE: Final = 0o660
"""Rights of the socket: the daemon's user and its group."""
BODY: Final = 4 * 1024 * 1024
"""Bytes of a request's body at most: some 300,000 ids."""
_TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"


class Scrapes:
    """Renders the metrics, one scrape at a time."""

    def __init__(self, parts: Parts, observer: Observer, stream: EventStream, acceptors: Sequence[Acceptor]) -> None:
        self._warnings = parts.warnings
        self._observer = observer
        self._acceptors = acceptors
        self._stream = stream
        self._meter = parts.meter
        self._turn = asyncio.Lock()

    async def handle(self, request: web.Request) -> web.Response:
        """`GET /metrics`."""
        query.only(request)
        async with self._turn:
            scrape = Scrape(
                await self._observer.document(self._stream.followers, oldest=False),
                dict(self._warnings.counts),
                [ConnectionUse(each.what, each.open, each.most, each.turned_away) for each in self._acceptors],
            )
            text = await asyncio.to_thread(_rendered, self._meter, scrape)
        return web.Response(body=text, headers={"Content-Type": _TEXT})


def _rendered(meter: Meter, scrape: Scrape) -> bytes:
    # Prometheus's library is a megabyte, which a daemon whose metrics nobody reads does without.
    from pollerd.status.metrics.collector import rendered

    return rendered(meter, scrape)


class ControlServer:
    """The control socket, and the metrics alone on a port of their own, where the configuration names them; `pages`
    start and end with them.
    """

    def __init__(
        self, parts: Parts, observer: Observer, acceptors: Mapping[str, Acceptor], pages: HttpServer | None = None
    ) -> None:
        """To be made in the running loop. `acceptors` bound the connections, by what they are for."""
        socket, metrics = parts.config.control.socket, parts.config.metrics
        self._parts = parts
        self._observer = observer
        # The rest is for commands.
        readers = 0 if socket is None else acceptors[CONTROL].most * 3 // 4
        self._feed = Feed(parts.store, most=readers)
        self._endings = Endings(self._feed)
        self._stream = EventStream(self._feed, parts.views)
        self._scrapes = Scrapes(parts, observer, self._stream, tuple(acceptors.values()))
        self._fatal: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._servers: list[HttpServer] = []
        if socket is not None:
            self._servers.append(HttpServer(self._control(), UnixEndpoint(socket, MODE), acceptors[CONTROL]))
        if metrics is not None:
            served = self._metrics(metrics.listen)
            self._servers.append(HttpServer(served, TcpEndpoint(metrics.listen), acceptors[METRICS]))
        if pages is not None:
            self._servers.append(pages)

    async def start(self) -> None:
        """Listen, where that is possible now."""
        for server in self._servers:
            await server.start()

    async def run(self) -> None:
        """Serve until cancelled. Raises DurabilityError when a request met a disk that cannot be trusted."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._observer.run(), name="observer")
                group.create_task(self._feed.run(), name="feed")
                group.create_task(self._endings.run(), name="endings")
                for server in self._servers:
                    group.create_task(server.run(), name="http")
                await self._fatal
        except BaseExceptionGroup as failed:
            raise root_cause(failed) from failed
        finally:
            await self.close()

    async def close(self) -> None:
        """Listen no more and let everybody go. May be called twice, and instead of `run`."""
        self._endings.stop()
        for server in self._servers:
            await server.close()
        self._parts.views.close()

    def reopen(self) -> None:
        """SIGHUP: listen again where somebody has removed the socket, or where it was not possible before."""
        for server in self._servers:
            server.reopen()

    def _control(self) -> web.Application:
        made = web.Application(middlewares=[explaining(self._failed)], client_max_size=BODY)
        messages = MessageRoutes(self._parts, self._endings)
        one = "/messages/{id}"
        made.router.add_post("/messages", messages.hand_over)
        made.router.add_get("/messages", messages.list, allow_head=False)
        made.router.add_get(one, messages.show, allow_head=False)
        made.router.add_delete(one, messages.untrack)
        made.router.add_post(f"{one}/poll", messages.poll)
        made.router.add_post(f"{one}/retry", messages.retry)
        made.router.add_post("/accounts/{name}/resume", messages.resume)
        made.router.add_post("/accounts/{name}/secret", messages.proves)
        made.router.add_post("/undelivered/retry", messages.retry_undelivered)
        made.router.add_post("/backoff/forget", messages.forget)
        made.router.add_get("/personal-data", messages.known, allow_head=False)
        made.router.add_delete("/personal-data", messages.erase)
        made.router.add_get("/events", self._stream.handle, allow_head=False)
        made.router.add_get("/status", self._status, allow_head=False)
        made.router.add_get("/metrics", self._scrapes.handle, allow_head=False)
        made.router.add_get("/healthz", self._health, allow_head=False)
        made.router.add_get("/openapi.json", self._openapi, allow_head=False)
        made.on_shutdown.append(self._let_go)
        return made

    def _metrics(self, listen: Listen) -> web.Application:
        explained = explaining(self._failed, "/metrics and /healthz are served here")
        made = web.Application(middlewares=[explained, *meant_for(listen)], client_max_size=1024)
        made.router.add_get("/metrics", self._scrapes.handle, allow_head=False)
        made.router.add_get("/healthz", self._health, allow_head=False)
        return made

    async def _status(self, request: web.Request) -> web.Response:
        query.only(request)
        return answer(await self._observer.document(self._stream.followers))

    async def _health(self, request: web.Request) -> web.Response:
        query.only(request)
        observer = self._observer
        if observer.trouble:
            return refusal(503, "database_unavailable", observer.trouble)
        if observer.stuck is not None:
            return refusal(503, "stuck", observer.stuck)
        return answer(HealthDocument(status="ok"))

    async def _openapi(self, request: web.Request) -> web.Response:
        query.only(request)
        return answer(document(version("pollerd")))

    async def _let_go(self, application: web.Application) -> None:
        self._endings.stop()

    def _failed(self, error: DurabilityError) -> None:
        if not self._fatal.done():
            self._fatal.set_exception(error)
