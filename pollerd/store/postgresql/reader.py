"""PostgreSQL opened for reading, by whoever reads beside the daemon or without one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Self, TypeVar

import psycopg

from pollerd.core.ports.view import ClusterView, StoreSize
from pollerd.store.postgresql import member, schema
from pollerd.store.postgresql.link import Connection, Link, Target
from pollerd.store.postgresql.session import PostgresSession
from pollerd.store.postgresql.statements import POSTGRESQL

T = TypeVar("T")
_TIMEOUT: Final = b"SELECT set_config('statement_timeout', $1, true)"
_SNAPSHOT: Final = b"SELECT pg_current_snapshot()::text"
"""Another one once any transaction of the server has begun to write or has ended."""


class PostgresReader:
    """Fulfils `session.ReadConnection`."""

    sql = POSTGRESQL

    def __init__(self, target: Target) -> None:
        self._link = Link(target)
        self._seen = ""
        self._held: Connection | None = None
        """Within a snapshot."""

    @classmethod
    def open(cls, target: Target) -> Self:
        """Connect. Raises DatabaseMissingError when there are no tables, StoreError when they cannot be read."""
        reader = cls(target)
        try:
            reader._link.run(schema.check)
        except BaseException:
            reader.close()
            raise
        return reader

    def close(self) -> None:
        """Let go of the connection."""
        self._link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        return self._run(lambda connection: PostgresSession(connection).query(sql, values))

    def query_within(self, seconds: float, sql: str, values: Sequence[Any] = ()) -> list[Any] | None:
        if self._held is None:
            with self.snapshot():
                return self.query_within(seconds, sql, values)
        connection = self._held
        try:
            with connection.transaction():
                connection.execute(_TIMEOUT, (str(int(seconds * 1000)),))
                found = PostgresSession(connection).query(sql, values)
                connection.execute(_TIMEOUT, ("0",))
        except psycopg.errors.QueryCanceled:
            return None
        return found

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        with self._link.connected() as connection, connection.transaction():
            connection.execute(b"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            self._held = connection
            try:
                yield
            finally:
                self._held = None

    def changed(self) -> bool:
        found = str(self._run(lambda connection: connection.execute(_SNAPSHOT).fetchone()))
        changed = found != self._seen
        self._seen = found
        return changed

    @property
    def replaced(self) -> bool:
        """See `ReadConnection`: a connection that was lost is made again by itself."""
        return False

    @property
    def owner(self) -> int | None:
        found = self._run(member.owner)
        return None if found is None else found.pid if found.here else 0

    @property
    def cluster(self) -> ClusterView:
        """See `ReadConnection`."""
        return self._run(member.cluster)

    @property
    def size(self) -> StoreSize:
        """See `ReadConnection`: the whole database. Its log is the server's."""
        return StoreSize(int(self.query("SELECT pg_database_size(current_database())")[0][0]), 0)

    def _run(self, work: Callable[[Connection], T]) -> T:
        return self._link.run(work) if self._held is None else work(self._held)
