"""What the webhook's receivers have not taken yet, on disk: read and written by the daemon, looked at by commands."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import msgspec

from pollerd.ports import Delivery, DeliveryChange, DeliveryState
from pollerd.store import schema
from pollerd.store.statements import statements

T = TypeVar("T")
_STATES: Final = {DeliveryState.WAITING: "waiting", DeliveryState.PARKED: "parked"}


class Database(Protocol):
    """The store as seen from here."""

    async def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]: ...
    async def write(self, change: Callable[[sqlite3.Connection], T]) -> T: ...


class Deliveries:
    """Fulfils `ports.DeliveryBook`. Every call raises as `Store.commit`."""

    def __init__(self, store: Database) -> None:
        self._store = store
        self._sql = statements("deliveries")

    async def known(self, after: int, until: int) -> set[int]:
        """The events with `after < seq <= until` that are kept in whatever state."""
        return {row[0] for row in await self._store.query(self._sql["known"], (after, until))}

    async def blocked(self, messages: Sequence[int]) -> set[int]:
        """Those of `messages` that have an event waiting."""
        return {row[0] for row in await self._store.query(self._sql["blocked"], (_json(messages),))}

    async def due(self, lane: str, now: float, latest: float, limit: int) -> list[Delivery]:
        """Waiting events that may be posted at `now`, longest due first; also what was planned after `latest`."""
        return [_delivery(row) for row in await self._store.query(self._sql["due"], (lane, now, latest, limit))]

    async def next_at(self, lane: str) -> float | None:
        """When the next waiting event of a lane is to be posted, UNIX seconds."""
        found: float | None = (await self._store.query(self._sql["next_at"], (lane,)))[0][0]
        return found

    async def undelivered(self, after: int, limit: int) -> list[Delivery]:
        """Waiting and parked events with `seq > after`, ascending."""
        return [_delivery(row) for row in await self._store.query(self._sql["undelivered"], (after, limit))]

    async def save(self, change: DeliveryChange) -> None:
        """Commit a change, whole or not at all."""
        work: list[tuple[str, Sequence[Sequence[Any]]]] = [
            ("keep", [_row(delivery, change.at) for delivery in change.kept]),
            ("drop", [(seq,) for seq in change.gone]),
            ("free", [(change.at, message) for message in change.freed]),
        ]
        if change.cursor is not None:
            cursor = change.cursor
            work.append(("drop_done", [(cursor.seq,)]))
            work.append(("save_cursor", [(cursor.name, cursor.seq, cursor.detail, change.at)]))

        def write(db: sqlite3.Connection) -> None:
            for name, rows in work:
                if rows:
                    db.executemany(self._sql[name], rows)

        await self._store.write(write)

    async def relabel(self, lanes: Sequence[tuple[int, str]]) -> None:
        """Give events (by `seq`) another lane."""

        def write(db: sqlite3.Connection) -> None:
            db.executemany(self._sql["relabel"], [(lane, seq) for seq, lane in lanes])

        await self._store.write(write)

    async def forget_parked(self, before: float) -> int:
        """Delete events parked before that instant; returns how many."""

        def write(db: sqlite3.Connection) -> int:
            return db.execute(self._sql["forget_parked"], (before,)).rowcount

        return await self._store.write(write)


# -- for commands, beside a daemon that runs or without one


def read_undelivered(database: sqlite3.Connection, after: int, limit: int) -> list[Delivery]:
    """Waiting and parked events with `seq > after`, ascending. Raises sqlite3.Error."""
    return [_delivery(row) for row in database.execute(statements("deliveries")["undelivered"], (after, limit))]


def count_undelivered(database: sqlite3.Connection) -> dict[str, int]:
    """How many events are `waiting` for their next attempt and how many are `parked`. Raises sqlite3.Error."""
    found = dict.fromkeys(_STATES.values(), 0)
    found |= {_STATES[DeliveryState(state)]: n for state, n in database.execute(statements("deliveries")["count"])}
    return found


def retry_parked(path: Path) -> int:
    """Take up again every parked event, with all its attempts; returns how many. A daemon that runs posts them within
    about a second. Raises StoreError.
    """
    sql = statements("deliveries")
    database = schema.prepare(path)
    try:
        with schema.explained(path):
            database.execute("BEGIN IMMEDIATE")
            now = time.time()
            messages = database.execute(sql["parked_messages"]).fetchall()
            taken_up = database.execute(sql["unpark"], (now,)).rowcount
            database.executemany(sql["behind"], messages)
            database.executemany(sql["free"], [(now, message) for (message,) in messages])
            database.execute("COMMIT")
    finally:
        database.close()
    return taken_up


def _row(delivery: Delivery, at: float) -> tuple[Any, ...]:
    return (*msgspec.structs.astuple(delivery), at)


def _delivery(row: Sequence[Any]) -> Delivery:
    seq, kind, message, body, lane, state, attempts, next_at, error = row
    return Delivery(seq, kind, message, bytes(body), lane, DeliveryState(state), attempts, next_at, error)


def _json(values: Sequence[int]) -> str:
    return msgspec.json.encode(list(values)).decode()
