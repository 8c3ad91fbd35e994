"""Who is active, as the database has it, and the one transaction by which that changes."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

import msgspec

from pollerd.base import failpoints
from pollerd.core.lease import AWAY, WATCH
from pollerd.store.postgresql.link import Connection
from pollerd.store.postgresql.process import Process

ACTIVE: Final = "active"
"""The duty to poll."""
_HOLDER: Final = b"""
SELECT members.token, members.name, members.process::text, leases.beat, lease_until < clock_timestamp(),
    extract(epoch FROM clock_timestamp())::float8,
    offered AND NOT (given_by = $2 AND given_at > clock_timestamp() - make_interval(secs => $3))
FROM duties LEFT JOIN members USING (token) LEFT JOIN leases USING (token) WHERE duties.name = $1
"""
_BOUNDED: Final = b"""
SELECT set_config('lock_timeout', $1, true), set_config('idle_in_transaction_session_timeout', '3s', true)
"""
_LOCK: Final = b"SELECT beat FROM leases WHERE token = $1 FOR UPDATE"


class Holder(msgspec.Struct, frozen=True):
    """Who is active. `beat` is the number of its last renewal; `over`: its lease has ended by the server's clock;
    `offered`: it offers its duty to the one that looks.
    """

    token: UUID
    name: str
    process: Process
    beat: int
    over: bool
    offered: bool


def look(connection: Connection, name: str = "") -> tuple[Holder | None, float]:
    """Who is active, None: nobody; and the server's clock (UNIX seconds). The member `name` looks."""
    row: Any = connection.execute(_HOLDER, (ACTIVE, name, AWAY)).fetchone()
    token, name, process, beat, over, clock, offered = row
    if token is None:
        return None, clock
    return Holder(token, name, msgspec.json.decode(process, type=Process), beat, over, offered), clock


def holder(connection: Connection) -> Holder | None:
    """Who is active; None: nobody."""
    return look(connection)[0]


def offer(connection: Connection, token: UUID, offered: bool) -> None:
    """Offer the duty of `token`, or do not any more."""
    connection.execute(b"UPDATE duties SET offered = $3 WHERE name = $2 AND token = $1", (token, ACTIVE, offered))


def give(connection: Connection, token: UUID, taken_from: str, why: str) -> None:
    """Make `token` the active member, in the transaction that is open."""
    connection.execute(
        b"UPDATE duties SET token = $1, since = clock_timestamp(), taken_from = $3, why = $4, offered = false, "
        b"given_by = CASE WHEN offered THEN $3 ELSE given_by END, "
        b"given_at = CASE WHEN offered THEN clock_timestamp() ELSE given_at END, "
        b"takeovers = takeovers + CASE WHEN $3 = '' THEN 0 ELSE 1 END WHERE name = $2",
        (token, ACTIVE, taken_from, why),
    )


def bound(connection: Connection, locks: str) -> None:
    """Let the transaction that is open wait no longer than `locks` for what others hold, and hold nothing itself while
    it stands still: a process that is frozen in it loses its connection.
    """
    connection.execute(_BOUNDED, (locks,))


def take(connection: Connection, mine: UUID, other: UUID | None, beat: int, taken_from: str, why: str) -> bool:
    """Take the duty over from `other` (None: nobody has it), unless it has renewed its lease since `beat`.

    Deletes the other's row: from here on nothing that it sends takes effect. False: somebody was faster.
    """
    with connection.transaction():
        # Shorter than lease.GAP by more than a look: watching goes on while somebody else holds a row.
        bound(connection, "500ms")
        row: Any = connection.execute(b"SELECT token FROM duties WHERE name = $1 FOR UPDATE", (ACTIVE,)).fetchone()
        if row[0] == mine:
            return True
        if row[0] != other:
            return False
        if other is not None:
            # The member's row before its lease's, as everywhere; then no renewal comes in between.
            connection.execute(b"SELECT FROM members WHERE token = $1 FOR UPDATE", (other,))
            found: Any = connection.execute(_LOCK, (other,)).fetchone()
            if found is not None and found[0] != beat:
                return False
            connection.execute(b"DELETE FROM members WHERE token = $1", (other,))
        failpoints.hit("lease.taking")
        connection.execute(
            b"UPDATE leases SET lease_until = clock_timestamp() + make_interval(secs => $2) WHERE token = $1",
            (mine, WATCH),
        )
        # Fails, and with it the whole, where this member itself is gone: duties refers to members.
        give(connection, mine, taken_from, why)
    return True
