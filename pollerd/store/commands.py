"""How a command hands over: ids to follow, and requests to whoever owns the database. Synchronous."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

import msgspec

from pollerd.core.particulars import NOTHING, Particulars
from pollerd.core.ports import RequestKind
from pollerd.store import others
from pollerd.store.others import OtherAccount
from pollerd.store.rows import DEFAULT_ACCOUNT
from pollerd.store.sqlite import schema
from pollerd.store.sqlite.files import Files
from pollerd.store.sqlite.lock import check_same_file, owner_pid
from pollerd.store.statements import statements

CHUNK: Final = 50_000
"""Ids of one transaction: long enough to be fast, short enough not to hold up the daemon's commits."""


class Tracked(NamedTuple):
    """What became of ids: newly followed, followed before, how many of the latter had been given up, and those that
    are refused, since they are followed for another account.
    """

    new: int
    known: int
    gave_up: int
    refused: tuple[OtherAccount, ...] = ()


class Asked(NamedTuple):
    """The requests of one call, as numbers of their rows, both ends included."""

    first: int
    last: int


class Handover:
    """The database opened for writing by a process that does not own it."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._files = Files(path)
        self._connection = connection
        self._sql = statements("commands")

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open the database, create it where there is none yet. Raises StoreError."""
        check_same_file(path)
        connection = schema.prepare(path)
        if owner_pid(path) is not None:
            # The daemon sees to it, see `pollerd.store.sqlite.checkpoint`.
            connection.execute("PRAGMA wal_autocheckpoint = 0")
        return cls(Path(path), connection)

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def track(self, ids: Sequence[int], account: str = DEFAULT_ACCOUNT, particulars: Particulars = NOTHING) -> Tracked:
        """Follow `ids` (each 1 to 2^63-1) from now on; on disk when this returns. Without `sent_at` they count as sent
        now. An id that is followed already keeps what is known of it.
        """
        priority = None if particulars.priority is None else particulars.priority.name
        new = known = gave_up = 0
        refused: list[OtherAccount] = []
        for start in range(0, len(ids), CHUNK):
            some = ids[start : start + CHUNK]
            sent = time.time() if particulars.sent_at is None else particulars.sent_at
            with self._transaction():
                # One statement for all: twice as fast as one for each id.
                values = (account, particulars.userref, sent, particulars.sendtime, priority, particulars.overdue_after)
                added = self._connection.execute(self._sql["track"], (_json(some), *values)).rowcount
                away = self._of_others(some, account) if added < len(some) else []
                if added < len(some):
                    gave_up += self._count_gave_up(sorted({*some} - {other.id for other in away}))
            new += added
            known += len(some) - added - len(away)
            refused += away
        return Tracked(new, known, gave_up, tuple(refused))

    def ask(self, kind: RequestKind, ids: Sequence[int | None], argument: str | None = None) -> Asked:
        """Leave a request for each id (None: it concerns no single message) to the database's owner.

        `argument` is what else the request needs.
        """
        text = kind.value if argument is None else f"{kind.value} {argument}"
        with self._transaction():
            first = last = 0
            for message_id in ids:
                last = self._connection.execute(self._sql["ask"], (text, message_id)).lastrowid or 0
                first = first or last
        return Asked(first, last)

    def waiting(self, asked: Asked) -> bool:
        """Whether some of the requests have not been dealt with yet."""
        with schema.explained(self._path):
            found = self._connection.execute(self._sql["first_waiting"], asked).fetchone()[0]
        return found is not None

    def _of_others(self, ids: Sequence[int], account: str) -> list[OtherAccount]:
        asked = others.asked((number, account) for number in ids)
        return [OtherAccount(*row) for row in self._connection.execute(others.FIND, (asked,))]

    def _count_gave_up(self, ids: Sequence[int]) -> int:
        found = self._connection.execute(self._sql["count_gave_up"], (_json(ids),))
        return int(found.fetchone()[0])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._files.check()
        with schema.explained(self._path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
        # What went to a file that no path leads to any more is not handed over.
        self._files.check()


def _json(ids: Sequence[int]) -> str:
    return msgspec.json.encode(list(ids)).decode()
