"""The store: everything that the daemon asks of it, whatever the engine.

All instants are those of `Clock.now`. What is written raises StoreUnavailableError when it may work later (then nothing
was written), StoreError when the store cannot be used, DurabilityError when the disk could not promise anything. A call
that was cancelled has nevertheless run to its end.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from pollerd.core.diff import Result
from pollerd.core.event import Body, Event
from pollerd.core.model import Message, Priority
from pollerd.core.ports.accounts import AccountState, CreditState
from pollerd.core.ports.deliveries import DeliveryBook
from pollerd.core.ports.erasure import About
from pollerd.core.ports.events import Cursor, EventLog
from pollerd.core.ports.incoming import IncomingBook
from pollerd.core.ports.requests import Request
from pollerd.core.ports.tracking import SourceBook, TrackRequest, TrackResult
from pollerd.core.ports.unwritten import UnwrittenBook

Due = tuple[float, int]
"""A position in the order of due times: the instant, and the id of the message."""


class Batch(msgspec.Struct, frozen=True):
    """One transaction: everything in it is on disk together or not at all."""

    results: Sequence[Result] = ()
    bodies: Sequence[Body] = ()
    """Events about accounts, and incoming messages, which are remembered by their events."""
    accounts: Sequence[AccountState] = ()
    """Their holds; the credit in them is only what was known at the start, and is not written over a newer one."""
    credits: Sequence[CreditState] = ()
    cursors: Sequence[Cursor] = ()
    done: Sequence[int] = ()
    """Requests that this transaction fulfils."""
    notes: Sequence[tuple[str, bytes]] = ()
    """Small named values."""
    at: float = 0.0
    """The instant of the transaction."""


class Chore(NamedTuple):
    """Upkeep of an engine, to be done every `every` seconds."""

    name: str
    every: float
    run: Callable[[], Awaitable[object]]


class Retaining(Protocol):
    """Deletes what is not needed any more."""

    async def run(self, now: float) -> object:
        """Delete all that may go at `now`, a little at a time."""
        ...


class Schedule(Protocol):
    """What is due. Runs in the writer's order: all that was committed before a call is seen, nothing that is after."""

    async def due(self, account: str, after: Due, until: float, limit: int) -> list[Message]:
        """Pending messages of `account` behind the position `after` and due by `until`, in the order of due times."""
        ...

    async def due_latest(self, account: str, until: float, limit: int) -> list[Message]:
        """Of the pending messages due by `until`, those that became due last."""
        ...

    async def due_urgent(self, account: str, priority: Priority, until: float, limit: int) -> list[Message]:
        """Pending messages of an urgent `priority` due by `until`, longest due first."""
        ...


