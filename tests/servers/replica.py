"""A streaming replica of a PostgreSQL for a test, and its promotion."""

from __future__ import annotations

from contextlib import ExitStack

from tests.servers.database import PASSWORD, Database
from tests.servers.postgresql import PostgreSql
from tests.servers.program import Program, wait_until
from tests.servers.proxy import Proxy


class Replica(PostgreSql):
    """Follows `primary` through `way`: what is frozen there, the replica does not have when it is promoted."""

    def __init__(self, primary: PostgreSql) -> None:
        super().__init__(durable=primary.durable, tls=False, settings=["ssl = off"])
        self.primary = primary
        self.way = Proxy(primary.port)
        self._open = ExitStack()

    def prepare(self) -> None:
        self._open.enter_context(self.way)
        where = f"host=127.0.0.1 port={self.way.port} user=postgres password={PASSWORD} sslmode=disable"
        self._run("pg_basebackup", "-D", self.data, "-d", where, "-R", "-X", "stream", "-c", "fast", "--no-sync")
        self.configure(*self.settings)

    def start(self) -> None:
        # The administrator has a password already.
        Program.start(self)

    def __exit__(self, *_: object) -> None:
        try:
            super().__exit__()
        finally:
            self._open.close()

    def promote(self) -> None:
        """Make it the primary, with what it has."""
        self.execute("SELECT pg_promote(true, 120)")

    def be_waited_for(self, *, waited_for: bool = True) -> None:
        """Let commits of the primary wait until this replica has them."""
        names = "*" if waited_for else ""
        self.primary.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
        self.primary.execute("ALTER SYSTEM SET synchronous_commit = on")
        self.primary.execute("SELECT pg_reload_conf()")
        said = "SELECT sync_state FROM pg_stat_replication"
        wait_until(lambda: self.primary.execute(said) == [("sync" if waited_for else "async",)], "it is waited for")

    def catch_up(self) -> None:
        """Return when it has all that the primary has by now."""
        place = self.primary.execute("SELECT pg_current_wal_flush_lsn()::text")[0][0]
        has = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn"
        wait_until(lambda: self.execute(has, place) == [(True,)], "the replica catches up")

    def copy_of(self, database: Database) -> Database:
        """The same database here."""
        return Database(self, database.name)
