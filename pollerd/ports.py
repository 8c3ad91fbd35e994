"""The small interfaces between the loops and the adapters. Loops know these, adapters fulfil them, `app` wires them."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

from pollerd.diff import Result
from pollerd.events import Body, Event
from pollerd.model import HoldReason, Outcome, Trouble


class Clock(Protocol):
    """Time as the daemon sees it."""

    def now(self) -> float:
        """The instant, UNIX seconds; steps of the system clock are taken in one place."""
        ...

    def monotonic(self) -> float:
        """Seconds for durations."""
        ...


class AccountState(msgspec.Struct, frozen=True):
    """What outlives a restart about an account; `held_total` is in seconds, instants are UNIX seconds."""

    name: str
    held_reason: HoldReason | None = None
    held_detail: str = ""
    held_since: float | None = None
    held_until: float | None = None
    held_total: float = 0.0
    credit: float | None = None
    currency: str | None = None
    credit_low: bool = False
    credit_at: float | None = None


class Cursor(msgspec.Struct, frozen=True):
    """An output's own place: everything up to `seq` is told for good. `detail` is the output's own note."""

    name: str
    seq: int
    detail: str = ""


class RequestKind(StrEnum):
    """What a command can ask of the owner of the database."""

    UNTRACK = "untrack"
    POLL = "poll"
    RETRY = "retry"
    RETRY_ALL = "retry_all"


class Request(msgspec.Struct, frozen=True):
    """A wish of a command, left in the database; done when its row is gone."""

    id: int
    kind: RequestKind
    message_id: int | None


class Batch(msgspec.Struct, frozen=True):
    """One transaction: everything in it is on disk together or not at all."""

    results: Sequence[Result] = ()
    bodies: Sequence[Body] = ()
    """Events about accounts."""
    accounts: Sequence[AccountState] = ()
    cursors: Sequence[Cursor] = ()
    done: Sequence[int] = ()
    """Requests that this transaction fulfils."""
    notes: Sequence[tuple[str, bytes]] = ()
    """Small named values."""
    at: float = 0.0
    """The instant of the transaction, UNIX seconds."""


class EventLog(Protocol):
    """Committed events in order: the one path for live, replay and restart."""

    @property
    def last(self) -> int:
        """The highest `seq` ever given, 0 before the first."""
        ...

    @property
    def pruned(self) -> int:
        """Everything up to this `seq` has been deleted by retention (0: nothing)."""
        ...

    async def read(self, after: int, limit: int) -> Sequence[Event]:
        """The events with `seq > after`, ascending, at most `limit`; empty when there is none."""
        ...

    async def wait(self, after: int) -> None:
        """Return once an event with `seq > after` is committed."""
        ...

    async def cursor(self, name: str) -> Cursor | None:
        """Where the output `name` stood when it last said so; None for a new output."""
        ...

    async def save_cursor(self, cursor: Cursor) -> None:
        """Commit an output's place."""
        ...


class OutputHealth(msgspec.Struct, frozen=True):
    """One output at a glance, for `status`: its place, and the trouble it is in (empty when well)."""

    name: str
    seq: int
    trouble: str = ""
    readers: int | None = None


class Output(Protocol):
    """Something that tells events. It keeps its own place and holds up nobody."""

    @property
    def name(self) -> str: ...

    @property
    def health(self) -> OutputHealth: ...

    async def run(self, log: EventLog) -> None:
        """Tell events until cancelled; flush and save the place before returning from cancellation."""
        ...

    def reopen(self) -> None:
        """SIGHUP: take a fresh look at paths."""
        ...


class Balance(msgspec.Struct, frozen=True):
    """The account's credit."""

    credit: float
    currency: str


class Gateway(Protocol):
    """Asks GatewayAPI for one account. Every failure is a value; only cancellation is raised."""

    async def read(self, message_id: int) -> Outcome:
        """One `GET /rest/mtsms/<id>`, bounded in time and size."""
        ...

    async def balance(self) -> Balance | Trouble:
        """One `GET /rest/me`."""
        ...

    async def close(self) -> None: ...


class Transition(msgspec.Struct, frozen=True):
    """A hold begins or ends; to be committed with its event before anybody is told."""

    state: AccountState
    bodies: tuple[Body, ...]


class Limiter(Protocol):
    """Pace and holds of one account: decides when the next request may go out."""

    def delay(self) -> float:
        """Seconds until a request may go out: 0 now; `inf` while a probe is under way and only its answer decides."""
        ...

    def take(self) -> None:
        """A request goes out now (call only when `delay()` is 0)."""
        ...

    def report(self, outcome: Outcome) -> Transition | None:
        """What the request met. Returns the hold that begins or ends by it."""
        ...

    @property
    def held(self) -> AccountState | None:
        """The hold in force, None when polling goes on."""
        ...

    @property
    def held_total(self) -> float:
        """Seconds the account has been held so far, the current hold included; ages no message."""
        ...

    @property
    def rate(self) -> float:
        """Requests a second in force (the configured rate, or less after throttling)."""
        ...

    async def changed(self) -> None:
        """Return when something other than time may have changed `delay()` (hold over, credentials replaced)."""
        ...
