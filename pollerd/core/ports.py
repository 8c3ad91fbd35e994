"""The small interfaces between the loops and the adapters. Loops know these, adapters fulfil them, `app` wires them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import msgspec

from pollerd.core.diff import Result
from pollerd.core.event import Body, Event
from pollerd.core.model import HoldReason, Outcome, Trouble

if TYPE_CHECKING:
    # Commands import these ports too, and start the faster without it.
    import asyncio


class Clock(Protocol):
    """Time as the daemon sees it. Whatever is stored, planned or compared is an instant of `now`; what people and
    programs are told is the wall clock's."""

    def now(self) -> float:
        """The instant: passes as time really passes, whatever is done to the wall clock, and never goes back."""
        ...

    def monotonic(self) -> float:
        """Seconds awake, for how long something takes."""
        ...

    def wall(self) -> float:
        """UNIX seconds by the wall clock, for what is told and for what others wrote."""
        ...

    def told(self, instant: float) -> float:
        """An instant of `now` by the wall clock."""
        ...


class GatewayTime(Protocol):
    """What the gateway's clock says beside ours."""

    def heard(self, headers: Mapping[str, str]) -> None:
        """An answer came with these headers."""
        ...

    @property
    def ahead(self) -> float:
        """Seconds that the gateway's clock is ahead of `Clock.now`; 0.0 for mere drift."""
        ...


class AccountState(msgspec.Struct, frozen=True):
    """What outlives a restart about an account; `held_total` is in seconds, instants are UNIX seconds.

    `trusting`: a hold for `refusing` ended without an answer, so refusals are believed until there is one. `refusal`
    is the one that began such a hold, as in `Message.last_answer`.
    """

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
    trusting: bool = False
    refusal: str = ""


class CreditState(msgspec.Struct, frozen=True):
    """What is known of an account's balance; `at` is UNIX seconds."""

    name: str
    credit: float
    currency: str
    low: bool
    at: float


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
    RESUME = "resume"
    """End the hold for `refusing` of an account (`argument`)."""
    FORGET = "forget"
    """What the backoff learned about one network (`argument`), or about all."""


class Request(msgspec.Struct, frozen=True):
    """A wish of a command, left in the database; done when its row is gone."""

    id: int
    kind: RequestKind
    message_id: int | None
    argument: str | None = None


class Batch(msgspec.Struct, frozen=True):
    """One transaction: everything in it is on disk together or not at all."""

    results: Sequence[Result] = ()
    bodies: Sequence[Body] = ()
    """Events about accounts."""
    accounts: Sequence[AccountState] = ()
    """Their holds; the credit in them is only what was known at the start, and is not written over a newer one."""
    credits: Sequence[CreditState] = ()
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
    """One output at a glance, for `status`: its place, and the trouble it is in (empty when well). `keeps`: it may keep
    events beside its place for another attempt.
    """

    name: str
    seq: int
    trouble: str = ""
    readers: int | None = None
    keeps: bool = False


class SourceHealth(msgspec.Struct, frozen=True):
    """One source of ids at a glance: the trouble it is in (empty when well)."""

    name: str
    trouble: str = ""


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


@runtime_checkable
class Preparing(Protocol):
    """An output that has something to settle before the first event of a start is committed."""

    async def prepare(self, log: EventLog) -> None: ...


@runtime_checkable
class Opening(Protocol):
    """An output that others connect to."""

    @property
    def opened(self) -> asyncio.Event:
        """Set once readers can connect."""
        ...


class DeliveryState(IntEnum):
    """Where an event stands that is kept for a receiver, as stored in `deliveries.state`."""

    WAITING = 0
    PARKED = 1
    """Every attempt failed; only a person takes it up again."""
    DELIVERED = 2
    """Done, but the output's place is still below it."""


