"""The store as anybody may read it at any time, with the daemon running or not: synchronous and read-only.

What is stored are instants of the daemon's time; what leaves here is the wall clock's (see `pollerd.base.anchor`).
Every call raises StoreError when the store cannot be read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, Protocol, Self, TypeVar

import msgspec

from pollerd.core.event import Event
from pollerd.core.model import Filter, Message, State
from pollerd.core.ports.deliveries import Delivery
from pollerd.core.ports.erasure import About, Known

T = TypeVar("T")
NAMED: Final = 3
"""Messages of a kind that are named at a glance."""
CAP: Final = 100_000
"""Counts stop here: what is larger is shown as "more than"."""
AGE_SLOT: Final = 15.0
"""Seconds of sending time in which pending messages are counted together."""


class PositionError(ValueError):
    """Not a position in this list."""


class Standing(NamedTuple):
    """A message's state and its account."""

    state: State
    account: str


class Page(NamedTuple):
    """Some messages, and the position to go on after (None: that was all)."""

    messages: list[Message]
    next: str | None


class SearchPage(NamedTuple):
    """Messages found, how many were searched, and the position to go on after (None: that was all)."""

    messages: list[Message]
    searched: int
    next: str | None


class Undelivered(NamedTuple):
    """How many events of an output are `waiting` for their next attempt, and how many are `parked`."""

    waiting: int = 0
    parked: int = 0


class AccountView(msgspec.Struct, frozen=True):
    """An account at a glance. `due`, `late`, `pending` and `unknown` count up to `CAP`; instants are the wall clock's.

    `unknown` messages were never seen and are past their grace.
    """

    name: str
    due: int = 0
    late: int = 0
    next_poll_at: float | None = None
    held_reason: str | None = None
    held_detail: str | None = None
    held_since: float | None = None
    held_until: float | None = None
    credit: float | None = None
    currency: str | None = None
    credit_low: bool = False
    unknown: int = 0
    pending: int = 0


class OutputView(msgspec.Struct, frozen=True):
    """An output at a glance: `lag` events are not delivered yet, the first of them committed at `behind_since`.

    `waiting` and `parked` ones are kept beside its cursor.
    """

    name: str
    seq: int
    lag: int
    behind_since: float | None
    updated_at: float
    waiting: int = 0
    parked: int = 0


class MemberView(NamedTuple):
    """A daemon that shares the store with others: where it runs, since when (UNIX seconds), and how many seconds ago it
    renewed its lease.
    """

    name: str
    host: str
    pid: int
    version: str
    active: bool
    since: float
    renewed: float


class JumpView(NamedTuple):
    """How often event numbers were left out, since the store may have lost some; when (UNIX seconds) and why last."""

    times: int
    last: float | None
    why: str


class ClusterView(NamedTuple):
    """The daemons that share the store. `active_since`: since when one of them polls (None: none does); `took_over`
    says from whom it did and why, empty where that was nobody. There were `takeovers` so far.
    """

    members: tuple[MemberView, ...]
    active_since: float | None
    took_over: str
    takeovers: int
    jumped: JumpView


class StoreSize(NamedTuple):
    """Bytes on disk: what is stored, and the log of writes that are not in it yet."""

    data: int
    log: int


class Overview(msgspec.Struct, frozen=True):
    """The store at a glance. `daemon` is the owner's process id (0: not known yet), None when none runs.

    `new` counts rows that are not planned yet, `overdue` pending messages that were reported as such, `set_aside`
    ones that are not polled, since their rows cannot be used, up to `CAP`, and `set_aside_first` says of the first
    `NAMED` why. `oldest_sent_at` is None when nothing is
    pending; with more than `CAP` pending it is the beginning of its slot. `ages` are slots of
    `AGE_SLOT`: from when (by the wall clock), and how many messages sent in it are pending. `waiting` and `parked`
    events could not be delivered by all outputs together, up to `CAP`.
    """

    daemon: int | None
    new: int
    pending: int
    finished: int
    gave_up: int
    polls: int
    oldest_sent_at: float | None
    last_seq: int
    pruned_seq: int
    requests: int
    size: StoreSize
    accounts: tuple[AccountView, ...]
    outputs: tuple[OutputView, ...]
    ages: tuple[tuple[float, int], ...] = ()
    waiting: int = 0
    parked: int = 0
    overdue: int = 0
    set_aside: int = 0
    set_aside_first: tuple[tuple[int, str], ...] = ()
    last_handed_over: float | None = None
    cluster: ClusterView | None = None
    """None: no other daemon can share this store."""


