"""Statements on a connection of the sqlite3 module."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import chain
from typing import Any, Final

from pollerd.store.statements import SQLITE

MOST_ROWS: Final = 64
"""Rows that a statement is given at most: a power of two. Statements of 512 rows take 8 MB more, and no less time."""


class SqliteSession:
    """Fulfils `session.Session`. Raises sqlite3.Error, which whoever runs the transaction makes ours."""

    __slots__ = ("_connection",)
    sql = SQLITE

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, sql: str, values: Sequence[Any] = ()) -> int:
        return self._connection.execute(sql, values).rowcount

    def executemany(self, sql: str, rows: Sequence[Sequence[Any]]) -> int:
        """See `session.Session`. A statement that ends with VALUES gets many rows at once.

        The sqlite3 module lets go of the interpreter whenever a statement runs, and a busy event loop gives it back
        late: with a statement for each row, a large group takes seconds.
        """
        if not sql.endswith("VALUES"):
            return self._connection.executemany(sql, rows).rowcount
        row = f"({', '.join('?' * len(rows[0]))})"
        most = min(MOST_ROWS, self._connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER) // len(rows[0]))
        changed = start = 0
        while left := len(rows) - start:
            # Of few lengths, so that the connection has prepared them already.
            count = min(most, 1 << left.bit_length() - 1)
            values = list(chain.from_iterable(rows[start : start + count]))
            changed += self._connection.execute(f"{sql} {', '.join([row] * count)}", values).rowcount
            start += count
        return changed

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        return self._connection.execute(sql, values).fetchall()
