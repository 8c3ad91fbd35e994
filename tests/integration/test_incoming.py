"""Incoming messages on a real store: what is remembered, when a text goes, and which days are asked for."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from pollerd.config import LimitsConfig
from pollerd.core import event as events
from pollerd.core.incoming import Dates, IncomingMessage, IncomingPage, reported
from pollerd.core.ports import Batch, Cursor, Delivery, DeliveryChange, Unwritten, UnwrittenChange
from pollerd.core.ports.erasure import About
from pollerd.gateway.limits.account import AccountLimiter
from pollerd.polling.committer import Committer
from pollerd.polling.incoming import REMEMBERED, IncomingWatch, incoming_note
from pollerd.store.postgresql.store import PostgresStore
from pollerd.store.sqlite.store import SqliteStore
from tests import store_database
from tests.integration.output_kit import opened, until
from tests.store_database import StoreDatabase

AnyStore = SqliteStore | PostgresStore
DAY = 86400.0
NOON = datetime(2026, 11, 26, 12, tzinfo=UTC).timestamp()


@pytest.fixture
async def any_store(engine: StoreDatabase | None, database: Path) -> AsyncIterator[AnyStore]:
    """An open store, empty."""
    async with opened(database) if engine is None else store_database.opened(engine) as store:
        yield store


def received(number: int, account: str = "default", text: str = "STOP") -> events.Received:
    message = IncomingMessage(number, 4587654321, 451204, text, NOON)
    return reported(account, message, events.instant(NOON))


async def test_what_is_reported_is_remembered_with_its_event(any_store: AnyStore) -> None:
    book = any_store.incoming()
    await any_store.commit(Batch(bodies=[received(1), received(2, "other")], at=NOON))
    await book.remember("default", [3, 3], NOON)
    await book.remember("default", [3], NOON + 1)
    assert await book.unknown("default", [1, 2, 3, 4]) == {2, 4}
    assert await book.unknown("other", [1, 2]) == {1}
    assert await book.unknown("default", []) == set()


async def test_a_text_leaves_every_place_and_does_not_come_back(any_store: AnyStore) -> None:
    book, deliveries, unwritten = any_store.incoming(), any_store.deliveries(), any_store.unwritten("sqlite x", None)
    committed = await any_store.commit(Batch(bodies=[received(n, text=f"text {n}") for n in (1, 2, 3)], at=NOON))
    later = await any_store.commit(Batch(bodies=[received(4, text="text 4")], at=NOON + 100))
    kept = [Delivery(e.seq, e.type, events.thread(e), e.body, "default") for e in (*committed, *later)]
    await deliveries.save(DeliveryChange(kept=kept, at=NOON))
    waiting = Unwritten(
        committed[0].seq, events.MESSAGE_RECEIVED, -1, committed[0].body, receiver="", output="sqlite x"
    )
    change = UnwrittenChange(Cursor("sqlite x", 0), [waiting], [], NOON)
    await unwritten.save(change)

    assert await book.remove_texts({"default": NOON + 50}, NOON - 1) == 3
    assert await book.remove_texts({"default": NOON + 50}, NOON - 1) == 0
    # An output that had them in memory keeps them again.
    await deliveries.save(DeliveryChange(kept=kept, at=NOON))
    await unwritten.save(change)
    bodies = [event.body for event in await any_store.read(0, 10)]
    bodies += [each.body for each in await deliveries.undelivered(0, 10)]
    assert [b'"text":"text 4"' in body for body in bodies] == [False, False, False, True] * 2
    assert all(b'"text":null' in body and b'"text_removed":true' in body for body in bodies[:3])
    for table in ("events", "deliveries", "unwritten"):
        for (body,) in await any_store.query(f"SELECT body FROM {table} WHERE seq <= 3"):
            assert "text 1" not in str(body), table
    # Whoever reads them back from disk gets the same.
    assert await book.unknown("default", [1, 2, 3, 4]) == set()


async def test_texts_of_an_account_that_asks_for_no_more_go_after_the_default(any_store: AnyStore) -> None:
    await any_store.commit(Batch(bodies=[received(1, "gone"), received(1, "kept")], at=NOON))
    assert await any_store.incoming().remove_texts({"kept": NOON - 1}, NOON + 1) == 1
    first, second = await any_store.read(0, 10)
    assert (b'"text":null' in first.body, b'"text":null' in second.body) == (True, False)


async def test_memory_is_forgotten_only_without_text(any_store: AnyStore) -> None:
    book = any_store.incoming()
    await any_store.commit(Batch(bodies=[received(1)], at=NOON))
    await book.remember("default", [2], NOON)
    assert await book.forget("default", NOON + 1) == 1
    assert await book.unknown("default", [1, 2]) == {2}
    await book.remove_texts({}, NOON + 1)
    assert await book.forget("default", NOON + 1) == 1


async def test_a_person_is_forgotten_and_the_message_stays_known(any_store: AnyStore) -> None:
    await any_store.commit(Batch(bodies=[received(1)], at=NOON))
    await any_store.erase(About(msisdn=4587654321), NOON)
    (event,) = await any_store.read(0, 10)
    assert event.type == events.EVENT_FORGOTTEN
    assert await any_store.incoming().unknown("default", [1]) == set()
    assert await any_store.incoming().remove_texts({}, NOON + 1) == 1
    (event,) = await any_store.read(0, 10)
    assert event.type == events.EVENT_FORGOTTEN


# -- which days


class World:
    """A clock that the test moves, and a gateway whose clock is `ahead` of it; both as the watch sees them."""

    def __init__(self) -> None:
        self.at = NOON
        self.ahead = 0.0
        self.messages: dict[int, float] = {}
        self.asked: list[Dates] = []
        self.hidden = 0
        """A message that every second answer does not have."""
        self.watch: IncomingWatch | None = None

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return self.at

    def to_wall(self, instant: float) -> float:
        return instant

    def heard(self, headers: Any) -> None: ...

    async def incoming(self, dates: Dates, page: int) -> IncomingPage:
        self.asked.append(dates)
        first, last = date.fromisoformat(dates.first), date.fromisoformat(dates.last)
        found = [
            IncomingMessage(number, 45, 451204, "x", at)
            for number, at in self.messages.items()
            if (number != self.hidden or len(self.asked) % 2)
            and first <= datetime.fromtimestamp(at, UTC).date() <= last
            and at <= self.at + self.ahead
        ]
        some = tuple(found[(page - 1) * 200 : page * 200])
        return IncomingPage(some, len(found), date=self.at + self.ahead)

    async def rest(self) -> None:
        """The watch has asked, and waits."""
        await until(lambda: self.watch is not None and self.watch._due > self.at, "a look ends")

    async def move(self, seconds: float) -> None:
        """So much time passes, and the watch has asked since."""
        await self.rest()
        self.at += seconds
        await self.rest()


@asynccontextmanager
async def watching(store: AnyStore, world: World, since: date | None = None) -> AsyncIterator[None]:
    """A watch at work; stopped in the middle of whatever it does."""
    committer = Committer(store, world)
    watch = IncomingWatch(
        "default",
        10.0,
        since,
        gateway=world,
        limiter=AccountLimiter("default", LimitsConfig(requests_per_second=10_000.0), world, random.Random(1)),
        report=lambda _: None,
        idle=lambda: True,
        book=store.incoming(),
        committer=committer,
        clock=world,
        time=world,
        progress=await store.note(incoming_note("default")),
    )
    world.watch = watch
    tasks = [asyncio.create_task(committer.run()), asyncio.create_task(watch.run())]
    await world.rest()
    try:
        yield
    finally:
        await committer.flush()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.result()


async def told(store: AnyStore) -> list[int]:
    found = [events.without_text(event.body) for event in await store.read(0, 1000)]
    return [json.loads(body)["incoming_id"] for body in found]


async def until_told(store: AnyStore, ids: list[int]) -> None:
    async with asyncio.timeout(30):
        while await told(store) != ids:
            await asyncio.sleep(0.01)


async def test_the_days_are_those_around_today_in_utc_and_go_on_at_midnight(any_store: AnyStore) -> None:
    world = World()
    async with watching(any_store, world):
        assert world.asked[-1] == ("2026-11-25", "2026-11-27")
        # Once more from before the day that has ended, to its end.
        await world.move(12 * 3600.0)
        assert world.asked[-1] == ("2026-11-25", "2026-11-28")
        await world.move(60.0)
        assert world.asked[-1] == ("2026-11-26", "2026-11-28")


async def test_after_days_away_the_days_since_the_last_complete_look_are_asked_for(any_store: AnyStore) -> None:
    world = World()
    world.messages[1] = NOON - DAY
    async with watching(any_store, world):
        await world.move(60.0)
    world.messages |= {2: NOON + 2 * DAY, 3: NOON + 5 * DAY}
    world.at += 9 * DAY
    async with watching(any_store, world):
        await until_told(any_store, [2, 3])
        assert world.asked[-1].first == "2026-11-25"
        await world.move(3600.0)
        await world.move(3600.0)
        assert world.asked[-1] == ("2026-12-04", "2026-12-06")


async def test_a_gateway_with_another_clock_is_asked_for_its_own_days(any_store: AnyStore) -> None:
    world = World()
    world.ahead = 2 * DAY
    world.messages[1] = NOON + 2 * DAY - 60
    async with watching(any_store, world):
        world.messages[2] = NOON + 2 * DAY + 30
        await world.move(60.0)
        assert world.asked[-1].last == "2026-11-29"
        await until_told(any_store, [2])


async def test_what_leaves_the_days_stays_known(any_store: AnyStore) -> None:
    """Even if its day is asked for again later, however long ago it was found."""
    world = World()
    async with watching(any_store, world):
        world.messages[1] = NOON + 1
        await world.move(60.0)
        await until_told(any_store, [1])
    world.at += REMEMBERED - 2 * DAY
    async with watching(any_store, world):
        await world.move(3600.0)
    assert await told(any_store) == [1]


async def test_a_stop_in_the_first_look_loses_nothing_that_came_since(any_store: AnyStore) -> None:
    """The first look never ended; what came after it began is news to the next one."""
    world = World()
    world.messages |= {1: NOON - 60, 2: NOON + 30}
    note = b'{"began":%f,"seen":null}' % NOON
    await any_store.commit(Batch(notes=[(incoming_note("default"), note)], at=NOON))
    world.at = NOON + 60
    async with watching(any_store, world):
        await until_told(any_store, [2])


async def test_one_leaves_and_one_comes_while_the_number_stands_still(any_store: AnyStore) -> None:
    world = World()
    world.messages = {number: NOON - 1000 + number for number in range(1, 301)}
    async with watching(any_store, world):
        await world.move(60.0)
        del world.messages[150]
        world.messages[301] = world.at
        # Not on the first page: the number says nothing, the next full reading does.
        await world.move(301.0)
        await until_told(any_store, [301])


@pytest.mark.parametrize("note", [b"", b"null", b'{"seen":1e300}', b'{"began":-5,"seen":null}', b"\xff"])
async def test_a_damaged_note_is_a_first_start(note: bytes, store: SqliteStore) -> None:
    world = World()
    world.messages[1] = NOON - 60
    await store.commit(Batch(notes=[(incoming_note("default"), note)], at=NOON))
    async with watching(store, world):
        world.messages[2] = NOON + 30
        await world.move(60.0)
        await until_told(store, [2])


async def test_what_never_stands_still_is_asked_for_more_and_more_seldom(store: SqliteStore) -> None:
    """Two copies of the gateway's data that take turns, one of them without its last message."""
    world = World()
    world.messages = {number: NOON - 1000 + number for number in range(1, 301)}
    world.hidden = 300
    async with watching(store, world):
        for _ in range(12):
            await world.move(60.0)
        assert world.watch is not None
        assert world.watch.state.interval == 60.0
        before = len(world.asked)
        await world.move(60.0)
        assert len(world.asked) - before <= 10
