"""The schema only grows: what an older version wrote and writes is there for a newer one, and the other way round.

`schema_4` holds the statements of the version before the schema began to grow, as they were.
"""

from __future__ import annotations

import re
import sqlite3
import time
from pathlib import Path

import pytest

from pollerd.base.errors import StoreError
from pollerd.core.model import State
from pollerd.store.migrations import BREAKING, Migration
from pollerd.store.rows import blob_from_recipients
from pollerd.store.sqlite import schema
from pollerd.store.sqlite.store import SqliteStore
from tests.sqlite_kit import autocommit
from tests.store_kit import handover_of, view_of

OLD = 4
COLUMNS = (
    "id, account, userref, sent_at, state, next_poll_at, next_reason, polls, misses, strikes, base, frozen_at,"
    " first_poll_at, last_poll_at, last_answer, seen_at, sendtime, validity, finished_at, recipients, trail"
)
NOW = 1_800_000_000.0


def statements() -> dict[str, str]:
    """Every statement of the old version, by the file's and its own name."""
    found = {}
    for file in sorted((Path(__file__).parent / f"schema_{OLD}").glob("*.sql")):
        parts = re.split(r"^-- name: (\w+)[ \t]*$", file.read_text(), flags=re.MULTILINE)[1:]
        for name, sql in zip(parts[::2], parts[1::2], strict=True):
            found[f"{file.stem}.{name}"] = sql.strip().format(columns=COLUMNS)
    assert len(found) > 80
    return found


SQL = statements()


def known_to_the_old_version() -> list[Migration]:
    return [step for step in schema.migrations() if step.version <= OLD]


def write_as_before(database: sqlite3.Connection, first: int, seq: int) -> None:
    """What the old version writes in its life: three messages handed over, one polled, one ended, with its event."""
    database.execute("BEGIN IMMEDIATE")
    for number in range(first, first + 3):
        database.execute(SQL["offer.offer"], (number, "default", f"order-{number}", NOW))
    planned = ("default", f"order-{first}", NOW, 1, NOW + 60, "first look", 0, 0, 0, NOW, 0.0)
    rest = (None, None, "", None, None, None, None, None, None)
    database.execute(SQL["store.settle"], (*planned, *rest, first))
    touched = (NOW + 120, "again", 1, 0, 0, NOW, NOW, NOW + 1, "200", NOW + 1, None)
    database.execute(SQL["store.touch"], (*touched, first))
    ended = ("default", f"order-{first + 1}", NOW, 2, None, "", 3, 0, 0, NOW, 0.0)
    seen = (NOW, NOW + 5, "200", NOW + 5, None, None, NOW + 5, blob_from_recipients(()), None)
    database.execute(SQL["store.settle"], (*ended, *seen, first + 1))
    body = b'{"type":"message.completed","id":1}'
    database.execute(SQL["store.tell"], (seq, "message.completed", first + 1, NOW + 5, body))
    database.executemany(SQL["store.count"], [("pending", 1), ("finished", 1), ("polls", 4)])
    database.execute(SQL["store.count_age"], (int(NOW // 15), 1))
    account = ("default", "throttled", "slow down", NOW, NOW + 60, 12.5, 100.0, "EUR", 0, NOW)
    database.execute(SQL["store.save_account"], account)
    database.execute(SQL["store.save_cursor"], ("file", seq, "17", NOW))
    database.execute(SQL["store.set_meta"], ("model", b"learned"))
    database.execute(SQL["deliveries.keep"], (seq, "message.status", first, b"{}", "lane", 1, 5, None, "500", NOW))
    database.execute(SQL["handover.ask"], ("poll", first))
    database.execute(SQL["inlet.give"], ("shop", first))
    database.execute("COMMIT")


async def test_going_forth_and_back_and_forth_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "p.db"
    with autocommit(path) as database:
        schema.migrate(database, known_to_the_old_version())
        write_as_before(database, 1, 1)
    schema.prepare(path).close()
    with autocommit(path) as database:
        # The old version again: it takes the database as it is, and every statement of it still means something.
        schema.migrate(database, known_to_the_old_version())
        for sql in SQL.values():
            count = len(set(re.findall(r"\?(\d+)", sql))) or sql.count("?")
            database.execute(f"EXPLAIN {sql}", [0] * count).close()
        write_as_before(database, 11, 2)
    schema.prepare(path).close()
    store = await SqliteStore.open(path, time.time)
    try:
        for first in (1, 11):
            polled, ended, new = [await store.message(first + n) for n in range(3)]
            assert polled is not None
            assert ended is not None
            assert new is not None
            assert (polled.state, polled.next_poll_at, polled.polls) == (State.PENDING, NOW + 120, 1)
            assert (ended.state, ended.finished_at, ended.userref) == (State.FINISHED, NOW + 5, f"order-{first + 1}")
            assert (new.state, new.sent_at) == (State.NEW, NOW)
        assert await store.counters() == {"pending": 2, "finished": 2, "polls": 8}
        assert [event.seq for event in await store.read(0, 10)] == [1, 2]
        assert [request.message_id for request in await store.requests()] == [1, 11]
        account = (await store.accounts())["default"]
        assert (account.held_total, account.credit) == (12.5, 100.0)
        cursor = await store.cursor("file")
        assert cursor is not None
        assert cursor.seq == 2
        assert await store.note("model") == b"learned"
    finally:
        await store.close()


def test_a_database_of_a_newer_version_is_used_when_it_only_added(tmp_path: Path) -> None:
    path, step = tmp_path / "p.db", tmp_path / "9999_more.sql"
    step.write_text("ALTER TABLE messages ADD COLUMN later TEXT;\n")
    with autocommit(path) as database:
        schema.migrate(database, [*schema.migrations(), Migration(9999, step)])
    with handover_of(path) as handover:
        assert handover.track([1]).new == 1
    with view_of(path) as view:
        assert view.message(1) is not None
    with autocommit(path) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (9999,)
        schema.migrate(database, [*schema.migrations(), Migration(9999, step)])
    step.write_text(f"{BREAKING}: for the test\nCREATE TABLE more (x);\n")
    with autocommit(path) as database:
        schema.migrate(database, [*schema.migrations(), Migration(10_000, step)])
    with pytest.raises(StoreError, match="Install the newer"):
        schema.prepare(path)
    with pytest.raises(StoreError, match="Install the newer"):
        view_of(path)


def test_steps_are_numbered_without_gap_and_only_add() -> None:
    """Two steps of one number: a database that has one of them would never get the other."""
    steps = schema.migrations()
    assert [step.version for step in steps] == list(range(1, len(steps) + 1))
    adding = re.compile(
        r"CREATE (UNIQUE )?(TABLE|INDEX|TRIGGER|VIEW) |ALTER TABLE \w+ ADD COLUMN |INSERT |UPDATE |DELETE "
    )
    for step in steps:
        for statement in schema.split(step.script):
            code = "\n".join(line for line in statement.splitlines() if not line.startswith("--")).strip()
            assert adding.match(code) or step.script.startswith(BREAKING), f"{step.path.name}: {code}"
            if code.startswith("ALTER") and "NOT NULL" in code:
                assert "DEFAULT" in code, "an older version writes no value there"
