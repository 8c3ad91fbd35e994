"""A store that was written last on another timeline, or that lacks what a member knows: no number means two events."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import uuid4

import psycopg
import pytest

from pollerd.base.errors import StoreFencedError
from pollerd.core.event import JUMP, Event, left_out, runs
from pollerd.core.ports import Batch, Cursor, TrackRequest
from pollerd.store.postgresql.member import Member
from pollerd.store.postgresql.store import PostgresStore
from tests.acceptance.waiting import until
from tests.integration.test_postgresql_members import event
from tests.store_database import StoreDatabase


def fail_over(database: StoreDatabase) -> None:
    """As a server finds it that another one has written."""
    database.database.execute("UPDATE cluster SET timeline = timeline + 1")


def lose(database: StoreDatabase) -> None:
    """What was committed last, on the same timeline."""
    database.database.execute("DELETE FROM events WHERE seq > 1")
    database.database.execute("UPDATE cluster SET last_seq = 1")
    database.database.execute("UPDATE members SET last_batch = 1, base = 0")


@asynccontextmanager
async def stores(
    database: StoreDatabase, *names: str, lossless: bool = False
) -> AsyncIterator[list[tuple[Member, PostgresStore]]]:
    """Those of members that join in this order."""
    target = database.target()._replace(lossless=lossless)
    async with AsyncExitStack() as stack:
        made = []
        for name in names:
            member = stack.enter_context(Member.join(target, name, daemon=True))
            store = await PostgresStore.open(target, member, lambda: 1e9)
            stack.push_async_callback(store.close)
            made.append((member, store))
        yield made


async def tell(store: PostgresStore, count: int = 1) -> list[int]:
    return [each.seq for each in await store.commit(Batch(bodies=[event(n) for n in range(count)]))]


async def commit(store: PostgresStore) -> object:
    return await tell(store)


async def lift(store: PostgresStore) -> object:
    await store.advance_seq(50)
    return None


async def track(store: PostgresStore) -> object:
    return await store.track([TrackRequest(7, "default", None, 1e9)])


async def save(store: PostgresStore) -> object:
    await store.save_cursor(Cursor("file", 2))
    return None


def jumps(database: StoreDatabase) -> list[tuple[int, int]]:
    return database.query("SELECT after, upto FROM jumps ORDER BY upto")


@pytest.mark.parametrize("writes", [commit, lift, track, save])
async def test_whatever_is_written_on_another_timeline_numbers_jump_once_and_all_start_anew(
    store_database: StoreDatabase, writes: Callable[[PostgresStore], Awaitable[object]]
) -> None:
    async with stores(store_database, "db1", "db2") as ((one, store), (two, other)):
        assert await tell(store, 3) == [1, 2, 3]
        fail_over(store_database)
        with pytest.raises(StoreFencedError, match="failed over"):
            await writes(store)
        assert "failed over" in one.lost
        assert not one.holds()
        await until(lambda: two.lost, "the other one notices by itself")
        assert "failed over" in two.lost
        for each in (store, other):
            with pytest.raises(StoreFencedError):
                await each.save_cursor(Cursor("file", 3))
        assert store_database.query("SELECT count(*) FROM members") == [(0,)]
        assert store_database.query("SELECT count(*) FROM messages") == [(0,)]
    assert jumps(store_database) == [(3, 3 + JUMP)]
    async with stores(store_database, "db1") as ((one, store),):
        assert await tell(store) == [JUMP + 4]
        assert one.others_until > 0.0
        assert [each.seq for each in await store.read(2, 10)] == [3, JUMP + 4]
    assert jumps(store_database) == [(3, 3 + JUMP)]


async def test_a_failover_is_noted_where_nothing_is_written(store_database: StoreDatabase) -> None:
    """By the active member as well as by one that stands by; a start notes one that happened while nobody ran."""
    async with stores(store_database, "db1") as ((one, store),):
        await tell(store)
        fail_over(store_database)
        await until(lambda: one.lost, "it notices")
    fail_over(store_database)
    async with stores(store_database, "db1") as ((_, store),):
        assert await tell(store) == [2 * JUMP + 2]
    assert jumps(store_database) == [(1, JUMP + 1), (JUMP + 1, 2 * JUMP + 1)]


async def test_by_the_word_lossless_all_goes_on(store_database: StoreDatabase) -> None:
    async with stores(store_database, "db1", "db2", lossless=True) as ((one, store), (two, other)):
        assert await tell(store) == [1]
        for _ in range(3):
            fail_over(store_database)
            await tell(store)
            fail_over(store_database)
            await other.save_cursor(Cursor("file", 1))
        assert await tell(store) == [5]
        assert not one.lost + two.lost
    assert jumps(store_database) == []


@pytest.mark.parametrize("lossless", [False, True])
async def test_a_store_that_lacks_what_a_member_knows_is_found_out(
    store_database: StoreDatabase, *, lossless: bool
) -> None:
    """On the same timeline, as some managed services keep it, or against the operator's word."""
    async with stores(store_database, "db1", "db2", lossless=lossless) as ((one, store), (two, _)):
        for _ in range(3):
            await tell(store)
        lose(store_database)
        with pytest.raises(StoreFencedError):
            await tell(store)
        await until(lambda: one.lost and two.lost, "both end")
    async with stores(store_database, "db1", lossless=lossless) as ((_, store),):
        assert await tell(store) == [JUMP + 4]
    assert jumps(store_database) == [(1, JUMP + 3)]


