"""Which page goes where."""

from __future__ import annotations

import asyncio
import time
from importlib import resources
from typing import Final
from urllib.parse import urlencode

from aiohttp import web

from pollerd.base.logs import mask_msisdn
from pollerd.config import Listen
from pollerd.core.ids import IdError, parse_id
from pollerd.core.model import FILTERS, Filter
from pollerd.core.ports.view import PositionError, SearchPage
from pollerd.core.walltime import by_wall
from pollerd.outputs.acceptor import Acceptor
from pollerd.server.listen import HttpServer, TcpEndpoint
from pollerd.server.pages import message_page, messages_page, status_page
from pollerd.server.pages.frame import frame, problem
from pollerd.server.pages.guard import guarding
from pollerd.server.pages.html import Html
from pollerd.status.document import StatusDocument
from pollerd.status.parts import Parts
from pollerd.status.snapshot import Observer
from pollerd.status.timeline import timeline

FRESH: Final = 1.0
"""Seconds that one document serves whoever asks."""
SHOWN: Final = 50
"""Messages on a page of the list."""
LONGEST_QUERY: Final = 200
"""Characters of a search."""
_EVENTS: Final = 2000
"""Events of a message that its page reads at most: two for each of a thousand recipients."""
_STATIC: Final = {"style.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}


def page_server(parts: Parts, observer: Observer, listen: Listen, acceptor: Acceptor) -> HttpServer:
    """The pages, guarded, at the address `listen`; `acceptor` bounds the connections."""
    pages = PageHandlers(parts, observer)
    made = web.Application(middlewares=[guarding(listen, problem)], client_max_size=1024)
    made.router.add_get("/", pages.status)
    made.router.add_get("/status", pages.fragment)
    made.router.add_get("/messages", pages.messages)
    made.router.add_get("/messages/{id}", pages.message)
    made.router.add_get("/static/{name}", pages.static)
    return HttpServer(made, TcpEndpoint(listen), acceptor, paint)


class PageHandlers:
    """The handlers."""

    def __init__(self, parts: Parts, observer: Observer) -> None:
        self._parts = parts
        self._observer = observer
        self._turn = asyncio.Lock()
        self._seen: tuple[float, StatusDocument] | None = None
        folder = resources.files("pollerd.server.pages") / "static"
        self._files = {name: (folder / name).read_bytes() for name in _STATIC}

    async def status(self, request: web.Request) -> web.Response:
        """`GET /`: the whole page; without JavaScript it loads itself anew."""
        return _html(frame("Status", status_page.content(await self._document()), live=True))

    async def fragment(self, request: web.Request) -> web.Response:
        """`GET /status`: what changes on that page."""
        return _html(status_page.content(await self._document()))

    async def messages(self, request: web.Request) -> web.Response:
        """`GET /messages`: a page of the list, or of a search."""
        wanted = request.query.get("q", "").strip()[:LONGEST_QUERY]
        state, after = request.query.get("state", ""), request.query.get("after") or None
        if state and state not in FILTERS:
            raise web.HTTPBadRequest(text=f"There is no state {state}; there are {', '.join(FILTERS)}.")
        try:
            found = await self._found(wanted, FILTERS.get(state), after)
        except PositionError as error:
            raise web.HTTPBadRequest(text=f"{error}.") from None
        older = None
        if found.next is not None:
            given = {"q": wanted, "state": state, "after": found.next}
            older = "/messages?" + urlencode({name: value for name, value in given.items() if value})
        asked = messages_page.ListQuery(wanted, state, after is not None)
        content = messages_page.content(found, asked, older, self._parts.clock.wall(), self._number)
        return _html(frame("Messages", content))

    async def _found(self, wanted: str, state: Filter | None, after: str | None) -> SearchPage:
        if wanted:
            return await self._parts.views.read(lambda view: view.search(wanted, state, after, SHOWN))
        page = await self._parts.views.read(lambda view: view.page(state, after, SHOWN))
        return SearchPage(page.messages, 0, page.next)

    async def message(self, request: web.Request) -> web.Response:
        """`GET /messages/ID`: one message and its timeline."""
        try:
            message_id = parse_id(request.match_info["id"])
        except IdError as error:
            raise web.HTTPNotFound(text=f"This {error}.") from None
        stored, log = await self._parts.views.read(
            lambda view: (view.message(message_id), view.events(0, _EVENTS, message_id))
        )
        if (unsaved := self._parts.committer.unsaved(message_id)) is not None:
            stored = by_wall(unsaved, self._parts.clock.to_wall(0.0))
        message = stored
        if message is None:
            raise web.HTTPNotFound(text=f"{message_id} is not followed. Follow it with: pollerd track {message_id}")
        now = self._parts.clock.wall()
        entries, bounds = timeline(message, log, self._number), self._parts.config.backoff
        shown = message_page.MessageView(message, entries, now, bounds.give_up_after, bounds.scheduled_horizon)
        return _html(frame(f"Message {message_id}", message_page.content(shown, self._number)))

    async def static(self, request: web.Request) -> web.Response:
        """`GET /static/NAME`."""
        name = request.match_info["name"]
        if name not in self._files:
            raise web.HTTPNotFound(text="There is no such file.")
        return web.Response(body=self._files[name], content_type=_STATIC[name], charset="utf-8")

    async def _document(self) -> StatusDocument:
        async with self._turn:
            if self._seen is None or time.monotonic() - self._seen[0] > FRESH:
                self._seen = (time.monotonic(), await self._observer.document())
            return self._seen[1]

    def _number(self, msisdn: int) -> str:
        return str(msisdn) if self._parts.config.log.show_msisdn else mask_msisdn(msisdn)


def paint(status: int, _reason: str, message: str) -> tuple[str, bytes]:
    """Content type and body of a refusal, for those whose request reaches no handler."""
    return "text/html; charset=utf-8", problem(status, f"{message}.").encode()


def _html(content: Html) -> web.Response:
    return web.Response(text=content, content_type="text/html")
