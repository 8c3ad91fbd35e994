"""Messages page by page, each page found through an index whatever the number of messages."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from typing import Final

from pollerd.core.model import MAX_MESSAGE_ID, Filter, Message, State
from pollerd.core.ports.view import Page, PositionError
from pollerd.store.session import ReadConnection
from pollerd.store.view import StoredView

_NEW: Final = "new"


class PagedView(StoredView):
    """A `StoredView` that also lists in pages."""

    def __init__(self, connection: ReadConnection) -> None:
        super().__init__(connection)
        self._sql |= connection.sql("pages")

    def page(self, state: Filter | None, after: str | None, limit: int) -> Page:
        match state:
            case State.NEW | State.PENDING:
                return self._pending(after, limit)
            case State.FINISHED:
                when, number = (math.inf, MAX_MESSAGE_ID) if after is None else _pair(after)
                found = self._messages("page_finished", when, number, limit)
                return self._page(found, limit, lambda last: f"{last.finished_at!r}:{last.id}")
            case "overdue":
                when, number = (-math.inf, 0) if after is None else _pair(after)
                found = self._messages("page_overdue", when, number, limit)
                return self._page(found, limit, lambda last: f"{last.overdue_at!r}:{last.id}")
            case _:
                name = "page_all" if state is None else f"page_{state.name.lower()}"
                found = self._messages(name, MAX_MESSAGE_ID if after is None else _number(after), limit)
                return self._page(found, limit, lambda last: str(last.id - 1))

    def _pending(self, after: str | None, limit: int) -> Page:
        kind, _, rest = (after or f"{_NEW}:0").partition(":")
        after_planned = (-math.inf, 0)
        new: list[Message] = []
        if kind == _NEW:
            new = self._messages("page_new", _number(rest), limit)
            if len(new) == limit:
                return Page(new, f"{_NEW}:{new[-1].id}")
        else:
            after_planned = _pair(after or "")
        room = limit - len(new)
        planned: list[Message] = []
        for account in self._pending_accounts():
            planned += self._messages("page_pending", account, *after_planned, room)
        planned = heapq.nsmallest(room, planned, key=lambda message: (message.next_poll_at, message.id))
        return self._page(new + planned, limit, lambda last: f"{last.next_poll_at!r}:{last.id}")

    def _page(self, found: list[Message], limit: int, position: Callable[[Message], str]) -> Page:
        # A position is one in the database: the same whatever is done to the wall clock between two pages.
        return Page(self._shown(found), position(found[-1]) if len(found) == limit else None)


def _number(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) < 20:
        return min(int(text), MAX_MESSAGE_ID)
    raise PositionError(f"{text!r} is no place in this list; give the `next` of the page before")


def _pair(text: str) -> tuple[float, int]:
    when, colon, number = text.partition(":")
    try:
        instant = float(when)
    except ValueError:
        instant = math.nan
    if not colon or math.isnan(instant):
        raise PositionError(f"{text!r} is no place in this list; give the `next` of the page before")
    return instant, _number(number)
