"""What outputs have not delivered, for commands: beside a daemon that runs or without one. Synchronous."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pollerd.base import anchor
from pollerd.core.ports import Delivery, DeliveryState
from pollerd.store import unwritten
from pollerd.store.sqlite import schema
from pollerd.store.sqlite.lock import check_same_file
from pollerd.store.statements import statements


class Undelivered(NamedTuple):
    """How many events of an output are `waiting` for their next attempt, and how many are `parked`."""

    waiting: int = 0
    parked: int = 0


def read_undelivered(
    database: sqlite3.Connection, after: int, limit: int, *, after_output: str = "\U0010ffff"
) -> list[Delivery]:
    """Waiting and parked events of all outputs, ascending by `seq` and output, that come after those given.

    Without `after_output`: with `seq > after`. Raises sqlite3.Error.
    """
    found = database.execute(statements("undelivered")["list"], (after, after_output, limit))
    return [delivery_from_row(row) for row in found]


def count_undelivered(database: sqlite3.Connection, most: int) -> dict[str, Undelivered]:
    """How much each output has not delivered, counted up to about `most`. Raises sqlite3.Error."""
    found: dict[str, Undelivered] = {}
    for output, state, count in database.execute(statements("undelivered")["count"], (most,)):
        parked = state == DeliveryState.PARKED
        found[output] = found.get(output, Undelivered())._replace(**{"parked" if parked else "waiting": count})
    return found


def retry_parked(path: Path) -> int:
    """Take up again every parked event, with all its attempts; returns how many. A daemon that runs tries them within
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
    return taken_up + unwritten.unpark(database, now)


def delivery_from_row(row: Sequence[Any]) -> Delivery:
    """A row selected as the statements in `undelivered.sql` do, or without the output in `deliveries.sql`."""
    seq, kind, message, body, lane, state, attempts, next_at, error, *output = row
    return Delivery(seq, kind, message, bytes(body), lane, DeliveryState(state), attempts, next_at, error, *output)
