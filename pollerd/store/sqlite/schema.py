"""Makes a database what this version needs: creates it, migrates it, refuses what it does not know."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pollerd.base.errors import StoreBusyError, StoreError, StoreForbiddenError, StoreUnavailableError
from pollerd.base.folders import create_folder, own_as_folder
from pollerd.store.migrations import Migration, oldest_reader, steps_in

APPLICATION_ID: Final = 0x706F6C64
"""Written into the database's header ("pold"), so that a database of another program is not taken for ours."""

BUSY_TIMEOUT: Final = 15.0
"""Seconds a writer waits for another one."""

_READABLE_FROM: Final = "readable_from"
"""The note that says which version of the schema pollerd must know to use the database."""

MIGRATIONS: Final = Path(__file__).with_name("migrations")
_FILE_MODE: Final = 0o640  # Rights: the group may read, as backups and reports do; nobody else.
_FORBIDDEN: Final = frozenset({sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM})
BUSY: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
"""Primary codes of SQLite: another connection is in the way."""
_PASSING: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR})


def migrations() -> tuple[Migration, ...]:
    """The steps in order."""
    return steps_in(MIGRATIONS)


def prepare(path: str | os.PathLike[str], *, timeout: float = BUSY_TIMEOUT) -> sqlite3.Connection:
    """Open the database for writing, in autocommit mode; create and migrate it first where needed.

    A new file gets the rights 0640 and new folders 0750 whatever the umask; SQLite gives -wal and -shm the rights of
    the database. Raises StoreError.
    """
    database = Path(os.path.realpath(path))
    create_database(database)
    with explained(database):
        connection = sqlite3.connect(database, timeout=timeout, isolation_level=None)
        try:
            migrate(connection, timeout=timeout)
            # With NORMAL a power cut may take back what was already reported.
            connection.execute("PRAGMA synchronous = FULL")
        except BaseException:
            connection.close()
            raise
        return connection


def migrate(
    connection: sqlite3.Connection,
    steps: Sequence[Migration] | None = None,
    *,
    timeout: float = BUSY_TIMEOUT,
) -> None:
    """Bring the database to the newest schema: all missing steps in one transaction, WAL mode set.

    Safe to run in several processes at once. Raises StoreError when the database is so new that this version of
    pollerd cannot use it, or belongs to another program; sqlite3.Error as it comes. No transaction may be open.
    """
    steps = migrations() if steps is None else steps
    if _missing(connection, steps):
        _set_wal(connection, timeout)
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Another process may have been faster: only inside the transaction is the version certain.
            for step in _missing(connection, steps):
                _apply(connection, step)
            _note_readers(connection, steps)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    else:
        _set_wal(connection, timeout)


@contextmanager
def explained(database: Path) -> Iterator[None]:
    """Turn SQLite's errors into a StoreError that says what to do."""
    try:
        yield
    except sqlite3.Error as error:
        raise _kind(error)(explanation(database, error)) from error


def _kind(error: sqlite3.Error) -> type[StoreError]:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in BUSY:
        return StoreBusyError
    if code in _PASSING:
        return StoreUnavailableError
    return StoreForbiddenError if forbidden(error) else StoreError


