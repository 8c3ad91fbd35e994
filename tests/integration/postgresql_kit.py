"""A store in PostgreSQL for a test: its target, and what a person sees of it with psql."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from pollerd.store.postgresql.engine import PostgresEngine
from pollerd.store.postgresql.link import Target
from pollerd.store.postgresql.store import PostgresStore
from tests.servers.database import PASSWORD, Database, new_name


class StoreDatabase(NamedTuple):
    """A database with an owner of its own, who is no administrator."""

    database: Database
    user: str

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


def owned(database: Database) -> StoreDatabase:
    """Give the database to a new user."""
    user = new_name()
    database.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{PASSWORD}'")
    database.execute(f"ALTER DATABASE {database.name} OWNER TO {user}")
    return StoreDatabase(database, user)


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
