"""An application's database of another kind than SQLite's file, and its query: read through SQLAlchemy."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import ColumnClause, Connection, Executable, Select, bindparam, column, literal_column, select, text

from pollerd.config.sql import AFTER, LIMIT, for_sqlalchemy, windowed, without_end
from pollerd.databases.engine import Database
from pollerd.databases.trouble import DatabaseError
from pollerd.intake.source import Place, ReadError, Window, key_place, window_of

_KEEP: Final = 60.0
"""Seconds between two looks from which on the connection is closed after each: it would stand idle at the server."""


class SqlReader:
    """Runs `query` on `database` every `every` seconds. Fulfils `source.Reader`."""

    def __init__(self, database: Database, query: str, every: float) -> None:
        self._database = database
        self._windowed = windowed(query)
        self._query = text(for_sqlalchemy(query if self._windowed else without_end(query)))
        self._key: ColumnClause[Any] | None = None
        self._keep = every < _KEEP
        self._first: object = 0 if database.url.kind == "sqlite" else "0"
        """What :after is at first. A text in quotes is a number where one is wanted, but for SQLite."""

    @property
    def where(self) -> str:
        return self._database.url.place

    def hurry(self) -> None:
        self._database.hurry()

    def close(self) -> None:
        self._database.close()

    def read(self, place: Place, most: int) -> Window:
        try:
            with self._database.connection() as connection:
                statement = self._query if self._windowed else self._window(connection, place, most)
                after = place.key if place.keyed else self._first
                result = connection.execute(statement, {AFTER: after, LIMIT: most})
                names = list(result.keys())
                return window_of(names, result.fetchmany(most), key_place(names), most)
        except DatabaseError as error:
            self._key = None
            raise ReadError(str(error), error.trouble) from error
        finally:
            if not self._keep:
                self._database.close()

    def _window(self, connection: Connection, place: Place, most: int) -> Executable:
        """The query in another one that gives a window of its rows."""
        found: Select[Any] = select(literal_column("*")).select_from(self._query.columns().subquery("found"))
        if self._key is None:
            names = list(connection.execute(found.limit(0)).keys())
            self._key = column(names[key_place(names)])
        if place.keyed:
            found = found.where(self._key.is_not(None) if place.key is None else self._key > bindparam(AFTER))
        return found.order_by(self._key).limit(most)
