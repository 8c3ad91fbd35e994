"""A copy of the database as it is at one moment, made while a daemon works on it.

One read transaction: SQLite's backup starts anew whenever somebody commits between two of its steps, unless the source
is held still, and on a busy database somebody always does (https://www.sqlite.org/c3ref/backup_finish.html). Nothing is
blocked meanwhile; the write-ahead log grows by what is committed until the copy is done.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

import msgspec

from pollerd.base.errors import StoreError
from pollerd.base.folders import own_as_folder
from pollerd.core.ports.engine import Backup
from pollerd.store.sqlite import readonly, schema

_MODE: Final = 0o640  # Rights that a copy may have at most: those of a database.
_PAGES: Final = 256
"""Pages copied at a time, 1 MiB: Ctrl-C is heard in between."""


def back_up(source: Path, target: Path, between: Callable[[], None] = lambda: None) -> Backup:
    """Copy the database at `source` to `target`, where nothing may be yet. On disk, and whole, when this returns.

    `between` is called after each part that is copied. The copy gets the rights of the database, 0640 at most. Raises
    DatabaseMissingError, StoreError when the one cannot be read, the other not be written, or the copy is damaged (it
    is not left behind then).
    """
    began = time.monotonic()
    _refuse_existing(target)
    database, reading = readonly.connect(source)
    with closing(reading), _part(target, stat.S_IMODE(database.stat().st_mode) & _MODE) as part:
        _refuse_foreign(database, reading)
        _copy(database, reading, part, target, between)
        found = _verified(database, part)
        _put(part, target)
    return msgspec.structs.replace(found, path=target, seconds=time.monotonic() - began)


@contextmanager
def _part(target: Path, mode: int) -> Iterator[Path]:
    """A new empty file beside `target`; what is left of it at the end goes."""
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    with _explained(target):
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            os.fchmod(descriptor, mode)
            own_as_folder(descriptor, target.parent)
        finally:
            # SQLite has not seen it yet.
            os.close(descriptor)
        yield part
    finally:
        with contextlib.suppress(FileNotFoundError):
            part.unlink()


def _refuse_foreign(database: Path, reading: sqlite3.Connection) -> None:
    with readonly.explained(database):
        owner = reading.execute("PRAGMA application_id").fetchone()[0]
    if owner != schema.APPLICATION_ID:
        raise StoreError(f"{database} belongs to another program. Name pollerd's own file in [store] path.")


def _copy(database: Path, reading: sqlite3.Connection, part: Path, target: Path, between: Callable[[], None]) -> None:
    try:
        with closing(sqlite3.connect(part, isolation_level=None)) as writing:
            # It is not read before it is whole, and it is synced as a whole.
            writing.execute("PRAGMA journal_mode = OFF")
            writing.execute("PRAGMA synchronous = OFF")
            reading.execute("BEGIN")
            reading.execute("SELECT 1 FROM sqlite_master").fetchone()
            # Python hears of Ctrl-C only where it is called.
            reading.backup(writing, pages=_PAGES, progress=lambda *_: between())
            reading.execute("COMMIT")
    except sqlite3.Error as error:
        # Nothing but the copy is written to.
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL:
            raise StoreError(
                f"{target} cannot be written: the disk is full. Make room, or name another place."
            ) from error
        raise readonly.explanation(database, error) from error


def _verified(database: Path, part: Path) -> Backup:
    uri = f"file:{quote(str(part))}?mode=ro&immutable=1"
    with readonly.explained(database), closing(sqlite3.connect(uri, uri=True)) as copy:
        said = str(copy.execute("PRAGMA quick_check(1)").fetchone()[0])
        if said != "ok":
            raise StoreError(
                f"the database {database} is damaged, and with it every copy ({' '.join(said.split())}). "
                "Keep older backups, and see: pollerd doctor",
            )
        counted = {str(name): int(value) for name, value in copy.execute("SELECT name, value FROM counters")}
        new, last, version = copy.execute(
            "SELECT (SELECT count(*) FROM messages WHERE state = 0),"
            " coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0), user_version"
            " FROM pragma_user_version",
        ).fetchone()
    return Backup(
        path=part,
        bytes=part.stat().st_size,
        seconds=0.0,
        schema=version,
        pending=counted.get("pending", 0) + new,
        finished=counted.get("finished", 0),
        gave_up=counted.get("gave_up", 0),
        last_seq=last,
    )


def _put(part: Path, target: Path) -> None:
    """Sync the file and give it its name, unless somebody else took that meanwhile."""
    with _explained(target):
        _sync(part)
        try:
            target.hardlink_to(part)
        except FileExistsError:
            raise
        except OSError:
            # A file system without hard links, such as that of most memory sticks.
            _refuse_existing(target)
            part.rename(target)
        _sync(target.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refuse_existing(target: Path) -> None:
    if os.path.lexists(target):
        if target.is_dir():
            raise StoreError(f"{target} is a folder. Name a file in it: {target / 'pollerd.db'}")
        raise StoreError(
            f"{target} is there already, and a backup replaces nothing. Name a file that is not there yet."
        )


@contextmanager
def _explained(target: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError:
        _refuse_existing(target)
        raise
    except OSError as error:
        raise StoreError(
            f"{target} cannot be written: {error.strerror}. Name a place where this user may write.",
        ) from error
