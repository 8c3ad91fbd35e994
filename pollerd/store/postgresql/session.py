"""Statements on a connection to PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pollerd.store.postgresql.link import Connection
from pollerd.store.postgresql.statements import POSTGRESQL

_ARRAYS: Final = "[]"
"""Stands in a statement that takes all rows at once, as an array of each column: a statement for each row would be
understood and planned for each.

`(SELECT ...)` around an array hides its length from the planner, which would rather read a whole table of some hundred
thousand rows than look for a thousand of them in an index.
"""


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
        if _ARRAYS in sql:
            return self.execute(sql, [_array(column) for column in zip(*rows, strict=True)])
        with self._connection.cursor() as cursor:
            cursor.executemany(sql.encode(), rows)
            return cursor.rowcount

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        return self._connection.execute(sql.encode(), values).fetchall()


def _array(column: Sequence[Any]) -> list[Any]:
    """The values of a column, all of one type."""
    if any(isinstance(value, float) for value in column):
        return [float(value) if isinstance(value, int) else value for value in column]
    return [int(value) if isinstance(value, int) else value for value in column]
