"""An application's database behind SQLAlchemy, and its query. SQLAlchemy is imported in the thread that uses it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from pollerd.config.sql import AFTER, LIMIT, for_sqlalchemy, paged, without_end
from pollerd.databases.engine import Database
from pollerd.databases.trouble import DatabaseError
from pollerd.intake.source import Page, Place, ReadError, key_place, page_of

if TYPE_CHECKING:
    from sqlalchemy import ColumnClause, Connection, Executable, Select

_KEEP: Final = 60.0
"""Seconds between two looks from which on the connection is closed after each: it would stand idle at the server."""
FIRST: Final = "0"
"""What :after is at first. A text in quotes is a number where one is wanted."""


class SqlReader:
    """Runs `query` on `database` every `every` seconds. Fulfils `source.Reader`."""

    def __init__(self, database: Database, query: str, every: float) -> None:
        self._database = database
        self._query = query
        self._key: ColumnClause[Any] | None = None
        self._keep = every < _KEEP

    @property
    def where(self) -> str:
        return self._database.url.place

    def hurry(self) -> None:
        self._database.hurry()

    def close(self) -> None:
        self._database.close()

    def read(self, place: Place, most: int) -> Page:
        try:
            with self._database.connection() as connection:
                if self._key is None:
                    from sqlalchemy import column

                    names = names_of(connection, self._query)
                    self._key = column(names[key_place(names)])
                statement = _page(self._query, self._key, place, most)
                after = place.key if place.keyed else FIRST
                result = connection.execute(statement, {AFTER: after, LIMIT: most})
                names = list(result.keys())
                return page_of(names, result.fetchmany(most), key_place(names), most)
        except DatabaseError as error:
            self._key = None
            raise ReadError(str(error), error.trouble) from error
        finally:
            if not self._keep:
                self._database.close()


def names_of(connection: Connection, query: str) -> Sequence[str]:
    """The columns that the query gives; no row of it is read."""
    from sqlalchemy import text

    if paged(query):
        result = connection.execute(text(for_sqlalchemy(query)), {AFTER: FIRST, LIMIT: 0})
    else:
        result = connection.execute(_found(query).limit(0))
    return list(result.keys())


def _found(query: str) -> Select[Any]:
    """Everything that the query gives, as a part of another one."""
    from sqlalchemy import literal_column, select, text

    inner = text(for_sqlalchemy(without_end(query))).columns().subquery("found")
    return select(literal_column("*")).select_from(inner)


def _page(query: str, key: ColumnClause[Any], place: Place, most: int) -> Executable:
    """What gives `most` rows of the query from there on, in the order of their keys."""
    from sqlalchemy import bindparam, text

    if paged(query):
        return text(for_sqlalchemy(query))
    found = _found(query)
    if place.keyed:
        found = found.where(key.is_not(None) if place.key is None else key > bindparam(AFTER))
    return found.order_by(key).limit(most)