class View(Protocol):
    """A store opened for reading."""

    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...

    # -- messages

    def message(self, message_id: int) -> Message | None:
        """One message; None when it is not followed."""
        ...

    def standing(self, message_id: int) -> Standing | None:
        """Where a message stands; None when it is not followed."""
        ...

    def messages(self, state: State | None, limit: int) -> list[Message]:
        """At most `limit` messages. All: the highest ids first; pending: what is polled next, new rows included;
        finished: the latest first; given up: the highest ids first.
        """
        ...

    def page(self, state: Filter | None, after: str | None, limit: int) -> Page:
        """At most `limit` messages behind the position `after` (None: from the start). Raises PositionError.

        Orders: all and given up: the highest id first; finished: the latest first; overdue: the longest first; pending:
        what is not planned yet, then what is polled next. A pending message that is polled while somebody turns the
        pages may be shown twice, and is never left out.
        """
        ...

    def search(self, wanted: str, state: Filter | None, after: str | None, limit: int) -> SearchPage:
        """At most `limit` messages whose userref holds `wanted` (upper or lower case), or one of whose recipients it
        is. The message with that id comes first. Raises PositionError.
        """
        ...

    def count_gave_up(self) -> int:
        """How many messages are given up."""
        ...

    # -- events

    @property
    def last_seq(self) -> int:
        """The highest `seq` ever given."""
        ...

    @property
    def pruned_seq(self) -> int:
        """Everything up to this `seq` has been deleted by retention."""
        ...

    def events(self, after: int, limit: int, message_id: int | None = None, kind: str | None = None) -> list[Event]:
        """Committed events with `seq > after`, ascending, of one message or one type where given."""
        ...

    def undelivered(self, after: int, after_output: str, limit: int) -> list[Delivery]:
        """Events that outputs keep for another attempt or have parked, ascending by `seq` and output, that come after
        those given.
        """
        ...

    # -- the whole

    @property
    def daemon(self) -> int | None:
        """The process id of the store's owner (0: not known yet); None when none runs."""
        ...

    def known(self, about: About) -> Known:
        """How much is known of a message, or of whoever has a telephone number. Searches all that there is."""
        ...

    def overview(self, now: float, *, oldest: bool = True) -> Overview:
        """Everything at one glance; `now` is the wall clock's. `oldest` is dear: up to a tenth of a second."""
        ...

    def hold(self, account: str) -> AccountView | None:
        """What is stored of an account: its hold and credit, without counts."""
        ...

    def note(self, name: str) -> bytes | None:
        """A small named value, such as what the backoff learned."""
        ...

    def hand_over_delays(self, limit: int) -> list[float]:
        """Seconds from sending to being handed over, of at most `limit` messages that ended last."""
        ...

    def ahead(self) -> float:
        """Seconds that the wall clock is ahead of the instants in the store now."""
        ...

    def changed(self) -> bool:
        """Whether anything was committed since the last call (true the first time)."""
        ...

    @property
    def replaced(self) -> bool:
        """Whether another store is in its place by now (a restored backup): open it again."""
        ...


class Views(Protocol):
    """Reads of a running daemon that may take a while."""

    async def read(self, work: Callable[[View], T]) -> T:
        """What `work` makes of the store. Raises StoreError, and what `work` raises."""
        ...

    def close(self) -> None:
        """Take no further reads; those under way end by themselves."""
        ...
