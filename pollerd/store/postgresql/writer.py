"""The one connection that writes, and what becomes of a transaction whose connection broke.

Every transaction has a number, which the member's row remembers. A number that was carried out is answered from there,
the next one is carried out, any other is refused: what was held up on the way and comes late does nothing.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, TypeVar
from uuid import UUID

import msgspec

from pollerd.base import failpoints
from pollerd.base.errors import StoreError, StoreUnavailableError, StoreWentBackError
from pollerd.core.event import Event
from pollerd.core.ports import Batch
from pollerd.store import rows
from pollerd.store.batch import ordered, planned
from pollerd.store.postgresql.duty import ACTIVE
from pollerd.store.postgresql.errors import doubt
from pollerd.store.postgresql.link import DEADLINE, Connection, Link
from pollerd.store.postgresql.session import PostgresSession
from pollerd.store.session import Session

T = TypeVar("T")
AGAIN: Final = 0.25
"""Seconds between two attempts to learn what became of a transaction."""
ANSWERED: Final = 16
"""Batches that are remembered: of each caller (committer, outputs, intake) one may be in doubt at a time."""
_COMMIT: Final = b"SELECT commit_group($1, $2, $3, $4::json, $5::json, $6::json, $7::json)"
_BEGIN: Final = b"SELECT begin_change($1, $2, $3), set_config('idle_in_transaction_session_timeout', '5s', true)"
"""A member that stands still keeps its row, and with it the duty, for as long as its lease holds, and no longer."""
_TOUCHED: Final = (*rows.SCHEDULED, "id")
_SETTLED: Final = (*rows.COLUMNS[1:], "id")


class _Group(NamedTuple):
    """A batch as one call."""

    batch: Batch
    number: int
    happened: Sequence[tuple[str, int | None, str]]
    values: tuple[Any, ...]


class Writer:
    """Writes as the member `token`. On one thread."""

    def __init__(self, link: Link, token: UUID, *, active: bool = True) -> None:
        """`active`: with that duty; what a member without it writes is only what every member may."""
        self._link = link
        self._token = token
        self._duty = ACTIVE if active else None
        self.doubts = 0
        """Of how many transactions the outcome was not known, since the connection broke, and was asked for again."""
        self._number: int | None = None
        """Of the last transaction that was carried out; None: to be asked for."""
        self._certain = 0
        """The highest number of which this process knows that it was carried out."""
        self._doubtful: _Group | None = None
        """The group of which it is not known whether it was carried out. It is sent again before anything else is."""
        self._answered: deque[tuple[Batch, tuple[Event, ...]]] = deque(maxlen=ANSWERED)
        """Batches that were in doubt, and were carried out before their callers asked again, with their events."""

    def commit(self, batch: Batch, committed: Callable[[Sequence[Event]], None]) -> tuple[Event, ...]:
        """Put a batch on disk. `committed` gets the events of each group that is, in order: those of an earlier one
        whose outcome was not known come first.
        """
        if (earlier := self._doubtful) is not None and earlier.batch is batch:
            return self._carry_out(earlier, committed)
        self._settle(committed)
        for place, (known, events) in enumerate(self._answered):
            if known is batch:
                del self._answered[place]
                return events
        return self._carry_out(self._group(batch), committed)

    def _settle(self, committed: Callable[[Sequence[Event]], None]) -> None:
        """Carry out the group in doubt before anything else. Its caller was told that it failed, and may ask again."""
        if (earlier := self._doubtful) is not None:
            self._answered.append((earlier.batch, self._carry_out(earlier, committed)))

    def transact(self, change: Callable[[Session], T], committed: Callable[[Sequence[Event]], None]) -> T:
        """Run `change` in a transaction of its own."""
        self._settle(committed)
        number = self._last() + 1
        results: list[T] = []
        committing = False

        def work(connection: Connection) -> None:
            nonlocal committing
            committing = False
            with connection.transaction():
                connection.execute(_BEGIN, (self._token, number, self._duty))
                failpoints.hit("store.begun")
                results.append(change(PostgresSession(connection)))
                failpoints.hit("store.written")
                committing = True
            failpoints.hit("store.committed")

        def attempt() -> bool:
            """Whether it is certain that it was carried out, or was not and raised."""
            try:
                self._link.once(work)
            except StoreError:
                if not self._link.broken:
                    raise
                self._number = None
                return (self._resolved() if committing else self._last()) == number
            return True

        # A connection that was lost since it was used last costs nothing but the first attempt.
        if not attempt() and not attempt():
            raise StoreUnavailableError(f"the connection to {self._link.target.where} breaks; it is tried again.")
        self._number = self._certain = number
        return results[-1]

    def _resolved(self) -> int:
        """The number of the last transaction that was carried out, once the outcome of the one is known whose commit
        got no answer. Raises StoreDoubtError when the server does not tell in time.
        """
        self.doubts += 1
        until = time.monotonic() + DEADLINE
        while True:
            try:
                return self._last()
            except StoreUnavailableError as error:
                if time.monotonic() > until:
                    raise doubt(self._link.target.where) from error
            time.sleep(AGAIN)

    def _group(self, batch: Batch) -> _Group:
        # As the database keeps them: what is told at once is what is read back later.
        happened = [(kind, message_id, without_nul(body).decode()) for kind, message_id, body in ordered(batch)]
        plan = {name: some for name, some in planned(batch, ()) if some}
        touched = [dict(zip(_TOUCHED, row, strict=True)) for row in plan.pop("touch", ())]
        settled = [dict(zip(_SETTLED, row, strict=True)) for row in plan.pop("settle", ())]
        for row in (*touched, *settled):
            for name in ("recipients", "trail"):
                if isinstance(value := row.get(name), bytes):
                    row[name] = "\\x" + value.hex()
        number = self._last() + 1
        values = (self._token, number, float(batch.at), *map(_json, (touched, settled, happened, plan)))
        return _Group(batch, number, happened, values)

    def _carry_out(self, group: _Group, committed: Callable[[Sequence[Event]], None]) -> tuple[Event, ...]:
        sent = False

        def work(connection: Connection) -> int:
            nonlocal sent
            sent = True
            failpoints.hit("store.begun")
            found = connection.execute(_COMMIT, group.values).fetchone()
            failpoints.hit("store.committed")
            return int(found[0]) if found else 0

        def attempt() -> int:
            try:
                return self._link.once(work)
            except StoreError:
                # What was sent over a connection that broke may still be carried out, whatever comes of the next call.
                if sent and self._link.broken and self._doubtful is not group:
                    self._doubtful = group
                    self.doubts += 1
                raise

        try:
            base = attempt()
        except StoreError:
            if not (sent and self._link.broken):
                raise
            # The same number twice does nothing twice.
            base = attempt()
        self._doubtful = None
        self._number = self._certain = group.number
        events = tuple(
            Event(base + place, kind, message_id, body.encode())
            for place, (kind, message_id, body) in enumerate(group.happened, 1)
        )
        committed(events)
        return events

    def _last(self) -> int:
        if self._number is None:
            asked = b"SELECT last_batch FROM members WHERE token = $1 FOR UPDATE"
            found = self._link.run(lambda connection: connection.execute(asked, (self._token,)).fetchall())
            # Without a row another member has taken over: whatever is sent next is refused for that reason.
            number = int(found[0][0]) if found else 0
            if found and number < self._certain:
                where = self._link.target.where
                raise StoreWentBackError(f"the store at {where} lacks what was committed last; this one ends.")
            self._number = number
        return self._number


def _json(value: object) -> str:
    return without_nul(msgspec.json.encode(value)).decode()


def without_nul(json: bytes) -> bytes:
    """JSON as PostgreSQL can take texts from it. It has no NUL in one; where a text holds the six characters of its
    escape, they change as well.
    """
    return json.replace(b"\\u0000", b"\\ufffd")
