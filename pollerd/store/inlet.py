"""Where sources hand in what they found: only what is new costs a write."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from pollerd.store import rows
from pollerd.store.offer import Offered, offer
from pollerd.store.statements import statements

T = TypeVar("T")


class Database(Protocol):
    """The store as seen from here."""

    async def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]: ...
    async def write(self, change: Callable[[sqlite3.Connection], T]) -> T: ...


class Inlet:
    """Follows rows `(id, account, userref, sent_at)`; all but the id may be missing or of any kind.

    `now` gives UNIX seconds, `poke` makes the intake look.
    """

    def __init__(self, store: Database, now: Callable[[], float], poke: Callable[[], None]) -> None:
        self._store = store
        self._now = now
        self._poke = poke
        self._sql = statements("offer")["unknown"]

    async def take(self, found: Sequence[tuple[int, object, object, object]]) -> int:
        """Follow what is not followed yet; on disk when this returns. Returns how many. Raises as `Store.commit`."""
        ids = msgspec.json.encode([row[0] for row in found]).decode()
        unknown = {row[0] for row in await self._store.query(self._sql, (ids,))}
        if not unknown:
            return 0
        now = self._now()
        new = [
            Offered(number, rows.text(account) or rows.DEFAULT_ACCOUNT, rows.text(userref), rows.instant(sent_at, now))
            for number, account, userref, sent_at in found
            if number in unknown
        ]
        tracked = await offer(self._store, new)
        if tracked.new:
            self._poke()
        return tracked.new
