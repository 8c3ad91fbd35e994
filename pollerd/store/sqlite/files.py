"""The database's files as they were opened: known by device and inode, so that it is noticed when others are in their
place. What is written to a file that no path leads to any more is lost.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from pathlib import Path
from typing import Final

from pollerd.base.errors import DatabaseLostError

_SIDE_FILES: Final = ("-wal", "-shm")


class Files:
    """To be made once SQLite has opened the database at `path`; it knows nothing of files opened later."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # SQLite puts its other files beside the database itself, not beside a link to it.
        real = os.path.realpath(path)
        self._sides = [Path(f"{real}{suffix}") for suffix in _SIDE_FILES]
        self._known = {each: found for each in (path, *self._sides) if (found := _stat(each)) is not None}
        self._lost = ""

    @property
    def lost(self) -> str:
        """What became of them, in words; empty while all are there. Once lost they stay it."""
        if not self._lost:
            self._lost = next(filter(None, map(self._complaint, self._known)), "")
        return self._lost

    def check(self) -> None:
        """Raises DatabaseLostError when they are lost."""
        if self.lost:
            raise DatabaseLostError(f"{self.lost}; nothing more is taken in")

    def _complaint(self, path: Path) -> str:
        try:
            found = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return f"{path} was removed while it was in use"
        except OSError:
            # A folder that cannot be read now says nothing about the file.
            return ""
        return "" if os.path.samestat(found, self._known[path]) else f"{path} was replaced while it was in use"

    def rescue(self, database: sqlite3.Connection) -> str:
        """Bring all that is committed into the database's file, wherever that is by now, and take the log that belongs
        to it away from the path where another database may be opened: SQLite would take it for that one's. Returns
        where the log was put that could not be brought in; empty mostly.
        """
        pages = done = -1
        with contextlib.suppress(sqlite3.Error):
            _, pages, done = database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if not self._complaint(self._path):
            return ""
        aside = ""
        for path in self._sides:
            if path not in self._known or self._complaint(path):
                continue
            if path.name.endswith("-wal") and (pages < 0 or done < pages):
                aside = f"{path}.lost-{time.time():.0f}"
                path.rename(aside)
            else:
                path.unlink()
        return aside


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None
