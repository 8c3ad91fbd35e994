"""Every statement of the store is understood by the engine that it is for."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pollerd.store import statements
from pollerd.store.postgresql.link import Connection, Link
from pollerd.store.postgresql.statements import POSTGRESQL
from pollerd.store.sqlite import schema
from pollerd.store.statements import SQLITE, Statements
from tests.store_database import StoreDatabase

PENDING = 20_000
ASKED = {
    "due": ("default", 0.0, 0.0, 0, 1e9, 5),
    "due_latest": ("default", 1e9, 5),
    "due_urgent": ("default", "URGENT", 1e9, 5),
    "overdue": ("default", 0.0, 0, 1e9, 5),
    "overdue_accounts": (),
    "new": (5,),
    "handed_over": (5,),
    "strange": (1e11, 5),
    "stretch": (0, 5),
    "message": (1005,),
    "pending": (0, 5),
    "refused": ("default", "http_404", 0.0, 0.0, 0, 5),
    "gave_up": (0, 5),
    "unknown": ("default", 5),
    "counted_as": ("[1005]",),
}
"""What the daemon asks for again and again while messages are pending, with values for at most five rows."""
ASKED_OF_OUTPUTS = {
    "deliveries.due": ("main", 0.5, 1e12, 5),
    "deliveries.next_at": ("main",),
    "deliveries.blocked": ("[5]",),
    "deliveries.free": (1.0, 5),
    "undelivered.list": (0, "webhook", 5),
    "unwritten.left": ("database",),
    "unwritten.next_at": ("database",),
    "unwritten.due": ("database", 0.5, "[]", 5),
    "unwritten.forgotten": (0.5, '["database"]', 5),
    "unwritten.parked_messages": (),
    "source_ids.drop_unused": (5,),
    "source_rows.strangers": ('["source"]', 5),
}
"""The same while outputs keep many events, and sources have given many messages. None is about message 5."""
FEW_STEPS = 3_000
"""Steps of SQLite's machine: less than a tenth of what one look at each pending message takes."""
FEW_ROWS = 500
"""Rows that PostgreSQL may read for one such question."""
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


@pytest.mark.parametrize("overdue_at", ["NULL", "5.0 + i", "CASE WHEN i % 1000 = 0 THEN 5.0 END"])
@pytest.mark.parametrize("analyzed", [False, True])
@pytest.mark.parametrize("remade", [False, True])
def test_no_question_of_the_daemon_goes_through_all_pending_messages(
    database: Path, remade: bool, analyzed: bool, overdue_at: str
) -> None:
    """Whatever ANALYZE has found, and in whatever order the indexes were made."""
    with closing(schema.prepare(database)) as connection:
        if remade:
            remake_indexes(connection)
        connection.execute(
            "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?) "
            "INSERT INTO messages (id, sent_at, state, next_poll_at, next_reason, polls, base, overdue_at) "
            f"SELECT 1000 + i, 1.0, 1, 5.0 + i, 'it is due', 3, 1.0, {overdue_at} FROM n",
            (PENDING,),
        )
        if analyzed:
            connection.execute("ANALYZE")
        for name, values in ASKED.items():
            assert steps_taken(connection, SQLITE("store")[name], values) < FEW_STEPS, name


def steps_taken(connection: sqlite3.Connection, sql: str, values: Sequence[Any]) -> int:
    steps = 0

    def hundred_more() -> None:
        nonlocal steps
        steps += 100

    connection.set_progress_handler(hundred_more, 100)
    connection.execute(sql, values).fetchall()
    connection.set_progress_handler(None, 100)
    return steps


def remake_indexes(connection: sqlite3.Connection) -> None:
    """All indexes of the messages, the first ones last."""
    made = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'messages' AND sql IS NOT NULL"
    for name, sql in reversed(connection.execute(made).fetchall()):
        connection.execute(f"DROP INDEX {name}")
        connection.execute(sql)


def test_all_questions_about_messages_are_known() -> None:
    asked = {name for name, sql in SQLITE("store").items() if sql.startswith(("SELECT", "WITH")) and "messages" in sql}
    assert asked == set(ASKED)


FILLED = (
    "INSERT INTO messages (id, sent_at, state, next_poll_at, next_reason, polls, base, overdue_at) "
    "SELECT 1000 + i, 1.0, 1, 5.0 + i, 'it is due', 3, 1.0, {overdue_at} "
    f"FROM generate_series(0, {PENDING - 1}) AS n (i)"
)


