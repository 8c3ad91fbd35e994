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
SELECT pg_current_xact_id()::text, server_timeline(), set_config('idle_in_transaction_session_timeout', '10s', true)
"""
_OUTCOME: Final = b"SELECT CASE WHEN server_timeline() = $2 THEN pg_xact_status($1::text::xid8) END"
"""A server that has taken over may have given the number to another transaction, or none yet."""


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
        number, timeline, committing = "", 0, False
        try:
            with self._link.connected() as connection, connection.transaction():
                row: Any = connection.execute(_BEGIN).fetchone()
                number, timeline, _ = row
                yield PostgresSession(connection)
                committing = True
        except StoreError:
            if not number or not self._link.broken:
                raise
            if not (committing and self._carried_out(number, timeline)):
                where = self._link.target.where
                raise StoreAwayError(
                    f"the connection to PostgreSQL at {where} broke, and nothing was done. Try again."
                ) from None

    def _carried_out(self, number: str, timeline: int) -> bool:
        """Whether the transaction of that number was, whose commit got no answer. Raises StoreDoubtError when the
        server does not tell in time, or another one has taken over, which cannot tell.
        """
        until = time.monotonic() + DEADLINE
        values, found = (number, timeline), "in progress"
        while found == "in progress" and time.monotonic() < until:
            try:
                row: Any = self._link.run(lambda connection: connection.execute(_OUTCOME, values).fetchone())
                found = row[0]
            except StoreUnavailableError as error:
                log.debug("what became of a transaction is asked again: %s", error)
            if found == "in progress":
                time.sleep(AGAIN)
        if found not in ("committed", "aborted"):
            raise doubt(self._link.target.where)
        return found == "committed"
