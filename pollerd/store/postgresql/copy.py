"""Everything that is stored, from an SQLite file into PostgreSQL or back: the same rows, numbers and cursors.

The target is empty before and whole afterwards, or as it was: one transaction.
"""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from math import inf
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import msgspec

from pollerd.base.errors import StoreError
from pollerd.core import instants
from pollerd.store import damage, rows
from pollerd.store.postgresql import schema as tables
from pollerd.store.postgresql.link import Connection, Link, Target
from pollerd.store.postgresql.places import OWN, owned
from pollerd.store.sqlite import schema
from pollerd.store.sqlite.readonly import connect, explained

TABLES: Final = (
    # Before the events: a trigger remembers what they report.
    "incoming", "messages", "events", "requests", "outputs", "accounts", "counters", "pending_by_age", "meta",
    "deliveries", "unwritten", "given", "source_ids",
)  # fmt: skip
_OWN_NOTES: Final = frozenset({"store_id", "readable_from"})
"""Notes that SQLite keeps about the file itself; PostgreSQL has columns for them."""
_COLUMNS: Final = b"""
SELECT column_name, data_type FROM information_schema.columns
WHERE table_schema = current_schema() AND table_name = $1 AND is_generated = 'NEVER' ORDER BY ordinal_position
"""
_RENAME: Final = b"UPDATE outputs SET name = $2 WHERE name = $1"

Columns = Mapping[str, str]
"""The columns of a table, each with its type in PostgreSQL."""


class Copied(msgspec.Struct, frozen=True):
    """What was copied: rows of each table, the highest `seq` ever given, and how long it took in seconds."""

    rows: Mapping[str, int]
    last_seq: int
    seconds: float


def copy_in(file: Path, target: Target, member: str) -> Copied:
    """Copy the SQLite file into the database at `target`. Both are owned by the caller. Raises StoreError.

    `member` is the name of the daemon that goes on there: the places of its file and socket are its own.
    """
    began = time.monotonic()
    database, reading = connect(file)
    with closing(reading), explained(database):
        reading.text_factory = lambda raw: raw.decode("utf-8", "replace")
        reading.execute("BEGIN")

        def copy(writing: Connection) -> Copied:
            with writing.transaction():
                _refuse_filled(writing)
                counted = {table: _fill(writing, table, reading) for table in TABLES}
                last = reading.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'events'")
                last_seq = int(last.fetchone()[0])
                _finish(writing, last_seq, _store_id(reading))
                for name in OWN:
                    writing.execute(_RENAME, (name, owned(name, member)))
                _compare(counted, {table: _count(writing, table) for table in TABLES})
            # The server would plan by an empty database's figures until it looks by itself.
            writing.execute(f"ANALYZE {', '.join(TABLES)}".encode())
            return Copied(counted, last_seq, time.monotonic() - began)

        return _run(target, copy)


