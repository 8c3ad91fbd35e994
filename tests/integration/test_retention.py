"""Retention on a real database: what goes, what stays, and that numbers never come back."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pollerd.base.errors import StoreError
from pollerd.core.diff import Result
from pollerd.core.event import Recovered, instant
from pollerd.core.model import Message, State
from pollerd.core.ports import Batch, Cursor
from pollerd.store.retention import Pruned, Retention
from pollerd.store.session import Session
from pollerd.store.sqlite.store import SqliteStore
from tests.sqlite_kit import autocommit, rows, transaction
from tests.store_kit import view_of

NOW = 1_800_000_000.0
DAY = 86400.0
KEEP = 30 * DAY
OLD = NOW - 40 * DAY
ANCIENT = NOW - 90 * DAY
FILE = frozenset({"file"})


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = await SqliteStore.open(tmp_path / "p.db", lambda: NOW)
    yield opened
    await opened.close()


async def tell(store: SqliteStore, count: int, at: float) -> None:
    body = Recovered(account="default", reason="unreachable", detail="", until=None, observed_at=instant(at))
    await store.commit(Batch(bodies=[body] * count, at=at))


async def told(store: SqliteStore, seq: int, name: str = "file", at: float = NOW) -> None:
    await store.commit(Batch(cursors=[Cursor(name, seq)], at=at))


async def follow(store: SqliteStore, ids: range, state: State, at: float) -> None:
    with transaction(store.path) as connection:
        connection.executemany("INSERT INTO messages (id) VALUES (?)", [(i,) for i in ids])
    ended = at if state >= State.FINISHED else None
    messages = [Message(i, "default", at, at, state=state, base=at, finished_at=ended) for i in ids]
    await store.commit(Batch(results=[Result(message, was=State.NEW, polls=1) for message in messages], at=at))


def seqs(store: SqliteStore) -> list[int]:
    with view_of(store.path) as view:
        return [event.seq for event in view.events(0, 10_000)]


def ids(store: SqliteStore) -> list[int]:
    return [row[0] for row in rows(store.path, "SELECT id FROM messages ORDER BY id")]


async def test_only_what_ended_long_ago_is_deleted_and_the_counters_follow(store: SqliteStore) -> None:
    await follow(store, range(1, 4), State.FINISHED, OLD)
    await follow(store, range(11, 13), State.GAVE_UP, OLD)
    await follow(store, range(21, 23), State.PENDING, ANCIENT)
    await follow(store, range(31, 33), State.FINISHED, NOW - DAY)
    with autocommit(store.path) as connection:
        connection.execute("INSERT INTO messages (id, sent_at) VALUES (99, ?)", (ANCIENT,))
    assert await Retention(store, FILE, KEEP).run(NOW) == Pruned(5, 0)
    assert ids(store) == [21, 22, 31, 32, 99]
    counters = await store.counters()
    assert (counters["pending"], counters["finished"], counters["gave_up"], counters["polls"]) == (2, 2, 0, 9)


async def test_thousands_go_in_several_transactions(store: SqliteStore) -> None:
    await follow(store, range(1, 5001), State.FINISHED, OLD)
    await tell(store, 5000, OLD)
    await told(store, 5000)
    with autocommit(store.path) as before:
        version = before.execute("PRAGMA data_version").fetchone()[0]
        assert await Retention(store, FILE, KEEP).run(NOW) == Pruned(5000, 5000)
        assert before.execute("PRAGMA data_version").fetchone()[0] > version
    assert ids(store) == []
    assert (await store.counters())["finished"] == 0


async def test_a_waiting_request_protects_what_it_may_take_up(store: SqliteStore) -> None:
    await follow(store, range(1, 4), State.GAVE_UP, OLD)
    retention = Retention(store, FILE, KEEP)
    with autocommit(store.path) as connection:
        connection.execute("INSERT INTO requests (kind) VALUES ('retry_all')")
        assert (await retention.run(NOW)).messages == 0
        connection.execute("DELETE FROM requests")
    assert (await retention.run(NOW)).messages == 3


@pytest.mark.parametrize(
    ("cursors", "left", "why"),
    [
        ({"file": 10}, [], "told by the only output"),
        ({"file": 4}, [5, 6, 7, 8, 9, 10], "told up to the fourth"),
        ({"file": 10, "webhook": 3}, [4, 5, 6, 7, 8, 9, 10], "the slowest output decides"),
        ({"webhook": 10}, list(range(1, 11)), "one that never saved its place has told nothing"),
    ],
)
async def test_an_event_goes_when_every_output_has_reported_it(
    store: SqliteStore, cursors: dict[str, int], left: list[int], why: str
) -> None:
    await tell(store, 10, OLD)
    for name, seq in cursors.items():
        await told(store, seq, name)
    await Retention(store, FILE | cursors.keys(), KEEP).run(NOW)
    assert seqs(store) == left, why
    assert store.pruned == (left[0] - 1 if left else 10)


async def test_reported_events_stay_as_history_until_they_are_old(store: SqliteStore) -> None:
    await tell(store, 2, OLD)
    await tell(store, 3, NOW - DAY)
    await told(store, 5)
    await Retention(store, FILE, KEEP).run(NOW)
    assert seqs(store) == [3, 4, 5]


async def test_a_clock_that_ran_ahead_for_a_while_stops_nothing(store: SqliteStore) -> None:
    await tell(store, 2, NOW + 1000 * DAY)
    await tell(store, 2, OLD)
    await tell(store, 1, NOW)
    await told(store, 5)
    await Retention(store, FILE, KEEP).run(NOW)
    assert seqs(store) == [5]


async def test_without_outputs_age_alone_decides(store: SqliteStore) -> None:
    await tell(store, 3, OLD)
    assert await Retention(store, frozenset(), KEEP).run(NOW) == Pruned(0, 3)


async def test_numbers_go_on_upward_after_everything_was_pruned(store: SqliteStore) -> None:
    await tell(store, 7, OLD)
    await told(store, 7)
    await Retention(store, FILE, KEEP).run(NOW)
    assert (seqs(store), store.last, store.pruned) == ([], 7, 7)
    again = await SqliteStore.open(store.path, lambda: NOW)
    assert (again.last, again.pruned) == (7, 7)
    await tell(again, 1, NOW)
    assert ([event.seq for event in await again.read(0, 10)], again.pruned) == ([8], 7)
    await again.close()


async def test_nothing_is_deleted_when_the_transaction_fails(store: SqliteStore) -> None:
    await follow(store, range(1, 4), State.FINISHED, OLD)
    with autocommit(store.path) as connection:
        connection.execute("CREATE TRIGGER no BEFORE UPDATE ON counters BEGIN SELECT RAISE(ABORT, 'no'); END")
        with pytest.raises(StoreError, match="no"):
            await Retention(store, FILE, KEEP).run(NOW)
        connection.execute("DROP TRIGGER no")
    assert ids(store) == [1, 2, 3]
    await tell(store, 1, NOW)


async def test_an_output_that_stands_still_is_named_once_and_again_when_it_moves(
    store: SqliteStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await tell(store, 3, ANCIENT)
    await tell(store, 1, NOW)
    await told(store, 4)
    await told(store, 0, "webhook")
    retention = Retention(store, FILE | {"webhook"}, KEEP)
    await retention.run(NOW)
    await retention.run(NOW)
    (warning,) = caplog.records
    assert (warning.levelname, warning.__dict__["event"]) == ("WARNING", "output_behind")
    assert (warning.__dict__["output"], warning.__dict__["lacking"]) == ("webhook", 4)
    assert seqs(store) == [1, 2, 3, 4]
    await told(store, 4, "webhook")
    await retention.run(NOW)
    assert [record.__dict__["event"] for record in caplog.records] == ["output_behind", "output_caught_up"]
    assert seqs(store) == [4]


async def test_the_place_of_an_output_no_longer_configured_holds_back_nothing(
    store: SqliteStore, caplog: pytest.LogCaptureFixture
) -> None:
    await tell(store, 3, OLD)
    await told(store, 3)
    await told(store, 1, "webhook", at=NOW - DAY)
    retention = Retention(store, FILE, KEEP)
    await retention.run(NOW)
    assert seqs(store) == []
    assert await store.cursor("webhook") is not None, "commented out yesterday: it may come back"
    assert caplog.records == []
    await retention.run(NOW + KEEP)
    assert await store.cursor("webhook") is None
    assert await store.cursor("file") is not None
    assert [record.__dict__["event"] for record in caplog.records] == ["output_forgotten"]


async def test_events_count_as_deleted_only_once_they_are(store: SqliteStore) -> None:
    """A reader must not get a gap that is none."""
    await tell(store, 3, OLD)
    await told(store, 3)
    with autocommit(store.path) as connection:
        connection.execute("CREATE TRIGGER no BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'no'); END")
        with pytest.raises(StoreError):
            await Retention(store, FILE, KEEP).run(NOW)
        assert store.pruned == 0
        assert [event.seq for event in await store.read(0, 10)] == [1, 2, 3]
        connection.execute("DROP TRIGGER no")
    assert await Retention(store, FILE, KEEP).run(NOW) == Pruned(0, 3)
    assert store.pruned == 3


async def test_a_read_beside_the_deletion_misses_nothing_in_silence(tmp_path: Path) -> None:
    """What follows deleted events is given only once they are known to be gone."""
    writing = await SqliteStore.open(tmp_path / "p.db", lambda: NOW)
    await tell(writing, 4, OLD)
    await writing.close()
    # Opened again: nothing is in memory, events are read from the disk.
    store = await SqliteStore.open(tmp_path / "p.db", lambda: NOW)
    begun, go_on = threading.Event(), threading.Event()

    def delete(db: Session) -> tuple[int, None]:
        begun.set()
        go_on.wait()
        db.execute("DELETE FROM events WHERE seq <= 2")
        return 2, None

    deleting = asyncio.create_task(store.prune(delete))
    await asyncio.to_thread(begun.wait)
    reading = asyncio.create_task(store.read(0, 10))
    await asyncio.sleep(0)
    go_on.set()
    assert [event.seq for event in await reading] == [3, 4]
    assert store.pruned == 2
    await deleting
    await store.close()


async def test_events_may_go_sooner_than_messages_and_stay_longer(store: SqliteStore) -> None:
    await tell(store, 3, OLD)
    await follow(store, range(1, 6), State.FINISHED, OLD)
    assert await Retention(store, frozenset(), 10 * KEEP, KEEP).run(NOW) == Pruned(0, 3)
    await tell(store, 3, OLD)
    assert await Retention(store, frozenset(), KEEP, 10 * KEEP).run(NOW) == Pruned(5, 0)
