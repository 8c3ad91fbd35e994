"""Retention on a real database: what goes, what stays, and that numbers never come back."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from pollerd.base.errors import StoreError
from pollerd.core.diff import Result
from pollerd.core.event import Recovered, instant
from pollerd.core.model import Message, State
from pollerd.core.ports import Batch, Cursor
from pollerd.store.retention import CHUNK, Pruned, Retention
from pollerd.store.session import Session
from pollerd.store.sqlite.store import SqliteStore
from tests.store_place import AnyStore, Place, place_of

NOW = 1_800_000_000.0
DAY = 86400.0
KEEP = 30 * DAY
OLD = NOW - 40 * DAY
ANCIENT = NOW - 90 * DAY
OUTPUT = frozenset({"exec"})


@pytest.fixture
async def store(place: Place) -> AsyncIterator[AnyStore]:
    async with place.opened(lambda: NOW) as opened:
        yield opened


async def tell(store: AnyStore, count: int, at: float) -> None:
    body = Recovered(account="default", reason="unreachable", detail="", until=None, observed_at=instant(at))
    await store.commit(Batch(bodies=[body] * count, at=at))


async def told(store: AnyStore, seq: int, name: str = "exec", at: float = NOW) -> None:
    await store.commit(Batch(cursors=[Cursor(name, seq)], at=at))


async def follow(store: AnyStore, ids: range, state: State, at: float) -> None:
    place_of(store).insert(*ids)
    ended = at if state >= State.FINISHED else None
    messages = [Message(i, "default", at, at, state=state, base=at, finished_at=ended) for i in ids]
    await store.commit(Batch(results=[Result(message, was=State.NEW, polls=1) for message in messages], at=at))


def seqs(store: AnyStore) -> list[int]:
    with place_of(store).view() as view:
        return [event.seq for event in view.events(0, 10_000)]


def ids(store: AnyStore) -> list[int]:
    return [row[0] for row in place_of(store).execute("SELECT id FROM messages ORDER BY id")]


async def test_only_what_ended_long_ago_is_deleted_and_the_counters_follow(store: AnyStore) -> None:
    await follow(store, range(1, 4), State.FINISHED, OLD)
    await follow(store, range(11, 13), State.GAVE_UP, OLD)
    await follow(store, range(21, 23), State.PENDING, ANCIENT)
    await follow(store, range(31, 33), State.FINISHED, NOW - DAY)
    place_of(store).execute("INSERT INTO messages (id, sent_at) VALUES (99, ?)", ANCIENT)
    assert await Retention(store, OUTPUT, KEEP).run(NOW) == Pruned(5, 0)
    assert ids(store) == [21, 22, 31, 32, 99]
    counters = await store.counters()
    assert (counters["pending"], counters["finished"], counters["gave_up"], counters["polls"]) == (2, 2, 0, 9)


async def test_thousands_go_in_several_transactions(store: AnyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    # Fewer where each row is a message to a server.
    count = 5000 if isinstance(store, SqliteStore) else 500
    await follow(store, range(1, count + 1), State.FINISHED, OLD)
    await tell(store, count, OLD)
    await told(store, count)
    transactions = []
    write = store._transact

    async def counted(change: Callable[[Session], Any]) -> Any:
        transactions.append(change)
        return await write(change)

    monkeypatch.setattr(store, "_transact", counted)
    assert await Retention(store, OUTPUT, KEEP).run(NOW) == Pruned(count, count)
    assert len(transactions) >= 2 * count / CHUNK + 5
    assert ids(store) == []
    assert (await store.counters())["finished"] == 0


async def test_a_waiting_request_protects_what_it_may_take_up(store: AnyStore) -> None:
    await follow(store, range(1, 4), State.GAVE_UP, OLD)
    retention = Retention(store, OUTPUT, KEEP)
    place_of(store).execute("INSERT INTO requests (kind) VALUES ('retry_all')")
    assert (await retention.run(NOW)).messages == 0
    place_of(store).execute("DELETE FROM requests")
    assert (await retention.run(NOW)).messages == 3


@pytest.mark.parametrize(
    ("cursors", "left", "why"),
    [
        ({"exec": 10}, [], "told by the only output"),
        ({"exec": 4}, [5, 6, 7, 8, 9, 10], "told up to the fourth"),
        ({"exec": 10, "webhook": 3}, [4, 5, 6, 7, 8, 9, 10], "the slowest output decides"),
        ({"webhook": 10}, list(range(1, 11)), "one that never saved its place has told nothing"),
    ],
)
async def test_an_event_goes_when_every_output_has_reported_it(
    store: AnyStore, cursors: dict[str, int], left: list[int], why: str
) -> None:
    await tell(store, 10, OLD)
    for name, seq in cursors.items():
        await told(store, seq, name)
    await Retention(store, OUTPUT | cursors.keys(), KEEP).run(NOW)
    assert seqs(store) == left, why
    assert store.pruned == (left[0] - 1 if left else 10)


async def test_reported_events_stay_as_history_until_they_are_old(store: AnyStore) -> None:
    await tell(store, 2, OLD)
    await tell(store, 3, NOW - DAY)
    await told(store, 5)
    await Retention(store, OUTPUT, KEEP).run(NOW)
    assert seqs(store) == [3, 4, 5]


async def test_a_clock_that_ran_ahead_for_a_while_stops_nothing(store: AnyStore) -> None:
    await tell(store, 2, NOW + 1000 * DAY)
    await tell(store, 2, OLD)
    await tell(store, 1, NOW)
    await told(store, 5)
    await Retention(store, OUTPUT, KEEP).run(NOW)
    assert seqs(store) == [5]


async def test_without_outputs_age_alone_decides(store: AnyStore) -> None:
    await tell(store, 3, OLD)
    assert await Retention(store, frozenset(), KEEP).run(NOW) == Pruned(0, 3)


async def test_numbers_go_on_upward_after_everything_was_pruned(place: Place) -> None:
    async with place.opened(lambda: NOW) as store:
        await tell(store, 7, OLD)
        await told(store, 7)
        await Retention(store, OUTPUT, KEEP).run(NOW)
        assert (seqs(store), store.last, store.pruned) == ([], 7, 7)
    async with place.opened(lambda: NOW) as again:
        assert (again.last, again.pruned) == (7, 7)
        await tell(again, 1, NOW)
        assert ([event.seq for event in await again.read(0, 10)], again.pruned) == ([8], 7)


async def test_nothing_is_deleted_when_the_transaction_fails(store: AnyStore) -> None:
    await follow(store, range(1, 4), State.FINISHED, OLD)
    with place_of(store).refusing("UPDATE ON counters"), pytest.raises(StoreError, match="refused by a test"):
        await Retention(store, OUTPUT, KEEP).run(NOW)
    assert ids(store) == [1, 2, 3]
    await tell(store, 1, NOW)


async def test_an_output_that_stands_still_is_named_once_and_again_when_it_moves(
    store: AnyStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await tell(store, 3, ANCIENT)
    await tell(store, 1, NOW)
    await told(store, 4)
    await told(store, 0, "webhook")
    retention = Retention(store, OUTPUT | {"webhook"}, KEEP)
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
    store: AnyStore, caplog: pytest.LogCaptureFixture
) -> None:
    await tell(store, 3, OLD)
    await told(store, 3)
    await told(store, 1, "webhook", at=NOW - DAY)
    retention = Retention(store, OUTPUT, KEEP)
    await retention.run(NOW)
    assert seqs(store) == []
    assert await store.cursor("webhook") is not None, "commented out yesterday: it may come back"
    assert caplog.records == []
    await retention.run(NOW + KEEP)
    assert await store.cursor("webhook") is None
    assert await store.cursor("exec") is not None
    assert [record.__dict__["event"] for record in caplog.records] == ["output_forgotten"]


async def test_events_count_as_deleted_only_once_they_are(store: AnyStore) -> None:
    """A reader must not get a gap that is none."""
    await tell(store, 3, OLD)
    await told(store, 3)
    with place_of(store).refusing("DELETE ON events"):
        with pytest.raises(StoreError):
            await Retention(store, OUTPUT, KEEP).run(NOW)
        assert store.pruned == 0
        assert [event.seq for event in await store.read(0, 10)] == [1, 2, 3]
    assert await Retention(store, OUTPUT, KEEP).run(NOW) == Pruned(0, 3)
    assert store.pruned == 3


async def test_a_read_beside_the_deletion_misses_nothing_in_silence(place: Place) -> None:
    """What follows deleted events is given only once they are known to be gone."""
    async with place.opened(lambda: NOW) as writing:
        await tell(writing, 4, OLD)
    # Opened again: nothing is in memory, events are read from the disk.
    async with place.opened(lambda: NOW) as store:
        await read_beside_the_deletion(store)


async def read_beside_the_deletion(store: AnyStore) -> None:
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


async def test_events_may_go_sooner_than_messages_and_stay_longer(store: AnyStore) -> None:
    await tell(store, 3, OLD)
    await follow(store, range(1, 6), State.FINISHED, OLD)
    assert await Retention(store, frozenset(), 10 * KEEP, KEEP).run(NOW) == Pruned(0, 3)
    await tell(store, 3, OLD)
    assert await Retention(store, frozenset(), KEEP, 10 * KEEP).run(NOW) == Pruned(5, 0)
