"""Statements on a connection of the sqlite3 module."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from pollerd.store.statements import SQLITE


class SqliteSession:
    """Fulfils `session.Session`. Raises sqlite3.Error, which whoever runs the transaction makes ours."""

    __slots__ = ("_connection",)
    sql = SQLITE

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, sql: str, values: Sequence[Any] = ()) -> int:
        return self._connection.execute(sql, values).rowcount

    def executemany(self, sql: str, rows: Sequence[Sequence[Any]]) -> int:
        return self._connection.executemany(sql, rows).rowcount

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        return self._connection.execute(sql, values).fetchall()
