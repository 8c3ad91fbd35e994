"""States into another program's SQLite database, which may be locked or missing, or refuse events."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pollerd.core import event as events
from pollerd.core.ports import Cursor
from pollerd.store.sqlite.store import SqliteStore
from tests.integration.output_kit import commit, opened, prune, running, until
from tests.integration.target_kit import parked, settled, states, target
from tests.integration.webhook_kit import change, tell
from tests.sqlite_kit import autocommit

UPDATE = "UPDATE sms SET status = :status, final = :final WHERE id = :id"


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with autocommit(tmp_path / "shop.db") as database:
        database.execute("CREATE TABLE sms (id INTEGER PRIMARY KEY, status TEXT, final INTEGER)")
        database.execute("BEGIN")
        database.executemany("INSERT INTO sms (id) VALUES (?)", [(n,) for n in range(1, 1001)])
        database.execute("COMMIT")
        yield database


async def test_every_row_has_its_state_and_the_place_is_kept(
    store: SqliteStore, shop: sqlite3.Connection, tmp_path: Path
) -> None:
    await tell(store, *(change(n, "ENROUTE", final=False) for n in range(1, 1001)))
    async with running(first := target(store, tmp_path / "shop.db", UPDATE), store):
        await until(lambda: first.health.seq == store.last, "all")
    shop.execute("UPDATE sms SET status = 'seen'")
    await tell(store, *(change(n, "DELIVERED") for n in range(1, 11)))
    async with running(second := target(store, tmp_path / "shop.db", UPDATE), store):
        await until(lambda: second.health.seq == store.last, "the rest")
    found = shop.execute("SELECT status, final, count(*) FROM sms GROUP BY 1, 2").fetchall()
    assert sorted(found) == [("DELIVERED", 1, 10), ("seen", 0, 990)]


async def test_only_states_unless_the_statement_names_the_type(
    store: SqliteStore, shop: sqlite3.Connection, tmp_path: Path
) -> None:
    shop.execute("CREATE TABLE log (type, id, counts)")
    completed = events.Completed(
        id=1, account="default", userref=None, counts={"DELIVERED": 1}, polls=1, observed_at=events.instant(0.0)
    )
    await tell(store, change(1, "DELIVERED"), completed)
    path = tmp_path / "shop.db"
    async with running(a := target(store, path, "INSERT INTO log VALUES (NULL, :id, :counts)", name="a"), store):
        await until(lambda: a.health.seq == 2, "the states")
    async with running(b := target(store, path, "INSERT INTO log VALUES ( :type, @id, $counts)", name="b"), store):
        await until(lambda: b.health.seq == 2, "every event")
    assert shop.execute("SELECT * FROM log").fetchall() == [
        (None, 1, None),
        ("message.status", 1, None),
        ("message.completed", 1, '{"DELIVERED":1}'),
    ]


async def test_a_locked_database_holds_this_output_and_is_named_once(
    store: SqliteStore, shop: sqlite3.Connection, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await tell(store, change(1, "DELIVERED"))
    shop.execute("BEGIN EXCLUSIVE")
    async with running(locked := target(store, tmp_path / "shop.db"), store):
        await until(lambda: "database is locked" in locked.health.trouble, "trouble")
        shop.execute("COMMIT")
        await until(lambda: locked.health.seq == 1, "the event")
        assert locked.health.trouble == ""
    assert shop.execute("SELECT status FROM sms WHERE id = 1").fetchone() == ("DELIVERED",)
    assert states(store) == {}
    said = [record.getMessage() for record in caplog.records if "output sqlite" in record.getMessage()]
    assert [text.partition(":")[0] for text in said] == ["output sqlite"] * 2
    assert said[1] == "output sqlite: works again"


async def test_a_missing_database_is_not_created(store: SqliteStore, tmp_path: Path) -> None:
    await commit(store, 1)
    path = tmp_path / "later.db"
    async with running(missing := target(store, path, "INSERT INTO log VALUES (:id)"), store):
        await until(lambda: "does not exist" in missing.health.trouble, "trouble")
        assert not path.exists()
        with autocommit(path) as database:
            database.execute("CREATE TABLE log (id)")
        await until(lambda: missing.health.seq == 1, "the event")


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE sms SET status = :status; DROP TABLE sms", "one statement at a time"),
        ("UPDATE other SET status = :status", "no such table: other"),
        ("UPDATE sms SET state = :status", "no such column: state"),
        ("nonsense", "syntax error"),
    ],
)
async def test_a_statement_that_cannot_be_run_holds_all_events_and_is_explained(
    store: SqliteStore, shop: sqlite3.Connection, tmp_path: Path, statement: str, said: str
) -> None:
    await tell(store, change(1, "DELIVERED"))
    async with running(broken := target(store, tmp_path / "shop.db", statement), store):
        await until(lambda: said in broken.health.trouble, said)
        assert broken.health.seq == 0
    assert states(store) == {}


REFUSING = [
    ("a constraint", "INSERT INTO log VALUES (:id)", "", "UNIQUE constraint failed: log.id"),
    ("a rule", "INSERT INTO log VALUES (:id)", "CHECK (id <> 3)", "CHECK constraint failed: id <> 3"),
    ("a wrong type", "INSERT INTO log VALUES (CASE :id WHEN 3 THEN :status ELSE :id END)", "", "datatype mismatch"),
    (
        "a function that fails",
        "INSERT INTO log SELECT CASE :id WHEN 3 THEN json(:status) ELSE :id END",
        "",
        "malformed JSON",
    ),
    ("one that undoes all", "INSERT OR ROLLBACK INTO log VALUES (:id)", "", "UNIQUE constraint failed: log.id"),
    ("one that leaves its traces", "INSERT OR FAIL INTO log VALUES (:id + 10), (:id)", "", "UNIQUE constraint failed"),
    (
        "a key that is looked for at the end",
        "INSERT INTO log VALUES (:id) RETURNING id",
        "REFERENCES known (id) DEFERRABLE INITIALLY DEFERRED",
        "FOREIGN KEY constraint failed",
    ),
]


@pytest.mark.parametrize(("sentence", "statement", "rule", "said"), REFUSING, ids=[case[0] for case in REFUSING])
async def test_an_event_that_is_refused_is_parked_by_name_and_the_rest_goes_on(
    store: SqliteStore,
    shop: sqlite3.Connection,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    sentence: str,
    statement: str,
    rule: str,
    said: str,
) -> None:
    shop.execute(f"CREATE TABLE log (id INTEGER PRIMARY KEY {rule})")
    shop.execute("CREATE TABLE known (id INTEGER PRIMARY KEY)")
    shop.executemany("INSERT INTO known VALUES (?)", [(1,), (2,), (4,)])
    if "constraint failed: log.id" in said or "traces" in sentence:
        shop.execute("INSERT INTO log VALUES (3)")
    if "FOREIGN KEY" in said:
        pragmas(monkeypatch, "foreign_keys = ON")
    await tell(store, *(change(n, "DELIVERED") for n in (1, 2, 3, 4)))
    async with running(output := target(store, tmp_path / "shop.db", statement, retry_after=(0.01,) * 9), store):
        await parked(store, [3])
        await until(lambda: any(record.levelno == logging.ERROR for record in caplog.records), "it is said")
        assert output.health.trouble == ""
    assert {row[0] for row in shop.execute("SELECT id FROM log")} >= {1, 2, 4}
    assert shop.execute("SELECT count(*) FROM log WHERE id = 13").fetchone() == (0,)
    (line,) = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert "event 3 (message 3, DELIVERED): not written in 4 attempts, parked: " in line
    assert said in line


@pytest.mark.parametrize(
    ("pragma", "said"),
    [("max_page_count = 5", "database or disk is full"), ("query_only = ON", "attempt to write a readonly database")],
)
async def test_what_is_wrong_with_the_database_is_no_events_fault(
    store: SqliteStore,
    shop: sqlite3.Connection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pragma: str,
    said: str,
) -> None:
    """However often it is tried: nothing is parked, and all is there in order afterwards."""
    shop.execute("CREATE TABLE log (seq INTEGER PRIMARY KEY, note)")
    statement = "INSERT INTO log VALUES (:seq, printf('%.*c', 100000, 'x'))"
    await tell(store, *(change(n, "DELIVERED") for n in (1, 2, 3)))
    tried = pragmas(monkeypatch, pragma)
    async with running(held := target(store, tmp_path / "shop.db", statement), store):
        await until(lambda: said in held.health.trouble and len(tried) > 5, "trouble")
        assert states(store) == {}
        assert held.health.seq == 0
        monkeypatch.undo()
        await settled(store)
    assert [row[0] for row in shop.execute("SELECT seq FROM log")] == [1, 2, 3]


def pragmas(monkeypatch: pytest.MonkeyPatch, pragma: str) -> list[object]:
    """Every connection of an output is made under this PRAGMA; grows with each."""
    connect, made = sqlite3.connect, list[object]()  # noqa: TID251 - the output closes it

    def connected(*arguments: Any, **more: Any) -> sqlite3.Connection:
        database: sqlite3.Connection = connect(*arguments, **more)
        database.execute(f"PRAGMA {pragma}")
        made.append(database)
        return database

    monkeypatch.setattr("pollerd.outputs.sqlite.sqlite3.connect", connected)
    return made


async def test_events_deleted_before_they_were_written_are_named_once(
    tmp_path: Path, shop: sqlite3.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    """However often the next batch has to be tried."""
    path = tmp_path / "pollerd.db"
    async with opened(path) as store:
        await tell(store, *(change(n, "DELIVERED") for n in range(1, 11)))
        await store.save_cursor(Cursor("sqlite", 2, ""))
    prune(path, 6)
    shop.execute("BEGIN EXCLUSIVE")
    async with opened(path) as store, running(late := target(store, tmp_path / "shop.db"), store):
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
