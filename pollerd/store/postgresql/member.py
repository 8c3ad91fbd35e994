"""This process as a member: what lets it write to the store, and its lease.

One member at a time is active: it polls. The others stand by, watch its lease, and one of them takes over when that has
ended. Whoever takes over deletes the row of the one before, and with it the right to write: the database refuses
whatever that process may still send (the fence). The lease only says for how long others leave the row alone.

Renewals have a connection and a thread of their own: a commit that takes long must not stop them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from math import inf
from typing import Any, Final, Self
from uuid import UUID, uuid4

import msgspec

from pollerd.base import failpoints
from pollerd.base.errors import DatabaseBusyError, StoreBusyError, StoreError, StoreFencedError
from pollerd.core.lease import CLOCKS, HOLD, LOOK, RENEW, WATCH, Beat, Lease, Watch, offset
from pollerd.core.ports.view import ClusterView, JumpView, MemberView
from pollerd.store.postgresql import duty, failover, schema
from pollerd.store.postgresql.duty import Holder
from pollerd.store.postgresql.link import Connection, Link, Target
from pollerd.store.postgresql.process import Process, this_process

log = logging.getLogger(__name__)

_DEADLINE: Final = 3.0
"""Seconds for one renewal or look: what takes longer is of no use to a lease of HOLD."""
_OVER: Final = 60.0
"""Seconds after the end of its lease from which a member that does not poll is forgotten."""
_MEMBERS: Final = b"""
SELECT members.name, process::text, lease_until < clock_timestamp(), duties.token IS NOT NULL
FROM members JOIN leases USING (token) LEFT JOIN duties ON duties.token = members.token AND duties.name = $1
ORDER BY members.since
"""
_CLUSTER: Final = b"""
SELECT members.name, process::text, version, duties.token IS NOT NULL, extract(epoch FROM members.since)::float8,
    $2 - extract(epoch FROM lease_until - clock_timestamp())::float8
