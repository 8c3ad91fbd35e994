"""Opens the database for reading: beside a daemon, without one, and where this user may write nothing."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

from pollerd.base.errors import DatabaseMissingError, StoreError, StoreForbiddenError
from pollerd.base.service import start_command
from pollerd.store.sqlite import lock, schema

_UNTOUCHED_TIMEOUT: Final = 2.0
"""Seconds that a check of the database waits for whoever writes it."""


def connect(path: str | os.PathLike[str]) -> tuple[Path, sqlite3.Connection]:
    """The database itself, whatever leads to it, and a connection to it in autocommit mode.

    Raises DatabaseMissingError when there is none, StoreError when it cannot be read.
    """
    database = Path(os.path.realpath(path))
    try:
        empty = database.stat().st_size == 0
    except FileNotFoundError:
        empty = True
    except OSError as error:
        raise _unreadable(database, error.strerror or "", error) from error
    if empty:
        raise DatabaseMissingError(
            f"nothing is tracked yet: there is no database {database}. "
            f"Start the daemon ({start_command()}) or hand over a message (pollerd track ID).",
        )
    return database, _connect(database)


def untouched(database: Path) -> sqlite3.Connection:
    """A connection that leaves no side files behind where no one else has the database open. Raises sqlite3.Error."""
    alone = not Path(f"{database}-wal").exists() and lock.owner_pid(database) is None
    uri = f"file:{quote(str(database))}?mode=ro{'&immutable=1' if alone else ''}"
    return sqlite3.connect(uri, uri=True, timeout=_UNTOUCHED_TIMEOUT, isolation_level=None)


def _connect(database: Path) -> sqlite3.Connection:
    uri = f"file:{quote(str(database))}?mode=ro"
    try:
        return _tried(uri)
    except sqlite3.Error as error:
        if not _may_be_frozen(database, error):
            raise explanation(database, error) from error
    with explained(database):
        return _tried(f"{uri}&immutable=1")


def _tried(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, timeout=schema.BUSY_TIMEOUT, isolation_level=None)
    try:
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _may_be_frozen(database: Path, error: sqlite3.Error) -> bool:
    # A reader without the right to write the folder cannot make the -shm file that WAL needs. With no daemon and no
    # -wal file the database alone is the whole truth.
    code = error.sqlite_errorcode & 0xFF
    if code not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY) or not os.access(
        database, os.R_OK, effective_ids=True
    ):
        return False
    return not Path(f"{database}-wal").exists() and lock.owner_pid(database) is None


@contextmanager
def explained(database: Path) -> Iterator[None]:
    """Turn SQLite's errors into a StoreError that says what a reader can do."""
    try:
        yield
    except sqlite3.Error as error:
        raise explanation(database, error) from error


def explanation(database: Path, error: sqlite3.Error) -> StoreError:
    """What SQLite said, and what a reader can do about it."""
    if schema.forbidden(error):
        return _unreadable(database, str(error), error)
    return StoreError(schema.explanation(database, error))


def _unreadable(database: Path, reason: str, error: sqlite3.Error | OSError) -> StoreError:
    kind = StoreForbiddenError if schema.forbidden(error) else StoreError
    return kind(
        f"the database {database} cannot be read ({reason}). "
        "Run as a user who may read it and its folder (the group of the service), or check [store] path.",
    )
