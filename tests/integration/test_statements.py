"""Every statement of the store is understood by the engine that it is for."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from pollerd.store import statements
from pollerd.store.postgresql.statements import POSTGRESQL
from pollerd.store.sqlite import schema
from pollerd.store.statements import SQLITE, Statements
from tests.store_database import StoreDatabase

FOLDER = Path(statements.__file__).parent
FILES = sorted({path.stem for engine in ("", "sqlite", "postgresql") for path in (FOLDER / engine).glob("*.sql")})


def every(engine: Statements) -> list[tuple[str, str]]:
    found = [(f"{file}.{name}", sql) for file in FILES for name, sql in engine(file).items()]
    assert len(found) > 140
    return found


def parameters(sql: str) -> int:
    """How many values SQLite wants: a `?` without a number is the one behind the highest so far."""
    highest = 0
    for number in re.findall(r"\?(\d*)", re.sub(r"'[^']*'|--[^\n]*", "", sql)):
        highest = max(highest, int(number)) if number else highest + 1
    return highest


def values_of(connection: sqlite3.Connection, insertion: str) -> int:
    """How many values a row has that an insertion without a row takes."""
    table, _, columns = insertion.removesuffix("VALUES").partition("INTO ")[2].strip().partition(" ")
    return columns.count(",") + 1 if columns else len(connection.execute(f"PRAGMA table_info({table})").fetchall())


def test_sqlite_understands_every_statement(database: Path) -> None:
    with closing(schema.prepare(database)) as connection:
        # What the writer's connection makes for itself; the other statements need it.
        for script in SQLITE("writing").values():
            connection.executescript(script)
        for name, sql in every(SQLITE):
            if name.startswith("writing."):
                continue
            row = f" ({', '.join('?' * values_of(connection, sql))})" if sql.endswith("VALUES") else ""
            try:
                connection.execute(f"EXPLAIN {sql}{row}", [None] * parameters(sql + row))
            except sqlite3.Error as error:
                pytest.fail(f"{name}: {error}")


def test_postgresql_understands_every_statement(store_database: StoreDatabase) -> None:
    with store_database.database.connect(store_database.user) as connection:
        for name, sql in every(POSTGRESQL):
            done = connection.pgconn.prepare(b"", sql.encode())
            assert not done.error_message, f"{name}: {done.error_message.decode()}"


def test_no_engine_has_a_statement_that_the_code_never_asks_for() -> None:
    code = "\n".join(path.read_text() for path in FOLDER.rglob("*.py"))
    names = {name.partition(".")[2] for engine in (SQLITE, POSTGRESQL) for name, _ in every(engine)}
    made = re.compile(r"events_(of|and)|page_|list_|write_")
    assert [name for name in sorted(names) if f'"{name}"' not in code and not made.match(name)] == []
