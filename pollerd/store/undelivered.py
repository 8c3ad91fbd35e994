"""What the webhook's receivers have not taken, for commands: beside a daemon that runs or without one. Synchronous."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from pollerd import anchor
from pollerd.ports import Delivery, DeliveryState
from pollerd.store import schema
from pollerd.store.lock import check_same_file
from pollerd.store.statements import statements

_STATES: Final = {DeliveryState.WAITING: "waiting", DeliveryState.PARKED: "parked"}


def read_undelivered(database: sqlite3.Connection, after: int, limit: int) -> list[Delivery]:
    """Waiting and parked events with `seq > after`, ascending. Raises sqlite3.Error."""
    return [delivery_from_row(row) for row in database.execute(statements("deliveries")["undelivered"], (after, limit))]


def count_undelivered(database: sqlite3.Connection) -> dict[str, int]:
    """How many events are `waiting` for their next attempt and how many are `parked`. Raises sqlite3.Error."""
    found = dict.fromkeys(_STATES.values(), 0)
    found |= {_STATES[DeliveryState(state)]: n for state, n in database.execute(statements("deliveries")["count"])}
    return found


def retry_parked(path: Path) -> int:
    """Take up again every parked event, with all its attempts; returns how many. A daemon that runs posts them within
    about a second. Raises StoreError.
    """
    check_same_file(path)
    database = schema.prepare(path)
    try:
        with schema.explained(path):
            database.execute("BEGIN IMMEDIATE")
            note = database.execute(statements("view")["note"], (anchor.NOTE,)).fetchone()
            taken_up = unpark(database, time.time() - anchor.wall_ahead(note and note[0]))
            database.execute("COMMIT")
    finally:
        database.close()
    return taken_up


def unpark(database: sqlite3.Connection, now: float) -> int:
    """As `retry_parked`, inside a transaction, at the instant `now` (daemon's time). Raises sqlite3.Error."""
    sql = statements("deliveries")
    messages = database.execute(sql["parked_messages"]).fetchall()
    taken_up = database.execute(sql["unpark"], (now,)).rowcount
    database.executemany(sql["behind"], messages)
    database.executemany(sql["free"], [(now, message) for (message,) in messages])
    return taken_up


def delivery_from_row(row: Sequence[Any]) -> Delivery:
    """A row selected as the statements in `deliveries.sql` do."""
    seq, kind, message, body, lane, state, attempts, next_at, error = row
    return Delivery(seq, kind, message, bytes(body), lane, DeliveryState(state), attempts, next_at, error)
