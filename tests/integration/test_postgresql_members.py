"""Members of one store in PostgreSQL: one is active, the others stand by, and the right to write goes over once."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from math import inf

import pytest

from pollerd.base.errors import DatabaseBusyError, StoreFencedError
from pollerd.core import event as events
from pollerd.core.lease import HOLD, WATCH
from pollerd.core.ports import Batch, Cursor, TrackRequest
from pollerd.store.postgresql import duty
from pollerd.store.postgresql.link import Link
from pollerd.store.postgresql.member import Member
from pollerd.store.postgresql.store import PostgresStore
from tests.acceptance.waiting import until, wait_for
from tests.store_database import StoreDatabase


@pytest.fixture
def members(store_database: StoreDatabase) -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def join(stack: ExitStack, database: StoreDatabase, name: str, *, elsewhere: bool = False) -> Member:
    """A member of that name. `elsewhere`: on another machine, where nobody here can see whether its process runs."""
    member = stack.enter_context(Member.join(database.target(), name, daemon=True))
    if elsewhere:
        database.database.execute(
            'UPDATE members SET process = process || \'{"boot": "another"}\' WHERE name = %s', name
        )
    return member


def shown(database: StoreDatabase, member: str) -> list[tuple[str, int]]:
    """The places of outputs, as a command on that member's machine shows them."""
    with database.engine(member).view() as view:
        return [(output.name, output.seq) for output in view.overview(time.time()).outputs]


def event(number: int) -> events.Body:
    return events.Recovered(
        account=f"account {number}", reason="unreachable", detail="", until=None, observed_at="2026-11-26T00:00:00Z"
    )


def test_the_first_is_active_and_the_others_stand_by(members: ExitStack, store_database: StoreDatabase) -> None:
    one, two, three = (join(members, store_database, name) for name in ("db1", "db2", "db3"))
    assert [member.active for member in (one, two, three)] == [True, False, False]
    assert [member.holds() for member in (one, two, three)] == [True, False, False]
    with pytest.raises(DatabaseBusyError, match="'db2'"):
        join(members, store_database, "db2")


def test_a_member_that_ends_in_order_hands_over_at_once(members: ExitStack, store_database: StoreDatabase) -> None:
    one, two = join(members, store_database, "db1"), join(members, store_database, "db2", elsewhere=True)
    wait_for(lambda: two._watched)
    one.release()
    wait_for(lambda: two.active)
    assert two.holds()
    assert two.took_over == "db2 took over from db1: it ended in order"
    assert store_database.database.execute("SELECT taken_from, takeovers FROM duties") == [("db1", 1)]


def test_a_silent_member_is_taken_over_from_by_one_and_can_write_no_more(
    members: ExitStack, store_database: StoreDatabase
) -> None:
    """Two stand by; the active one stops renewing, as after a power cut. One of them takes over, the other watches that
    one, and whatever the first still sends is refused."""
    one = join(members, store_database, "db1", elsewhere=True)
    others = [join(members, store_database, name) for name in ("db2", "db3")]
    one._ended.set()
    one._thread.join()
    wait_for(lambda: any(member.active for member in others))
    (new,) = [member for member in others if member.active]
    assert "took over from db1: its lease ended" in new.took_over
    assert not one.holds()
    one._renew()
    assert f"'{new.name}'" in one.lost
    assert store_database.database.execute("SELECT count(*) FROM duties JOIN members USING (token)") == [(1,)]


def test_a_member_that_renews_is_not_taken_over_from(members: ExitStack, store_database: StoreDatabase) -> None:
    """The row that somebody wants to take over changes in between: nothing happens."""
    from pollerd.store.postgresql import duty

    one, two = join(members, store_database, "db1", elsewhere=True), join(members, store_database, "db2")
    link = Link(store_database.target())
    seen = link.run(duty.holder)
    assert seen is not None
    one._renew()
    assert not link.run(lambda connection: duty.take(connection, two.token, seen.token, seen.beat, "db1", "late"))
    assert not link.run(lambda connection: duty.take(connection, two.token, None, 0, "db1", "late"))
    link.close()
    assert one.holds()


def test_a_row_that_somebody_holds_does_not_make_the_watch_begin_anew(
    members: ExitStack, store_database: StoreDatabase
) -> None:
    """The duty is free to be taken over, but for a lock: it is taken as soon as that is gone."""
    one = join(members, store_database, "db1", elsewhere=True)
    two = join(members, store_database, "db2")
    with store_database.database.connect() as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT FROM members WHERE name = 'db1' FOR UPDATE")
        one._ended.set()
        one._thread.join()
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        for _ in range(3):
            # Each of its tries waits for the row, and gives up.
            wait_for(lambda: store_database.database.execute(waiting) == [(1,)])
            wait_for(lambda: store_database.database.execute(waiting) == [(0,)])
        assert two._watch.silent(time.clock_gettime(time.CLOCK_BOOTTIME)) > WATCH
        connection.execute("ROLLBACK")
    wait_for(lambda: two.active)


def test_a_takeover_whose_answer_was_lost_waits_for_what_the_one_before_may_have_begun(
    members: ExitStack, store_database: StoreDatabase
) -> None:
    """It may have offered its duty, with a lease that has just been renewed."""
    one = join(members, store_database, "db1", elsewhere=True)
    two = join(members, store_database, "db2")
    wait_for(lambda: two._watched)
    one._ended.set()
    one._thread.join()
    taken = time.clock_gettime(time.CLOCK_BOOTTIME)
    with closing(Link(store_database.target())) as link:
        assert link.run(lambda connection: duty.take(connection, two.token, one.token, one._beat, "db1", "it offered"))
    wait_for(lambda: two.active)
    assert two.others_until >= taken + HOLD


