"""Messages handed over to the running daemon itself: they go in through its own writer."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol, TypeVar

import msgspec

from pollerd.store.handover import Tracked
from pollerd.store.statements import statements

T = TypeVar("T")
CHUNK: Final = 5000
"""Rows of one transaction: commits of polls wait behind it for some hundredths of a second at most."""


class Offered(NamedTuple):
    """A message to follow. `sent_at` is UNIX seconds."""

    id: int
    account: str
    userref: str | None
    sent_at: float


class Writer(Protocol):
    """The store's one writer."""

    async def write(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """Run `change` in a transaction of its own."""
        ...


async def offer(store: Writer, rows: Sequence[Offered]) -> Tracked:
    """Follow `rows` from now on; on disk when this returns. What is followed already keeps what is known of it.

    Raises StoreError; what was written before that stays.
    """
    new = known = gave_up = 0
    for start in range(0, len(rows), CHUNK):
        some = rows[start : start + CHUNK]

        def insert(db: sqlite3.Connection, some: Sequence[Offered] = some) -> tuple[int, int]:
            return _insert(db, some)

        added, given_up = await store.write(insert)
        new += added
        known += len(some) - added
        gave_up += given_up
    return Tracked(new, known, gave_up)


def _insert(db: sqlite3.Connection, rows: Sequence[Offered]) -> tuple[int, int]:
    sql = statements("offer")
    added = db.executemany(sql["offer"], rows).rowcount
    if added == len(rows):
        return added, 0
    ids = msgspec.json.encode([row.id for row in rows]).decode()
    found = list(db.execute(sql["count_gave_up"], (ids,)))
    return added, int(found[0][0])