FROM members JOIN leases USING (token) LEFT JOIN duties ON duties.token = members.token AND duties.name = $1
ORDER BY members.name
"""
_DUTY: Final = b"""
SELECT members.name, extract(epoch FROM duties.since)::float8, taken_from, why, takeovers
FROM duties LEFT JOIN members USING (token) WHERE duties.name = $1
"""
_NAMESAKES: Final = b"""
SELECT token, name, process::text, lease_until < clock_timestamp()
FROM members JOIN leases USING (token) WHERE name = $1
"""
_RENEW: Final = b"""
UPDATE leases SET beat = $3, lease_until = clock_timestamp() + make_interval(secs => $2)
WHERE token = $1 AND beat <= $3 AND set_config('synchronous_commit', 'off', true) = 'off'
"""
"""The number makes a renewal that was held up on the way, and comes late, do nothing. It waits neither for a disk nor
for a replica: one that is lost does no harm.
"""
_FORGET: Final = b"""
DELETE FROM members USING leases WHERE members.token = leases.token
AND lease_until < clock_timestamp() - make_interval(secs => $1)
AND NOT EXISTS (SELECT FROM duties WHERE duties.token = members.token)
"""
_LEAVE: Final = b"DELETE FROM members WHERE token = $1"


class Member:
    """Fulfils `ports.Ownership`: a member, until released or until another one has taken over from it."""

    shared = True

    def __init__(self, target: Target, token: UUID, name: str) -> None:
        self.token = token
        self.name = name
        self.active = False
        """Whether it has the duty to poll."""
        self.lost = ""
        """Who has taken over; empty while nobody has."""
        self.took_over = ""
        """How it came by the duty, in words; empty where nobody had it."""
        self.others_until = -inf
        """Until when the member before may have begun something that this one must not overtake, by the boot clock."""
        self.seen: Callable[[], int] = lambda: 0
        """The highest number of an event that this process knows."""
        self._target = target
        self._link = Link(target, deadline=_DEADLINE)
        self._beat = 0
        self._lease = Lease(0.0)
        self._watch = Watch()
        self._watched: Holder | None = None
        self._changed: Callable[[], None] = lambda: None
        self.unfit = ""
        """Why it may not become active, in words; empty where nothing speaks against it."""
        self._offer = self._offering = self._accepted = False
        self._ended = threading.Event()
        self._released = False
        self._thread = threading.Thread(target=self._live, name="lease", daemon=True)

    @classmethod
    def join(cls, target: Target, name: str, *, daemon: bool) -> Self:
        """Register. It is active where no other member is; a daemon stands by where another daemon is.

        Raises DatabaseBusyError while the name is in use, or, for a command, another member is active; StoreError.
        """
        member = cls(target, uuid4(), name)
        try:
            if member._link.run(lambda connection: failover.moved(connection, 0)):
                member._link.run(lambda connection: failover.settle(connection, 0, lossless=target.lossless))
            sent = now()
            member._link.once(lambda connection: member._register(connection, this_process(command=not daemon)))
            member._lease.renewed(sent)
        except BaseException:
            member._link.close()
            raise
        member._thread.start()
        return member

    # -- ports.Ownership

    def tend(self) -> bool:
        """See `Ownership`: nothing here can be removed but the member itself."""
        return False

    def holds(self) -> bool:
        """See `Ownership`."""
        return self.active and not self.lost and self._lease.holds(now())

    @property
    def offered(self) -> bool:
        """See `Ownership`."""
        return not self.active and self._watched is not None and self._watched.offered

    def offer(self, offered: bool) -> None:
        """See `Ownership`."""
        self._offer = offered

    def accept(self) -> None:
        """See `Ownership`."""
        self._accepted = True

    def watch(self, changed: Callable[[], None]) -> None:
        """See `Ownership`. `changed` is called on the lease's thread."""
        self._changed = changed

    def release(self) -> None:
        """Give the duty back at once; a second call does nothing."""
        if self._released:
            return
        self._released = True
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

    def successor(self, link: Link) -> str:
        """Why this member may not write any more, in words. Asked over `link`, which is the caller's."""
        if self.lost:
            return self.lost
        jump = link.run(failover.last_jump)
        if jump is not None and jump.ago < HOLD - self._lease.left(now()):
            return failover.FENCED
        holder = link.run(duty.holder)
        who = "another member" if holder is None else f"the member {holder.name!r} ({holder.process})"
        return f"{who} has taken over the store at {self._target.where} from this one ({self.name!r})"

    # -- a failover of the server

    def settle(self, link: Link) -> None:
        """Take note of a failover, by the connection of whatever thread finds it. Raises StoreFencedError after one
        that may have lost something.
        """
        seen, lossless = self.seen(), self._target.lossless
        if link.run(lambda connection: failover.settle(connection, seen, lossless=lossless)):
            self.end(failover.FENCED)
            raise StoreFencedError(failover.FENCED)

    def end(self, why: str) -> None:
        """This process may not write any more, for that reason."""
        self.lost = self.lost or why
        self._changed()

    # -- registering

    def _register(self, connection: Connection, process: Process) -> None:
        with connection.transaction():
            # One at a time.
            duty.bound(connection, "2s")
            connection.execute(b"SELECT FROM duties WHERE name = $1 FOR UPDATE", (duty.ACTIVE,))
            _, known = schema.versions(connection)
            connection.execute(_FORGET, (_OVER,))
            before, asked = duty.holder(connection), time.time()
            for token, name, found, over in connection.execute(_NAMESAKES, (self.name,)).fetchall():
                other = msgspec.json.decode(found, type=Process)
                if not over and not other.gone:
                    raise self._busy(name, other)
                connection.execute(_LEAVE, (token,))
                if before is not None and token == before.token and not other.gone:
                    # Its lease is over, but what it has begun may still be under way.
                    self.others_until = now() + HOLD
            holder, clock = duty.look(connection)
            apart = offset(clock, asked, time.time())
            # A daemon waits and watches where a lease is only over by the server's clock: after an outage of the
            # server its holder may be about to renew it.
            free = holder is None or holder.process.gone or (process.command and holder.over)
            if not free and holder is not None and (process.command or holder.process.command):
                raise self._busy(holder.name, holder.process)
            connection.execute(
                b"INSERT INTO members (token, name, version, process, schema_version)"
                b" VALUES ($1, $2, $3, $4::jsonb, $5)",
                (self.token, self.name, version("pollerd"), msgspec.json.encode(process).decode(), known),
            )
            connection.execute(
                b"INSERT INTO leases (token, lease_until) VALUES ($1, clock_timestamp() + make_interval(secs => $2))",
                (self.token, WATCH),
            )
            if free and not process.command and self._clock_is_wrong(apart):
                # It stands by until the clock is set.
                free = False
            if free:
                taken_from, why = ("", "") if holder is None else (holder.name, f"{holder.process} has ended")
                if holder is not None:
                    connection.execute(_LEAVE, (holder.token,))
                duty.give(connection, self.token, taken_from, why)
            jump = failover.last_jump(connection)
        self.active = free
        if jump is not None and jump.ago < _OVER and not process.command:
            # Whoever was active then was not asked, and may deliver until its lease ends.
            self.others_until = now() + HOLD
            log.warning("%s; %s", jump, failover.STEP, extra={"event": "failed_over"})

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

    # -- the lease's thread

    def _live(self) -> None:
        renew_at, look_at = now() + RENEW, now()
        while not self.lost:
            due = renew_at if self.active else min(renew_at, look_at)
            if self._ended.wait(max(0.0, due - now())):
                return
            if now() >= renew_at:
                renew_at = now() + RENEW
                self._attempt(self._renew)
            elif not self.active:
                look_at = now() + LOOK
                self._attempt(self._look)

    def _attempt(self, work: Callable[[], None]) -> None:
        try:
            work()
        except StoreBusyError as error:
            # The store answers: only a row is held.
            log.debug("the lease waits: %s", error)
        except StoreError as error:
            # What is watched over a connection that breaks may have been renewed meanwhile.
            self._watch.lost()
            log.debug("the lease waits: %s", error)

    def _settle(self) -> None:
        seen = self.seen()
        if self._link.run(lambda connection: failover.moved(connection, seen)):
            self.settle(self._link)

    def _renew(self) -> None:
        self._settle()
        sent = now()
        self._beat += 1
        values = (self.token, WATCH, self._beat)
        failpoints.hit("lease.before_renewal")
        if self._link.run(lambda connection: connection.execute(_RENEW, values).rowcount):
            failpoints.hit("lease.renewed")
            self._lease.renewed(sent)
            if self._offer is not self._offering:
                self._offering = self._offer
                self._link.run(lambda connection: duty.offer(connection, self.token, self._offering))
            return
        self.end(self.successor(self._link))

    def _look(self) -> None:
        self._settle()
        sent, asked = now(), time.time()
        holder, clock = self._link.run(lambda connection: duty.look(connection, self.name))
        accepted, self._accepted = self._accepted, False
        received = now()
        if self._clock_is_wrong(offset(clock, asked, time.time())):
            self._watch.lost()
        elif holder is None:
            self._take(None, "it ended in order", -inf)
        elif holder.token == self.token:
            # What was asked for over a connection that broke was done all the same. Whoever offered its duty still
            # runs, and may deliver until its lease ends.
            self._become(self._watched, "it had offered its duty, or its lease had ended", now() + HOLD)
        elif holder.process.gone:
            self._take(holder, f"{holder.process} has ended", -inf)
        elif accepted and holder.offered:
            # It still runs, and may deliver until its lease ends.
            self._take(holder, f"it does not reach the gateway, and {self.name} does", now() + HOLD)
        elif self._watch.saw(Beat(holder.token, holder.beat), sent, received):
            ended = received - self._watch.silent(received) + HOLD
            self._take(holder, f"its lease ended {received - ended:.0f} s ago", ended)
        self._watched = holder or self._watched

    def _take(self, holder: Holder | None, why: str, until: float) -> None:
        """Become active in place of `holder`, unless it has renewed its lease since, or another one was faster.

        `until`: when that one's lease ended, at the latest.
        """
        sent, before = now(), holder or self._watched
        token, beat = (None, 0) if holder is None else (holder.token, holder.beat)
        name = "" if before is None else before.name
        failpoints.hit("lease.before_takeover")
        if self._link.run(lambda connection: duty.take(connection, self.token, token, beat, name, why)):
            failpoints.hit("lease.took_over")
            self._lease.renewed(sent)
            self._become(before, why, until)

    def _become(self, before: Holder | None, why: str, until: float) -> None:
        if before is not None:
            self.took_over = f"{self.name} took over from {before.name}: {why}"
        self.others_until = until
        self.active = True
        self._changed()

    def _clock_is_wrong(self, away: float) -> bool:
        said = ""
        if abs(away) > CLOCKS:
            side = "behind" if away > 0 else "ahead of"
            said = (
                f"this machine's clock is {abs(away):.0f} s {side} that of PostgreSQL: it does not become active. Set "
                "it from the network (timedatectl set-ntp true, or run chrony)"
            )
        if said and not self.unfit:
            log.warning("%s", said, extra={"event": "clock_apart"})
        elif self.unfit and not said:
            log.info("this machine's clock agrees with PostgreSQL's again", extra={"event": "clock_agrees"})
        self.unfit = said
        return bool(said)