async def test_a_standby_that_knows_more_says_so(store_database: StoreDatabase) -> None:
    """The active one has ended, with what it knew."""
    async with stores(store_database, "db1") as ((_, store),):
        await tell(store, 3)
        async with stores(store_database, "db2") as ((two, other),):
            assert other.last == 3
            lose(store_database)
            await until(lambda: two.lost, "it notices")
    assert jumps(store_database) == [(1, JUMP + 3)]


async def test_lost_transactions_without_events_are_noticed(store_database: StoreDatabase) -> None:
    """No number is in doubt; but what the member has in memory is not what the store has."""
    async with stores(store_database, "db1") as ((one, store),):
        await tell(store)
        await track(store)
        store_database.database.execute("UPDATE members SET last_batch = 1")
        with pytest.raises(StoreFencedError, match="lacks what was committed last"):
            await tell(store)
        assert one.lost
    assert jumps(store_database) == []


async def test_a_file_that_is_ahead_leaves_room_for_the_files_of_others(store_database: StoreDatabase) -> None:
    async with stores(store_database, "db1") as ((_, store),):
        await tell(store)
        await store.advance_seq(41)
        assert await tell(store) == [JUMP + 42]
    assert jumps(store_database) == [(1, JUMP + 41)]


async def test_a_call_that_comes_late_does_nothing_before_and_after_it_is_noted(store_database: StoreDatabase) -> None:
    """Through a pooler that has the other server behind it by now."""
    call = "SELECT commit_group(?, ?, 1.0, '[]', '[]', '[[\"account.recovered\", null, \"{}\"]]', '{}')"

    def refused(token: object, number: int) -> str | None:
        with pytest.raises(psycopg.Error) as found:
            store_database.query(call, token, number)
        return found.value.sqlstate

    async with stores(store_database, "db1") as ((one, store),):
        one._ended.set()
        one._thread.join()
        await tell(store)
        fail_over(store_database)
        assert [refused(token, n) for token, n in ((one.token, 1), (one.token, 2), (uuid4(), 1))] == ["PD003"] * 3
        with pytest.raises(StoreFencedError):
            await tell(store)
        assert [refused(one.token, number) for number in (1, 2, 3)] == ["PD001"] * 3
    assert store_database.query("SELECT count(*) FROM events") == [(1,)]


def test_events_are_cut_where_numbers_were_left_out() -> None:
    def cut(place: int, *numbers: int) -> list[list[int]]:
        made = runs(place, [Event(number, "message.status", None, b"{}") for number in numbers])
        return [[each.seq for each in run] for run in made]

    assert cut(5) == [[]]
    assert cut(5, 6, 7, 9) == [[6, 7, 9]]
    assert cut(5, 6, JUMP + 7, JUMP + 8, 3 * JUMP) == [[6], [JUMP + 7, JUMP + 8], [3 * JUMP]]
    assert cut(5, JUMP + 6, JUMP + 7) == [[JUMP + 6, JUMP + 7]]
    assert [left_out(a, b) for a, b in itertools.pairwise((1, 2, JUMP, JUMP + 1))] == [False, True, False]
