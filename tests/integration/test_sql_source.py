"""Ids out of an application's PostgreSQL or MariaDB: real servers, and what a user is told of their trouble."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from traceback import walk_stack
from typing import Any

import pytest

from pollerd.config import FileSecret, InlineSecret, Origin, Secret, SecretKind
from pollerd.config.databases import DATABASE_URL, DatabaseUrl
from pollerd.databases.engine import Database as Opened
from pollerd.deployment.doctor import servers
from pollerd.deployment.doctor.check import Level
from pollerd.intake.source import PAGE, Place, QuerySource, ReadError
from pollerd.intake.sql import SqlReader
from pollerd.store.source_rows import GivenRows, SourceRows
from pollerd.store.sqlite.store import SqliteStore
from tests.integration.output_kit import until
from tests.servers.database import PASSWORD, Database, DatabaseServer, new_name
from tests.servers.mariadb import MariaDb
from tests.servers.pgbouncer import PgBouncer
from tests.servers.postgresql import PostgreSql
from tests.servers.proxy import Proxy
from tests.sqlite_kit import autocommit
from tests.unit.config_kit import loader

QUERY = "SELECT gateway_id AS id, userref FROM sms WHERE final = 0"
TABLE = """
CREATE TABLE sms (pk BIGINT PRIMARY KEY, gateway_id VARCHAR(40), userref VARCHAR(40), final INTEGER DEFAULT 0);
CREATE INDEX sms_open ON sms (final, gateway_id);
"""


class Shop:
    """An application's database, and the user who reads it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.user = new_name()
        self.postgresql = isinstance(database.server, PostgreSql)
        login = "LOGIN PASSWORD" if self.postgresql else "IDENTIFIED BY"
        database.script(
            f"{TABLE}\nCREATE USER {self.user} {login} '{PASSWORD}';\nGRANT SELECT ON sms TO {self.user};\n"
        )

    def put(self, *ids: object, final: int = 0) -> None:
        for number in ids:
            self.database.execute(
                "INSERT INTO sms (pk, gateway_id, final) VALUES (%s, %s, %s)", number, str(number), final
            )

    def fill(self, first: int, last: int) -> None:
        """Rows with these ids, in a moment."""
        numbers = "generate_series({}, {}) AS n" if self.postgresql else None
        if numbers is not None:
            sql = f"INSERT INTO sms (pk, gateway_id) SELECT n, n::text FROM {numbers.format(first, last)}"
        else:
            sql = f"INSERT INTO sms (pk, gateway_id) SELECT seq, seq FROM seq_{first}_to_{last}"
        self.database.execute(sql)

    def reader(
        self,
        query: str = QUERY,
        *,
        password: str = PASSWORD,
        port: int | None = None,
        options: str = "",
        silence: float = 60,
    ) -> SqlReader:
        url = DATABASE_URL.check(self.database.url(self.user, port=port) + options)
        place = InlineSecret(Secret(password), SecretKind.PASSWORD, Origin("x", "y"))
        return SqlReader(Opened(url, place, reads=True, sql="query", silence=silence), query, 0.02)

    def gone(self) -> None:
        drop = "DROP OWNED BY {0}; DROP USER {0}" if self.postgresql else "DROP USER {0}"
        self.database.execute(drop.format(self.user))


@pytest.fixture(params=["postgresql", "mariadb"])
def shop(request: pytest.FixtureRequest) -> Iterator[Shop]:
    found = Shop(request.getfixturevalue(f"{request.param}_database"))
    yield found
    found.gone()


@asynccontextmanager
async def following(store: SqliteStore, reader: SqlReader) -> AsyncIterator[QuerySource]:
    book = SourceRows("shop", GivenRows(["shop"]), store, time.time, lambda: None, database="shop")
    source = QuerySource("shop", reader, 0.02, book)
    task = asyncio.create_task(source.run())
    try:
        yield source
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def followed(store: SqliteStore, columns: str = "id") -> list[Any]:
    with autocommit(store.path) as database:
        return database.execute(f"SELECT {columns} FROM messages ORDER BY id").fetchall()


