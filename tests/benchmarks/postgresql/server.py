"""A PostgreSQL for the store of a daemon under measurement: over TCP, and with all that is committed on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

from tests.benchmarks.throughput.daemon import Daemon, Settings, daemon
from tests.servers.database import PASSWORD, new_name
from tests.servers.postgresql import PostgreSql
from tests.store_database import StoreDatabase


@contextmanager
def stored(*settings: str) -> Iterator[StoreDatabase]:
    """An empty database with an owner of its own. `settings`: more lines of postgresql.conf."""
    # As Debian installs it.
    with PostgreSql(durable=True, settings=("shared_buffers = 128MB", *settings)) as server, server.database() as made:
        store = StoreDatabase(made, new_name(), server.port)
        made.execute(f"CREATE ROLE {store.user} LOGIN PASSWORD '{PASSWORD}'")
        made.execute(f"ALTER DATABASE {made.name} OWNER TO {store.user}")
        yield store


@dataclass(slots=True)
class OnServer(Daemon):
    """A daemon whose store is there."""

    store: StoreDatabase = field(kw_only=True)

    def fill(self, count: int, due: tuple[float, float]) -> None:
        """See `Daemon`: the same rows, copied from a file."""
        with daemon(Settings(self.settings.gateway)) as source:
            source.fill(count, due)
            copy_in(source, self.store)

    def make_due(self, count: int) -> None:
        self.store.database.execute(
            "UPDATE messages SET next_poll_at = extract(epoch FROM now()) - 1 "
            "WHERE id IN (SELECT id FROM messages WHERE state = 1 LIMIT %s)",
            count,
        )


def on_server(settings: Settings, store: StoreDatabase, *, socket: bool = False) -> AbstractContextManager[Daemon]:
    """A daemon whose store is `store`; nothing runs yet."""
    return daemon(replace(settings, store=store.toml), socket=socket, make=partial(OnServer, store=store))


def copy_in(source: Daemon, store: StoreDatabase, run: Callable[..., object] | None = None) -> None:
    """`pollerd store copy` of a file into `store`."""
    secret = source.folder / "database-password"
    secret.write_text(PASSWORD)
    (run or source.command)("store", "copy", "--to", store.url(), "--password-file", str(secret))
