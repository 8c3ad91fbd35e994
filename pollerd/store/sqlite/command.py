"""A connection by which a command writes to the database beside the daemon, or without one."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from pollerd.store.sqlite import schema
from pollerd.store.sqlite.files import Files
from pollerd.store.sqlite.lock import check_same_file, owner_pid
from pollerd.store.sqlite.session import SqliteSession
from pollerd.store.statements import SQLITE


class CommandConnection:
    """Fulfils `session.WriteConnection`."""

    sql = SQLITE

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._files = Files(path)
        self._connection = connection
        self._session = SqliteSession(connection)

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
        """Let go of the database."""
        self._connection.close()

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        with schema.explained(self._path):
            return self._session.query(sql, values)

    @contextmanager
    def transaction(self) -> Iterator[SqliteSession]:
        self._files.check()
        with schema.explained(self._path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._session
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
        # What went to a file that no path leads to any more is not handed over.
        self._files.check()
