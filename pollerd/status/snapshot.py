"""What only the running daemon knows: the state of its parts in memory, and how fast polls are made."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from pollerd.core.ports import AccountState, OutputHealth, SourceAddress, SourceHealth
from pollerd.core.ports.view import Overview, StoreSize
from pollerd.status import builder
from pollerd.status.document import LogDocument, StatusDocument

if TYPE_CHECKING:
    from pollerd.backoff import Metrics
    from pollerd.polling.incoming import IncomingState
    from pollerd.polling.poller import Poller
    from pollerd.status.parts import Parts

_EVERY: Final = 1.0
"""Seconds between two counts of the polls."""
SHORT: Final = 10.0  # Seconds.
LONG: Final = 60.0
"""Seconds over which polls a second are shown."""
_KEPT: Final = 61
"""Counts kept: enough for LONG."""
STEP: Final = 15.0
"""Seconds between two points of the throughput's history."""
HISTORY: Final = 241
"""Points kept: an hour."""
ARRIVALS_OVER: Final = 300.0
"""Seconds over which arrivals are averaged, soon after the start too: they come in bursts, and one is no rate."""

LOST: Final = Overview(
    daemon=None, new=0, pending=0, finished=0, gave_up=0, polls=0, oldest_sent_at=None, last_seq=0, pruned_seq=0,
    requests=0, size=StoreSize(0, 0), accounts=(), outputs=(),
)  # fmt: skip
"""What is shown of a lost database: at its path there is none, or another one."""


class AccountSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One account. `in_memory` messages are known to the poller, `backlog` of them are due and wait for the limit.

    `polls_short` and `polls_long` are polls a second over SHORT and LONG, `arrivals` messages a second over
    ARRIVALS_OVER. `held` has the wall clock's times. `repeats` requests were made a second time because the other side
    had forgotten a kept connection; `keeps_connections`: whether any are kept. `source_addresses` are the configured
    ones, `incoming` is what reads incoming messages, None where they are not read.
    """

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
    source_addresses: Sequence[SourceAddress] = ()
    incoming: IncomingState | None = None


class Throughput(NamedTuple):
    """Polls a second in the STEP seconds before `at` (by the wall clock)."""

    at: float
    polls: float


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The running daemon's parts. `uptime` is in seconds; `trouble` is the database's (empty: none), `stuck` says what
    does not move though it could. `followers` read the events over the control socket. `doubts` counts transactions
    whose outcome was not known and was asked for again.
    """

    uptime: float
    accounts: Mapping[str, AccountSnapshot]
    outputs: Sequence[OutputHealth]
    sources: Sequence[SourceHealth]
    last_seq: int
    backoff: Metrics
    throughput: Sequence[Throughput]
    trouble: str
    stuck: str | None
    log: Sequence[LogDocument]
    followers: int
    doubts: int = 0
    unfit: str = ""
    """Why this machine may not be the one that polls; empty where nothing speaks against it."""