async def test_rows_are_followed_with_what_is_known_of_them(store: SqliteStore, shop: Shop) -> None:
    """Numbers of each kind and texts are ids; a time is one of the database's own."""
    shop.database.script("""
CREATE TABLE more (id NUMERIC(20), ref VARCHAR(20), account VARCHAR(20), sent TIMESTAMP NULL);
INSERT INTO more VALUES (1, 'order-1', 'two', '2025-11-24 16:00:00');
INSERT INTO more VALUES (2, NULL, NULL, NULL);
""")
    shop.database.execute(f"GRANT SELECT ON more TO {shop.user}")
    shop.put(7, "00008")
    query = (
        "SELECT gateway_id AS id, NULL AS userref, NULL AS account, NULL AS sent_at FROM sms "
        if not shop.postgresql
        else "SELECT gateway_id AS id, NULL AS userref, NULL AS account, NULL::timestamp AS sent_at FROM sms "
    )
    async with following(store, shop.reader(query)):
        await until(lambda: len(followed(store)) == 2, "texts")
    async with following(store, shop.reader("SELECT id, ref AS userref, account, sent AS sent_at FROM more")):
        await until(lambda: len(followed(store)) == 4, "numbers")
    found = followed(store, "id, account, userref, sent_at")
    assert found[0] == (1, "two", "order-1", 1764000000.0)
    assert [row[0] for row in found] == [1, 2, 7, 8]
    with autocommit(store.path) as database:
        assert database.execute("SELECT * FROM source_ids").fetchall() == [
            ("shop", 7, "shop", "7"),
            ("shop", 8, "shop", "00008"),
        ]


QUERIES = (
    "SELECT gateway_id AS id, userref FROM sms WHERE final = 0; -- all",
    "SELECT pk AS after, gateway_id AS id FROM sms WHERE final = 0",
    "SELECT pk AS after, gateway_id AS id FROM sms WHERE final = 0 AND pk > :after ORDER BY pk LIMIT :limit",
    "SELECT gateway_id AS id FROM sms WHERE final = 0 AND gateway_id > :after ORDER BY gateway_id LIMIT :limit",
    "WITH open AS (SELECT DISTINCT gateway_id AS id FROM sms WHERE final = 0) SELECT id FROM open",
)


@pytest.mark.parametrize("query", QUERIES)
async def test_rows_that_still_match_hide_no_other_one(store: SqliteStore, shop: Shop, query: str) -> None:
    """More of them than a page holds: a new one is found behind them, and before them; then with a new start."""
    shop.fill(100_001, 100_000 + 2 * PAGE)
    async with following(store, shop.reader(query)) as source:
        await until(lambda: len(followed(store)) == 2 * PAGE, "all")
        await until(lambda: source._newest is not None, "the first sweep has ended")
        shop.put(900_000)
        await until(lambda: len(followed(store)) == 2 * PAGE + 1, "one behind them")
        shop.put(100_000)
        await until(lambda: len(followed(store)) == 2 * PAGE + 2, "one before them")
    shop.put(150_000)
    async with following(store, shop.reader(query)):
        await until(lambda: len(followed(store)) == 2 * PAGE + 3, "one that came meanwhile")


def test_a_query_may_have_colons_and_percent_signs_of_its_own(shop: Shop) -> None:
    shop.put(1, 2)
    query = (
        "SELECT gateway_id AS id FROM sms WHERE gateway_id NOT LIKE '2%' AND '12:30 :no' LIKE '%:%' /* :no 5% */; -- :x"
    )
    reader = shop.reader(query)
    assert [row[0] for row in reader.read(Place(), 10).rows] == ["1"]
    reader.close()