class Delivery(msgspec.Struct, frozen=True):
    """An event kept for its receiver beside the output's place.

    `message_id` is 0 for an event about an account, `lane` names the webhook's receiver, `next_at` (UNIX seconds) is
    when it is tried; None: not before the earlier events of its message are done.
    """

    seq: int
    type: str
    message_id: int
    body: bytes
    lane: str
    state: DeliveryState = DeliveryState.WAITING
    attempts: int = 0
    next_at: float | None = None
    error: str = ""
    output: str = "webhook"


class DeliveryChange(msgspec.Struct, frozen=True):
    """One transaction of deliveries and the place of their output."""

    cursor: Cursor | None = None
    """Delivered events up to its `seq` are forgotten."""
    kept: Sequence[Delivery] = ()
    gone: Sequence[int] = ()
    """Events that need not be kept any more."""
    freed: Sequence[int] = ()
    """Messages whose next kept event may be posted now."""
    taken: Sequence[Delivery] = ()
    """Events that were delivered: what is kept of earlier ones with the same subject is superseded."""
    at: float = 0.0


class DeliveryBook(Protocol):
    """The events that receivers have not taken yet, on disk."""

    async def known(self, after: int, until: int) -> set[int]:
        """The events with `after < seq <= until` that are kept in whatever state."""
        ...

    async def blocked(self, messages: Sequence[int]) -> set[int]:
        """Those of `messages` that have an event waiting."""
        ...

    async def due(self, lane: str, now: float, latest: float, limit: int) -> list[Delivery]:
        """Waiting events that may be posted at `now`, longest due first.

        One planned for after `latest` was planned by a clock that was wrong, and is due too.
        """
        ...

    async def next_at(self, lane: str) -> float | None:
        """When the next waiting event of a lane is to be posted."""
        ...

    async def save(self, change: DeliveryChange) -> Sequence[Delivery]:
        """Commit a change; the events that are superseded by it, and kept no longer. Raises StoreUnavailableError when
        it may work later.
        """
        ...

    async def undelivered(self, after: int, limit: int) -> list[Delivery]:
        """Waiting and parked events with `seq > after`, ascending."""
        ...

    async def relabel(self, lanes: Sequence[tuple[int, str]]) -> None:
        """Give events (by `seq`) another lane."""
        ...

    async def forget_parked(self, before: float) -> int:
        """Delete events parked before that instant; returns how many."""
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


class PollMeter(Protocol):
    """Counts one account's polls. Every call is on the hot path and costs about a microsecond at most."""

    def polled(self, outcome: Outcome, lag: float, seconds: float) -> None:
        """What a poll met that went out `lag` seconds after it was due, and after how many seconds."""
        ...

    def told(self, result: Result, now: float, ahead: float = 0.0) -> None:
        """What a poll left behind that has events, at the wall's time `now`; `ahead`: seconds that the gateway's clock
        is ahead of the daemon's.
        """
        ...


class CommitMeter(Protocol):
    """Counts transactions."""

    def committed(self, results: int, told: Sequence[Event], seconds: float) -> None:
        """A transaction with so many results is on disk, with the events it told, after so many seconds."""
        ...


class Unmetered:
    """Counts nothing: for whoever runs a part without metrics."""

    def polled(self, outcome: Outcome, lag: float, seconds: float) -> None:
        """See PollMeter."""

    def told(self, result: Result, now: float, ahead: float = 0.0) -> None:
        """See PollMeter."""

    def committed(self, results: int, told: Sequence[Event], seconds: float) -> None:
        """See CommitMeter."""


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

    async def again(self) -> bool:
        """Wait until a request may go out a second time, ahead of all others, and count it. False: it may not."""
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

    @property
    def keeps_connections(self) -> bool:
        """Whether connections are kept between requests."""
        ...

    @property
    def repeats(self) -> int:
        """Requests that went out a second time so far."""
        ...

    async def changed(self) -> None:
        """Return when something other than time may have changed `delay()` (hold over, credentials replaced)."""
        ...
