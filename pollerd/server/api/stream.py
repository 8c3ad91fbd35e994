"""`GET /events`: the event log as NDJSON, once or as it grows.

A reader costs what its connection buffers, and delays no other: events are read from the log only as it takes them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final

import msgspec
from aiohttp import web

from pollerd.base.errors import StoreError
from pollerd.core.event import TYPES, Event, EventFilter, left_out, runs
from pollerd.core.ports import EventLog, View, Views
from pollerd.server.api import query
from pollerd.server.api.documents import GapDocument
from pollerd.server.refusals import RequestError

log = logging.getLogger(__name__)

NDJSON: Final = "application/x-ndjson"
LAST: Final = "Pollerd-Last-Seq"
"""The header with the highest `seq` given when the answer began."""
HIGHEST: Final = 2**63 - 1
"""The highest `seq` that SQLite can give."""
ENDLESS: Final = 2**53  # More events than there will ever be, and exact in JSON.
_CHUNK: Final = 500
"""Events read from the log at a time."""
_PIECE: Final = 64 * 1024
"""Bytes given to the connection before it must drain, about."""


class Feed:
    """Wakes all readers that follow, with one task whatever their number, and lets them go when the server stops.

    At most `most` answers may take long at a time: a reader may take for ever, and others want to be heard.
    """

    def __init__(self, log: EventLog, *, most: int) -> None:
        self.log = log
        self.stopped = False
        self._most = most
        self._readers = 0
        self._last = log.last
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Watch the log until cancelled."""
        while True:
            await self.log.wait(self._last)
            self._last = self.log.last
            self._wake()

    def stop(self) -> None:
        """Everybody is to go now."""
        self.stopped = True
        self._wake()

    async def more(self, after: int) -> bool:
        """Return True when there may be events after `after`, False when everybody is to go."""
        while self._last <= after and not self.stopped:
            await self._changed.wait()
        return not self.stopped

    @contextmanager
    def reader(self) -> Iterator[None]:
        """One answer that may take long. Raises RequestError where there are too many."""
        if self._readers >= self._most:
            text = (
                f"{self._most} readers of events, or of a message that they wait for, are connected, as many as there "
                "may be: end some, or ask again later"
            )
            raise RequestError(503, "too_many_readers", text)
        self._readers += 1
        try:
            yield
        finally:
            self._readers -= 1

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


class EventStream:
    """Answers `GET /events`."""

    def __init__(self, feed: Feed, views: Views) -> None:
        self._feed = feed
        self._log = feed.log
        self._views = views
        self.followers = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One reader, from its first event to its last."""
        query.only(request, "after", "follow", "id", "type", "limit")
        follow = query.flag(request, "follow")
        message = request.query.get("id")
        wanted = EventFilter(
            None if message is None else query.message_id(message, "id"),
            query.choice(request, "type", {kind: kind for kind in TYPES}),
        )
        after = self._after(request)
        left = query.number(request, "limit", ENDLESS, 1, ENDLESS)
        with self._feed.reader():
            return await self._answer(request, after, wanted, left, follow=follow)

    async def _answer(
        self, request: web.Request, after: int | None, wanted: EventFilter, left: int, *, follow: bool
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Cache-Control": "no-store", LAST: str(self._log.last)})
        response.content_type = NDJSON
        response.enable_chunked_encoding()
        await response.prepare(request)
        self.followers += follow
        try:
            async for piece in self._pieces(after, wanted, follow=follow):
                some, left = _cut(piece, left)
                await response.write(some)
                if left == 0:
                    break
        except StoreError as error:
            # The answer has begun: all that is left to say is that it does not end as it should.
            log.warning("a reader of the event log is let go: %s", error, extra={"event": "control_error"})
            if request.transport is not None:
                request.transport.close()
            return response
        except ConnectionError:
            log.debug("a reader of the event log has gone")
            return response
        finally:
            self.followers -= follow
        await response.write_eof()
        return response

    def _after(self, request: web.Request) -> int | None:
        if request.query.get("after") == "now":
            return self._log.last
        if "after" not in request.query:
            return None
        return query.number(request, "after", 0, 0, HIGHEST)

    async def _pieces(self, after: int | None, wanted: EventFilter, *, follow: bool) -> AsyncIterator[bytes]:
        # Who asks for everything that is kept knows that what is older is gone.
        place = self._log.pruned if after is None else after
        end = self._log.last
        async for reached, piece in self._history(place, end, wanted):
            place = reached
            yield piece
        place = max(place, end)
        while follow and await self._feed.more(place):
            last = self._log.last
            found = await self._log.read(place, _CHUNK)
            for run in runs(place, found):
                if gap := self._gap(place, run):
                    yield gap
                for piece in _joined(filter(wanted.fits, run)):
                    yield piece
                place = run[-1].seq if run else place
            # Numbers may be left out, so that there can be a higher one and still no event.
            place = place if found else last

    async def _history(self, place: int, end: int, wanted: EventFilter) -> AsyncIterator[tuple[int, bytes]]:
        """What is committed by now, up to `end`: pieces, each with the place it leads to."""
        while place < end:
            if wanted == EventFilter():
                found = await self._log.read(place, _CHUNK)
            else:
                found = await self._views.read(partial(_some, after=place, wanted=wanted))
            for run in runs(place, found):
                if gap := self._gap(place, run if wanted == EventFilter() else ()):
                    yield place, gap
                for piece in _joined(run):
                    yield run[-1].seq, piece
                place = run[-1].seq if run else place
            if not found:
                return

    def _gap(self, place: int, found: Sequence[Event]) -> bytes:
        """The line that says that what follows `place` was deleted or left out, if so; `found` is what is left."""
        pruned = self._log.pruned
        first = found[0].seq if found else pruned + 1
        if (place >= pruned or first == place + 1) and not (found and left_out(place, first)):
            return b""
        return msgspec.json.encode(GapDocument(after=place, first=first)) + b"\n"


def _cut(piece: bytes, left: int) -> tuple[bytes, int]:
    """As many of the lines as may still be sent, and how many may be sent after them. A gap is no event."""
    lines = piece.splitlines(keepends=True) if left < ENDLESS else []
    if not lines or lines[0].startswith(b'{"type":"gap"'):
        return piece, left
    return b"".join(lines[:left]), max(0, left - len(lines))


def _some(view: View, after: int, wanted: EventFilter) -> list[Event]:
    return view.events(after, _CHUNK, *wanted)


def _joined(events: Iterable[Event]) -> Iterable[bytes]:
    """Whole lines in pieces that the connection takes at a time."""
    piece = bytearray()
    for event in events:
        piece += event.line
        if len(piece) >= _PIECE:
            yield bytes(piece)
            piece = bytearray()
    if piece:
        yield bytes(piece)