def test_a_member_in_place_of_its_namesake_waits_for_what_that_may_have_begun(
    members: ExitStack, store_database: StoreDatabase
) -> None:
    """As a container that is started anew: nobody can see whether the one before has ended. After an orderly end there
    is nothing to wait for."""
    one = join(members, store_database, "db1", elsewhere=True)
    one._ended.set()
    one._thread.join()
    store_database.database.execute("UPDATE leases SET lease_until = clock_timestamp() - interval '1 second'")
    again = join(members, store_database, "db1")
    assert again.active
    assert again.others_until > time.clock_gettime(time.CLOCK_BOOTTIME)
    again.release()
    assert join(members, store_database, "db1").others_until == -inf


def test_an_offered_duty_goes_to_who_accepts_and_does_not_come_back_soon(
    members: ExitStack, store_database: StoreDatabase
) -> None:
    one, two = join(members, store_database, "db1"), join(members, store_database, "db2")
    one.offer(True)
    wait_for(lambda: two.offered)
    assert one.active
    two.accept()
    wait_for(lambda: two.active)
    assert two.took_over == "db2 took over from db1: it does not reach the gateway, and db2 does"
    wait_for(lambda: one.lost)
    again = join(members, store_database, "db1")
    two.offer(True)
    wait_for(lambda: store_database.database.execute("SELECT 1 FROM duties WHERE offered"))
    wait_for(lambda: again._watched is not None and again._watched.token == two.token)
    assert not again.offered
    store_database.database.execute("UPDATE duties SET given_at = given_at - interval '6 minutes'")
    wait_for(lambda: again.offered)


async def test_what_was_committed_before_a_takeover_is_all_and_nothing_after_it(
    members: ExitStack, store_database: StoreDatabase
) -> None:
    one, two = join(members, store_database, "db1", elsewhere=True), join(members, store_database, "db2")
    first = await PostgresStore.open(store_database.target(), one, time.time)
    standby = await PostgresStore.open(store_database.target(), two, time.time)
    try:
        assert [each.seq for each in await first.commit(Batch(bodies=[event(n) for n in range(3)]))] == [1, 2, 3]
        one._ended.set()
        one._thread.join()
        await until(lambda: two.active, "it takes over")
        with pytest.raises(StoreFencedError, match="the member 'db2'"):
            await first.commit(Batch(bodies=[event(9)]))
        with pytest.raises(StoreFencedError):
            await first.track([TrackRequest(7, "default", None, 1e9)])
        second = await PostgresStore.open(store_database.target(), two, time.time)
        assert [each.seq for each in await second.commit(Batch(bodies=[event(4)]))] == [4]
        await second.close()
    finally:
        await first.close()
        await standby.close()
    assert store_database.database.execute("SELECT array_agg(seq ORDER BY seq) FROM events") == [([1, 2, 3, 4],)]


async def test_a_standby_follows_takes_ids_in_and_keeps_its_own_places(
    members: ExitStack, store_database: StoreDatabase
) -> None:
    import asyncio

    one, two = join(members, store_database, "db1"), join(members, store_database, "db2")
    active = await PostgresStore.open(store_database.target(), one, time.time)
    standby = await PostgresStore.open(store_database.target(), two, time.time)
    following = asyncio.ensure_future(standby.follow())
    try:
        await active.commit(Batch(bodies=[event(1), event(2)]))
        async with asyncio.timeout(60):
            await standby.wait(1)
        assert [each.seq for each in await standby.read(0, 10)] == [1, 2]
        tracked = await standby.track([TrackRequest(7, "default", None, 1e9)])
        assert tracked.new == 1
        await active.save_cursor(Cursor("webhook", 2))
        await active.save_cursor(Cursor("file", 1))
        for name in ("db1", "elsewhere"):
            assert shown(store_database, name) == [("file", 1), ("webhook", 2)]
        await standby.save_cursor(Cursor("file", 2))
        assert [cursor and cursor.seq for cursor in (await active.cursor("file"), await standby.cursor("file"))] == [
            1,
            2,
        ]
        assert shown(store_database, "db1") == [("file", 1), ("file@db2", 2), ("webhook", 2)]
        assert shown(store_database, "db2") == [("file", 2), ("file@db1", 1), ("webhook", 2)]
        assert shown(store_database, "elsewhere") == [("file@db1", 1), ("file@db2", 2), ("webhook", 2)]
        with pytest.raises(StoreFencedError):
            await standby.commit(Batch(bodies=[event(3)]))
    finally:
        following.cancel()
        await active.close()
        await standby.close()


async def test_a_standby_that_opens_while_another_commits_waits_for_what_comes(
    members: ExitStack, store_database: StoreDatabase
) -> None:
    one, two = join(members, store_database, "db1"), join(members, store_database, "db2", elsewhere=True)
    active = await PostgresStore.open(store_database.target(), one, time.time)

    async def commit() -> None:
        for number in itertools.count():
            await active.commit(Batch(bodies=[event(number)]))

    committing = asyncio.create_task(commit())
    for _ in range(30):
        standby = await PostgresStore.open(store_database.target(), two, time.time)
        # Nothing is followed here, so that nothing newer than what was read at the opening can come.
        waiting = asyncio.create_task(standby.wait(standby.last))
        await asyncio.sleep(0)
        assert not waiting.done(), "whoever waits so does it for ever, and lets nobody else run"
        waiting.cancel()
        await standby.close()
    committing.cancel()
    await asyncio.wait([committing])
    await active.close()
