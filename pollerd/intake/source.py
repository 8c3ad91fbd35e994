"""Ids from the database of an application, which is only read: what its query gives is followed.

The same ids may come every time; only what is new is written. A look reads a page of the rows, in the order of a key.
A result that fits into one is read whole by each look. Of a larger one a look reads what is behind the highest key so
far, where new rows come mostly, and goes on with a sweep through all, so that rows which are known and still match hide
no other one. The sweep begins anew with each start of the daemon: no row is skipped, whatever was read before.
"""

from __future__ import annotations

import asyncio
import logging
from array import array
from collections.abc import Sequence
from functools import partial
from typing import Final, NamedTuple, Protocol

from pollerd.base.bounded import in_thread
from pollerd.base.errors import StoreError, StoreUnavailableError
from pollerd.base.shield import to_end
from pollerd.config.sql import AFTER
from pollerd.core.ports import SourceBook, SourceRow
from pollerd.intake.rows import places_of, row_of, shown

logger = logging.getLogger(__name__)

PAGE: Final = 2000
"""Rows that are read at a time: more than most have under way, read and compared within hundredths of a second."""
_CHUNK: Final = 1000  # Rows handed on at a time.
_SHARE: Final = 1 / 50
"""The part of the time that a sweep through known rows takes, at most."""
_DUTY: Final = 5.0
"""A look that took long and found nothing new is repeated no sooner than after so many times as long."""
_AGAIN: Final = (1.0, 30.0)
"""After trouble a look waits so many seconds, at least and at most, whatever `every` says."""
_NAMED: Final = 1000
"""Ids that are remembered as refused, so that each is named once."""
_PATIENCE: Final = 3.0
"""Seconds that the daemon's end waits for a read that is under way; nothing is lost by leaving it behind."""


class ReadError(Exception):
    """The database or the query cannot be used now; the text says why. `kind` stays the same as long as the cause."""

    def __init__(self, text: str, kind: object = None) -> None:
        super().__init__(text)
        self.kind = text if kind is None else kind


class Place(NamedTuple):
    """Where a page begins: behind `key`, or at the first row that has a key (`keyed`), else at the first row."""

    key: object = None
    keyed: bool = False


class Page(NamedTuple):
    """The rows of a page in the order of their keys, `names` those of their columns; `next` is where the next page
    begins, None when this was the last one.
    """

    names: Sequence[str]
    rows: Sequence[Sequence[object]]
    next: Place | None
    last: object
    """The last row's key, None when no row has one."""


class Reader(Protocol):
    """An application's database with its query. Its calls block: they are made in a thread."""

    @property
    def where(self) -> str:
        """Which database it is, for people."""
        ...

    def read(self, place: Place, most: int) -> Page:
        """Up to `most` rows from there on. Raises ReadError."""
        ...

    def hurry(self) -> None:
        """End the read that is under way, which then raises. Called from another thread."""
        ...

    def close(self) -> None:
        """Let go of the database until the next read."""
        ...


def key_place(names: Sequence[str]) -> int:
    """Where the key stands in a query's rows: the column `after` where there is one, else the id. Raises ReadError."""
    lower = [name.lower() for name in names]
    if AFTER in lower:
        return lower.index(AFTER)
    try:
        return places_of(names)[0] or 0
    except ValueError as error:
        raise ReadError(str(error)) from None


def page_of(names: Sequence[str], rows: Sequence[Sequence[object]], key: int, most: int) -> Page:
    """What `most` rows and the place of their key make of a page."""
    last = next((row[key] for row in reversed(rows) if row[key] is not None), None)
    full = len(rows) >= most
    return Page(names, rows, (Place(last, keyed=True) if full else None), last)


