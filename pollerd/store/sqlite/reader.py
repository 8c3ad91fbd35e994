"""A read-only connection to the database, for whoever reads it beside the daemon or without one."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

from pollerd.base.errors import StoreError
from pollerd.core.ports import StoreSize
from pollerd.store.sqlite import lock, readonly, schema
from pollerd.store.statements import SQLITE

_STEPS: Final = 20_000
"""Instructions of SQLite's machine between two checks of the clock: about a millisecond."""


class SqliteReader:
    """Fulfils `session.ReadConnection`."""

    sql = SQLITE

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection
        self._file = path.stat()
        self._version = -1

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open the database. Raises DatabaseMissingError when there is none, StoreError when it cannot be read."""
        reader = cls(*readonly.connect(path))
        try:
            reader._check()
        except BaseException:
            reader.close()
            raise
        return reader

    @classmethod
    def inspect(cls, path: str | os.PathLike[str]) -> Self:
        """Open the database as it is, whatever its schema, and leave no side files behind. Raises StoreError."""
        database = Path(os.path.realpath(path))
        try:
            return cls(database, readonly.untouched(database))
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"the database {database} cannot be read ({error}).") from error

    def close(self) -> None:
        """Let go of the database."""
        self._connection.close()

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        with readonly.explained(self._path):
            return self._connection.execute(sql, values).fetchall()

    def query_within(self, seconds: float, sql: str, values: Sequence[Any] = ()) -> list[Any] | None:
        deadline = time.monotonic() + seconds
        self._connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
        try:
            return self._connection.execute(sql, values).fetchall()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
                return None
            raise readonly.explanation(self._path, error) from error
        finally:
            self._connection.set_progress_handler(None, 0)

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        with readonly.explained(self._path):
            self._connection.execute("BEGIN")
        try:
            yield
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def changed(self) -> bool:
        version = int(self.query("PRAGMA data_version")[0][0])
        changed = version != self._version
        self._version = version
        return changed

    @property
    def replaced(self) -> bool:
        """See `ReadConnection`: whether the path leads to another file by now."""
        try:
            return not os.path.samestat(self._path.stat(), self._file)
        except FileNotFoundError:
            return True

    @property
    def owner(self) -> int | None:
        return lock.owner_pid(self._path)

    @property
    def cluster(self) -> None:
        """See `ReadConnection`: a file has one owner."""
        return None

    @property
    def size(self) -> StoreSize:
        """See `ReadConnection`: the file, and its write-ahead log."""
        return StoreSize(_bytes(self._path), _bytes(Path(f"{self._path}-wal")))

    def _check(self) -> None:
        version = self.query("PRAGMA user_version")[0][0]
        owner = self.query("PRAGMA application_id")[0][0]
        newest = schema.migrations()[-1].version
        if owner != schema.APPLICATION_ID:
            raise StoreError(f"{self._path} belongs to another program. Name pollerd's own file in [store] path.")
        if version < newest or (version > newest and not schema.readable(self._connection, newest)):
            older = "The daemon brings it up to date when it starts." if version < newest else "Install the newer one."
            raise StoreError(
                f"the database {self._path} has schema {version}, this version of pollerd reads {newest}. {older}",
            )


def _bytes(path: Path) -> int:
    # stat() only, see `pollerd.base.open_databases`.
    try:
        return path.stat().st_size
    except OSError:
        return 0
