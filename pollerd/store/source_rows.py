"""Where a source hands in what it found: only what is new costs a write.

New is what the source did not give at its look before, whatever became of the message since: the row of an application
may outlive the message here, which is deleted some time after its end.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final, Protocol, TypeVar

import msgspec

from pollerd.store import others, rows
from pollerd.store.others import OtherAccount
from pollerd.store.source_ids import SourceForms
from pollerd.store.statements import statements
from pollerd.store.track import Offered, offer

T = TypeVar("T")
_PAGE: Final = 5000


class Database(Protocol):
    """The store as seen from here."""

    async def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]: ...
    async def write(self, change: Callable[[sqlite3.Connection], T]) -> T: ...


class Given:
    """The names of all sources. What others gave before is forgotten when each of these was looked at once: by then
    they gave again what is still there, under the names that they have now.
    """

    def __init__(self, sources: Iterable[str]) -> None:
        self.sources: Final = tuple(sources)
        self._unseen: set[str] | None = set(self.sources)

    def seen(self, source: str) -> bool:
        """A look at `source` is over; True once, at the last one of the first looks."""
        if self._unseen is None:
            return False
        self._unseen.discard(source)
        if self._unseen:
            return False
        self._unseen = None
        return True


class Found(Protocol):
    """A row that a source gave: all but the id may be missing or of any kind.

    `written` is the id as it was given where that is another form than the number itself, else None.
    """

    @property
    def id(self) -> int: ...
    @property
    def account(self) -> object: ...
    @property
    def userref(self) -> object: ...
    @property
    def sent_at(self) -> object: ...
    @property
    def sendtime(self) -> object: ...
    @property
    def priority(self) -> object: ...
    @property
    def overdue_after(self) -> object: ...
    @property
    def written(self) -> object: ...


class Inlet:
    """Follows the rows that a source gives.

    `source` is its name, the same over restarts, and one of those in `given`; `now` gives UNIX seconds, `poke`
    makes the intake look. `database` is what it reads.
    """

    def __init__(
        self,
        source: str,
        given: Given,
        store: Database,
        now: Callable[[], float],
        poke: Callable[[], None],
        *,
        database: str,
    ) -> None:
        self._source = source
        self._given = given
        self._store = store
        self._now = now
        self._poke = poke
        self._sql = statements("source_rows")
        self._forms = SourceForms(store, source, database)

    async def take(self, found: Sequence[Found]) -> int:
        """Follow what this source did not give before and what is not followed yet; on disk when this returns.

        Returns how many are new. Raises as `Store.commit`.
        """
        fresh = await self._query_ids("fresh", [row.id for row in found], self._source)
        unknown = await self._query_ids("unknown", sorted(fresh)) if fresh else set()
        # Before anything of a new message can be told to an output that needs it.
        await self._forms.remember({row.id: row.written for row in found}, unknown)
        if not fresh:
            return 0
        new = await self._offer([row for row in found if row.id in unknown])
        # Only now: after a crash between the two they are found again, and are followed already.
        await self._write("give", sorted(fresh))
        return new

    async def refused(self, found: Sequence[Found]) -> list[tuple[int, str]]:
        """Those of the rows taken that are followed for another account than theirs, each with a reason."""
        asked = others.asked((row.id, _account(row)) for row in found)
        return [(row[0], OtherAccount(*row).reason) for row in await self._store.query(others.FIND, (asked,))]

    async def settle(self, given: Sequence[int]) -> None:
        """The look is over and gave these ids, all of them taken: others may come as new ones again."""
        known = (await self._store.query(self._sql["count"], (self._source,)))[0][0]
        kept = frozenset(given)
        # All that was given is known, so that the same number means the same ids.
        if known != len(kept):
            after = 0
            while page := [row[0] for row in await self._store.query(self._sql["given"], (self._source, after, _PAGE))]:
                await self._write("leave", [number for number in page if number not in kept])
                after = page[-1]
        if self._given.seen(self._source):
            await self._forget_strangers()

    async def _forget_strangers(self) -> None:
        names = msgspec.json.encode(self._given.sources).decode()
        while page := await self._store.query(self._sql["strangers"], (names, _PAGE)):
            await self._store.write(partial(_all, self._sql["leave"], page))

    async def _offer(self, found: Sequence[Found]) -> int:
        if not found:
            return 0
        now = self._now()
        new = [
            Offered(
                row.id,
                _account(row),
                rows.text(row.userref),
                rows.instant(row.sent_at, now),
                rows.moment(row.sendtime),
                rows.priority(row.priority),
                rows.overdue_after(row.overdue_after),
            )
            for row in found
        ]
        tracked = await offer(self._store, new)
        if tracked.new:
            self._poke()
        return tracked.new

    async def _query_ids(self, statement: str, ids: Sequence[int], *more: str) -> set[int]:
        given = msgspec.json.encode(ids).decode()
        return {row[0] for row in await self._store.query(self._sql[statement], (given, *more))}

    async def _write(self, statement: str, ids: Sequence[int]) -> None:
        if not ids:
            return
        values = [(self._source, number) for number in ids]
        await self._store.write(partial(_all, self._sql[statement], values))


def _account(row: Found) -> str:
    return rows.text(row.account) or rows.DEFAULT_ACCOUNT


def _all(statement: str, values: Sequence[tuple[Any, ...]], database: sqlite3.Connection) -> None:
    database.executemany(statement, values)