class Observer:
    """Watches the parts of a running daemon: `run` measures rates, `document` makes the status document."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._began = parts.clock.monotonic()
        self._counts: deque[tuple[float, dict[str, int]]] = deque(maxlen=_KEPT)
        self._rates = RateHistory()
        self._count()
        self.stuck: str | None = None
        """What does not move though it could; None when all is well."""

    async def run(self) -> None:
        """Count once a second until cancelled."""
        while True:
            await asyncio.sleep(_EVERY)
            self._count()
            self.stuck = self._parts.stuck()

    @property
    def trouble(self) -> str:
        """The trouble with the database, empty when there is none."""
        return self._parts.committer.trouble or self._parts.store.lost

    async def document(self, followers: int = 0, *, oldest: bool = True) -> StatusDocument:
        """The status document; without `oldest` it takes half the time. Raises StoreError."""
        parts = self._parts
        now = parts.clock.wall()
        stored = LOST if parts.store.lost else await parts.views.read(lambda view: view.overview(now, oldest=oldest))
        return builder.build(parts.config, stored, parts.statistics.report(now), now, self._snapshot(followers))

    def _snapshot(self, followers: int) -> Snapshot:
        parts = self._parts
        return Snapshot(
            uptime=parts.clock.monotonic() - self._began,
            accounts={name: self._account(name, poller) for name, poller in parts.pollers.items()},
            outputs=parts.relay.health,
            sources=[SourceHealth(source.name, source.trouble, source.refused) for source in parts.sources],
            last_seq=parts.store.last,
            backoff=parts.policy.metrics(),
            throughput=self._rates.throughput(),
            trouble=self.trouble,
            stuck=self.stuck,
            log=parts.warnings.last,
            followers=followers,
            doubts=parts.store.doubts,
            unfit=parts.unfit(),
        )

    def _account(self, name: str, poller: Poller) -> AccountSnapshot:
        limiter = poller.limiter
        return AccountSnapshot(
            polls=poller.polls,
            polls_short=self._rate(name, poller.polls, SHORT),
            polls_long=self._rate(name, poller.polls, LONG),
            arrivals=self._rates.arrivals(name, poller.planned, self._parts.clock.monotonic()),
            asking=len(poller.asking),
            in_memory=len(poller.window),
            backlog=poller.window.backlog,
            rate=limiter.rate,
            held=self._held(limiter.held),
            held_total=limiter.held_total,
            keeps_connections=limiter.keeps_connections,
            repeats=limiter.repeats,
            source_addresses=poller.gateway.source_addresses,
            incoming=self._incoming(name),
        )

    def _incoming(self, name: str) -> IncomingState | None:
        """With the wall clock's time."""
        if (watch := self._parts.incoming.get(name)) is None:
            return None
        state = watch.state
        asked_at = None if state.asked_at is None else self._parts.clock.to_wall(state.asked_at)
        return msgspec.structs.replace(state, asked_at=asked_at)

    def _held(self, state: AccountState | None) -> AccountState | None:
        """With the wall clock's times."""
        if state is None:
            return None
        by_wall = self._parts.clock.to_wall
        since, until = state.held_since, state.held_until
        return msgspec.structs.replace(
            state,
            held_since=None if since is None else by_wall(since),
            held_until=None if until is None else by_wall(until),
        )

    def _count(self) -> None:
        polls = {name: poller.polls for name, poller in self._parts.pollers.items()}
        clock = self._parts.clock
        self._counts.append((clock.monotonic(), polls))
        arrived = {name: poller.planned for name, poller in self._parts.pollers.items()}
        self._rates.count(clock.wall(), clock.monotonic(), sum(polls.values()), arrived)

    def _rate(self, name: str, polls: int, seconds: float) -> float:
        now = self._parts.clock.monotonic()
        at, before = next(((at, before) for at, before in self._counts if now - at <= seconds + 0.5), self._counts[-1])
        return (polls - before.get(name, 0)) / (now - at) if now > at else 0.0


class _Totals(NamedTuple):
    at: float
    tick: float
    polls: int
    arrived: Mapping[str, int]


class RateHistory:
    """How fast polls were made and messages arrived over the last hour: totals every STEP seconds, from whoever calls
    `count` more often.
    """

    def __init__(self) -> None:
        self._totals: deque[_Totals] = deque(maxlen=HISTORY)

    def count(self, now: float, tick: float, polls: int, arrived: Mapping[str, int]) -> None:
        """Totals since the start at `now` (by the wall clock) and `tick` (monotonic); `arrived` is by account."""
        if not self._totals or tick - self._totals[-1].tick >= STEP - 0.5:
            self._totals.append(_Totals(now, tick, polls, dict(arrived)))

    def throughput(self) -> list[Throughput]:
        """Polls a second, step by step, the oldest first."""
        return [
            Throughput(after.at, max(0, after.polls - before.polls) / (after.tick - before.tick))
            for before, after in pairwise(list(self._totals))
            if after.tick > before.tick
        ]

    def arrivals(self, account: str, total: int, tick: float) -> float:
        """Messages a second that were handed over lately; `total` is their number by now."""
        before = next((known for known in self._totals if tick - known.tick <= ARRIVALS_OVER), None)
        if before is None:
            return 0.0
        return max(0, total - before.arrived.get(account, 0)) / max(tick - before.tick, ARRIVALS_OVER)