@pytest.mark.parametrize("overdue_at", ["NULL", "5.0 + i"])
@pytest.mark.parametrize("found_out", ["nothing", "what is so", "what is not so any more"])
def test_no_question_to_postgresql_goes_through_all_pending_messages(
    store_database: StoreDatabase, found_out: str, overdue_at: str
) -> None:
    """Whatever the server has found out about the table: it looks once a minute at best."""
    store_database.query("ALTER TABLE messages SET (autovacuum_enabled = false)")
    if found_out == "what is not so any more":
        store_database.query(f"INSERT INTO messages (id) SELECT generate_series(1000, {999 + PENDING})")
        store_database.query("ANALYZE messages")
        store_database.query("DELETE FROM messages")
    store_database.query(FILLED.format(overdue_at=overdue_at))
    if found_out == "what is so":
        store_database.query("ANALYZE messages")
    link = Link(store_database.target())
    with link.connected() as connection:
        read = {
            name: rows_read(connection, POSTGRESQL("store")[name], values)
            for name, values in {**ASKED, "left_by_others": ()}.items()
            # Asked once after a reload, for all there are.
            if name != "pending"
        }
    link.close()
    assert {name: rows for name, rows in read.items() if rows > FEW_ROWS} == {}


def rows_read(connection: Connection, sql: str, values: Sequence[Any]) -> int:
    """The rows that a statement reads from tables and indexes."""
    found: Any = connection.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}".encode(), values).fetchone()
    return sum(
        (step["Actual Rows"] + step.get("Rows Removed by Filter", 0)) * step["Actual Loops"]
        for step in steps_of(json.loads(found[0])[0]["Plan"])
        if "Relation Name" in step or "Index Name" in step
    )


def steps_of(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for step in plan.get("Plans", ()):
        yield from steps_of(step)


MANY = f"WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {PENDING}) "
KEPT = (
    MANY + "INSERT INTO deliveries (seq, type, message_id, body, lane, state, attempts, next_at, error, changed_at) "
    "SELECT i, 'message.status', {message}, '', 'main', 0, 1, {next_at}, '', 1.0 FROM n",
    MANY + "INSERT INTO unwritten (output, seq, type, message_id, recipient, body, "
    "state, attempts, next_at, error, changed_at) "
    "SELECT 'database', i, 'message.status', {message}, 0, '', 0, 1, {next_at}, '', 0.1 FROM n",
    MANY + "INSERT INTO given (source, id) SELECT 'source', i FROM n",
    MANY + "INSERT INTO source_ids (source, id, database) SELECT 'source', i, 'd' FROM n",
)
OF_MANY = {"message": "1000 + i", "next_at": "5.0 + i"}
OF_ONE = {"message": "1000", "next_at": "CASE i WHEN 1 THEN 5.0 END"}
"""All wait behind one another."""


@pytest.mark.parametrize("messages", [OF_MANY, OF_ONE])
@pytest.mark.parametrize("analyzed", [False, True])
def test_no_question_of_an_output_goes_through_all_that_wait(
    database: Path, analyzed: bool, messages: Mapping[str, str]
) -> None:
    with closing(schema.prepare(database)) as connection:
        for sql in KEPT:
            connection.execute(sql.format(**messages))
        if analyzed:
            connection.execute("ANALYZE")
        for name, values in ASKED_OF_OUTPUTS.items():
            file, _, statement = name.partition(".")
            assert steps_taken(connection, SQLITE(file)[statement], values) < FEW_STEPS, name


@pytest.mark.parametrize("analyzed", [False, True])
def test_no_question_of_an_output_to_postgresql_goes_through_all_that_wait(
    store_database: StoreDatabase, analyzed: bool
) -> None:
    for sql in KEPT:
        store_database.query(sql.format(**OF_MANY))
    if analyzed:
        store_database.query("ANALYZE")
    link = Link(store_database.target())
    with link.connected() as connection:
        read = {}
        for name, values in ASKED_OF_OUTPUTS.items():
            file, _, statement = name.partition(".")
            sql = POSTGRESQL(file)[statement]
            read[name] = rows_read(connection, sql, [[each] for each in values] if "[]" in sql else values)
    link.close()
    assert {name: rows for name, rows in read.items() if rows > FEW_ROWS} == {}