def test_a_server_is_reached_over_its_socket(shop: Shop) -> None:
    shop.put(1)
    server, user = shop.database.server, shop.user
    option = f"host={server.folder}&port={server.port}" if shop.postgresql else f"unix_socket={server.folder}/socket"
    scheme = "postgresql" if shop.postgresql else "mariadb"
    url = DATABASE_URL.check(f"{scheme}://{user}@/{shop.database.name}?{option}")
    assert str(server.folder) in url.place
    opened = Opened(url, InlineSecret(Secret(PASSWORD), SecretKind.PASSWORD, Origin("x", "y")), reads=True)
    reader = SqlReader(opened, QUERY, 1.0)
    assert [row[0] for row in reader.read(Place(), 10).rows] == ["1"]
    reader.close()


def test_a_library_or_a_password_that_is_missing_is_named(tmp_path: Path) -> None:
    """Nothing is connected for it, and nothing else is held up."""
    absent = FileSecret(tmp_path / "password", SecretKind.PASSWORD, Origin("x", "y"))
    for url, password, said in (
        ("mssql://h/x", None, "needs the Python library pymssql, which is not installed here: run "),
        ("postgresql://h/x", absent, f"{tmp_path}/password does not exist; create it with the secret in it"),
    ):
        with pytest.raises(ReadError, match=r"^cannot be used here: ") as caught:
            SqlReader(Opened(DATABASE_URL.check(url), password, reads=True), QUERY, 1.0).read(Place(), 10)
        assert said in str(caught.value)


async def test_a_page_says_where_the_next_one_begins(shop: Shop) -> None:
    shop.fill(1001, 1005)
    shop.database.execute("INSERT INTO sms (pk, gateway_id) VALUES (1, NULL), (2, NULL), (3, NULL)")
    reader, seen, place = shop.reader(), [], Place()
    for _ in range(8):
        page = reader.read(place, 2)
        seen += [row[0] for row in page.rows]
        if page.next is None:
            break
        place = page.next
    reader.close()
    assert [given for given in seen if given is not None] == ["1001", "1002", "1003", "1004", "1005"]


BAD: list[tuple[str, Callable[[Shop], SqlReader], str, str]] = [
    (
        "a wrong password",
        lambda shop: shop.reader(password="wrong"),
        "refuses the user or the password (",
        "correct the user in the url, or password_file",
    ),
    (
        "no such table",
        lambda shop: shop.reader("SELECT id FROM texts"),
        # MariaDB says no more to who has no right to it.
        " the ",
        "correct the ",
    ),
    (
        "no such column",
        lambda shop: shop.reader("SELECT gateway AS id FROM sms"),
        "does not have what the query names (",
        "correct the query, or the table",
    ),
    (
        "no right",
        lambda shop: shop.reader("SELECT * FROM (SELECT pk AS id FROM secrets) AS x"),
        "gives this user no right (",
        "grant it",
    ),
    (
        "an option that is none",
        lambda shop: shop.reader(options="?nonsense=1"),
        "cannot be used here: ",
        "see the options of the url, and the driver",
    ),
    ("no SQL", lambda shop: shop.reader("SELECT id FROM WHERE"), "cannot run the query (", "correct the query"),
    ("no id", lambda shop: shop.reader("SELECT pk, final FROM sms"), "the query gives no column named id", "AS id"),
]


@pytest.mark.parametrize(("name", "reader", "said", "step"), BAD, ids=[case[0] for case in BAD])
async def test_what_is_wrong_for_good_is_said_with_what_to_do(
    store: SqliteStore, shop: Shop, name: str, reader: Callable[[Shop], SqlReader], said: str, step: str
) -> None:
    shop.database.execute("CREATE TABLE secrets (pk INTEGER)")
    async with following(store, reader(shop)) as source:
        await until(lambda: said in source.trouble, said)
        assert step in source.trouble
        assert PASSWORD not in source.trouble


