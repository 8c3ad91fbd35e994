"""The database as anybody may read it at any time, with the daemon running or not: read-only and synchronous.

What is stored are instants of the daemon's time; what leaves is the wall clock's (see `pollerd.base.anchor`).

No transaction stays open between calls, so that a reader never blocks the WAL's checkpoint. What would be dear to
count exactly is bounded by `CAP` or by time, so that it costs the same whatever the number of messages.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterator, Mapping, Sequence
from math import inf
from typing import Any, Final, Self

import msgspec

from pollerd.base import anchor
from pollerd.core.event import Event
from pollerd.core.ids import DEFAULT_ACCOUNT
from pollerd.core.model import Message, State
from pollerd.core.ports import Delivery
from pollerd.core.ports.erasure import About, Known
from pollerd.core.ports.view import CAP, NAMED, AccountView, OutputView, Overview, Standing, Undelivered
from pollerd.core.walltime import by_wall, later
from pollerd.store import aside, damage, erasure, rows
from pollerd.store.session import ReadConnection
from pollerd.store.undelivered import count_undelivered, read_undelivered

LATE_AFTER: Final = 60.0
"""Seconds past its time from which a poll is late."""
_TIME_LIMIT: Final = 0.1
"""Seconds that a query which no index answers may take."""


class StoredView:
    """Fulfils `ports.View` but for pages and searches."""

    def __init__(self, connection: ReadConnection) -> None:
        self._connection = connection
        self._sql = dict(connection.sql("view"))

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- messages

    def message(self, message_id: int) -> Message | None:
        found = self._shown(self._messages("message", message_id))
        return found[0] if found else None

    def standing(self, message_id: int) -> Standing | None:
        found = self._fetch("standing", message_id)
        return Standing(damage.state(found[0][0]), rows.text(found[0][1]) or DEFAULT_ACCOUNT) if found else None

    def messages(self, state: State | None, limit: int) -> list[Message]:
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
        return int(self._fetch("last_seq")[0][0])

    @property
    def pruned_seq(self) -> int:
        first = self._fetch("first_seq")[0][0]
        return self.last_seq if first is None else int(first) - 1

    def events(self, after: int, limit: int, message_id: int | None = None, kind: str | None = None) -> list[Event]:
        name = "events"
        wanted: list[Any] = [after]
        if message_id is not None:
            name, wanted = f"{name}_of_message", [*wanted, message_id]
        if kind is not None:
            name, wanted = f"{name}{'_of' if message_id is None else '_and'}_type", [*wanted, kind]
        found = self._fetch(name, *wanted, limit)
        return [Event(row[0], row[1], row[2], rows.blob(row[3])) for row in found]

    def undelivered(self, after: int, after_output: str, limit: int) -> list[Delivery]:
        found = read_undelivered(self._connection, after, limit, after_output=after_output)
        ahead = self.ahead()
        return [msgspec.structs.replace(delivery, next_at=later(delivery.next_at, ahead)) for delivery in found]

    @property
    def daemon(self) -> int | None:
        return self._connection.owner

    def hold(self, account: str) -> AccountView | None:
        found = self._fetch("account", account)
        return _account(found[0], self.ahead()) if found else None

    def count_gave_up(self) -> int:
        return int(self._fetch("count_gave_up")[0][0])

    def note(self, name: str) -> bytes | None:
        found = self._fetch("note", name)
        return None if not found or found[0][0] is None else bytes(found[0][0])

    def hand_over_delays(self, limit: int) -> list[float]:
        return [float(row[0]) for row in self._fetch("hand_over_delays", limit)]

    def ahead(self) -> float:
        return anchor.wall_ahead(self.note(anchor.TIME_NOTE))

    def changed(self) -> bool:
        return self._connection.changed()

    @property
    def replaced(self) -> bool:
        return self._connection.replaced

    def known(self, about: About) -> Known:
        return erasure.known(self._connection, about)

    # -- the whole

    def overview(self, now: float, *, oldest: bool = True) -> Overview:
        with self._connection.snapshot():
            return self._overview(now, oldest=oldest)

    def _overview(self, now: float, *, oldest: bool) -> Overview:
        ahead = self.ahead()
        last = self.last_seq
        undelivered = count_undelivered(self._connection, CAP)
        counters = {str(name): rows.whole(value) for name, value in self._fetch("counters")}
        ages = tuple((float(since) + ahead, rows.whole(count)) for since, count in self._fetch("ages"))
        pending = counters.get("pending", 0)
        since = ages[0][0] if ages else None
        if oldest and (not ages or pending <= CAP):
            since = later(self._oldest(now - ahead), ahead)
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
            size=self._connection.size,
            accounts=tuple(self._accounts(now, ahead)),
            outputs=tuple(self._outputs(last, ahead, undelivered)),
            ages=ages,
            set_aside=self._fetch("count_set_aside", CAP)[0][0],
            set_aside_first=tuple((row[0], rows.text(row[1]) or "") for row in self._fetch("first_set_aside", NAMED)),
            waiting=sum(found.waiting for found in undelivered.values()),
            parked=sum(found.parked for found in undelivered.values()),
            cluster=self._connection.cluster,
            last_handed_over=later(counters.get("handed_over_at"), ahead),
        )

    def _accounts(self, now: float, ahead: float) -> Iterator[AccountView]:
        stored = {row[0]: _account(row, ahead) for row in self._fetch("accounts")}
        due = now - ahead
        for name in sorted(stored.keys() | set(self._pending_accounts())):
            yield msgspec.structs.replace(
                stored.get(name) or AccountView(name),
                due=self._fetch("count_due", name, due, CAP)[0][0],
                late=self._fetch("count_due", name, due - LATE_AFTER, CAP)[0][0],
                next_poll_at=later(rows.real(self._fetch("next_poll", name)[0][0]), ahead),
                unknown=self._fetch("count_unknown", name, CAP)[0][0],
                pending=self._fetch("count_due", name, inf, CAP)[0][0],
            )

    def _outputs(self, last: int, ahead: float, undelivered: Mapping[str, Undelivered]) -> Iterator[OutputView]:
        for name, stored, updated_at in sorted(self._fetch("outputs"), key=lambda row: row[0]):
            seq = rows.whole(stored)
            behind = self._fetch("event_time", seq) if seq < last else []
            since = later(rows.real(behind[0][0]), ahead) if behind else None
            kept = undelivered.get(name, Undelivered())
            yield OutputView(name, seq, max(0, last - seq), since, (rows.real(updated_at) or 0.0) + ahead, *kept)

    def _oldest(self, now: float) -> float | None:
        found = self._connection.query_within(_TIME_LIMIT, self._sql["oldest_pending"])
        return None if not found or found[0][0] is None else rows.instant(found[0][0], now)

    # -- plumbing

    def _pending_accounts(self) -> list[str]:
        return [str(row[0]) for row in self._fetch("pending_accounts")]

    def _shown(self, messages: list[Message]) -> list[Message]:
        ahead = self.ahead() if messages else 0.0
        return [by_wall(message, ahead) for message in messages] if ahead else messages

    def _messages(self, name: str, *values: Any) -> list[Message]:
        now = time.time()
        return aside.shown(self._fetch(name, *values), now)

    def _fetch(self, name: str, *values: Any) -> Sequence[Any]:
        return self._connection.query(self._sql[name], values)


def _account(row: Sequence[Any], ahead: float) -> AccountView:
    name, reason, detail, since, until, credit, currency, credit_low = row
    held = reason is not None
    return AccountView(
        name=name,
        held_reason=rows.text(reason),
        held_detail=rows.text(detail) if held else None,
        held_since=later(rows.real(since), ahead) if held else None,
        held_until=later(rows.real(until), ahead) if held else None,
        credit=rows.real(credit),
        currency=rows.text(currency),
        credit_low=bool(credit_low),
    )
