"""A failover of PostgreSQL itself: another server goes on, which may lack what was committed last.

It shows by the server's timeline, or by numbers that this process has seen and the server does not know. Unless nothing
is lost by the operator's word, the numbers of events jump once, so that none ever means two events, and every member
starts anew from what is there. What was lost is found again by polling, and reported under new numbers.
"""

from __future__ import annotations

import logging
from typing import Final, NamedTuple

from pollerd.core.event import JUMP
from pollerd.store.postgresql.link import Connection

log = logging.getLogger(__name__)

FENCED: Final = (
    "PostgreSQL has failed over, and may have lost what was committed last: every member of the store ends, and starts "
    "anew from what is there"
)
STEP: Final = (
    "name a synchronous replica in synchronous_standby_names; where no failover loses a commit, set [store] lossless = "
    "true"
)
"""What an operator does about it."""
_MOVED: Final = b"SELECT server_timeline() <> timeline OR last_seq < $1 FROM cluster"
_SETTLE: Final = b"SELECT moved, jumped FROM settle_failover($1, $2, $3)"
_JUMPS: Final = b"""
SELECT after, upto, extract(epoch FROM at)::float8, extract(epoch FROM clock_timestamp() - at)::float8,
    (SELECT count(*) FROM jumps)
FROM jumps ORDER BY upto DESC LIMIT 1
"""


class Jump(NamedTuple):
    """The last one: behind `after` the numbers to `upto` were left out, `at` UNIX seconds and `ago` seconds ago by the
    server's clock. There were so many `times`.
    """

    after: int
    upto: int
    at: float
    ago: float
    times: int

    def __str__(self) -> str:
        return (
            f"PostgreSQL failed over or was restored, and may lack what was committed last: the event after number "
            f"{self.after} has number {self.upto + 1}, and what was lost is reported again"
        )


def moved(connection: Connection, seen: int) -> bool:
    """Whether the server is another one than before, or does not know of number `seen`."""
    found = connection.execute(_MOVED, (seen,)).fetchone()
    return bool(found and found[0])


def settle(connection: Connection, seen: int, *, lossless: bool) -> bool:
    """Take note of a failover, if there was one. Whether numbers jumped, and with that every member is fenced.

    `seen`: the highest number that this process knows.
    """
    other, jumped = connection.execute(_SETTLE, (seen, lossless, JUMP)).fetchone() or (False, False)
    if other and not jumped:
        log.info("PostgreSQL has failed over, and all goes on: [store] lossless = true", extra={"event": "failed_over"})
    return bool(jumped)


def last_jump(connection: Connection) -> Jump | None:
    """None: there was none."""
    found = connection.execute(_JUMPS).fetchone()
    return None if found is None else Jump(*found)
