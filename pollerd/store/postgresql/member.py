"""This process as a member: what lets it write to the store, and its lease.

Whoever takes over deletes the member's row, and with it the right to write: the database refuses whatever the process
may still send (the fence). The lease only says for how long others leave the row alone.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from importlib.metadata import version
from typing import Final, Self
from uuid import UUID, uuid4

import msgspec

from pollerd.base.errors import DatabaseBusyError, StoreError
from pollerd.store.postgresql.link import Connection, Link, Target
from pollerd.store.postgresql.process import Process, this_process
from pollerd.store.postgresql.writer import ACTIVE

log = logging.getLogger(__name__)

LEASE: Final = 6.0
"""Seconds for which a lease lasts."""
RENEW: Final = 2.0
"""Seconds between two renewals."""
_HOLDER: Final = b"""
SELECT members.token, members.name, members.process::text, lease_until < clock_timestamp()
FROM members JOIN duties USING (token) JOIN leases USING (token) WHERE duties.name = $1
"""
_MEMBERS: Final = b"""
SELECT name, process::text, lease_until < clock_timestamp() FROM members JOIN leases USING (token) ORDER BY since
"""
_NAMESAKES: Final = b"""
SELECT token, name, process::text, lease_until < clock_timestamp()
FROM members JOIN leases USING (token) WHERE name = $1
"""
_RENEW: Final = b"""
UPDATE leases SET beat = beat + 1, lease_until = clock_timestamp() + make_interval(secs => $2) WHERE token = $1
"""


_LEAVE: Final = b"DELETE FROM members WHERE token = $1"


class Member:
    """Fulfils `ports.Ownership`: the active member, until released or until another one takes over."""

    def __init__(self, target: Target, token: UUID, name: str) -> None:
        self.token = token
        self.name = name
        self.lost = ""
        """Who has taken over; empty while nobody has."""
        self._target = target
        self._link = Link(target)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew_on, name="lease", daemon=True)

    @classmethod
    def join(cls, target: Target, name: str, *, daemon: bool) -> Self:
        """Register, and become active. Raises DatabaseBusyError while another member is, and StoreError."""
        member = cls(target, uuid4(), name)
        try:
            member._link.once(lambda connection: member._register(connection, this_process(command=not daemon)))
        except BaseException:
            member._link.close()
            raise
        member._thread.start()
        return member

    def tend(self) -> bool:
        """See `Ownership`: nothing here can be removed but the member itself."""
        return False

    def release(self) -> None:
        """Give the duty back at once; a second call does nothing."""
        if self._ended.is_set():
            return
        self._ended.set()
        self._thread.join()
        try:
            self._link.run(lambda connection: connection.execute(_LEAVE, (self.token,)))
        except StoreError as error:
            log.info("the lease ends by itself: %s", error, extra={"event": "lease_left"})
        self._link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _register(self, connection: Connection, process: Process) -> None:
        with connection.transaction():
            # One at a time.
            connection.execute(b"SELECT FROM duties WHERE name = $1 FOR UPDATE", (ACTIVE,))
            for query, wanted in ((_NAMESAKES, self.name), (_HOLDER, ACTIVE)):
                for token, name, found, over in connection.execute(query, (wanted,)).fetchall():
                    other = msgspec.json.decode(found, type=Process)
                    if not over and not other.gone:
                        raise self._busy(name, other)
                    connection.execute(_LEAVE, (token,))
            connection.execute(
                b"INSERT INTO members (token, name, version, process) VALUES ($1, $2, $3, $4::jsonb)",
                (self.token, self.name, version("pollerd"), msgspec.json.encode(process).decode()),
            )
            connection.execute(
                b"INSERT INTO leases (token, lease_until) VALUES ($1, clock_timestamp() + make_interval(secs => $2))",
                (self.token, LEASE),
            )
            connection.execute(
                b"UPDATE duties SET token = $1, since = clock_timestamp() WHERE name = $2", (self.token, ACTIVE)
            )

    def _busy(self, name: str, other: Process) -> DatabaseBusyError:
        who, where = f"the member {name!r} ({other})", self._target.where
        if other.command:
            text = f"{who} has the store at {where} for a moment. Try again when it is done."
        elif name == self.name and not other.here:
            text = (
                f"{who} already runs on the store at {where}. Give this one another [cluster] name; "
                "if that one has crashed, its lease ends within seconds."
            )
        else:
            text = (
                f"{who} already runs on the store at {where}. Stop it first, or name another database in [store] url."
            )
        return DatabaseBusyError(text, holder=str(other), daemon=not other.command)

    def _renew_on(self) -> None:
        due = time.monotonic() + RENEW
        while not self._ended.wait(max(0.0, due - time.monotonic())):
            due = time.monotonic() + RENEW
            try:
                renewed = self._link.run(lambda connection: connection.execute(_RENEW, (self.token, LEASE)).rowcount)
            except StoreError as error:
                log.debug("the lease is not renewed: %s", error)
                continue
            if not renewed:
                self.lost = f"another member has taken over the store at {self._target.where}"
                return


def members(connection: Connection) -> Iterator[tuple[str, Process, bool]]:
    """All members: the name, where it runs, and whether its lease is over."""
    for name, found, over in connection.execute(_MEMBERS).fetchall():
        yield name, msgspec.json.decode(found, type=Process), over


def owner(connection: Connection) -> Process | None:
    """The process that is active; None when there is none, or it has certainly ended."""
    for _, _, found, over in connection.execute(_HOLDER, (ACTIVE,)).fetchall():
        other = msgspec.json.decode(found, type=Process)
        return None if over or other.gone else other
    return None