class Store(Schedule, EventLog, Protocol):
    """The open store. Only its owner has one."""

    taken: Callable[[float], float]
    """The instant of a time that another program has written by its own clock, to judge whether it can be one."""
    on_set_aside: Callable[[Iterable[int]], None]
    """Called with the messages whose rows were just set aside: what others remember of them is void."""

    # -- writing

    async def commit(self, batch: Batch) -> tuple[Event, ...]:
        """Put a batch on disk, whole or not at all. Returns its events with their `seq`."""
        ...

    async def advance_seq(self, seq: int) -> None:
        """Make the next event's number larger than `seq` (an output has seen more than this store knows of)."""
        ...

    # -- messages

    async def message(self, message_id: int) -> Message | None:
        """One message, None when it is not followed."""
        ...

    async def pending(self, after: int, limit: int) -> list[Message]:
        """Pending messages with ids above `after`, in id order."""
        ...

    async def refused(self, account: str, refusal: str, after: Due, limit: int) -> list[Message]:
        """Messages of `account` given up because of `refusal` (as in `last_answer`), seen before and not taken up again
        yet, behind the position `after` (when they ended, id), in that order.
        """
        ...

    async def given_up(self, after: int, limit: int = 1000) -> list[int]:
        """Ids of messages whose polling ended without a final state, ascending, greater than `after`."""
        ...

    # -- what others put into the store

    async def foreign_change(self) -> bool:
        """Whether another process has committed since the last call (true once after opening)."""
        ...

    async def set_strange_aside(self) -> None:
        """Set aside unusable rows."""
        ...

    async def new(self, limit: int) -> list[Message]:
        """Rows that are not planned yet, in id order."""
        ...

    async def find_known(self, about: About) -> list[int]:
        """The messages that `erase` removes as a whole."""
        ...

    async def erase(self, about: About, now: float) -> None:
        """Remove what is known, on disk too as far as the engine can. A message that is still polled and has other
        recipients stays, since the next answer would bring the number back.
        """
        ...

    async def scrub(self) -> None:
        """Leave no copy on disk of what was removed, as far as the engine can."""
        ...

    async def requests(self, limit: int = 1000) -> list[Request]:
        """What commands asked for, oldest first."""
        ...

    async def track(self, messages: Sequence[TrackRequest]) -> TrackResult:
        """Follow `messages` from now on; on disk when this returns. What is followed already keeps what is known of it;
        what is followed for another account is refused. What was written before an error stays.
        """
        ...

    def sources(
        self, databases: Mapping[str, str], wall: Callable[[], float], poke: Callable[[], None]
    ) -> Mapping[str, SourceBook]:
        """What each source of ids gave so far, by its name, which is the same over restarts; `databases` are what they
        read. `wall` gives the wall clock's UNIX seconds, `poke` is called when something new is followed.
        """
        ...

    # -- alarms

    async def overdue_accounts(self) -> list[str]:
        """The accounts with messages that are overdue some time and were not reported."""
        ...

    async def overdue(self, account: str, after: Due, until: float, limit: int) -> list[Due]:
        """When messages are overdue (up to `until`) that were not reported, and their ids, in that order: those behind
        the position `after`.
        """
        ...

    async def set_overdue(self, account: str, after: float | None) -> None:
        """The messages of `account` without an `overdue_after` of their own that were not reported get this one."""
        ...

    # -- what outputs keep beside their cursors

    def deliveries(self) -> DeliveryBook:
        """The events that the webhook's receivers have not taken yet."""
        ...

    def incoming(self) -> IncomingBook:
        """The incoming messages that were found."""
        ...

    def unwritten(self, output: str, database: str | None) -> UnwrittenBook:
        """The events that the output of that name has not written yet; `database` is the one that it writes, where a
        source reads it, too.
        """
        ...

    async def retry_parked(self, now: float) -> int:
        """Take up again every parked event, with all its attempts; returns how many."""
        ...

    # -- upkeep

    def retention(self, outputs: frozenset[str], keep: float, keep_events: float) -> Retaining:
        """What deletes old messages and events: `outputs` are the configured outputs that keep a cursor, `keep` is in
        seconds.
        """
        ...

    def chores(self) -> Sequence[Chore]:
        """What the engine itself wants done now and then."""
        ...

    # -- the whole

    async def accounts(self) -> dict[str, AccountState]:
        """What is known of each account from earlier runs."""
        ...

    async def note(self, name: str) -> bytes | None:
        """A small named value."""
        ...

    async def counters(self) -> dict[str, int]:
        """How many messages are `pending`, `finished` and `gave_up`, and how many `polls` were made so far."""
        ...

    async def unknown(self, account: str, most: int) -> int:
        """How many pending messages of `account` were never seen and are past their grace, up to `most`."""
        ...

    @property
    def lost(self) -> str:
        """What became of a store that is no longer where it was opened; empty while all is well."""
        ...

    @property
    def doubts(self) -> int:
        """Of how many transactions the outcome was not known, since their connection broke, and was asked for again."""
        ...

    async def follow(self) -> None:
        """Where machines share the store: notice what the one that polls commits, or, as that one, have the others
        notice; until cancelled.
        """
        ...

    async def rescue(self) -> str:
        """After the loss: save what can be saved. Returns where that is, empty when nothing is left to do."""
        ...

    async def close(self) -> None:
        """Let go of it."""
        ...