def full(error: OSError) -> bool:
    """Whether it says that the disk is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def forbidden(error: sqlite3.Error | OSError) -> bool:
    """Whether it says that this user has not the right."""
    if isinstance(error, OSError):
        return error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _FORBIDDEN


def _missing(connection: sqlite3.Connection, steps: Sequence[Migration]) -> list[Migration]:
    # One statement, hence one moment: another process may be creating the schema.
    version, owner, filled = connection.execute(
        "SELECT user_version, application_id, EXISTS (SELECT 1 FROM sqlite_master)"
        " FROM pragma_user_version, pragma_application_id",
    ).fetchone()
    newest = steps[-1].version
    if owner == APPLICATION_ID and version > newest and not readable(connection, newest):
        raise StoreError(
            f"the database has schema {version}, this version of pollerd knows up to {newest}. "
            "Install the newer pollerd again, or name another [store] path.",
        )
    if owner != APPLICATION_ID and (owner or version or filled):
        raise StoreError(
            "the database belongs to another program. Name a file of its own in [store] path.",
        )
    return [step for step in steps if step.version > version]


def readable(connection: sqlite3.Connection, known: int) -> bool:
    """Whether a pollerd that knows the schema up to version `known` can use a database of a newer one."""
    try:
        found = connection.execute("SELECT value FROM meta WHERE name = ?", (_READABLE_FROM,)).fetchone()
    except sqlite3.OperationalError:
        return False
    return found is not None and isinstance(found[0], int) and found[0] <= known


def _note_readers(connection: sqlite3.Connection, steps: Sequence[Migration]) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", (_READABLE_FROM, oldest_reader(steps))
    )


def _apply(connection: sqlite3.Connection, step: Migration) -> None:
    # executescript() would commit first and so tear the step out of the transaction.
    for statement in split(step.script):
        connection.execute(statement)
    if step.version == 1:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("INSERT INTO meta (name, value) VALUES ('store_id', ?)", (str(uuid.uuid4()),))
    connection.execute(f"PRAGMA user_version = {step.version:d}")


def split(script: str) -> Iterator[str]:
    """The statements of a script; each ends at a line's end."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        # The closing ";" may have a comment behind it.
        if ";" in line and sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if any(line.strip() and not line.lstrip().startswith("--") for line in statement.splitlines()):
        yield statement


def _set_wal(connection: sqlite3.Connection, timeout: float) -> None:
    # The switch does not wait for other connections by itself: SQLite answers "locked" at once.
    deadline = time.monotonic() + timeout
    while True:
        try:
            mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
            if mode not in ("wal", "memory"):
                connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() >= deadline:
                raise
            time.sleep(0.02)
        else:
            return


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another connection is in the way."""
    return (error.sqlite_errorcode & 0xFF) in BUSY


def create_database(database: Path) -> None:
    """Make an empty file, and its folder, where there is none. Raises StoreError."""
    try:
        create_folder(database.parent)
        _take_over(database)
        try:
            descriptor = os.open(database, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE)
        except FileExistsError:
            if not stat.S_ISREG(database.stat().st_mode):
                raise StoreError(f"{database} is not a file. Name a file in [store] path.") from None
            return
        try:
            os.fchmod(descriptor, _FILE_MODE)
            own_as_folder(descriptor, database.parent)
        finally:
            os.close(descriptor)
    except OSError as error:
        if full(error):
            raise StoreUnavailableError(
                f"the database {database} cannot be created: {error.strerror}. Make room on the disk.",
            ) from error
        kind = StoreForbiddenError if forbidden(error) else StoreError
        raise kind(
            f"the database {database} cannot be created: {error.strerror}. "
            "Give this user the right to write in its folder, or name another file in [store] path.",
        ) from error


def _take_over(database: Path) -> None:
    """Make way for a database of our own where another user's SQL, before the first start, has left an empty file."""
    try:
        found = database.stat()
    except OSError:
        return
    if found.st_size or not stat.S_ISREG(found.st_mode) or os.access(database, os.W_OK, effective_ids=True):
        return
    whose = f"{database} is empty and belongs to another user: it was opened before pollerd's first start"
    try:
        database.unlink()
    except OSError as error:
        raise StoreForbiddenError(f"{whose}. Remove it: rm {database}") from error
    text = "%s; it is made anew. What was inserted then was refused by SQLite already: insert it again"
    import logging

    logging.getLogger(__name__).warning(text, whose, extra={"event": "empty_database_replaced"})


def explanation(database: Path, error: sqlite3.Error) -> str:
    """What SQLite said, and what to do about it."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    match code:
        case _ if code in BUSY:
            hint = "another program holds it for writing; try again, and end long transactions in other programs"
        case _ if code in _FORBIDDEN:
            hint = "give this user the right to write the file and its folder, or run as the user that owns them"
        case sqlite3.SQLITE_NOTADB:
            hint = "the file is something else; name another one in [store] path"
        case sqlite3.SQLITE_CORRUPT:
            hint = "it is damaged; stop the daemon and restore a backup"
        case sqlite3.SQLITE_FULL:
            hint = "make room on the disk"
        case sqlite3.SQLITE_IOERR:
            hint = "check the disk and its free space"
        case _:
            hint = "check [store] path"
    return f"the database {database} cannot be used ({error}): {hint}."
