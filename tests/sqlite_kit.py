"""SQLite as any other program uses it. `with sqlite3.connect(...)` leaves the connection open; these close it."""

from __future__ import annotations

import re
import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

_TIMEOUT: Final = 10.0
"""Seconds to wait for another writer: a test must not fail because the daemon is committing."""


@contextmanager
def autocommit(database: Path | str) -> Iterator[sqlite3.Connection]:
    """A connection in autocommit mode, closed at the end."""
    with closing(sqlite3.connect(database, timeout=_TIMEOUT, isolation_level=None)) as connection:
        yield connection


@contextmanager
def transaction(database: Path | str) -> Iterator[sqlite3.Connection]:
    """A connection for one transaction: committed, or rolled back after an exception, then closed."""
    with closing(sqlite3.connect(database, timeout=_TIMEOUT)) as connection, connection:
        yield connection


def rows(database: Path | str, sql: str, *parameters: object) -> list[Any]:
    """All rows that a query finds. Read-only: what a killed daemon left in the write-ahead log stays there."""
    uri = f"file:{quote(str(database))}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=_TIMEOUT)) as connection:
        return connection.execute(sql, parameters).fetchall()


def readme_insert(database: Path, message_id: int) -> list[str]:
    """The README's own line for handing an id over by SQL, for this database and id."""
    readme = Path(__file__).parents[1] / "README.md"
    line = re.search(r"^sqlite3 .*INSERT.*$", readme.read_text(), re.MULTILINE)
    assert line is not None
    *command, _, sql = shlex.split(line[0])
    return [*command, str(database), sql.replace("421332671", str(message_id))]