async def test_nothing_is_ever_written(shop: Shop) -> None:
    """Not by a user who may, and not by a query that would."""
    shop.put(1)
    shop.database.execute(f"GRANT INSERT, DELETE ON sms TO {shop.user}")
    if shop.postgresql:
        deleted = "WITH gone AS (DELETE FROM sms RETURNING gateway_id AS id) SELECT id FROM gone"
        query = f"{deleted} WHERE id > :after LIMIT :limit"
    else:
        query = "DELETE FROM sms WHERE gateway_id > :after LIMIT :limit"
    reader = shop.reader(query)
    with pytest.raises(ReadError, match=r"cannot run the query \(.*correct the query"):
        reader.read(Place(), 10)
    reader.close()
    assert shop.database.execute("SELECT count(*) FROM sms")[0][0] == 1


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the log says of a source, by its events."""
    events = ("source_held", "source_recovered")
    return [found for record in caplog.records if (found := record.__dict__.get("event")) in events]


async def test_a_locked_table_is_waited_for_and_said_once(
    store: SqliteStore, shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    shop.put(1)
    lock = "BEGIN; LOCK TABLE sms" if shop.postgresql else "LOCK TABLES sms WRITE"
    async with following(store, shop.reader()) as source:
        await until(lambda: followed(store) == [(1,)], "it works")
        with closing(shop.database.connect()) as other, closing(other.cursor()) as cursor:
            cursor.execute(lock)
            await until(lambda: source.trouble.startswith("is locked ("), "it is locked")
            cursor.execute("COMMIT" if shop.postgresql else "UNLOCK TABLES")
        shop.put(2)
        await until(lambda: followed(store) == [(1,), (2,)], "it goes on")
    assert said(caplog) == ["source_held", "source_recovered"]


DOCTOR = [
    ("all is well", QUERY, "", Level.OK, "can be read; the query gives id, userref", ""),
    (
        "no index",
        QUERY,
        "DROP INDEX sms_open{on}",
        Level.WARNING,
        "each look reads every row of sms",
        "create an index",
    ),
    (
        "its own pages",
        "SELECT pk AS id FROM sms WHERE pk > :after ORDER BY pk LIMIT :limit",
        "",
        Level.OK,
        "the query gives id",
        "",
    ),
    (
        "no column",
        "SELECT gateway AS id FROM sms",
        "",
        Level.FAILURE,
        "not have what the query names",
        "correct the query",
    ),
    ("no id", "SELECT pk, final FROM sms", "", Level.FAILURE, "gives no column named id", "correct the query in"),
    (
        "no right",
        QUERY,
        "REVOKE SELECT ON sms FROM {user}",
        Level.FAILURE,
        # MariaDB has no such database for a user who has no right to anything in there.
        "this user",
        "grant",
    ),
    ("no table", QUERY, "DROP TABLE sms", Level.FAILURE, "sms", "correct the "),
]


@pytest.mark.parametrize(
    ("name", "query", "change", "level", "evidence", "step"), DOCTOR, ids=[case[0] for case in DOCTOR]
)
async def test_the_doctor_tries_each_source(
    shop: Shop, tmp_path: Path, name: str, query: str, change: str, level: Level, evidence: str, step: str
) -> None:
    if change:
        shop.database.execute(change.format(user=shop.user, on="" if shop.postgresql else " ON sms"))
    url = shop.database.url(shop.user, PASSWORD)
    text = f'[accounts.default]\n[[sources.sql]]\nurl = "{url}"\nquery = "{query}"'
    (found,) = await servers.checks(loader(tmp_path)(text))
    assert (found.name, found.level) == ("source sql", level), found.evidence
    assert evidence in found.evidence
    assert step in found.next_step.lower()
    assert PASSWORD not in found.evidence + found.next_step
    if level is not Level.FAILURE:
        # Its own machine's: the certificate need not be verified.
        assert "; encrypted (TLSv1.3)" in found.evidence


@pytest.fixture(params=[PostgreSql, MariaDb])
def server(request: pytest.FixtureRequest) -> Iterator[DatabaseServer]:
    """A server of the test's own."""
    request.getfixturevalue(f"has_{request.param.__name__.lower()}")
    with request.param(durable=True) as started:
        yield started


