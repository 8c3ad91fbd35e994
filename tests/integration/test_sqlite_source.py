"""Ids out of another program's SQLite database."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from pollerd.core.ports import SourceRow
from pollerd.intake.source import PAGE, Page, Place, QuerySource, ReadError
from pollerd.intake.sqlite import SqliteReader
from pollerd.store.source_rows import GivenRows, SourceRows
from tests.integration.output_kit import until
from tests.sqlite_kit import autocommit
from tests.store_place import AnyStore, place_of
from tests.store_place import Place as StorePlace

ULID = "01JNN696A9E0WS89FPYGT15NBX"


@pytest.fixture
async def store(place: StorePlace) -> AsyncIterator[AnyStore]:
    """Of this daemon, in either engine."""
    async with place.opened() as opened:
        yield opened


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with autocommit(tmp_path / "shop.db") as database:
        database.execute("CREATE TABLE sms (gateway_id, ref, account, sent, status)")
        yield database


class Intake:
    """Counts the pokes."""

    def __init__(self) -> None:
        self.pokes = 0

    def poke(self) -> None:
        self.pokes += 1


@asynccontextmanager
async def reading(
    store: AnyStore, path: Path, query: str = "SELECT gateway_id AS id FROM sms", intake: Intake | None = None
) -> AsyncIterator[QuerySource]:
    book = SourceRows("shop", GivenRows(["shop"]), store, time.time, (intake or Intake()).poke, database="shop.db")
    source = QuerySource("shop", SqliteReader(path, query), 0.02, book)
    task = asyncio.create_task(source.run())
    try:
        yield source
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def count(store: AnyStore) -> int:
    return int(place_of(store).execute("SELECT count(*) FROM messages")[0][0])


def followed(store: AnyStore, columns: str = "id") -> list[Any]:
    return place_of(store).execute(f"SELECT {columns} FROM messages ORDER BY id")


async def test_rows_are_followed_with_what_is_known_of_them(
    store: AnyStore, shop: sqlite3.Connection, tmp_path: Path
) -> None:
    shop.executemany(
        "INSERT INTO sms VALUES (?, ?, ?, ?, NULL)",
        [
            (1, "order-1", "two", 1764000000),
            ("2", 17, None, "2025-11-24 16:00:00"),
            (3.0, "", "", None),
            (2**63 - 1, None, None, 1764000000.123),
        ],
    )
    query = "SELECT sent AS sent_at, account, gateway_id AS ID, ref AS userref, status FROM sms"
    async with reading(store, tmp_path / "shop.db", query):
        await until(lambda: len(followed(store)) == 4, "all")
    found = followed(store, "id, account, userref, sent_at")
    assert found[0] == (1, "two", "order-1", 1764000000.0)
    assert found[1] == (2, "default", "17", 1764000000.0)
    assert found[2][:3] == (3, "default", None)
    assert abs(found[2][3] - time.time()) < 120
    assert found[3] == (2**63 - 1, "default", None, 1764000000.123)


async def test_what_is_no_id_is_refused_by_name_once_and_the_rest_taken(
    store: AnyStore, shop: sqlite3.Connection, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    refused = [ULID, "x", -1, 0, 2.5, b"\xff", None, float(2**70), "18446744073709551616"]
    shop.executemany("INSERT INTO sms (gateway_id) VALUES (?)", [(value,) for value in [*refused, 7, "8"]])
    intake = Intake()
    async with reading(store, tmp_path / "shop.db", intake=intake):
        await until(lambda: len(followed(store)) == 2, "the good ones")
        shop.execute("INSERT INTO sms (gateway_id) VALUES (9)")
        await until(lambda: len(followed(store)) == 3, "one more")
    assert [row[0] for row in followed(store)] == [7, 8, 9]
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(said) == len(refused)
    assert any(f"{ULID!r} is an id of the newer Mobile Message API" in text for text in said)


async def test_the_same_ids_again_cost_no_write(
    store: AnyStore, shop: sqlite3.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.execute("BEGIN")
    shop.executemany("INSERT INTO sms (gateway_id) VALUES (?)", [(n,) for n in range(1, 10_001)])
    shop.execute("COMMIT")
    path = tmp_path / "shop.db"
    async with reading(store, path) as source:
        await until(lambda: len(given(store)) == 10_000, "all")
        written: list[object] = []
        monkeypatch.setattr(store, "_transact", written.append)
        shop.execute("INSERT INTO sms (gateway_id) VALUES ('bad')")
        await until(lambda: len(source._refused) == 1, "another look")
        assert written == []


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELECT gateway_id, ref FROM sms", "gives no column named id; write SELECT ... AS id"),
        ("SELECT nix FROM sms", "no such column: nix"),
        ("DELETE FROM sms", "syntax error"),
        ("DELETE FROM sms WHERE gateway_id > :after LIMIT :limit", "attempt to write a readonly database"),
        ("SELECT 1; SELECT 2", "syntax error"),
        ("SELECT gateway_id AS id FROM sms WHERE ref = :ref", "binding"),
    ],
)
async def test_a_query_that_cannot_be_used_is_explained_and_changes_nothing(
    store: AnyStore, shop: sqlite3.Connection, tmp_path: Path, query: str, said: str
) -> None:
    shop.execute("INSERT INTO sms (gateway_id) VALUES (1)")
    async with reading(store, tmp_path / "shop.db", query) as source:
        await until(lambda: said in source.trouble, said)
    assert shop.execute("SELECT count(*) FROM sms").fetchone() == (1,)
    assert followed(store) == []


async def test_a_single_column_is_the_id_whatever_its_name(
    store: AnyStore, shop: sqlite3.Connection, tmp_path: Path
) -> None:
    shop.execute("INSERT INTO sms (gateway_id) VALUES (1)")
    async with reading(store, tmp_path / "shop.db", "SELECT gateway_id FROM sms"):
        await until(lambda: len(followed(store)) == 1, "it")


async def test_a_locked_or_missing_database_is_named_once_and_once_when_it_works_again(
    store: AnyStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = tmp_path / "shop.db"
    async with reading(store, path, "SELECT id FROM sms") as source:
        await until(lambda: "does not exist" in source.trouble, "missing")
        assert not path.exists()
        with autocommit(tmp_path / "made.db") as database:
            database.execute("CREATE TABLE sms (id)")
            database.execute("INSERT INTO sms VALUES (1)")
            database.execute("BEGIN EXCLUSIVE")
            (tmp_path / "made.db").rename(path)
            (tmp_path / "made.db-journal").unlink(missing_ok=True)
            await until(lambda: "database is locked" in source.trouble, "locked")
            database.execute("ROLLBACK")
        await until(lambda: len(followed(store)) == 1, "it works")
        await until(lambda: source.trouble == "", "it says so")
    said = [record.getMessage() for record in caplog.records if str(path) in record.getMessage()]
    assert [text.partition(": ")[2].partition(";")[0] for text in said][:3] == [
        "the database does not exist (or its folder may not be read by this user)",
        "cannot be read: database is locked",
        "works again",
    ]


async def test_a_large_result_holds_no_lock_while_it_is_taken_in(
    store: AnyStore, shop: sqlite3.Connection, tmp_path: Path
) -> None:
    """The foreign application can write while the ids that were read are still being handed over."""
    shop.execute("BEGIN")
    shop.executemany("INSERT INTO sms (gateway_id) VALUES (?)", [(n,) for n in range(1, 5001)])
    shop.execute("COMMIT")
    entered, go_on = asyncio.Event(), asyncio.Event()

    class Slow(SourceRows):
        async def take(self, found: Any) -> int:
            entered.set()
            await go_on.wait()
            return await super().take(found)

    book = Slow("shop", GivenRows(["shop"]), store, time.time, Intake().poke, database="shop.db")
    source = QuerySource("shop", SqliteReader(tmp_path / "shop.db", "SELECT gateway_id AS id FROM sms"), 0.02, book)
    task = asyncio.create_task(source.run())
    await entered.wait()
    shop.execute("BEGIN EXCLUSIVE")
    shop.execute("COMMIT")
    go_on.set()
    await until(lambda: count(store) == 5000, "all")
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_a_row_that_outlives_its_message_is_not_taken_for_a_new_one(
    store: AnyStore, shop: sqlite3.Connection, tmp_path: Path
) -> None:
    """Given up, deleted by retention, and the query still gives it, over restarts too. Gone and back, it is new."""
    shop.executemany("INSERT INTO sms (gateway_id) VALUES (?)", [(1,), (2,), (2,)])
    path = tmp_path / "shop.db"
    async with reading(store, path):
        await until(lambda: given(store) == [1, 2], "both")
    with place_of(store).connected() as database:
        database.execute("DELETE FROM messages WHERE id = 1")
    intake = Intake()
    async with reading(store, path, intake=intake) as source:
        shop.execute("INSERT INTO sms (gateway_id) VALUES ('bad')")
        await until(lambda: len(source._refused) == 1, "a whole look")
        shop.execute("INSERT INTO sms (gateway_id) VALUES (3)")
        await until(lambda: count(store) == 2, "the new one")
        assert [row[0] for row in followed(store)] == [2, 3]
        shop.execute("DELETE FROM sms WHERE gateway_id = 1")
        await until(lambda: given(store) == [2, 3], "a look without it")
        shop.execute("INSERT INTO sms (gateway_id) VALUES (1)")
        await until(lambda: [row[0] for row in followed(store)] == [1, 2, 3], "taken up again")
        await until(lambda: intake.pokes == 2, "told twice")


class CountingReader(SqliteReader):
    """Counts the rows that it reads."""

    rows = 0

    def read(self, place: Place, most: int) -> Page:
        page = super().read(place, most)
        self.rows += len(page.rows)
        return page


async def test_a_look_at_many_known_rows_reads_one_page_of_them_and_finds_the_new_one(
    store: AnyStore, shop: sqlite3.Connection, tmp_path: Path
) -> None:
    """Whatever their number; and an id that is not given any more is noticed when the sweep has come round."""
    shop.execute("BEGIN")
    shop.executemany("INSERT INTO sms (gateway_id) VALUES (?)", [(n,) for n in range(1, 5 * PAGE + 1)])
    shop.execute("COMMIT")
    reader = CountingReader(tmp_path / "shop.db", "SELECT gateway_id AS id FROM sms")
    book = SourceRows("shop", GivenRows(["shop"]), store, time.time, Intake().poke, database="shop.db")
    source = QuerySource("shop", reader, 0.001, book)
    assert await source._look() == 5 * PAGE
    shop.execute("DELETE FROM sms WHERE gateway_id = 1")
    for new in range(12):
        shop.execute("INSERT INTO sms (gateway_id) VALUES (?)", (9_000_000 + new,))
        reader.rows = 0
        assert await source._look() == 1
        assert reader.rows <= PAGE + 1
    assert given(store)[0] == 2


def given(store: AnyStore) -> list[int]:
    with place_of(store).connected() as database:
        return [row[0] for row in database.execute("SELECT id FROM given WHERE source = 'shop' ORDER BY id")]


async def test_two_sources_remember_for_themselves(store: AnyStore, shop: sqlite3.Connection) -> None:
    names = GivenRows(["one", "other"])
    one, other = (
        SourceRows(name, names, store, time.time, Intake().poke, database="shop.db") for name in names.sources
    )
    rows = [SourceRow(number) for number in (1, 2)]
    assert await one.take(rows) == 2
    assert await other.take(rows) == 0
    await one.settle([])
    assert await other.take(rows) == 0
    with place_of(store).connected() as database:
        database.execute("DELETE FROM messages")
    assert await other.take(rows) == 0
    # Taken up again is what no source gave any more.
    assert await one.take(rows) == 0
    await one.settle([])
    await other.settle([])
    assert await one.take(rows) == 2


async def test_a_source_that_was_configured_otherwise_is_remembered(store: AnyStore) -> None:
    rows = [SourceRow(number) for number in (1, 2, 3)]
    before = SourceRows("before", GivenRows(["before"]), store, time.time, Intake().poke, database="shop.db")
    assert await before.take(rows) == 3
    await before.settle([1, 2, 3])
    with place_of(store).connected() as database:
        database.execute("DELETE FROM messages")
    names = GivenRows(["now", "more"])
    now, more = (SourceRows(name, names, store, time.time, Intake().poke, database="shop.db") for name in names.sources)
    assert await now.take(rows[:2]) == 0
    await now.settle([1, 2])
    assert await more.take(rows[2:]) == 0
    await more.settle([3])
    with place_of(store).connected() as database:
        kept = database.execute("SELECT source, id FROM given ORDER BY id").fetchall()
    assert kept == [("now", 1), ("now", 2), ("more", 3)]


def forms(store: AnyStore) -> list[Any]:
    return place_of(store).execute("SELECT id, written FROM source_ids ORDER BY id")


async def test_the_form_of_an_id_is_remembered_as_it_was_given(
    store: AnyStore, shop: sqlite3.Connection, tmp_path: Path
) -> None:
    """For followed messages, however they were handed over; also where it changes; and no number costs a write."""
    with place_of(store).connected() as database:
        database.execute("INSERT INTO messages (id) VALUES (6)")
        # As an earlier version has left them: given, and one of them followed no longer.
        database.executemany("INSERT INTO given VALUES ('shop', ?)", [(6,), (7,)])
    shop.executemany(
        "INSERT INTO sms (gateway_id) VALUES (?)",
        [(1,), ("2 ",), ("0003",), (4.0,), ("5",), ("6\t",), ("7 ",)],
    )
    async with reading(store, tmp_path / "shop.db"):
        await until(lambda: len(given(store)) == 7, "all")
        expected = [(2, "2 "), (3, "0003"), (4, 4.0), (5, "5"), (6, "6\t")]
        await until(lambda: forms(store) == expected, "forms")
        shop.execute("UPDATE sms SET gateway_id = 2 WHERE gateway_id = '2 '")
        shop.execute("UPDATE sms SET gateway_id = ' 3' WHERE gateway_id = '0003'")
        await until(lambda: forms(store)[:2] == [(3, " 3"), (4, 4.0)], "what has changed")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_wal_database_whose_folder_may_not_be_written_is_explained(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    folder.mkdir(mode=0o755)
    for above in folder.parents[:-1]:
        if not above.stat().st_mode & 0o001:
            above.chmod(above.stat().st_mode | 0o011)
    path = folder / "shop.db"
    with autocommit(path) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE sms (id)")
    path.chmod(0o644)
    reader = SqliteReader(path, "SELECT id FROM sms")
    with nobody(), pytest.raises(ReadError) as caught:
        reader.read(Place(), 10)
    said = str(caught.value)
    assert "in WAL mode, where a reader needs shop.db-shm beside it, and this user may not make that file" in said
    assert f"Give this user the right to write in {folder}" in said
    with autocommit(path) as database:
        database.execute("PRAGMA journal_mode = DELETE")
    with nobody():
        assert reader.read(Place(), 10).rows == []
    assert [file.name for file in folder.iterdir()] == ["shop.db"]


@contextmanager
def nobody() -> Iterator[None]:
    """This process without root's rights to files."""
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
