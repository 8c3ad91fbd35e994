"""An application's SQLite database and its query: opened for each read alone, and never written."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

from pollerd.base import open_databases
from pollerd.config.sql import AFTER, LIMIT, paged, without_end
from pollerd.intake.source import Page, Place, ReadError, key_place, page_of

_BUSY: Final = 2.0
"""Seconds that the query waits for other programs to finish a write."""
_STEPS: Final = 10_000
"""Steps of SQLite's machine between two questions whether the read should end: less than a millisecond."""


class SqliteReader:
    """Runs `query` on the database at `path`. Fulfils `source.Reader`."""

    def __init__(self, path: Path, query: str) -> None:
        self._path = path
        self._query = query
        self._paged = paged(query)
        self._ending = False

    @property
    def where(self) -> str:
        return str(self._path)

    def hurry(self) -> None:
        self._ending = True

    def close(self) -> None:
        """It is closed after each read, so that its owner meets no lock while the ids are taken in."""

    def read(self, place: Place, most: int) -> Page:
        if not os.path.exists(self._path):
            raise ReadError("the database does not exist (or its folder may not be read by this user)")
        try:
            with _opened(self._path) as database:
                # A long query must not delay the daemon's end.
                database.set_progress_handler(lambda: int(self._ending), _STEPS)
                statement, values = self._query, {AFTER: place.key if place.keyed else 0, LIMIT: most}
                if not self._paged:
                    statement = self._page(database, place)
                cursor = database.execute(statement, values)
                names = [column[0] for column in cursor.description or ()]
                return page_of(names, cursor.fetchmany(most), key_place(names), most)
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise ReadError(_why(self._path, error)) from error

    def _page(self, database: sqlite3.Connection, place: Place) -> str:
        """The query in another one that gives a page of its rows."""
        inside = f"SELECT * FROM ({without_end(self._query)})"  # noqa: S608 - it is the user's own
        names = [column[0] for column in database.execute(f"{inside} LIMIT 0").description]
        key = '"' + names[key_place(names)].replace('"', '""') + '"'
        behind = "" if not place.keyed else f"WHERE {key} {'IS NOT NULL' if place.key is None else f'> :{AFTER}'}"
        return f"{inside} {behind} ORDER BY {key} LIMIT :{LIMIT}"


def _why(path: Path, error: sqlite3.Error | sqlite3.Warning) -> str:
    """What SQLite said; of a WAL database it says no more than that it cannot be opened."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY) or not _in_wal_mode(path):
        return f"cannot be read: {error}"
    return (
        f"cannot be read ({error}): it is in WAL mode, where a reader needs {path.name}-shm beside it, and this user "
        f"may not make that file. Give this user the right to write in {path.parent} (and, under systemd, name the "
        "folder in ReadWritePaths=), let its application keep it open, or take it out of WAL mode "
        "(PRAGMA journal_mode = DELETE)"
    )


def _in_wal_mode(path: Path) -> bool:
    """By the versions in the file's header: 2 is WAL (https://www.sqlite.org/fileformat.html, 1.3.3)."""
    try:
        # An output may have it open through SQLite.
        return os.pread(open_databases.descriptor(path), 2, 18) == b"\x02\x02"
    except OSError:
        return False


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    database = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=_BUSY, isolation_level=None)
    try:
        database.execute("PRAGMA query_only = ON")
        # A text that is no UTF-8 is no reason to take none of the others.
        database.text_factory = lambda data: data.decode("utf-8", "replace")
        yield database
    finally:
        database.close()