async def test_a_server_that_goes_and_comes_back_is_said_once(
    store: SqliteStore, server: DatabaseServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Killed, and started again: while it recovers it says something else, which is the same trouble."""
    caplog.set_level(logging.INFO)
    with server.database() as database:
        shop = Shop(database)
        shop.put(1)
        async with following(store, shop.reader()) as source:
            await until(lambda: followed(store) == [(1,)], "it works")
            await asyncio.to_thread(server.kill)
            await until(lambda: source.trouble.startswith("cannot be reached ("), "it is away")
            await asyncio.to_thread(server.start)
            await until(lambda: source.trouble == "", "it is there again")
            shop.put(2)
            await until(lambda: followed(store) == [(1,), (2,)], "it goes on")
    assert said(caplog) == ["source_held", "source_recovered"]


async def test_a_server_that_stands_still_does_not_hold_up_the_end(store: SqliteStore, shop: Shop) -> None:
    shop.put(1)
    with Proxy(shop.database.server.port) as proxy:
        reader = shop.reader(port=proxy.port, silence=3600)
        async with following(store, reader):
            await until(lambda: followed(store) == [(1,)], "it works")
            proxy.freeze()
            await until(lambda: proxy.held() != (0, 0), "it waits for an answer")
        await until(lambda: not busy(reader), "the read that was under way has ended, too")


def busy(reader: SqlReader) -> bool:
    """Whether a thread reads."""
    frames = sys._current_frames().values()
    return any(frame.f_locals.get("self") is reader for first in frames for frame, _ in walk_stack(first))


async def test_a_server_that_stands_still_is_given_up(shop: Shop) -> None:
    shop.put(1)
    with Proxy(shop.database.server.port) as proxy:
        reader = shop.reader(port=proxy.port, silence=10)
        assert len(reader.read(Place(), 10).rows) == 1
        proxy.freeze()
        with pytest.raises(ReadError, match=r"^cannot be reached \("):
            await asyncio.to_thread(reader.read, Place(), 10)
        proxy.thaw()
        assert len(reader.read(Place(), 10).rows) == 1
        reader.close()


@pytest.mark.skipif(os.environ.get("POLLERD_LONG", "") in ("", "0"), reason="the long form: POLLERD_LONG=1")
@pytest.mark.timeout(300)
async def test_a_query_that_never_ends_is_ended_by_the_server(shop: Shop) -> None:
    shop.put(1)
    wait = "pg_sleep(60)" if shop.postgresql else "(SELECT sleep(60))"
    slow = shop.reader(
        f"SELECT gateway_id AS id FROM sms, {wait} AS waited"
        if shop.postgresql
        else f"SELECT gateway_id AS id FROM sms WHERE {wait} = 0"
    )
    with pytest.raises(ReadError, match=r"^takes too long \("):
        await asyncio.to_thread(slow.read, Place(), 10)
    slow.close()


async def test_a_pooler_before_the_server_changes_nothing(
    store: SqliteStore, postgresql_database: Database, has_pgbouncer: None
) -> None:
    """In transaction mode: what is set for the session would be another program's."""
    shop = Shop(postgresql_database)
    shop.put(1)
    server = postgresql_database.server
    assert isinstance(server, PostgreSql)
    with PgBouncer(server, [shop.user], connections=1) as pooler:
        async with following(store, shop.reader(port=pooler.port)):
            await until(lambda: followed(store) == [(1,)], "it works")
            shop.put(2)
            await until(lambda: followed(store) == [(1,), (2,)], "it goes on")
        url: DatabaseUrl = DATABASE_URL.check(postgresql_database.url(shop.user, PASSWORD, port=pooler.port))
        assert url.password is not None
        plain = Opened(url, InlineSecret(url.password, SecretKind.PASSWORD, Origin("x", "y")))
        with plain.connection() as connection:
            connection.rollback()
            found = connection.exec_driver_sql("SHOW transaction_read_only").scalar()
        plain.close()
        assert found == "off"
    shop.gone()
