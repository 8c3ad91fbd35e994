"""A connection by which a command hands over, beside the active member or without one. What it writes needs no duty."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Self

from pollerd.base.errors import StoreAwayError, StoreError, StoreUnavailableError
from pollerd.store.postgresql import schema
from pollerd.store.postgresql.errors import doubt
from pollerd.store.postgresql.link import DEADLINE, Link, Target
from pollerd.store.postgresql.session import PostgresSession
from pollerd.store.postgresql.statements import POSTGRESQL
from pollerd.store.postgresql.writer import AGAIN

log = logging.getLogger(__name__)

_BEGIN: Final = b"""
SELECT pg_current_xact_id()::text, set_config('idle_in_transaction_session_timeout', '10s', true)
"""
_OUTCOME: Final = b"SELECT pg_xact_status($1::text::xid8)"


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
        number, committing = "", False
        try:
            with self._link.connected() as connection, connection.transaction():
                row: Any = connection.execute(_BEGIN).fetchone()
                number = row[0]
                yield PostgresSession(connection)
                committing = True
        except StoreError:
            if not number or not self._link.broken:
                raise
            if not (committing and self._carried_out(number)):
                where = self._link.target.where
                raise StoreAwayError(
                    f"the connection to PostgreSQL at {where} broke, and nothing was done. Try again."
                ) from None

    def _carried_out(self, number: str) -> bool:
        """Whether the transaction of that number was, whose commit got no answer. Raises StoreDoubtError when the
        server does not tell in time.
        """
        until = time.monotonic() + DEADLINE
        while True:
            try:
                row: Any = self._link.run(lambda connection: connection.execute(_OUTCOME, (number,)).fetchone())
                if row[0] != "in progress":
                    return bool(row[0] == "committed")
            except StoreUnavailableError as error:
                log.debug("what became of a transaction is asked again: %s", error)
            if time.monotonic() > until:
                raise doubt(self._link.target.where)
            time.sleep(AGAIN)
