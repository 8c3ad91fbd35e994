"""The running daemon at one look: what `GET /status` tells and the metrics count."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

import msgspec

from pollerd.backoff import Metrics, Policy
from pollerd.core.ports import AccountState, Clock, OutputHealth, SourceHealth
from pollerd.status.document import DeliveryDocument
from pollerd.status.rates import Beat, Pulse
from pollerd.status.statistics import Statistics
from pollerd.store.readers import Reading
from pollerd.store.view import AccountView, Overview

_EVERY: Final = 1.0
_KEPT: Final = 61
SHORT: Final = 10.0
LONG: Final = 60.0
"""Seconds over which polls a second are told."""


class Crowd(Protocol):
    """A window as seen from here."""

    def __len__(self) -> int: ...
    @property
    def backlog(self) -> int: ...


class Pace(Protocol):
    """A limiter as seen from here."""

    @property
    def held(self) -> AccountState | None: ...
    @property
    def held_total(self) -> float: ...
    @property
    def rate(self) -> float: ...
    @property
    def keeps_connections(self) -> bool: ...
    @property
    def repeats(self) -> int: ...


class Polling(Protocol):
    """A poller as seen from here."""

    @property
    def polls(self) -> int: ...
    @property
    def planned(self) -> int: ...
    @property
    def asking(self) -> Mapping[int, float]: ...
    @property
    def window(self) -> Crowd: ...
    @property
    def limiter(self) -> Pace: ...


class Committing(Protocol):
    """A committer as seen from here."""

    @property
    def trouble(self) -> str: ...


class Log(Protocol):
    """The event log as seen from here."""

    @property
    def last(self) -> int: ...
    @property
    def path(self) -> Path: ...
    @property
    def lost(self) -> str: ...


class Bounds(msgspec.Struct, frozen=True):
    """What an account is allowed: requests a second, and connections at a time. `renewal`: what a person does when its
    secret is refused."""

    rate: float
    connections: int
    renewal: str = ""


class AccountSight(msgspec.Struct, frozen=True):
    """One account. `in_memory` messages are known to the poller, `backlog` of them are due and wait for the limit.

    `polls_short` and `polls_long` are polls a second over the last 10 and 60 s, `arrivals` messages a second over five
    minutes; `stored` is what the database knows. `repeats` requests were made a second time because the other side had
    forgotten a kept connection; `keeps_connections`: whether any are kept.
    """

    name: str
    bounds: Bounds
    polls: int
    polls_short: float
    polls_long: float
    arrivals: float
    asking: int
    in_memory: int
    backlog: int
    rate: float
    held: AccountState | None
    held_total: float
    keeps_connections: bool
    repeats: int
    stored: AccountView


class OutputSight(msgspec.Struct, frozen=True):
    """One output: `seq` is its place (of its reader furthest behind), `lag` how many events are committed behind it.

    `waiting` and `parked` ones are kept beside its place, by an output that `keeps` any.
    """

    name: str
    seq: int
    lag: int
    trouble: str
    readers: int | None
    behind_since: float | None
    keeps: bool
    waiting: int = 0
    parked: int = 0


class Sight(msgspec.Struct, frozen=True):
    """Everything at the instant `at` (UNIX seconds). `uptime` is in seconds, sizes are bytes; `complaint` says what
    stands still. Accounts that only the database knows are in `overview` alone.
    """

    at: float
    uptime: float
    accounts: tuple[AccountSight, ...]
    outputs: tuple[OutputSight, ...]
    sources: tuple[SourceHealth, ...]
    overview: Overview
    last_seq: int
    database_size: int
    wal_size: int
    backoff: Metrics
    delivery: DeliveryDocument
    beats: tuple[Beat, ...]
    trouble: str
    complaint: str | None

    @property
    def oldest_due_lag(self) -> float:
        """Seconds that the message which is longest due has waited; 0 when none is due."""
        due = [account.next_poll_at for account in self.overview.accounts if account.next_poll_at is not None]
        return max(0.0, self.at - min(due)) if due else 0.0


NOTHING: Final = Overview(
    daemon=None, new=0, pending=0, finished=0, gave_up=0, polls=0, oldest_sent_at=None, last_seq=0, pruned_seq=0,
    requests=0, size=0, accounts=(), outputs=(),
)  # fmt: skip
"""What is shown of a lost database: at its path there is none, or another one."""


class Parts(msgspec.Struct, frozen=True):
    """What the census looks at. `stuck` tells what stands still and is asked every second."""

    clock: Clock
    log: Log
    committer: Committing
    policy: Policy
    pollers: Mapping[str, Polling]
    bounds: Mapping[str, Bounds]
    statistics: Statistics
    outputs: Callable[[], Sequence[OutputHealth]]
    sources: Callable[[], Sequence[SourceHealth]]
    stuck: Callable[[], str | None]


class Census:
    """Looks at the parts; `run` keeps what has to be watched over time."""

    def __init__(self, parts: Parts, reading: Reading) -> None:
        self._parts = parts
        self._reading = reading
        self._began = parts.clock.monotonic()
        self._marks: deque[tuple[float, dict[str, int]]] = deque(maxlen=_KEPT)
        self._pulse = Pulse()
        self._mark()
        self.complaint: str | None = None

    async def run(self) -> None:
        """Count once a second until cancelled."""
        while True:
            await asyncio.sleep(_EVERY)
            self._mark()
            self.complaint = self._parts.stuck()

    @property
    def trouble(self) -> str:
        """The trouble with the database, empty when there is none."""
        return self._parts.committer.trouble or self._parts.log.lost

    @property
    def uptime(self) -> float:
        """Seconds since the start."""
        return self._parts.clock.monotonic() - self._began

    async def take(self, *, oldest: bool = True) -> Sight:
        """One look; without `oldest` it takes half the time. Raises StoreError."""
        parts = self._parts
        now = parts.clock.wall()
        overview = (
            NOTHING if parts.log.lost else await self._reading.read(lambda pages: pages.overview(now, oldest=oldest))
        )
        stored = {account.name: account for account in overview.accounts}
        return Sight(
            at=now,
            uptime=self.uptime,
            accounts=tuple(self._account(name, poller, stored) for name, poller in parts.pollers.items()),
            outputs=tuple(self._outputs(overview)),
            sources=tuple(parts.sources()),
            overview=overview,
            last_seq=parts.log.last,
            database_size=_size(parts.log.path),
            wal_size=_size(Path(f"{parts.log.path}-wal")),
            backoff=parts.policy.metrics(),
            delivery=parts.statistics.report(now),
            beats=tuple(self._pulse.beats()),
            trouble=self.trouble,
            complaint=self.complaint,
        )

    def _account(self, name: str, poller: Polling, stored: Mapping[str, AccountView]) -> AccountSight:
        limiter = poller.limiter
        return AccountSight(
            name=name,
            bounds=self._parts.bounds[name],
            polls=poller.polls,
            polls_short=self._rate(name, poller.polls, SHORT),
            polls_long=self._rate(name, poller.polls, LONG),
            arrivals=self._pulse.arrivals(name, poller.planned, self._parts.clock.monotonic()),
            asking=len(poller.asking),
            in_memory=len(poller.window),
            backlog=poller.window.backlog,
            rate=limiter.rate,
            held=self._held(limiter.held),
            held_total=limiter.held_total,
            keeps_connections=limiter.keeps_connections,
            repeats=limiter.repeats,
            stored=stored.get(name) or AccountView(name),
        )

    def _held(self, state: AccountState | None) -> AccountState | None:
        """With the wall clock's times."""
        if state is None:
            return None
        told = self._parts.clock.told
        since, until = state.held_since, state.held_until
        return msgspec.structs.replace(
            state,
            held_since=None if since is None else told(since),
            held_until=None if until is None else told(until),
        )

    def _outputs(self, overview: Overview) -> list[OutputSight]:
        last = self._parts.log.last
        stored = {output.name: output for output in overview.outputs}
        found = []
        for health in self._parts.outputs():
            lag = max(0, last - health.seq)
            sight = OutputSight(health.name, health.seq, lag, health.trouble, health.readers, None, health.keeps)
            if (known := stored.get(health.name)) is not None:
                behind = known.behind_since if lag else None
                sight = msgspec.structs.replace(sight, behind_since=behind, waiting=known.waiting, parked=known.parked)
            found.append(sight)
        return found

    def _mark(self) -> None:
        polls = {name: poller.polls for name, poller in self._parts.pollers.items()}
        clock = self._parts.clock
        self._marks.append((clock.monotonic(), polls))
        arrived = {name: poller.planned for name, poller in self._parts.pollers.items()}
        self._pulse.mark(clock.wall(), clock.monotonic(), sum(polls.values()), arrived)

    def _rate(self, name: str, polls: int, seconds: float) -> float:
        now = self._parts.clock.monotonic()
        at, before = next(((at, before) for at, before in self._marks if now - at <= seconds + 0.5), self._marks[-1])
        return (polls - before.get(name, 0)) / (now - at) if now > at else 0.0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
