"""The database as anybody may read it at any time, with the daemon running or not: read-only and synchronous.

What is stored are instants of the daemon's time; what leaves is the wall clock's (see `pollerd.base.anchor`).

No transaction stays open between calls, so that a reader never holds up the WAL's checkpoint. What would be dear to
count exactly is bounded by `CAP` or by time, so that a look costs the same whatever the number of messages.
"""

from __future__ import annotations

import heapq
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import inf
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import msgspec

from pollerd.base import anchor
from pollerd.base.errors import StoreError
from pollerd.core.event import Event
from pollerd.core.model import Message, State
from pollerd.core.ports import Delivery
from pollerd.store import aside, damage, rows
from pollerd.store.sqlite import lock, readonly, schema
from pollerd.store.statements import statements
from pollerd.store.undelivered import Undelivered, count_undelivered, read_undelivered

CAP: Final = 100_000
"""Counts stop here: what is larger is told as "more than"."""
LATE_AFTER: Final = 60.0
"""Seconds past its time from which a poll is late."""
_PATIENCE: Final = 0.1
"""Seconds that a look which no index answers may take."""


class Standing(NamedTuple):
    """A message's state and its account."""

    state: State
    account: str


class AccountView(msgspec.Struct, frozen=True):
    """An account at a glance. `due`, `late`, `pending` and `unknown` count up to `CAP`; instants are UNIX seconds.

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
    """An output at a glance: `lag` events are not told yet, the first of them committed at `behind_since`.

    `waiting` and `parked` ones are kept beside its place.
    """

    name: str
    seq: int
    lag: int
    behind_since: float | None
    updated_at: float
    waiting: int = 0
    parked: int = 0


class Overview(msgspec.Struct, frozen=True):
    """The database at a glance. `daemon` is the owner's process id (0: not known yet), None when none runs.

    `new` counts rows that nobody has planned yet, `overdue` pending messages that were told as such, `set_aside` ones
    that are not polled, since their rows were damaged, up to `CAP`. `oldest_sent_at` is None when nothing is pending;
    with more than `CAP` pending it is the beginning of its slot. Sizes are bytes. `ages` are slots of 15 s: from when
    (UNIX seconds), and how many messages sent in it are pending. `waiting` and `parked` events could not be delivered
    by all outputs together, up to `CAP`.
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
    size: int
    accounts: tuple[AccountView, ...]
    outputs: tuple[OutputView, ...]
    ages: tuple[tuple[float, int], ...] = ()
    waiting: int = 0
    parked: int = 0
    overdue: int = 0
    set_aside: int = 0