def copy_out(target: Target, file: Path, member: str) -> Copied:
    """Copy the database at `target`, owned by the caller, into a new SQLite file; the places of file and socket are
    those of `member`. Raises StoreError.
    """
    began = time.monotonic()
    if file.exists():
        raise StoreError(f"{file} is there already, and nothing is replaced. Name a file that is not there yet.")

    def copy(reading: Connection) -> Copied:
        with reading.transaction(), closing(schema.prepare(file)) as writing, explained(file):
            reading.execute(b"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            writing.execute("BEGIN IMMEDIATE")
            counted = {table: _empty(reading, table, writing) for table in TABLES}
            found = reading.execute(b"SELECT last_seq, store_id::text FROM cluster").fetchone() or (0, "")
            for name in OWN:
                writing.execute("UPDATE outputs SET name = ? WHERE name = ?", (name, owned(name, member)))
            _number(writing, "events", found[0])
            _number(writing, "requests", _sequence(reading))
            writing.execute("UPDATE meta SET value = ? WHERE name = 'store_id'", (found[1],))
            there = {table: writing.execute(_counting(table)).fetchone()[0] for table in TABLES}
            there["meta"] -= len(_OWN_NOTES)
            _compare(counted, there)
            writing.execute("COMMIT")
            return Copied(counted, found[0], time.monotonic() - began)

    try:
        return _run(target, copy)
    except BaseException:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{file}{suffix}").unlink(missing_ok=True)
        raise


def _run(target: Target, work: Callable[[Connection], Copied]) -> Copied:
    link = Link(target, deadline=inf)
    try:
        return link.once(work)
    finally:
        link.close()


def _refuse_filled(connection: Connection) -> None:
    tables.check(connection)
    for table in TABLES:
        if _count(connection, table):
            raise StoreError(
                f"the database to copy to has {table} already, and nothing is replaced. Name an empty one."
            )


def _compare(given: Mapping[str, int], there: Mapping[str, int]) -> None:
    for table, count in given.items():
        if there[table] != count:
            arrived = f"{there[table]:,} of {count:,} rows of {table} have arrived"
            raise StoreError(f"{arrived}: nothing is copied. Try again, and report it if that happens again.")


def _columns(connection: Connection, table: str) -> Columns:
    return dict(connection.execute(_COLUMNS, (table,)).fetchall())


def _count(connection: Connection, table: str) -> int:
    found = connection.execute(_counting(table).encode()).fetchone()
    return int(found[0]) if found else 0


def _counting(table: str) -> str:
    return f"SELECT count(*) FROM {table}"  # noqa: S608 # one of `TABLES`


def _selecting(table: str, names: str) -> str:
    return f"SELECT {names} FROM {table}"  # noqa: S608 # one of `TABLES`, with its columns


# -- from SQLite


def _fill(connection: Connection, table: str, reading: sqlite3.Connection) -> int:
    columns = _columns(connection, table)
    convert = [_FROM_SQLITE.get(kind, _same) for kind in columns.values()]
    names = ", ".join(rows.COLUMNS if table == "messages" else columns)
    if table == "messages":
        convert = [_FROM_SQLITE.get(columns[name], _same) for name in rows.COLUMNS]
    count = 0
    with connection.cursor() as cursor, cursor.copy(f"COPY {table} ({names}) FROM STDIN".encode()) as copying:
        for row in _rows(table, reading.execute(_selecting(table, names))):
            copying.write_row([one(value) for one, value in zip(convert, row, strict=True)])
            count += 1
    return count


def _rows(table: str, found: Iterable[Sequence[Any]]) -> Iterator[Sequence[Any]]:
    for row in found:
        if table == "messages" and not damage.whole(row):
            yield damage.mended(row)
        elif table != "meta" or row[0] not in _OWN_NOTES:
            yield row


def _store_id(reading: sqlite3.Connection) -> uuid.UUID:
    found = reading.execute("SELECT value FROM meta WHERE name = 'store_id'").fetchone()
    return uuid.UUID(rows.blob(found[0]).decode()) if found else uuid.uuid4()


def _finish(connection: Connection, last_seq: int, store_id: uuid.UUID) -> None:
    connection.execute(b"UPDATE cluster SET last_seq = $1, store_id = $2", (last_seq, store_id))
    connection.execute(
        b"SELECT setval(pg_get_serial_sequence('requests', 'id'), max(id)) FROM requests HAVING max(id) > 0"
    )


def _text(value: Any) -> str | None:
    if value is None:
        return None
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.replace("\0", "\ufffd")


def _seconds(value: Any) -> float | None:
    """What others write into a time may be a text."""
    if value is None or isinstance(value, int | float):
        return value
    try:
        return instants.read(value, utc=True)
    except ValueError:
        return None


def _json(value: Any) -> str:
    # See `writer`: PostgreSQL has no NUL in a text.
    return rows.blob(value).decode("utf-8", "replace").replace("\\u0000", "\\ufffd")


def _same(value: Any) -> Any:
    return value


_FROM_SQLITE: Final[Mapping[str, Callable[[Any], Any]]] = MappingProxyType(
    {
        "text": _text,
        "double precision": _seconds,
        "boolean": lambda value: None if value is None else bool(value),
        "bytea": lambda value: None if value is None else rows.blob(value),
        "json": _json,
        "jsonb": lambda value: msgspec.json.encode(value).decode(),
    }
)


# -- to SQLite


def _empty(connection: Connection, table: str, writing: sqlite3.Connection) -> int:
    columns = _columns(connection, table)
    convert = [_TO_SQLITE.get(kind, _same) for kind in columns.values()]
    names, marks = ", ".join(columns), ", ".join("?" * len(columns))
    count = 0

    def read() -> Iterator[list[Any]]:
        nonlocal count
        with connection.cursor() as cursor:
            # Row by row: a store may be larger than memory.
            for row in cursor.stream(_selecting(table, names).encode()):
                count += 1
                yield [one(value) for one, value in zip(convert, row, strict=True)]

    verb = "INSERT OR REPLACE" if table == "meta" else "INSERT"
    writing.executemany(f"{verb} INTO {table} ({names}) VALUES ({marks})", read())
    return count


_TO_SQLITE: Final[Mapping[str, Callable[[Any], Any]]] = MappingProxyType(
    {"boolean": lambda value: None if value is None else int(value), "json": str.encode}
)


def _sequence(reading: Connection) -> int:
    found = reading.execute(b"SELECT coalesce(max(id), 0) FROM requests").fetchone()
    return int(found[0]) if found else 0


def _number(writing: sqlite3.Connection, table: str, last: int) -> None:
    """Let AUTOINCREMENT go on behind `last`."""
    if writing.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = ?", (last, table)).rowcount == 0:
        writing.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (table, last))