class QuerySource:
    """Reads what `reader` gives every `every` seconds and hands its rows to `book`.

    The query's columns: `id`, and if wanted `account`, `userref`, `sent_at`, `sendtime`, `priority`, `overdue_after`; a
    single column is the id, whatever its name.
    """

    def __init__(self, name: str, reader: Reader, every: float, book: SourceBook) -> None:
        self.name = name
        self.trouble = ""
        """Why nothing can be read at the moment; empty when all is well."""
        self._reader = reader
        self._every = every
        self._book = book
        self._refused: set[str] = set()
        self._held: object = None
        self._sweep = Place()
        self._newest: Place | None = None
        """Behind the highest key; None where all fits into a page, or is not known yet."""
        self._given = array("q")
        """The ids of this sweep."""

    @property
    def refused(self) -> int:
        """How many of its ids cannot be used."""
        return len(self._refused)

    async def run(self) -> None:
        """Read until cancelled. Trouble with that database, or with ours for now, is waited out here."""
        clock = asyncio.get_running_loop().time
        try:
            while True:
                began = clock()
                try:
                    new = await self._look()
                except (ReadError, StoreError) as error:
                    self._wait_out(error)
                    await asyncio.sleep(min(max(self._every, _AGAIN[0]), _AGAIN[1]))
                else:
                    await asyncio.sleep(max(self._every, 0.0 if new else _DUTY * (clock() - began)))
        finally:
            self._reader.close()

    def _wait_out(self, error: ReadError | StoreError) -> None:
        if isinstance(error, ReadError):
            self._note(str(error), error.kind)
        elif isinstance(error, StoreUnavailableError):
            logger.debug("source %s waits: %s", self._reader.where, error)
        else:
            self._note(str(error), str(error))

    async def _look(self) -> int:
        """Read once; how many messages are new. Raises ReadError, StoreError."""
        clock = asyncio.get_running_loop().time
        new = 0
        place = self._newest
        while place is not None:
            page, fresh = await self._take_page(place)
            new += fresh
            if page.last is not None:
                self._newest = Place(page.last, keyed=True)
            place = page.next
        began = clock()
        while True:
            page, fresh = await self._take_page(self._sweep)
            new += fresh
            if page.next is None or page.next == self._sweep:
                await self._end_sweep(page)
                return new
            self._sweep = page.next
            # The first sweep of all is not cut short: only after it the highest key is known.
            if self._newest is not None and not fresh and clock() - began > _SHARE * self._every:
                return new

    async def _take_page(self, place: Place) -> tuple[Page, int]:
        read = in_thread(partial(self._reader.read, place, PAGE))
        page = await to_end(read, self._reader.hurry, _PATIENCE)
        self._note("", None)
        try:
            places = places_of(page.names)
        except ValueError as error:
            raise ReadError(str(error)) from None
        new = 0
        for start in range(0, len(page.rows), _CHUNK):
            rows = []
            for fields in page.rows[start : start + _CHUNK]:
                try:
                    rows.append(row_of(fields, places))
                    self._refused.discard(shown(fields[places[0] or 0]))
                except ValueError as error:
                    self._refuse(shown(fields[places[0] or 0]), str(error))
            new += await self._take(rows)
        if new:
            text = "source %s: %d new messages"
            logger.info(text, self._reader.where, new, extra={"event": "source_read", "new": new})
        return page, new

    async def _take(self, rows: Sequence[SourceRow]) -> int:
        new = await self._book.take(rows)
        self._given.extend(row.id for row in rows)
        for number, why in await self._book.refused(rows):
            self._refuse(shown(number), why)
        return new

    async def _end_sweep(self, last: Page) -> None:
        if self._sweep == Place():
            self._newest = None
        else:
            self._newest = self._sweep if last.last is None else Place(last.last, keyed=True)
            self._sweep = Place()
        given, self._given = self._given, array("q")
        await self._book.settle(given)

    def _note(self, trouble: str, kind: object) -> None:
        where = self._reader.where
        if trouble and (not self.trouble or kind != self._held):
            logger.error("source %s: %s; its ids wait", where, trouble, extra={"event": "source_held"})
        elif self.trouble and not trouble:
            logger.info("source %s: works again", where, extra={"event": "source_recovered"})
        self.trouble, self._held = trouble, kind

    def _refuse(self, value: str, why: str) -> None:
        if value in self._refused or len(self._refused) > _NAMED:
            return
        self._refused.add(value)
        if len(self._refused) > _NAMED:
            text = "source %s: more than %d ids are refused, no more are named"
            logger.warning(text, self._reader.where, _NAMED, extra={"event": "source_id_refused"})
        else:
            text = "source %s: %s %s"
            logger.warning(text, self._reader.where, value, why, extra={"event": "source_id_refused"})
