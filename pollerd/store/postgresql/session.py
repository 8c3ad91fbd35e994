"""Statements on a connection to PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pollerd.store.postgresql.link import Connection
from pollerd.store.postgresql.statements import POSTGRESQL


class PostgresSession:
    """Fulfils `session.Session`. Raises psycopg.Error, which `link.Link` makes ours."""

    __slots__ = ("_connection",)
    sql = POSTGRESQL

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def execute(self, sql: str, values: Sequence[Any] = ()) -> int:
        return self._connection.execute(sql.encode(), values).rowcount

    def executemany(self, sql: str, rows: Sequence[Sequence[Any]]) -> int:
        if not rows:
            return 0
        with self._connection.cursor() as cursor:
            cursor.executemany(sql.encode(), rows)
            return cursor.rowcount

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        return self._connection.execute(sql.encode(), values).fetchall()
