"""Members hear of commits by NOTIFY, and by looking where notifications do not arrive or break off."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing

import pytest

from pollerd.core import event as events
from pollerd.core.ports import Batch
from pollerd.store.postgresql import news
from pollerd.store.postgresql.link import Link, Target
from pollerd.store.postgresql.member import Member
from pollerd.store.postgresql.news import Listener, listening, unheard
from pollerd.store.postgresql.store import PostgresStore
from tests.acceptance.waiting import until
from tests.servers.database import PASSWORD
from tests.servers.pgbouncer import PgBouncer
from tests.servers.postgresql import PostgreSql
from tests.servers.proxy import Proxy
from tests.store_database import StoreDatabase

NEVER = 10_000.0
"""Seconds between two looks where only a notification can bring the news in time."""


def batch(count: int = 1) -> Batch:
    body = events.Recovered(
        account="default", reason="unreachable", detail="", until=None, observed_at="2026-11-26T00:00:00Z"
    )
    return Batch(bodies=[body] * count)


class Pair:
    """An active member and one that stands by, both at work."""

    def __init__(self, active: PostgresStore, standby: PostgresStore) -> None:
        self.active = active
        self.standby = standby

    async def commit(self, count: int = 1) -> None:
        await self.active.commit(batch(count))

    async def heard(self) -> None:
        """Until the standby has all that the active one has committed."""
        await until(lambda: self.standby.last == self.active.last, "the standby has heard of it", patience=60)
        found = await self.standby.read(0, 100_000)
        assert [event.seq for event in found] == list(range(1, self.active.last + 1))


@asynccontextmanager
async def pair(database: StoreDatabase, port: int | None = None) -> AsyncIterator[Pair]:
    """`port`: through which the one that stands by listens and reads."""
    async with AsyncExitStack() as stack:
        one = stack.enter_context(Member.join(database.target(), "db1", daemon=True))
        two = stack.enter_context(Member.join(database.target(), "db2", daemon=True))
        active = await PostgresStore.open(database.target(), one, time.time)
        stack.push_async_callback(active.close)
        standby = await PostgresStore.open(database.target(port), two, time.time)
        stack.push_async_callback(standby.close)
        tasks = [asyncio.ensure_future(store.follow()) for store in (active, standby)]
        try:
            yield Pair(active, standby)
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(each, asyncio.CancelledError) for each in ended), ended


@pytest.fixture
def only_by_notify(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks without being told, once notifications arrive."""
    monkeypatch.setattr(news, "SLOW", NEVER)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[str], int]:
    """How often the log has said an event."""
    caplog.set_level("INFO")
    return lambda name: sum(getattr(record, "event", "") == name for record in caplog.records)


Said = Callable[[str], int]


async def test_a_commit_is_told_at_once(store_database: StoreDatabase, only_by_notify: None, said: Said) -> None:
    """One, and many in a burst; all of it is there, in order."""
    async with pair(store_database) as both:
        await until(lambda: said("notifications_heard"), "it listens")
        await both.commit()
        await both.heard()
        for _ in range(10):
            await both.commit(1000)
        await both.heard()
        assert both.standby.last == 10_001
    assert said("notifications_heard") == 1
    assert not said("notifications_missing")


