"""The SQLite database: there, ours, of a version we know, and whole. Reads only, takes no lock that a daemon misses."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from pollerd.base.text import counted, size
from pollerd.deployment.doctor.check import Check, failure, ok, warning
from pollerd.store.aside import advice
from pollerd.store.session import Querying
from pollerd.store.sqlite import schema
from pollerd.store.sqlite.readonly import untouched
from pollerd.store.sqlite.session import SqliteSession
from pollerd.store.undelivered import count_undelivered

NAME: Final = "database"
TIMEOUT: Final = 5.0
"""Seconds for the integrity check; a large database is not read to its end."""
LARGE_WAL: Final = 256 * 1024 * 1024  # Bytes: above, a reader hinders its checkpoint.
_MOST_UNDELIVERED: Final = 100_000  # Undelivered events that are counted; above that nobody needs the exact number.
_NAMED: Final = 10
"""Messages that are named one by one."""
"""Parked events that are counted."""
_RESTORE: Final = "stop the daemon, keep the damaged file, and restore a backup (or start with an empty database)"
_MAKE_OWN: Final = "name a file of its own in [store] path"


def checks(path: Path) -> Iterator[Check]:
    """Everything about the file at `path`, and about the SQLite that reads it."""
    yield sqlite(sqlite3.sqlite_version_info)
    database = Path(os.path.realpath(path))
    try:
        found = database.stat()
        bytes_ = found.st_size
    except FileNotFoundError:
        yield ok(NAME, f"{database} does not exist yet; the daemon makes it when it starts")
        return
    if not database.is_file():
        yield failure(NAME, f"{database} is not a file", _MAKE_OWN)
        return
    if found.st_nlink > 1:
        yield warning(
            NAME,
            f"{database} has {found.st_nlink} names (hard links); a program that opens it by another one than pollerd "
            "writes to another -wal file, and damages it",
            f"remove the others (find them: find / -xdev -samefile {database}); use a symbolic link, or pollerd backup",
        )
    if bytes_ == 0:
        yield ok(NAME, f"{database} is empty; the daemon fills it when it starts")
        return
    try:
        yield _content(database, bytes_)
    except sqlite3.Error as error:
        yield _broken(database, error)
        return
    yield from _wal(database)
    try:
        with closing(untouched(database)) as connection:
            yield from kept(SqliteSession(connection))
    except sqlite3.Error:
        # Of an older schema, or said already why it cannot be read.
        return


def sqlite(version: tuple[int, int, int]) -> Check:
    """Whether this SQLite has the WAL-reset defect (https://sqlite.org/wal.html#walresetbug)."""
    shown = ".".join(map(str, version))
    if version >= _SOUND or any(fixed <= version < (*fixed[:2], _NEXT) for fixed in _BACKPORTS):
        return ok("SQLite", f"{shown}, without the WAL-reset defect")
    return warning(
        "SQLite",
        f"{shown} has the WAL-reset defect (mended in 3.51.3, 3.50.7, 3.44.6): where one connection checkpoints while "
        "another writes, the database may be damaged. The daemon does both on one connection, and its commands leave "
        "checkpoints to it; other programs that write do not",
        "use a Python with a newer SQLite (python3 -c 'import sqlite3; print(sqlite3.sqlite_version)'); until then let "
        "other programs that write to the database begin with PRAGMA wal_autocheckpoint = 0",
    )


_SOUND: Final = (3, 51, 3)  # Version without the defect, and all later ones.
_BACKPORTS: Final = ((3, 50, 7), (3, 44, 6))  # Versions with the mending on earlier branches.
_NEXT: Final = 1000
"""No release of a branch has a higher number."""


def _content(database: Path, bytes_: int) -> Check:
    with closing(untouched(database)) as connection:
        owner, version = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in _HEADER)
        newest = schema.migrations()[-1].version
        if owner != schema.APPLICATION_ID:
            return failure(NAME, f"{database} belongs to another program (application id {owner:#010x})", _MAKE_OWN)
        if version > newest and not schema.readable(connection, newest):
            return failure(
                NAME,
                f"{database} has schema {version}; this version of pollerd knows up to {newest}",
                "install the newer pollerd again, or restore the backup made before the upgrade",
            )
        finding = _integrity(connection)
    if finding is not None and not finding[0]:
        return failure(NAME, f"{database} is damaged: {finding[1]}", _RESTORE)
    whole = f"not read to its end within {TIMEOUT:g} s, no damage so far" if finding is None else "whole"
    older = f", brought to {newest} at the next start" if version < newest else ""
    if version > newest:
        older = f", made by a newer pollerd (this one knows {newest}), and good for this one too"
    return ok(NAME, f"{database}: {size(bytes_)}, schema {version}{older}, {whole}")


def kept(store: Querying) -> Iterator[Check]:
    """What is kept there, and goes no further by itself: events that outputs cannot get rid of, unusable messages."""
    yield from _undelivered(store)
    yield from _set_aside(store)


def _undelivered(store: Querying) -> Iterator[Check]:
    for output, count in count_undelivered(store, _MOST_UNDELIVERED).items():
        if count.parked:
            facts = f"output {output}: {counted(count.parked, 'event is', 'events are')} parked, no attempt is left"
            step = "see why: pollerd events --undelivered; then deliver again: pollerd retry --undelivered"
            yield warning("undelivered", facts, step)


def _set_aside(store: Querying) -> Iterator[Check]:
    """Messages that are not polled, since their rows cannot be used."""
    found = store.query(store.sql("view")["first_set_aside"], (_NAMED + 1,))
    for number, why in found[:_NAMED]:
        yield warning(
            "set aside",
            f"message {number} is not polled: {why}",
            advice(number, str(why)),
        )
    if len(found) > _NAMED:
        yield warning("set aside", "there are more of them", "see all: pollerd list --state set_aside")


_HEADER: Final = ("application_id", "user_version")


def _integrity(connection: sqlite3.Connection) -> tuple[bool, str] | None:
    """Whether it is whole, with the first complaint; None when time was up."""
    deadline = time.monotonic() + TIMEOUT
    connection.set_progress_handler(lambda: time.monotonic() > deadline, 50_000)
    try:
        facts = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            return None
        raise
    finally:
        connection.set_progress_handler(None, 0)
    return facts == "ok", " ".join(facts.removeprefix("*** in database main ***").split())


def _broken(database: Path, error: sqlite3.Error) -> Check:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_NOTADB:
        return failure(NAME, f"{database} is no SQLite database ({error})", f"{_MAKE_OWN}, or restore a backup")
    if code == sqlite3.SQLITE_CORRUPT:
        return failure(NAME, f"{database} is damaged: {error}", _RESTORE)
    explained = schema.explanation(database, error)
    return failure(NAME, explained, "run the doctor as the user of the service, or as root")


def _wal(database: Path) -> Iterator[Check]:
    try:
        bytes_ = Path(f"{database}-wal").stat().st_size
    except OSError:
        return
    if bytes_ > LARGE_WAL:
        yield warning(
            "write-ahead log",
            f"{database}-wal has grown to {size(bytes_)}: somebody keeps a transaction open",
            f"end programs that read the database for long (lsof {database}), or restart the daemon",
        )
    else:
        yield ok("write-ahead log", f"{size(bytes_)}")
