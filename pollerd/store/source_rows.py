"""Where a source hands in what it found: only what is new costs a write.

New is what the source did not give when it was read before, whatever became of the message since: the row of an
application may outlive the message here, which is deleted some time after its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final

import msgspec

from pollerd.core.ids import DEFAULT_ACCOUNT
from pollerd.core.ports import OtherAccount, SourceRow, TrackRequest
from pollerd.store import others, rows
from pollerd.store.session import Session, Transactions, Values
from pollerd.store.source_ids import SourceForms
from pollerd.store.track import track

_PAGE: Final = 5000  # Rows read at a time, so that a source of millions is never whole in memory.


class GivenRows:
    """The names of all sources. What others gave before is forgotten when each of these was read once: by then
    they gave again what is still there, under the names that they have now.
    """

    def __init__(self, sources: Iterable[str]) -> None:
        self.sources: Final = tuple(sources)
        self._unseen: set[str] | None = set(self.sources)

    def seen(self, source: str) -> bool:
        """`source` was read to its end; True once, when that was the last one to be read first."""
        if self._unseen is None:
            return False
        self._unseen.discard(source)
        if self._unseen:
            return False
        self._unseen = None
        return True


class SourceRows:
    """Fulfils `ports.SourceBook`.

    `source` is its name, the same over restarts, and one of those in `given`; `wall` gives the wall clock's time,
    `poke` is called when something new is followed. `database` is what it reads.
    """

    def __init__(
        self,
        source: str,
        given: GivenRows,
        store: Transactions,
        wall: Callable[[], float],
        poke: Callable[[], None],
        *,
        database: str,
    ) -> None:
        self._source = source
        self._given = given
        self._store = store
        self._wall = wall
        self._poke = poke
        self._sql = store.sql("source_rows")
        self._forms = SourceForms(store, source, database)

    async def take(self, found: Sequence[SourceRow]) -> int:
        fresh = await self._query_ids("fresh", [row.id for row in found], self._source)
        unknown = await self._query_ids("unknown", sorted(fresh)) if fresh else set()
        # Before anything of a new message reaches an output that needs it.
        await self._forms.remember({row.id: row.written for row in found}, unknown)
        if not fresh:
            return 0
        new = await self._track([row for row in found if row.id in unknown])
        # Only now: after a crash between the two they are found again, and are followed already.
        await self._write("give", sorted(fresh))
        return new

    async def refused(self, found: Sequence[SourceRow]) -> list[tuple[int, str]]:
        """See `SourceBook`: those that are followed for another account than theirs."""
        asked = others.asked((row.id, _account(row)) for row in found)
        found_others = await self._store.query(self._store.sql("track")["of_others"], (asked,))
        return [(row[0], OtherAccount(*row).reason) for row in found_others]

    async def settle(self, given: Sequence[int]) -> None:
        """See `SourceBook`: ids that are not given any more may come as new ones again."""
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

    async def _track(self, found: Sequence[SourceRow]) -> int:
        if not found:
            return 0
        now = self._wall()
        new = [
            TrackRequest(
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
        tracked = await track(self._store, new)
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


def _account(row: SourceRow) -> str:
    return rows.text(row.account) or DEFAULT_ACCOUNT


def _all(statement: str, values: Sequence[Values], session: Session) -> None:
    session.executemany(statement, values)
