"""Ids from somebody else's SQLite database, read-only: what its query gives is followed.

The same ids may come every time; only what is new is written. The database is read in one go into a spool, so that
its owner meets no lock for longer than the query itself takes, and closed until the next read.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import struct
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import quote

import msgspec

from pollerd.base import open_databases
from pollerd.base.errors import StoreError, StoreUnavailableError
from pollerd.base.shield import to_end
from pollerd.core import instants
from pollerd.core.ids import IdError, check_id, parse_id
from pollerd.core.ports import SourceBook, SourceRow

logger = logging.getLogger(__name__)


CHUNK: Final = 1000
"""Rows read, and handed on, at a time."""
_BUSY: Final = 2.0
"""Seconds that the query waits for other programs to finish a write."""
_SPOOL: Final = 1 << 20
"""Bytes of a result that stay in memory; the rest is in a temporary file."""
_DUTY: Final = 5.0
"""A read that took long and found nothing new is repeated no sooner than after so many times as long."""
_NAMED: Final = 1000
"""Ids that are remembered as refused, so that each is named once."""
_LONGEST_QUOTE: Final = 60  # Characters of a value that are shown.
_LENGTH: Final = struct.Struct("<I")
_COLUMNS: Final = ("id", "account", "userref", "sent_at", "sendtime", "priority", "overdue_after")


class _QueryError(Exception):
    """What the query gives cannot be used; the text says why."""


class SqliteSource:
    """Runs `query` on the database at `path` every `every` seconds and hands its rows to `book`.

    The query's columns: `id`, and if wanted `account`, `userref`, `sent_at`, `sendtime`, `priority`, `overdue_after`; a
    single column is the id, whatever its name.
    """

    def __init__(self, name: str, path: Path, query: str, every: float, book: SourceBook) -> None:
        self.name = name
        self.trouble = ""
        """Why nothing can be read at the moment; empty when all is well."""
        self._path = path
        self._query = query
        self._every = every
        self._book = book
        self._refused: set[str] = set()
        self._ending = False

    @property
    def refused(self) -> int:
        """How many of its ids cannot be used."""
        return len(self._refused)

    async def run(self) -> None:
        """Read until cancelled. Trouble with that database, or with ours for now, is waited out here."""
        executor = ThreadPoolExecutor(1, thread_name_prefix="pollerd-source")
        clock = asyncio.get_running_loop().time
        try:
            while True:
                began = clock()
                took = 0.0 if await self._read_once(executor) else clock() - began
                await asyncio.sleep(max(self._every, _DUTY * took))
        finally:
            executor.shutdown(wait=False)

    async def _read_once(self, executor: ThreadPoolExecutor) -> bool:
        """Read once. False when that was for nothing: all was known already."""
        loop = asyncio.get_running_loop()
        with tempfile.SpooledTemporaryFile(max_size=_SPOOL) as spool:
            # The annotation of typeshed wants a class that is not generic at run time before Python 3.12.
            file: Any = spool
            trouble = await to_end(loop.run_in_executor(executor, self._read, file), self._end)
            self._note(trouble)
            if trouble:
                return True
            chunks = _spooled(file)
            new, given = 0, array("q")
            while (chunk := await to_end(loop.run_in_executor(executor, partial(next, chunks, None)))) is not None:
                try:
                    rows = self._checked(chunk)
                    given.extend(row.id for row in rows)
                    new += await self._book.take(rows)
                    for number, why in await self._book.refused(rows):
                        self._refuse(number, why)
                except StoreUnavailableError as error:
                    logger.debug("source %s waits: %s", self._path, error)
                    return True
                except StoreError as error:
                    self._note(str(error))
                    return True
            await self._settle(given)
            if new:
                logger.info("source %s: %d new messages", self._path, new, extra={"event": "source_read", "new": new})
            return new > 0

    async def _settle(self, given: Sequence[int]) -> None:
        try:
            await self._book.settle(given)
        except StoreError as error:
            logger.debug("source %s waits: %s", self._path, error)

    def _end(self) -> None:
        self._ending = True

    def _note(self, trouble: str) -> None:
        if trouble and trouble != self.trouble:
            logger.error("source %s: %s; its ids wait", self._path, trouble, extra={"event": "source_held"})
        elif self.trouble and not trouble:
            logger.info("source %s: works again", self._path, extra={"event": "source_recovered"})
        self.trouble = trouble

    def _checked(self, chunk: list[list[Any]]) -> list[SourceRow]:
        rows: list[SourceRow] = []
        for fields in chunk:
            try:
                given = fields[0]
                row = SourceRow(_id(given), *fields[1:])
                _check_times(row)
                rows.append(row if isinstance(given, int) else row._replace(written=given))
                self._refused.discard(repr(given)[:_LONGEST_QUOTE])
            except ValueError as error:
                self._refuse(fields[0], str(error))
        return rows

    def _refuse(self, value: object, why: str) -> None:
        shown = repr(value)[:_LONGEST_QUOTE]
        if shown in self._refused or len(self._refused) > _NAMED:
            return
        self._refused.add(shown)
        if len(self._refused) > _NAMED:
            logger.warning(
                "source %s: more than %d ids are refused, no more are named",
                self._path,
                _NAMED,
                extra={"event": "source_id_refused"},
            )
        else:
            logger.warning("source %s: %s %s", self._path, shown, why, extra={"event": "source_id_refused"})

    # -- in the thread

    def _read(self, spool: IO[bytes]) -> str:
        """Put the whole result into the spool; what went wrong, in words."""
        if not os.path.exists(self._path):
            return "the database does not exist (or its folder may not be read by this user)"
        try:
            with _opened(self._path) as database:
                # Asked between steps of the query: a long one must not delay the daemon's end.
                database.set_progress_handler(lambda: int(self._ending), 10_000)
                cursor = database.execute(self._query)
                places = _places([column[0] for column in cursor.description or ()])
                while rows := cursor.fetchmany(CHUNK):
                    block = msgspec.msgpack.encode([_picked(row, places) for row in rows])
                    spool.write(_LENGTH.pack(len(block)) + block)
        except _QueryError as error:
            return str(error)
        except (sqlite3.Error, sqlite3.Warning) as error:
            return _why(self._path, error)
        except OSError as error:
            return f"its ids cannot be set aside in {tempfile.gettempdir()}: {error.strerror}"
        spool.seek(0)
        return ""


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


def _places(names: Sequence[str]) -> Sequence[int | None]:
    """Where the columns of `SourceRow` stand in the query's rows; None for those that are not there."""
    lower = [name.lower() for name in names]
    if "id" not in lower and len(lower) == 1:
        return [0]
    if "id" not in lower:
        raise _QueryError("the query gives no column named id; write SELECT ... AS id")
    return [lower.index(name) if name in lower else None for name in _COLUMNS]


def _picked(row: Sequence[Any], places: Sequence[int | None]) -> list[object]:
    return [None if place is None else _plain(row[place]) for place in places]


def _plain(value: object) -> object:
    """Values that no column of ours can have stay readable for the message that refuses them."""
    return value if isinstance(value, int | float | str | None) else repr(value)[:_LONGEST_QUOTE]


def _id(value: object) -> int:
    if isinstance(value, str):
        return parse_id(value)
    if isinstance(value, float) and value.is_integer():
        return check_id(int(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return check_id(value)
    raise IdError("is not a message id: give the whole number that the send call answered")


def _check_times(row: SourceRow) -> None:
    """Raises ValueError when a time cannot be one: the id is taken once its database says another."""
    for name, value in (("sent_at", row.sent_at), ("sendtime", row.sendtime)):
        try:
            if value not in (None, ""):
                instants.instant(value, utc=True)
        except ValueError as error:
            raise ValueError(f"is not followed: its {name} {error}") from None


def _spooled(spool: IO[bytes]) -> Iterator[list[list[Any]]]:
    while header := spool.read(_LENGTH.size):
        yield msgspec.msgpack.decode(spool.read(_LENGTH.unpack(header)[0]))


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