async def test_a_listener_whose_server_or_backend_ends_comes_back(
    has_postgresql: None, store_database: StoreDatabase, only_by_notify: None, said: Said,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Its connection is ended by the server; what was committed meanwhile is read, and then it hears again."""
    monkeypatch.setattr(news, "AGAIN", 0.2)
    async with pair(store_database) as both:
        await until(lambda: said("notifications_heard"), "it listens")
        for times in (1, 2):
            store_database.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
            await until(lambda n=times: said("notifications_missing") == n, "it notices")  # type: ignore[misc]
            await both.commit()
            await both.heard()
            await until(lambda n=times: said("notifications_heard") == n + 1, "it listens again")  # type: ignore[misc]
            await both.commit()
            await both.heard()


async def test_a_listening_connection_that_is_frozen_costs_no_news(
    store_database: StoreDatabase, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing arrives over it, and it does not break: a probe finds that out, and until then looks bring the news."""
    monkeypatch.setattr(news, "PROBE", 0.5)
    monkeypatch.setattr(news, "ANSWER", 1.0)
    monkeypatch.setattr(news, "AGAIN", 0.2)
    server = store_database.database.server
    with Proxy(server.port) as proxy:
        async with AsyncExitStack() as stack:
            both = await stack.enter_async_context(pair(store_database))
            listener = await stack.enter_async_context(Listener(store_database.target(proxy.port)))
            await until(lambda: listener.hears, "it listens")
            proxy.freeze(new=False)
            await both.commit()
            await until(lambda: said("notifications_missing"), "it notices")
            await until(lambda: listener.hears, "it listens over another connection")
            proxy.thaw()
            await both.heard()


async def test_a_member_whose_connections_are_frozen_reads_all_of_it_later(
    store_database: StoreDatabase, monkeypatch: pytest.MonkeyPatch, said: Said
) -> None:
    monkeypatch.setattr(news, "PROBE", 0.5)
    monkeypatch.setattr(news, "AGAIN", 0.2)
    with Proxy(store_database.database.server.port) as proxy:
        async with pair(store_database, proxy.port) as both:
            await until(lambda: said("notifications_heard"), "it listens")
            proxy.freeze(new=False)
            # The active one waits for nobody.
            for _ in range(5):
                await both.commit(100)
            assert both.active.last == 500
            proxy.reset()
            proxy.thaw()
            await both.heard()


async def test_what_others_send_does_no_more_than_have_it_look(
    store_database: StoreDatabase, monkeypatch: pytest.MonkeyPatch, said: Said
) -> None:
    """A flood on the store's channel, with all kinds of payloads: it looks a bounded number of times, and hears on."""
    monkeypatch.setattr(news, "SLOW", NEVER)
    async with pair(store_database) as both:
        await until(lambda: said("notifications_heard"), "it listens")
        looks = 0
        read = both.standby._read

        async def counted(name: str, values: tuple[int, ...] = ()) -> list[object]:
            nonlocal looks
            looks += name == "events_after"
            return await read(name, values)

        monkeypatch.setattr(both.standby, "_read", counted)
        flood = (
            "SELECT count(pg_notify('pollerd_' || store_id, repeat(chr(1 + n % 300), n % 70) || n))"
            " FROM cluster, generate_series(1, 20000) AS n"
        )
        began = time.monotonic()
        for _ in range(5):
            await asyncio.to_thread(store_database.query, flood)
        await both.commit()
        await both.heard()
        assert looks <= 2 + (time.monotonic() - began) / news.PAUSE
        await both.commit()
        await both.heard()


async def test_stores_in_two_schemas_of_a_database_have_channels_of_their_own(store_database: StoreDatabase) -> None:
    """And those in two databases hear nothing of each other at all."""
    other = Target({**store_database.target().parameters, "options": "-csearch_path=other"}, "other", lambda: PASSWORD)
    store_database.database.execute(f"CREATE SCHEMA other AUTHORIZATION {store_database.user}")
    with Member.join(store_database.target(), "db1", daemon=True):
        from pollerd.store.postgresql import schema

        with closing(Link(other)) as link:
            link.run(schema.prepare)
        told: dict[str, int] = {"mine": 0, "other": 0}

        def tell(name: str) -> Callable[[], None]:
            def noted() -> None:
                told[name] += 1

            return noted

        with listening(store_database.target()) as mine, listening(other) as theirs:
            with closing(Link(other)) as link:
                link.run(lambda connection: connection.execute(news._TELL))
            # A probe comes behind what was sent before it.
            mine.probe(tell("mine"))
            theirs.probe(tell("other"))
    assert told == {"mine": 0, "other": 1}


async def test_through_a_pooler_it_looks_and_leaves_no_connection_listening(
    has_pgbouncer: None, postgresql: PostgreSql, store_database: StoreDatabase, said: Said
) -> None:
    with PgBouncer(postgresql, [store_database.user]) as bouncer:
        assert "a pooler" in unheard(store_database.target(bouncer.port))
        async with pair(store_database, bouncer.port) as both:
            await until(lambda: said("notifications_missing"), "it says so")
            await both.commit()
            await both.heard()
            listens = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
            assert store_database.query(listens) == [(0,)]
    assert unheard(store_database.target()) == ""


async def test_a_probe_that_does_not_arrive_is_said(
    store_database: StoreDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind a balancer that leads the next connection to another server."""
    monkeypatch.setattr(news, "ANSWER", 0.5)
    monkeypatch.setattr(news, "_NOTIFY", b"SELECT 1, $1::text")
    assert "does not arrive" in unheard(store_database.target())


async def test_an_announcer_without_a_server_holds_up_nobody(
    store_database: StoreDatabase, only_by_notify: None, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection is frozen while commits go on, and the one that stands by hears of them once it is not."""
    monkeypatch.setattr(news, "ANSWER", 0.5)
    monkeypatch.setattr(news, "_RETRY", 0.1)
    with (
        Proxy(store_database.database.server.port) as proxy,
        closing(Link(store_database.target(proxy.port), deadline=0.5)) as link,
    ):
        async with pair(store_database) as both:
            await until(lambda: said("notifications_heard"), "it listens")
            both.active._announcer._link = link
            proxy.freeze()
            for _ in range(20):
                await both.commit()
            assert both.active.last == 20
            proxy.reset()
            proxy.thaw()
            await both.heard()
