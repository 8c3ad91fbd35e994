"""The one connection that writes. A transaction is one trip to its thread, so that it never waits for the event loop
between BEGIN and COMMIT: foreign writers, some of which wait not at all, meet a lock for as short as can be.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self, TypeVar

import aiosqlite

from pollerd.base import failpoints
from pollerd.store.session import Session, Values
from pollerd.store.sqlite import schema
from pollerd.store.sqlite.files import Files
from pollerd.store.sqlite.session import SqliteSession

T = TypeVar("T")
BUSY_TIMEOUT: Final = 2.0
"""Seconds that a transaction waits for other processes to finish theirs before its caller is asked again: the daemon
must end in time whoever holds the lock."""
TURN: Final = 0.1
"""Seconds of it at a time: a wait cannot be interrupted, and between two of them the schedule is read."""

_PRAGMAS: Final = (
    "journal_mode = WAL",
    "synchronous = FULL",
    "journal_size_limit = 16777216",
    # What is deleted is overwritten where that costs no write: `pollerd forget` must not leave it in a page.
    "secure_delete = FAST",
    # What a statement keeps until it is done are old pages of the tables: none of them is left in a folder for
    # temporary files, and no such folder is needed.
    "temp_store = MEMORY",
)


@contextmanager
def patient(connection: sqlite3.Connection, seconds: float) -> Iterator[None]:
    """Within, `connection` waits so long for a lock; else `BUSY_TIMEOUT`."""
    connection.execute(f"PRAGMA busy_timeout = {seconds * 1000:.0f}")
    try:
        yield
    finally:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT * 1000:.0f}")


class Writer(aiosqlite.Connection):
    """An aiosqlite connection that also runs whole functions on its thread."""

    files: Files | None = None
    """What is checked before and after each transaction."""

    @classmethod
    async def open(cls, path: Path) -> Self:
        """Connect for good durability: WAL, every commit on disk."""

        def connect() -> sqlite3.Connection:
            connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
            try:
                # What another program wrote in another encoding must not stop anything.
                connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
                for pragma in _PRAGMAS:
                    connection.execute(f"PRAGMA {pragma}")
            except BaseException:
                connection.close()
                raise
            return connection

        writer = cls(connect, iter_chunk_size=64)
        await writer
        return writer

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on the connection's thread. Raises what it raises."""
        found: T = await self._execute(work, self._conn)  # type: ignore[no-untyped-call] # aiosqlite leaves it untyped
        return found

    async def transact(self, work: Callable[[Session], T]) -> T:
        """Run `work` in a transaction of its own, whole or not at all.

        Raises DatabaseLostError, also after a commit that went to a file which no path leads to any more.
        """

        begun = False

        def whole(connection: sqlite3.Connection) -> T:
            nonlocal begun
            self._check_files()
            try:
                with patient(connection, TURN):
                    connection.execute("BEGIN IMMEDIATE")
                begun = True
                failpoints.hit("store.begun")
                result = work(SqliteSession(connection))
                failpoints.hit("store.written")
                connection.execute("COMMIT")
                failpoints.hit("store.committed")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            self._check_files()
            return result

        until = time.monotonic() + BUSY_TIMEOUT
        while True:
            try:
                return await self.run(whole)
            except sqlite3.OperationalError as error:
                if begun or not schema.is_busy(error) or time.monotonic() >= until:
                    raise

    def _check_files(self) -> None:
        if self.files is not None:
            self.files.check()

    async def execute_all(self, work: Iterable[tuple[str, Sequence[Values]]]) -> None:
        """Run statements in one transaction."""
        planned = list(work)

        def statements(session: Session) -> None:
            for sql, rows in planned:
                session.executemany(sql, rows)

        await self.transact(statements)