def now() -> float:
    """Seconds of the machine's clock that goes on while it sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def owner(connection: Connection) -> Process | None:
    """The process that is active; None when there is none, or it has certainly ended."""
    holder = duty.holder(connection)
    return None if holder is None or holder.over or holder.process.gone else holder.process


def cluster(connection: Connection) -> ClusterView:
    """All members as people are shown them."""
    found = []
    for name, process, release, active, since, renewed in connection.execute(_CLUSTER, (duty.ACTIVE, WATCH)).fetchall():
        where = msgspec.json.decode(process, type=Process)
        found.append(MemberView(name, where.host, where.pid, release, active, since, max(0.0, renewed)))
    row: Any = connection.execute(_DUTY, (duty.ACTIVE,)).fetchone()
    holder, since, before, why, takeovers = row
    took_over = f"{holder} took over from {before}: {why}" if holder and before else ""
    jump = failover.last_jump(connection)
    jumped = JumpView(0, None, "") if jump is None else JumpView(jump.times, jump.at, str(jump))
    return ClusterView(tuple(found), None if holder is None else since, took_over, takeovers, jumped)


class Standing(msgspec.Struct, frozen=True):
    """A member: where it runs, whether its lease is over, and whether it is the one that polls."""

    name: str
    process: Process
    over: bool
    active: bool


def members(connection: Connection) -> Iterator[Standing]:
    """All members."""
    for name, found, over, active in connection.execute(_MEMBERS, (duty.ACTIVE,)).fetchall():
        yield Standing(name, msgspec.json.decode(found, type=Process), over, active)
