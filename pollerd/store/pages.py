"""Messages page by page, each page found through an index whatever the number of messages."""

from __future__ import annotations

import heapq
import math
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from pollerd.core.model import MAX_MESSAGE_ID, Filter, Message, State
from pollerd.store import rows
from pollerd.store.statements import statements
from pollerd.store.view import View

_NEW: Final = "new"


class PlaceError(ValueError):
    """Not a place in this list."""


class Page(NamedTuple):
    """Some messages, and the place to go on after (None: that was all)."""

    messages: list[Message]
    next: str | None


class Pages(View):
    """A `View` that also lists in pages. Orders: all and given up: the highest id first; finished: the latest first;
    overdue: the longest first; pending: what nobody has planned yet, then what is polled next. A pending message that
    is polled while somebody turns the pages may be shown twice, and is never left out.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        super().__init__(path, connection)
        self._sql |= {name: sql.format(columns=", ".join(rows.COLUMNS)) for name, sql in statements("pages").items()}

    def page(self, state: Filter | None, after: str | None, limit: int) -> Page:
        """At most `limit` messages behind the place `after` (None: from the start). Raises PlaceError."""
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
        place = (-math.inf, 0)
        new: list[Message] = []
        if kind == _NEW:
            new = self._messages("page_new", _number(rest), limit)
            if len(new) == limit:
                return Page(new, f"{_NEW}:{new[-1].id}")
        else:
            place = _pair(after or "")
        room = limit - len(new)
        planned: list[Message] = []
        for account in self._pending_accounts():
            planned += self._messages("page_pending", account, *place, room)
        planned = heapq.nsmallest(room, planned, key=lambda message: (message.next_poll_at, message.id))
        return self._page(new + planned, limit, lambda last: f"{last.next_poll_at!r}:{last.id}")

    def _page(self, found: list[Message], limit: int, place: Callable[[Message], str]) -> Page:
        # A place is one in the database: the same whatever is done to the wall clock between two pages.
        return Page(self._shown(found), place(found[-1]) if len(found) == limit else None)


def _number(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) < 20:
        return min(int(text), MAX_MESSAGE_ID)
    raise PlaceError(f"{text!r} is no place in this list; give the `next` of the page before")


def _pair(text: str) -> tuple[float, int]:
    when, colon, number = text.partition(":")
    try:
        instant = float(when)
    except ValueError:
        instant = math.nan
    if not colon or math.isnan(instant):
        raise PlaceError(f"{text!r} is no place in this list; give the `next` of the page before")
    return instant, _number(number)
