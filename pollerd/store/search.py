"""Messages by a piece of their userref or by a whole telephone number. No index holds these: the search goes from the
newest message down, stretch by stretch, and stops when its time is over; the next page goes on there.
"""

from __future__ import annotations

import time
from typing import Final

import msgspec

from pollerd.core.model import MAX_MESSAGE_ID, OVERDUE, Filter, Message, State
from pollerd.core.ports.view import PositionError, SearchPage
from pollerd.store.pages import PagedView
from pollerd.store.session import ReadConnection

STRETCH: Final = 5000
"""Messages that one statement searches."""
TIME_LIMIT: Final = 0.25
"""Seconds that one page of a search may take."""


class SearchView(PagedView):
    """Fulfils `ports.View`: a `PagedView` that can also search."""

    def __init__(self, connection: ReadConnection) -> None:
        super().__init__(connection)
        self._sql |= connection.sql("search")

    def search(self, wanted: str, state: Filter | None, after: str | None, limit: int) -> SearchPage:
        late = state == OVERDUE
        wanted_state = State.PENDING if late else state
        top = MAX_MESSAGE_ID if after is None else _position(after)
        number = int(wanted) if wanted.isascii() and wanted.isdigit() and len(wanted) < 19 else None
        found: list[Message] = []
        if after is None and number is not None and (exact := self.message(number)) is not None:
            fits = state is None or (exact.state is wanted_state and exact.overdue >= late)
            found += [exact] if fits else []
        # As `recipients` is stored; a short number is too common a piece of bytes to search for.
        blob = msgspec.msgpack.encode(number) if number is not None and number > 1_000_000 else None
        searched, until = 0, time.monotonic() + TIME_LIMIT
        while len(found) < limit and time.monotonic() < until:
            bottom, count = self._fetch("stretch", top, STRETCH)[0]
            if not count:
                return SearchPage(found, searched, None)
            searched += count
            room = limit - len(found)
            new = self._shown(self._messages("find", top, bottom, wanted_state, _folded(wanted), blob, room, late))
            found += [message for message in new if message.id != number]
            top = new[-1].id - 1 if len(new) == room else bottom - 1
        return SearchPage(found, searched, str(top))


def _folded(text: str) -> str:
    """As SQL's lower() makes it in either engine: ASCII letters alone."""
    return "".join(each.lower() if each.isascii() else each for each in text)


def _position(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) < 20:
        return min(int(text), MAX_MESSAGE_ID)
    raise PositionError(f"{text!r} is no place in this list; give the `next` of the page before")
