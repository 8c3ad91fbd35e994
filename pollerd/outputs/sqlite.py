"""Somebody else's SQLite database as a target: a statement for each event, its named parameters the event's fields."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

from pollerd.outputs.target.engine import Execute, LostError, RefusedError, TargetError
from pollerd.outputs.target.values import NAMES

_BUSY: Final = 2.0
"""Seconds that a write waits for other programs to finish theirs before it is tried again later."""
_OF_AN_EVENT: Final = frozenset(
    {sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_ERROR}
)
"""What a statement that could be prepared fails with for the values in it; all else is the database's (locked, full,
read-only, damaged).
"""


class SqliteTarget:
    """Runs `statement` on the database at `path`, which is open only while there is something to write. Fulfils
    `engine.TargetDatabase`.
    """

    def __init__(self, path: Path, statement: str) -> None:
        self._path = path
        self._statement = statement

    def transact(self, work: Callable[[Execute], None]) -> None:
        if not os.path.exists(self._path):
            raise TargetError(f"{self._path} does not exist (or its folder may not be read by this user)")
        try:
            with _opened(self._path) as database:
                database.execute("BEGIN IMMEDIATE")
                self._check(database)
                work(lambda values: self._execute(database, values))
                self._commit(database)
        except sqlite3.Error as error:
            raise TargetError(f"{self._path} cannot be written: {error}") from error

    def hurry(self) -> None:
        """No statement waits longer than `_BUSY`."""

    def close(self) -> None:
        """Each transaction has a connection of its own."""

    def _check(self, database: sqlite3.Connection) -> None:
        """Prepare the statement: what it fails with afterwards is about an event."""
        try:
            database.execute(f"EXPLAIN {self._statement}", dict.fromkeys(NAMES)).close()
        except (sqlite3.ProgrammingError, sqlite3.Warning) as error:
            raise TargetError(f"the statement must have named parameters (:id, :status ...) only: {error}") from error

    def _execute(self, database: sqlite3.Connection, values: Mapping[str, object]) -> int:
        before = database.total_changes
        database.execute("SAVEPOINT event")
        try:
            # To the end of what a RETURNING gives.
            database.execute(self._statement, values).fetchall()
        except (sqlite3.Error, OverflowError) as error:
            if not _is_of_an_event(error):
                raise
            if not database.in_transaction:
                # RAISE(ROLLBACK) in a trigger, or OR ROLLBACK.
                raise LostError(str(error)) from error
            database.execute("ROLLBACK TO event")
            database.execute("RELEASE event")
            raise RefusedError(str(error)) from error
        database.execute("RELEASE event")
        # Triggers included: what an INSTEAD OF trigger changes for a view is an effect, too.
        return database.total_changes - before

    def _commit(self, database: sqlite3.Connection) -> None:
        try:
            database.execute("COMMIT")
        except sqlite3.IntegrityError as error:
            # A deferred foreign key.
            raise LostError(str(error)) from error


def _is_of_an_event(error: Exception) -> bool:
    # A number of more than 64 bits never gets as far as SQLite.
    return isinstance(error, OverflowError) or (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _OF_AN_EVENT


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    # mode=rw: a path that is wrong must not become a new, empty database.
    database = sqlite3.connect(f"file:{quote(str(path))}?mode=rw", uri=True, timeout=_BUSY, isolation_level=None)
    try:
        yield database
    finally:
        # An open transaction is rolled back by this.
        database.close()
