"""An application's database behind SQLAlchemy as a target: a statement for each event, its parameters the fields.

An event that the database refuses takes its transaction with it: PostgreSQL goes on with none that has failed. The
others are tried again, each in a transaction of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from pollerd.config.sql import SOURCE_ID, analysed, for_sqlalchemy
from pollerd.core.event import Status, encode, instant
from pollerd.databases.engine import Database
from pollerd.databases.trouble import DatabaseError, Trouble
from pollerd.outputs.target.engine import ConflictError, Execute, LostError, TargetError
from pollerd.outputs.target.values import parameters

if TYPE_CHECKING:
    from sqlalchemy import Connection

_INSTANTS: Final = frozenset({"observed_at", "until"})
"""Fields that are an instant, as `core.event.instant` writes it."""


class SqlTarget:
    """Runs `statement` on the database. Fulfils `engine.TargetDatabase`."""

    def __init__(self, database: Database, statement: str) -> None:
        self._database = database
        self._statement = statement
        self._names = analysed(statement).names

    def transact(self, work: Callable[[Execute], None]) -> None:
        try:
            with self._database.connection() as connection:
                work(self._executing(connection))
                connection.commit()
        except DatabaseError as error:
            match error.trouble:
                case Trouble.REFUSED:
                    # At once, or by a constraint that is checked at the end.
                    raise LostError(error.said) from error
                case Trouble.CONFLICT:
                    raise ConflictError(str(error)) from error
                case _:
                    raise TargetError(str(error)) from error

    def _executing(self, connection: Connection) -> Execute:
        from sqlalchemy import text

        statement = text(for_sqlalchemy(self._statement))

        def execute(values: Mapping[str, object]) -> int:
            result = connection.execute(statement, bound(values, self._names, self._database.url.kind))
            # Rows that it gives (RETURNING, a function) count as changed ones. Those of a procedure are not known.
            rows = len(result.fetchall()) if result.returns_rows else result.rowcount
            return 1 if rows < 0 else rows

        return execute

    def hurry(self) -> None:
        self._database.hurry()

    def close(self) -> None:
        self._database.close()


def bound(values: Mapping[str, object], names: frozenset[str], kind: str) -> dict[str, object]:
    """The values of these names in the form that a kind of database takes.

    PostgreSQL takes a text without a type for what stands beside it: a number, a boolean, a time. Others compare a
    text with a number without its index, so that the id of a source is a text there, too; and a time has no zone.
    """
    chosen = {name: values[name] for name in names}
    if isinstance(found := chosen.get(SOURCE_ID), float) and found.is_integer():
        # From another database, whose column was of that type: no whole number is written so.
        chosen[SOURCE_ID] = int(found)
    if kind == "postgresql":
        return {name: None if value is None else str(value) for name, value in chosen.items()}
    return {name: _plain(name, value) for name, value in chosen.items()}


def _plain(name: str, value: object) -> object:
    if value is None:
        return None
    if name == SOURCE_ID:
        return str(value)
    return datetime.fromisoformat(str(value)).astimezone(UTC).replace(tzinfo=None) if name in _INSTANTS else value


def sample(statement: str, kind: str) -> dict[str, object]:
    """Values of an event for the statement, in their forms, to ask a database about it."""
    status = Status(
        id=1,
        account="default",
        msisdn=4587654321,
        status="DELIVERED",
        previous="ENROUTE",
        final=True,
        time=1764000042,
        error=None,
        code=None,
        userref="order",
        country_code="DK",
        country_prefix=45,
        mcc="238",
        mnc="1",
        observed_at=instant(1764000042.0),
        polls=1,
    )
    return bound(parameters(1, encode(status)), analysed(statement).names, kind)
