"""A store in PostgreSQL for a test: its target, and what a person sees of it with psql."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest

from pollerd.store.postgresql.engine import PostgresEngine
from pollerd.store.postgresql.link import Target
from pollerd.store.postgresql.store import PostgresStore
from tests.servers.database import PASSWORD, Database, new_name
from tests.servers.pgbouncer import PgBouncer
from tests.servers.postgresql import PostgreSql


class StoreDatabase(NamedTuple):
    """A database with an owner of its own, who is no administrator."""

    database: Database
    user: str
    port: int | None = None
    """That of a pooler before the server; None: the server itself, over its socket."""

    def target(self, port: int | None = None) -> Target:
        """Over the server's socket; over TCP through `port` where that is given, such as a proxy's."""
        server = self.database.server
        where = {"host": str(server.folder), "port": str(server.port)}
        if port is not None:
            # Two seconds are the least that libpq waits for a connection.
            where = {"host": "127.0.0.1", "port": str(port), "sslmode": "disable", "connect_timeout": "2"}
        parameters = {**where, "user": self.user, "dbname": self.database.name}
        return Target(parameters, f"postgresql:///{self.database.name}", lambda: PASSWORD)

    def engine(self, name: str = "db1", port: int | None = None) -> PostgresEngine:
        return PostgresEngine(self.target(port), name)

    def url(self) -> str:
        """What stands in [store] url."""
        server = self.database.server
        if self.port is not None:
            return f"postgresql://{self.user}@127.0.0.1:{self.port}/{self.database.name}?sslmode=disable"
        return f"postgresql://{self.user}@/{self.database.name}?host={server.folder}&port={server.port}"

    @property
    def toml(self) -> str:
        """The keys of [store]."""
        return f'url = "{self.url()}"\npassword = "{PASSWORD}"'

    def insert(self, ids: Iterable[int]) -> None:
        """Hand ids over by plain SQL, sent now."""
        with self.database.connect() as connection, connection.cursor() as cursor:
            cursor.executemany("INSERT INTO messages (id) VALUES (%s) ON CONFLICT DO NOTHING", [(i,) for i in ids])

    def query(self, sql: str, *values: object) -> list[Any]:
        """A statement as SQLite has it, with `?`."""
        return self.database.execute(sql.replace("?", "%s"), *values)


def new_store(database: Database) -> StoreDatabase:
    """Make the tables in a database, and an owner of its own."""
    made = StoreDatabase(database, new_name())
    database.execute(f"CREATE ROLE {made.user} LOGIN PASSWORD '{PASSWORD}'")
    database.execute(f"ALTER DATABASE {database.name} OWNER TO {made.user}")
    with made.engine().handover():
        return made


@pytest.fixture(scope="session")
def store_template(postgresql: PostgreSql) -> Iterator[StoreDatabase]:
    """A store in PostgreSQL that each test gets a copy of: to make the tables takes longer. Texts are in the order of a
    dictionary, as on most servers, where that can be had on any machine (PostgreSQL 15).
    """
    ((version,),) = postgresql.execute("SHOW server_version_num")
    sorting = "LOCALE_PROVIDER icu ICU_LOCALE 'en-US'" if int(version) >= 150_000 else ""
    with postgresql.database("template0", sorting) as made:
        yield new_store(made)


@pytest.fixture
def store_database(postgresql: PostgreSql, store_template: StoreDatabase) -> Iterator[StoreDatabase]:
    """A database in PostgreSQL for a store, empty but for the tables."""
    with postgresql.database(store_template.database.name) as copy:
        copy.execute(f"ALTER DATABASE {copy.name} OWNER TO {store_template.user}")
        yield StoreDatabase(copy, store_template.user)


@pytest.fixture
def pooled_database(
    has_pgbouncer: None, postgresql: PostgreSql, store_database: StoreDatabase
) -> Iterator[StoreDatabase]:
    """The same, which pollerd reaches through pgbouncer in transaction mode."""
    with PgBouncer(postgresql, [store_database.user]) as bouncer:
        yield store_database._replace(port=bouncer.port)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long_on_postgresql: on PostgreSQL in the long form only (POLLERD_LONG=1)")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that asks for `engine` runs on both; one that does not is about SQLite's files, or about no store. In the
    long form what the installed command does is tried through pgbouncer as well.
    """
    if "engine" not in metafunc.fixturenames:
        return
    long = os.environ.get("POLLERD_LONG", "") not in ("", "0")
    marked = any(metafunc.definition.iter_markers("long_on_postgresql"))
    engines = ["sqlite"] if marked and not long else ["sqlite", "postgresql"]
    if long and metafunc.module.__name__.startswith("tests.acceptance."):
        engines.append("pgbouncer")
    metafunc.parametrize("engine", engines, indirect=True)


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> StoreDatabase | None:
    """Where the store is: in a file (None), or in PostgreSQL."""
    if request.param == "sqlite":
        return None
    found: StoreDatabase = request.getfixturevalue(
        "store_database" if request.param == "postgresql" else "pooled_database"
    )
    return found


def engine_of(request: pytest.FixtureRequest) -> StoreDatabase | None:
    """That of a test which asks for `engine`, else None: for fixtures that follow it."""
    return request.getfixturevalue("engine") if "engine" in request.fixturenames else None


@asynccontextmanager
async def opened(database: StoreDatabase, name: str = "db1") -> AsyncIterator[PostgresStore]:
    """The store as a daemon has it open."""
    engine = database.engine(name)
    with engine.own(daemon=True) as member:
        store = await PostgresStore.open(database.target(), member, lambda: 1e9)
        try:
            yield store
        finally:
            await store.close()
