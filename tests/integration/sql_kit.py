"""An application's database on a real server, with its table of messages and a user for pollerd."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from pollerd.config import InlineSecret, Origin, Secret, SecretKind, TargetRules
from pollerd.config.databases import DATABASE_URL
from pollerd.config.outputs import no_row_of
from pollerd.core.ports import Clock
from pollerd.daemon.clock import SystemClock
from pollerd.databases import engine
from pollerd.outputs.sql import SqlTarget
from pollerd.outputs.target.output import TargetOutput
from pollerd.store.sqlite.store import SqliteStore
from pollerd.store.unwritten import UnwrittenEvents
from tests.servers.database import PASSWORD, Database, new_name
from tests.servers.postgresql import PostgreSql

NAME: Final = "sql"
PLAIN: Final = "UPDATE sms SET status = :status WHERE id = :id"
GUARDED: Final = "UPDATE sms SET status = :status, seq = :seq WHERE id = :id AND msisdn = :msisdn AND seq <= :seq"
_TABLES: Final = """
CREATE TABLE sms (gateway_id VARCHAR(40), id BIGINT, msisdn BIGINT NOT NULL DEFAULT 4587654321, status VARCHAR(12),
    final BOOLEAN NOT NULL DEFAULT FALSE, seq BIGINT NOT NULL DEFAULT 0, body VARCHAR(160), PRIMARY KEY (id, msisdn));
"""
_POSTGRESQL: Final = """
CREATE TABLE told (n BIGSERIAL PRIMARY KEY, id BIGINT, msisdn BIGINT, status VARCHAR(12));
CREATE FUNCTION journal() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
INSERT INTO told (id, msisdn, status) VALUES (NEW.id, NEW.msisdn, NEW.status); RETURN NULL; END $$;
CREATE TRIGGER journal AFTER UPDATE ON sms FOR EACH ROW EXECUTE FUNCTION journal();
"""
_MARIADB: Final = """
CREATE TABLE told (n BIGINT AUTO_INCREMENT PRIMARY KEY, id BIGINT, msisdn BIGINT, status VARCHAR(12));
CREATE TRIGGER journal AFTER UPDATE ON sms FOR EACH ROW
INSERT INTO told (id, msisdn, status) VALUES (NEW.id, NEW.msisdn, NEW.status);
"""


class Shop:
    """The application's database. `user` may update its table, and has the password of all tests."""

    def __init__(self, database: Database, user: str) -> None:
        self.database = database
        self.user = user
        self.postgresql = isinstance(database.server, PostgreSql)

    def execute(self, sql: str, *parameters: object) -> list[Any]:
        """As the administrator."""
        return self.database.execute(sql, *parameters)

    def grant(self, rights: str, table: str) -> None:
        self.execute(f"GRANT {rights} ON {table} TO {self.user}")

    def told(self) -> list[tuple[int, str]]:
        """Every state that a row was given, in order."""
        return [tuple(row) for row in self.execute("SELECT id, status FROM told ORDER BY n")]

    def opened(self, *, user: str = "", port: int | None = None, password: str = PASSWORD, options: str = "") -> Any:
        """As the daemon opens it."""
        url = DATABASE_URL.check(self.database.url(user or self.user, port=port) + options)
        secret = InlineSecret(Secret(password), SecretKind.PASSWORD, Origin("test", "password"))
        return engine.Database(url, secret)

    def target(
        self,
        store: SqliteStore,
        statement: str = PLAIN,
        *,
        name: str = NAME,
        clock: Clock | None = None,
        opened: engine.Database | None = None,
        **rules: Any,
    ) -> TargetOutput:
        """As the daemon makes it, but in a hurry."""
        made = TargetRules(**{"no_row": no_row_of(statement), "retry_after": (0.05,) * 200, **rules})
        book = UnwrittenEvents(store, name)
        target = SqlTarget(opened or self.opened(), statement)
        return TargetOutput(
            name, target, statement, made, book, clock or SystemClock(), retry_first=0.02, retry_max=0.1
        )


@contextmanager
def shop_in(database: Database) -> Iterator[Shop]:
    """The tables and the user, until the context ends."""
    server, user = database.server, new_name()
    postgresql = isinstance(server, PostgreSql)
    how = f"LOGIN PASSWORD '{PASSWORD}'" if postgresql else f"IDENTIFIED BY '{PASSWORD}'"
    database.script(_TABLES + (_POSTGRESQL if postgresql else _MARIADB))
    server.execute(f"CREATE USER {user} {how}")
    try:
        database.execute(f"GRANT SELECT, UPDATE ON sms TO {user}")
        yield Shop(database, user)
    finally:
        if postgresql:
            database.execute(f"DROP OWNED BY {user}")
        server.execute(f"DROP USER {user}")
