"""What outputs have not delivered, for commands: beside a daemon that runs or without one. Synchronous."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pollerd.core.ports import Delivery, DeliveryState
from pollerd.core.ports.view import Undelivered
from pollerd.store import unwritten
from pollerd.store.session import Querying, Session


def read_undelivered(
    connection: Querying, after: int, limit: int, *, after_output: str = "\U0010ffff"
) -> list[Delivery]:
    """Waiting and parked events of all outputs, ascending by `seq` and output, that come after those given.

    Without `after_output`: with `seq > after`.
    """
    found = connection.query(connection.sql("undelivered")["list"], (after, after_output, limit))
    return [delivery_from_row(row) for row in found]


def count_undelivered(connection: Querying, most: int) -> dict[str, Undelivered]:
    """How much each output has not delivered, counted up to about `most`."""
    found: dict[str, Undelivered] = {}
    for output, state, count in connection.query(connection.sql("undelivered")["count"], (most,)):
        parked = state == DeliveryState.PARKED
        found[output] = found.get(output, Undelivered())._replace(**{"parked" if parked else "waiting": count})
    return found


def retry_parked(session: Session, now: float) -> int:
    """Take up again every parked event, with all its attempts, at the instant `now`; returns how many."""
    sql = session.sql("deliveries")
    messages = session.query(sql["parked_messages"])
    taken_up = session.execute(sql["unpark"], (now,))
    session.executemany(sql["behind"], messages)
    session.executemany(sql["free"], [(now, message) for (message,) in messages])
    return taken_up + unwritten.retry_parked(session, now)


def delivery_from_row(row: Sequence[Any]) -> Delivery:
    """A row selected as the statements in `undelivered.sql` do, or without the output in `deliveries.sql`."""
    seq, kind, message, body, receiver, state, attempts, next_at, error, *output = row
    return Delivery(seq, kind, message, bytes(body), receiver, DeliveryState(state), attempts, next_at, error, *output)