class View:
    """A database opened for reading."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection
        self._file = path.stat()
        self._version = -1
        self._sql = {name: sql.format(columns=", ".join(rows.COLUMNS)) for name, sql in statements("view").items()}

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open the database. Raises DatabaseMissingError when there is none, StoreError when it cannot be read."""
        view = cls(*readonly.connect(path))
        try:
            view._check()
        except BaseException:
            view.close()
            raise
        return view

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # -- messages

    def message(self, message_id: int) -> Message | None:
        """One message; None when it is not followed."""
        found = self._shown(self._messages("message", message_id))
        return found[0] if found else None

    def standing(self, message_id: int) -> Standing | None:
        """Where a message stands; None when it is not followed."""
        found = self._fetch("standing", message_id)
        return Standing(damage.state(found[0][0]), rows.text(found[0][1]) or rows.DEFAULT_ACCOUNT) if found else None

    def messages(self, state: State | None, limit: int) -> list[Message]:
        """At most `limit` messages. All: the highest ids first; pending: what is polled next, new rows included;
        finished: the latest first; given up: the highest ids first.
        """
        match state:
            case None:
                return self._shown(self._messages("list_all", limit))
            case State.FINISHED:
                return self._shown(self._messages("list_finished", limit))
            case State.GAVE_UP:
                return self._shown(self._messages("list_gave_up", limit))
            case State.SET_ASIDE:
                return self._shown(self._messages("list_set_aside", limit))
            case _:
                found = self._messages("list_new", limit)
                for account in self._pending_accounts():
                    found += self._messages("list_pending", account, limit)
                return heapq.nsmallest(limit, self._shown(found), key=lambda message: message.next_poll_at)

    # -- events

    @property
    def last_seq(self) -> int:
        """The highest `seq` ever given."""
        return int(self._fetch("last_seq")[0][0])

    @property
    def pruned_seq(self) -> int:
        """Everything up to this `seq` has been deleted by retention."""
        first = self._fetch("first_seq")[0][0]
        return self.last_seq if first is None else int(first) - 1

    def events(self, after: int, limit: int, message_id: int | None = None, kind: str | None = None) -> list[Event]:
        """Committed events with `seq > after`, ascending, of one message or one type where given."""
        name = "events"
        wanted: list[Any] = [after]
        if message_id is not None:
            name, wanted = f"{name}_of_message", [*wanted, message_id]
        if kind is not None:
            name, wanted = f"{name}{'_of' if message_id is None else '_and'}_type", [*wanted, kind]
        found = self._fetch(name, *wanted, limit)
        return [Event(row[0], row[1], row[2], rows.blob(row[3])) for row in found]

    def undelivered(self, after: int, after_output: str, limit: int) -> list[Delivery]:
        """Events that outputs keep for another attempt or have parked; see `read_undelivered`."""
        with readonly.explained(self._path):
            found = read_undelivered(self._connection, after, limit, after_output=after_output)
        ahead = self.ahead()
        return [msgspec.structs.replace(delivery, next_at=rows.later(delivery.next_at, ahead)) for delivery in found]

    def count_undelivered(self) -> dict[str, Undelivered]:
        """How much each output keeps for another attempt or has parked, up to `CAP`."""
        with readonly.explained(self._path):
            return count_undelivered(self._connection, CAP)

    @property
    def daemon(self) -> int | None:
        """The process id of the database's owner (0: not known yet); None when none runs."""
        return lock.owner_pid(self._path)

    def hold(self, account: str) -> AccountView | None:
        """What is stored of an account: its hold and credit, without counts."""
        found = self._fetch("account", account)
        return _account(found[0], self.ahead()) if found else None

    def count_gave_up(self) -> int:
        """How many messages are given up."""
        return int(self._fetch("count_gave_up")[0][0])

    def note(self, name: str) -> bytes | None:
        """A small named value, such as what the backoff learned."""
        found = self._fetch("note", name)
        return None if not found or found[0][0] is None else bytes(found[0][0])

    def ahead(self) -> float:
        """Seconds that the wall clock is ahead of the instants in the database now."""
        return anchor.wall_ahead(self.note(anchor.NOTE))

    def changed(self) -> bool:
        """Whether anything was committed since the last call (true the first time)."""
        with readonly.explained(self._path):
            version = int(self._connection.execute("PRAGMA data_version").fetchone()[0])
        changed = version != self._version
        self._version = version
        return changed

    @property
    def replaced(self) -> bool:
        """Whether the path leads to another file by now (a restored backup): open it again."""
        try:
            return not os.path.samestat(self._path.stat(), self._file)
        except FileNotFoundError:
            return True

    # -- the whole

    def overview(self, now: float, *, oldest: bool = True) -> Overview:
        """Everything at one glance; `now` is UNIX seconds. `oldest` is dear: up to `_PATIENCE` seconds."""
        with self._instant():
            return self._overview(now, oldest=oldest)

    @contextmanager
    def _instant(self) -> Iterator[None]:
        """All reads see the database as it is at the first of them: nothing is counted twice, or not at all."""
        with readonly.explained(self._path):
            self._connection.execute("BEGIN")
        try:
            yield
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def _overview(self, now: float, *, oldest: bool) -> Overview:
        ahead = self.ahead()
        last = self.last_seq
        undelivered = self.count_undelivered()
        counters = {str(name): rows.whole(value) for name, value in self._fetch("counters")}
        ages = tuple((float(since) + ahead, rows.whole(count)) for since, count in self._fetch("ages"))
        pending = counters.get("pending", 0)
        since = ages[0][0] if ages else None
        if oldest and (not ages or pending <= CAP):
            since = rows.later(self._oldest(now - ahead), ahead)
        return Overview(
            daemon=self.daemon,
            new=self._fetch("count_new", CAP)[0][0],
            overdue=self._fetch("count_overdue", CAP)[0][0],
            pending=pending,
            finished=counters.get("finished", 0),
            gave_up=counters.get("gave_up", 0),
            polls=counters.get("polls", 0),
            oldest_sent_at=since,
            last_seq=last,
            pruned_seq=self.pruned_seq,
            requests=self._fetch("count_requests")[0][0],
            size=_size(self._path),
            accounts=tuple(self._accounts(now, ahead)),
            outputs=tuple(self._outputs(last, ahead, undelivered)),
            ages=ages,
            set_aside=self._fetch("count_set_aside", CAP)[0][0],
            waiting=sum(found.waiting for found in undelivered.values()),
            parked=sum(found.parked for found in undelivered.values()),
        )

    def _accounts(self, now: float, ahead: float) -> Iterator[AccountView]:
        stored = {row[0]: _account(row, ahead) for row in self._fetch("accounts")}
        due = now - ahead
        for name in sorted(stored.keys() | set(self._pending_accounts())):
            yield msgspec.structs.replace(
                stored.get(name) or AccountView(name),
                due=self._fetch("count_due", name, due, CAP)[0][0],
                late=self._fetch("count_due", name, due - LATE_AFTER, CAP)[0][0],
                next_poll_at=rows.later(rows.real(self._fetch("next_poll", name)[0][0]), ahead),
                unknown=self._fetch("count_unknown", name, CAP)[0][0],
                pending=self._fetch("count_due", name, inf, CAP)[0][0],
            )

    def _outputs(self, last: int, ahead: float, undelivered: Mapping[str, Undelivered]) -> Iterator[OutputView]:
        for name, place, updated_at in self._fetch("outputs"):
            seq = rows.whole(place)
            behind = self._fetch("event_time", seq) if seq < last else []
            since = rows.later(rows.real(behind[0][0]), ahead) if behind else None
            kept = undelivered.get(name, Undelivered())
            yield OutputView(name, seq, max(0, last - seq), since, (rows.real(updated_at) or 0.0) + ahead, *kept)

    def _oldest(self, now: float) -> float | None:
        deadline = time.monotonic() + _PATIENCE
        self._connection.set_progress_handler(lambda: time.monotonic() > deadline, 20_000)
        try:
            found = self._connection.execute(self._sql["oldest_pending"]).fetchone()[0]
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
                return None
            raise readonly.explanation(self._path, error) from error
        finally:
            self._connection.set_progress_handler(None, 0)
        return None if found is None else rows.instant(found, now)

    # -- plumbing

    def _pending_accounts(self) -> list[str]:
        return [str(row[0]) for row in self._fetch("pending_accounts")]

    def _shown(self, messages: list[Message]) -> list[Message]:
        ahead = self.ahead() if messages else 0.0
        return [rows.by_wall(message, ahead) for message in messages] if ahead else messages

    def _messages(self, name: str, *values: Any) -> list[Message]:
        now = time.time()
        return aside.shown(self._fetch(name, *values), now)

    def _fetch(self, name: str, *values: Any) -> Sequence[Any]:
        with readonly.explained(self._path):
            return self._connection.execute(self._sql[name], values).fetchall()

    def _check(self) -> None:
        with readonly.explained(self._path):
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
            owner = self._connection.execute("PRAGMA application_id").fetchone()[0]
        newest = schema.migrations()[-1].version
        if owner != schema.APPLICATION_ID:
            raise StoreError(f"{self._path} belongs to another program. Name pollerd's own file in [store] path.")
        if version < newest or (version > newest and not schema.readable(self._connection, newest)):
            older = "The daemon brings it up to date when it starts." if version < newest else "Install the newer one."
            raise StoreError(
                f"the database {self._path} has schema {version}, this version of pollerd reads {newest}. {older}",
            )


def _account(row: Sequence[Any], ahead: float) -> AccountView:
    name, reason, detail, since, until, credit, currency, credit_low = row
    held = reason is not None
    return AccountView(
        name=name,
        held_reason=rows.text(reason),
        held_detail=rows.text(detail) if held else None,
        held_since=rows.later(rows.real(since), ahead) if held else None,
        held_until=rows.later(rows.real(until), ahead) if held else None,
        credit=rows.real(credit),
        currency=rows.text(currency),
        credit_low=bool(credit_low),
    )


def _size(database: Path) -> int:
    total = 0
    for suffix in ("", "-wal"):
        try:
            total += Path(f"{database}{suffix}").stat().st_size
        except FileNotFoundError:
            continue
    return total
