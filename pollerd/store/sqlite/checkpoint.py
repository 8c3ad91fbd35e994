"""Keeps the write-ahead log short: what is in it goes into the database, and an overgrown file is cut.

SQLite checkpoints by itself after every thousand pages, but never past the oldest reader; a foreign read transaction
that stays open lets the log grow. It is the writer's connection that checkpoints, whichever way: before 3.51.3 SQLite
may damage a database when one connection checkpoints while another begins the log anew
(https://sqlite.org/wal.html#walresetbug).
"""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from pollerd.base.errors import StoreError
from pollerd.store.sqlite import schema
from pollerd.store.sqlite.errors import translated
from pollerd.store.sqlite.writer import patient

if TYPE_CHECKING:
    from pollerd.store.sqlite.store import SqliteStore

log = logging.getLogger(__name__)


CUT_ABOVE: Final = 16 * 1024 * 1024  # Bytes: what a burst leaves; smaller logs are overwritten, not cut.
WARN_ABOVE: Final = 256 * 1024 * 1024
"""Bytes of the log."""
CUT_WITHIN: Final = 0.1
"""Seconds for which a commit may be delayed so that the file can be cut."""


class Wal(NamedTuple):
    """The log after a checkpoint: `size` of its file in bytes, and `behind`, the pages that a reader holds back."""

    size: int
    behind: int


def checkpoint(connection: sqlite3.Connection, database: Path, cut_above: int = CUT_ABOVE) -> Wal:
    """Bring the log's pages into the database as far as readers let it, and cut the file when it is too large.

    Other programs are not blocked by the first part, and for `CUT_WITHIN` at most by the second. Raises
    DurabilityError when the disk did not confirm, StoreError otherwise.
    """
    try:
        busy, pages, done = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if not busy and pages == done and _size(database) > cut_above:
            with patient(connection, CUT_WITHIN):
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error as error:
        if (error.sqlite_errorcode & 0xFF) != sqlite3.SQLITE_BUSY:
            raise translated(error, database) from error
        return Wal(_size(database), 0)
    return Wal(_size(database), max(0, pages - done))


class WalWatch:
    """Checkpoints, and names a log that grows out of hand once, and once its end."""

    def __init__(self, store: SqliteStore, *, cut_above: int = CUT_ABOVE, warn_above: int = WARN_ABOVE) -> None:
        self._store = store
        self._database = store.path
        self._cut_above = cut_above
        self._warn_above = warn_above
        self._named = False

    async def tend(self) -> Wal:
        """One round. Raises as `checkpoint`."""
        wal = await self._store.run(lambda writer: checkpoint(writer, self._database, self._cut_above))
        if wal.size > self._warn_above and not self._named:
            self._named = True
            log.warning(
                "%s-wal has grown to %d MiB: most likely another program keeps a read transaction open. "
                "End it (`fuser -v %s` names the programs); the file shrinks by itself then",
                self._database,
                wal.size >> 20,
                self._database,
                extra={"event": "wal_grown", "bytes": wal.size, "pages_held_back": wal.behind},
            )
        elif self._named and wal.size <= self._warn_above // 2:
            self._named = False
            log.info(
                "%s-wal has shrunk to %d MiB",
                self._database,
                wal.size >> 20,
                extra={"event": "wal_shrunk", "bytes": wal.size},
            )
        return wal


def _size(database: Path) -> int:
    # stat() only, see `pollerd.base.open_databases`.
    try:
        return Path(f"{database}-wal").stat().st_size
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise StoreError(schema.explanation(database, sqlite3.OperationalError(str(error)))) from error
