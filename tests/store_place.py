"""A store in either engine for one test: opened as the daemon does, and used by other programs with plain SQL."""

from __future__ import annotations

import sqlite3
import time
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from pollerd.core import event as events
from pollerd.core.event import Body
from pollerd.core.model import Message
from pollerd.core.ports import Handover, View
from pollerd.store import rows
from pollerd.store.postgresql.store import PostgresStore
from pollerd.store.sqlite.lock import FileOwnership
from pollerd.store.sqlite.store import SqliteStore
from tests.sqlite_kit import autocommit, transaction
from tests.store_database import StoreDatabase
from tests.store_kit import handover_of, view_of

AnyStore = SqliteStore | PostgresStore
_PLACES: WeakKeyDictionary[PostgresStore, ServerPlace] = WeakKeyDictionary()


def place_of(store: AnyStore) -> Place:
    """Where an open store is kept."""
    return FilePlace(store.path) if isinstance(store, SqliteStore) else _PLACES[store]


class Place:
    """Where a store is kept. SQL is that of SQLite, with `?`."""

    @abstractmethod
    def opened(self, wall: Callable[[], float] = time.time) -> AbstractAsyncContextManager[AnyStore]:
        """The store as the daemon has it open."""

    @abstractmethod
    def execute(self, sql: str, *values: object) -> list[Any]:
        """A statement by another program; the rows that it gives."""

    @abstractmethod
    def many(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        """A statement once for each row, in one transaction."""

    @abstractmethod
    def refusing(self, what: str) -> AbstractContextManager[None]:
        """Within, the database refuses this, such as "INSERT ON events"."""

    @abstractmethod
    def view(self) -> View:
        """The store as a command reads it."""

    @abstractmethod
    def connected(self) -> AbstractContextManager[Any]:
        """A connection of another program: `execute(sql, values)` gives a cursor. What is written is committed at the
        end at the latest.
        """

    def retry_parked(self) -> int:
        """Take up again what is parked, as `pollerd retry --undelivered` does."""
        with self.handover() as handover:
            return handover.retry_parked()

    @abstractmethod
    def handover(self) -> Handover:
        """The store as a command writes it."""

    @abstractmethod
    def owned(self) -> AbstractContextManager[object]:
        """Within, this process owns it as a daemon does."""

    @abstractmethod
    def empty(self) -> None:
        """Nothing has ever been here: not even tables."""

    def make(self) -> None:
        """The tables, as the first command makes them."""
        with self.handover():
            pass

    def put(self, messages: Sequence[Message]) -> None:
        """Messages as the daemon would have left them."""
        marks = ", ".join("?" * len(rows.COLUMNS))
        self.many(
            f"INSERT INTO messages ({', '.join(rows.COLUMNS)}) VALUES ({marks})",
            [rows.row_from_message(message) for message in messages],
        )

    def tell(self, bodies: Sequence[Body], at: float) -> None:
        """Events as the daemon would have committed them, after all that are there."""
        for body in bodies:
            self.tell_as(events.event_type(body), getattr(body, "id", None), at, events.encode(body))

    @abstractmethod
    def tell_as(self, kind: str, message_id: int | None, at: float, body: bytes) -> None:
        """One event, whatever it is."""

    def insert(self, *ids: int) -> None:
        """Hand ids over."""
        self.many("INSERT INTO messages (id) VALUES (?) ON CONFLICT DO NOTHING", [(number,) for number in ids])


class FilePlace(Place):
    """An SQLite file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @asynccontextmanager
    async def opened(self, wall: Callable[[], float] = time.time) -> AsyncIterator[SqliteStore]:
        store = await SqliteStore.open(self.path, wall)
        try:
            yield store
        finally:
            await store.close()

    def execute(self, sql: str, *values: object) -> list[Any]:
        with autocommit(self.path) as connection:
            return connection.execute(sql, values).fetchall()

    def many(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        with transaction(self.path) as connection:
            connection.executemany(sql, rows)

    def owned(self) -> AbstractContextManager[object]:
        return FileOwnership.acquire(self.path, daemon=True)

    def empty(self) -> None:
        self.path.unlink(missing_ok=True)

    def tell_as(self, kind: str, message_id: int | None, at: float, body: bytes) -> None:
        self.execute("INSERT INTO events (type, message_id, at, body) VALUES (?, ?, ?, ?)", kind, message_id, at, body)

    @contextmanager
    def refusing(self, what: str) -> Iterator[None]:
        self.execute(f"CREATE TRIGGER refusing BEFORE {what} BEGIN SELECT RAISE(ABORT, 'refused by a test'); END")
        yield
        self.execute("DROP TRIGGER refusing")

    def view(self) -> View:
        return view_of(self.path)

    def handover(self) -> Handover:
        return handover_of(self.path)

    def connected(self) -> AbstractContextManager[sqlite3.Connection]:
        return transaction(self.path)


class ServerPlace(Place):
    """A database in PostgreSQL."""

    def __init__(self, database: StoreDatabase) -> None:
        self.database = database

    @asynccontextmanager
    async def opened(self, wall: Callable[[], float] = time.time) -> AsyncIterator[PostgresStore]:
        engine = self.database.engine()
        with engine.own(daemon=True) as member:
            store = await PostgresStore.open(self.database.target(), member, wall)
            _PLACES[store] = self
            try:
                yield store
            finally:
                await store.close()

    def execute(self, sql: str, *values: object) -> list[Any]:
        return self.database.query(sql, *values)

    def many(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        with self.database.database.connect() as connection, connection.transaction(), connection.cursor() as cursor:
            cursor.executemany(sql.replace("?", "%s"), rows)

    def owned(self) -> AbstractContextManager[object]:
        return self.database.engine().own(daemon=True)

    def empty(self) -> None:
        self.execute(f"DROP OWNED BY {self.database.user}")

    def tell_as(self, kind: str, message_id: int | None, at: float, body: bytes) -> None:
        self.execute(
            "WITH raised AS (UPDATE cluster SET last_seq = last_seq + 1 RETURNING last_seq)"
            " INSERT INTO events (seq, type, message_id, at, body) SELECT last_seq, ?, ?, ?, ?::json FROM raised",
            kind, message_id, at, body.decode(),
        )  # fmt: skip

    @contextmanager
    def refusing(self, what: str) -> Iterator[None]:
        table = what.rpartition(" ")[2]
        self.execute(
            "CREATE FUNCTION refusing() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'refused by a test'; END $$"
        )
        self.execute(f"CREATE TRIGGER refusing BEFORE {what} FOR EACH ROW EXECUTE FUNCTION refusing()")
        yield
        self.execute(f"DROP TRIGGER refusing ON {table}")
        self.execute("DROP FUNCTION refusing")

    def view(self) -> View:
        return self.database.engine().view()

    def handover(self) -> Handover:
        return self.database.engine().handover()

    @contextmanager
    def connected(self) -> Iterator[_Connection]:
        with self.database.database.connect() as connection:
            yield _Connection(connection)


class _Connection:
    """Takes SQLite's words."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def execute(self, sql: str, values: Sequence[object] = ()) -> Any:
        return self._connection.execute(sql.replace("%", "%%").replace("?", "%s"), list(values))

    def executemany(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        with self._connection.cursor() as cursor:
            cursor.executemany(sql.replace("?", "%s"), rows)
