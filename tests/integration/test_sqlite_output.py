"""States into somebody else's SQLite database, which may be locked, missing or of another mind."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from pollerd import event as events
from pollerd.outputs.sqlite import SqliteOutput
from pollerd.ports import Cursor
from pollerd.store.store import Store
from tests.integration.output_kit import commit, opened, prune, running, until
from tests.integration.webhook_kit import change, tell
from tests.sqlite_kit import autocommit

UPDATE = "UPDATE sms SET status = :status, final = :final WHERE id = :id"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with opened(tmp_path / "p.db") as store:
        yield store


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with autocommit(tmp_path / "shop.db") as database:
        database.execute("CREATE TABLE sms (id INTEGER PRIMARY KEY, status TEXT, final INTEGER)")
        database.execute("BEGIN")
        database.executemany("INSERT INTO sms (id) VALUES (?)", [(n,) for n in range(1, 1001)])
        database.execute("COMMIT")
        yield database


def output(path: Path, statement: str = UPDATE, **more: Any) -> SqliteOutput:
    return SqliteOutput(path, statement, **{"retry_first": 0.02, "retry_max": 0.1, **more})


async def test_every_row_has_its_state_and_the_place_is_kept(
    store: Store, shop: sqlite3.Connection, tmp_path: Path
) -> None:
    await tell(store, *(change(n, "ENROUTE", final=False) for n in range(1, 1001)))
    async with running(first := output(tmp_path / "shop.db"), store):
        await until(lambda: first.health.seq == store.last, "all")
    shop.execute("UPDATE sms SET status = 'seen'")
    await tell(store, *(change(n, "DELIVERED") for n in range(1, 11)))
    async with running(second := output(tmp_path / "shop.db"), store):
        await until(lambda: second.health.seq == store.last, "the rest")
    found = shop.execute("SELECT status, final, count(*) FROM sms GROUP BY 1, 2").fetchall()
    assert sorted(found) == [("DELIVERED", 1, 10), ("seen", 0, 990)]


async def test_only_states_unless_the_statement_names_the_type(
    store: Store, shop: sqlite3.Connection, tmp_path: Path
) -> None:
    shop.execute("CREATE TABLE log (type, id, counts)")
    completed = events.Completed(
        id=1, account="default", userref=None, counts={"DELIVERED": 1}, polls=1, observed_at=events.instant(0.0)
    )
    await tell(store, change(1, "DELIVERED"), completed)
    states = output(tmp_path / "shop.db", "INSERT INTO log VALUES (NULL, :id, :counts)", name="a")
    every = output(tmp_path / "shop.db", "INSERT INTO log VALUES ( :type, @id, $counts)", name="b")
    async with running(states, store):
        await until(lambda: states.health.seq == 2, "the states")
    async with running(every, store):
        await until(lambda: every.health.seq == 2, "every event")
    assert shop.execute("SELECT * FROM log").fetchall() == [
        (None, 1, None),
        ("message.status", 1, None),
        ("message.completed", 1, '{"DELIVERED":1}'),
    ]


async def test_a_locked_database_holds_this_output_and_is_named_once(
    store: Store, shop: sqlite3.Connection, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await tell(store, change(1, "DELIVERED"))
    shop.execute("BEGIN EXCLUSIVE")
    async with running(locked := output(tmp_path / "shop.db"), store):
        await until(lambda: "database is locked" in locked.health.trouble, "trouble")
        shop.execute("COMMIT")
        await until(lambda: locked.health.seq == 1, "the event")
        assert locked.health.trouble == ""
    assert shop.execute("SELECT status FROM sms WHERE id = 1").fetchone() == ("DELIVERED",)
    said = [record.getMessage() for record in caplog.records if "output sqlite" in record.getMessage()]
    assert [text.partition(":")[0] for text in said] == ["output sqlite"] * 2
    assert said[1] == "output sqlite: works again"


async def test_a_missing_database_is_not_created(store: Store, tmp_path: Path) -> None:
    await commit(store, 1)
    path = tmp_path / "later.db"
    async with running(missing := output(path, "INSERT INTO log VALUES (:id)"), store):
        await until(lambda: "does not exist" in missing.health.trouble, "trouble")
        assert not path.exists()
        with autocommit(path) as database:
            database.execute("CREATE TABLE log (id)")
        await until(lambda: missing.health.seq == 1, "the event")


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE sms SET status = :state", "names :state, which no event has; fields: account, charge_status, code"),
        ("UPDATE sms SET status = ?", "must have named parameters"),
        ("UPDATE sms SET status = :status; DROP TABLE sms", "one statement at a time"),
        ("UPDATE other SET status = :status", "no such table: other"),
        ("nonsense", "syntax error"),
        ("INSERT INTO sms (id) VALUES (:id)", "refuses event 1 (UNIQUE constraint failed: sms.id)"),
    ],
)
async def test_a_statement_that_cannot_be_run_is_explained(
    store: Store, shop: sqlite3.Connection, tmp_path: Path, statement: str, said: str
) -> None:
    await tell(store, change(1, "DELIVERED"))
    async with running(broken := output(tmp_path / "shop.db", statement), store):
        await until(lambda: said in broken.health.trouble, said)
        assert broken.health.seq == 0


async def test_a_batch_is_whole_or_not_at_all(store: Store, shop: sqlite3.Connection, tmp_path: Path) -> None:
    shop.execute("CREATE TABLE log (id INTEGER PRIMARY KEY)")
    shop.execute("INSERT INTO log VALUES (3)")
    await tell(store, *(change(n, "DELIVERED") for n in (1, 2, 3)))
    async with running(torn := output(tmp_path / "shop.db", "INSERT INTO log VALUES (:id)"), store):
        await until(lambda: "refuses event 3" in torn.health.trouble, "trouble")
        assert shop.execute("SELECT id FROM log").fetchall() == [(3,)]
        shop.execute("DELETE FROM log")
        await until(lambda: torn.health.seq == 3, "all")
    assert shop.execute("SELECT id FROM log ORDER BY id").fetchall() == [(1,), (2,), (3,)]


async def test_events_deleted_before_they_were_written_are_named_once(
    tmp_path: Path, shop: sqlite3.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    """However often the next batch has to be tried."""
    path = tmp_path / "p.db"
    async with opened(path) as store:
        await tell(store, *(change(n, "DELIVERED") for n in range(1, 11)))
        await store.save_cursor(Cursor("sqlite", 2, ""))
    prune(path, 6)
    shop.execute("BEGIN EXCLUSIVE")
    async with opened(path) as store, running(late := output(tmp_path / "shop.db"), store):
        await until(lambda: "database is locked" in late.health.trouble, "trouble")
        shop.execute("COMMIT")
        await until(lambda: late.health.seq == 10, "the rest")
    assert shop.execute("SELECT id FROM sms WHERE status IS NOT NULL ORDER BY id").fetchall() == [
        (7,),
        (8,),
        (9,),
        (10,),
    ]
    said = [r.getMessage() for r in caplog.records if "deleted by retention" in r.getMessage()]
    assert said == ["output sqlite: events 3 to 6 were deleted by retention before they were handed over"]
