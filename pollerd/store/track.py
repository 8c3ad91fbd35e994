"""Messages handed over to the running daemon itself: they go in through its own writer."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol, TypeVar

import msgspec

from pollerd.store import others
from pollerd.store.commands import Tracked
from pollerd.store.others import OtherAccount
from pollerd.store.statements import statements

T = TypeVar("T")
CHUNK: Final = 5000
"""Rows of one transaction: commits of polls wait behind it for some hundredths of a second at most."""


class Offered(NamedTuple):
    """A message to follow, as it is stored: see `pollerd.core.particulars.Particulars`. `priority` is its name."""

    id: int
    account: str
    userref: str | None
    sent_at: float
    sendtime: float | None = None
    priority: str | None = None
    overdue_after: float | None = None


class Writer(Protocol):
    """The store's one writer."""

    async def write(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """Run `change` in a transaction of its own."""
        ...


async def offer(store: Writer, rows: Sequence[Offered]) -> Tracked:
    """Follow `rows` from now on; on disk when this returns. What is followed already keeps what is known of it; what
    is followed for another account is refused.

    Raises StoreError; what was written before that stays.
    """
    parts = []
    for start in range(0, len(rows), CHUNK):
        some = rows[start : start + CHUNK]

        def insert(db: sqlite3.Connection, some: Sequence[Offered] = some) -> Tracked:
            return _insert(db, some)

        parts.append(await store.write(insert))
    return Tracked(
        sum(part.new for part in parts),
        sum(part.known for part in parts),
        sum(part.gave_up for part in parts),
        tuple(other for part in parts for other in part.refused),
    )


def _insert(db: sqlite3.Connection, rows: Sequence[Offered]) -> Tracked:
    sql = statements("track")
    added = db.executemany(sql["offer"], rows).rowcount
    if added == len(rows):
        return Tracked(added, 0, 0)
    asked = others.asked((row.id, row.account) for row in rows)
    refused = tuple(OtherAccount(*row) for row in db.execute(others.FIND, (asked,)))
    ids = msgspec.json.encode(sorted({row.id for row in rows} - {other.id for other in refused})).decode()
    gave_up = db.execute(sql["count_gave_up"], (ids,)).fetchone()[0]
    return Tracked(added, len(rows) - added - len(refused), int(gave_up), refused)
