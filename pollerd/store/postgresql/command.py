"""A connection by which a command hands over, beside the active member or without one. What it writes needs no duty."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

from pollerd.store.postgresql import schema
from pollerd.store.postgresql.link import Link, Target
from pollerd.store.postgresql.session import PostgresSession
from pollerd.store.postgresql.statements import POSTGRESQL


class CommandConnection:
    """Fulfils `session.WriteConnection`."""

    sql = POSTGRESQL

    def __init__(self, link: Link) -> None:
        self._link = link

    @classmethod
    def open(cls, target: Target) -> Self:
        """Connect; create the tables where there are none yet. Raises StoreError."""
        link = Link(target)
        try:
            link.run(schema.prepare)
        except BaseException:
            link.close()
            raise
        return cls(link)

    def close(self) -> None:
        """Let go of the connection."""
        self._link.close()

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        return self._link.run(lambda connection: PostgresSession(connection).query(sql, values))

    @contextmanager
    def transaction(self) -> Iterator[PostgresSession]:
        with self._link.connected() as connection, connection.transaction():
            yield PostgresSession(connection)
