"""What the control socket answers, as typed values: the JSON and its schema come from the same place.

Instants are RFC 3339 in UTC, durations and lags are seconds, sizes are bytes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal

import msgspec

from pollerd.census import AccountSight, OutputSight, Sight
from pollerd.control.handover import RefusedId
from pollerd.documents import MessageDocument, moment
from pollerd.events import instant


class TrackedDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the ids handed over: newly followed, followed before, and refused with the reason.

    `given_up` of the known ones are not polled any more; `POST /messages/ID/retry` takes one up again.
    """

    tracked: int
    known: int
    given_up: int
    refused: list[RefusedId]


class MessagesDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A page of messages. `next` is what to give as `after` for the next page, null on the last one."""

    messages: list[MessageDocument]
    next: str | None


class HealthDocument(msgspec.Struct, frozen=True, kw_only=True):
    """All is well."""

    status: Literal["ok"]


class GapDocument(msgspec.Struct, frozen=True, kw_only=True, tag="gap", tag_field="type"):
    """In the stream of events: those after `after` and before `first` were deleted by retention."""

    after: int
    first: int


class HoldDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Why an account is not polled, since when, and when it is tried again."""

    reason: str
    detail: str
    since: str | None
    until: str | None


class AccountDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One account. `state` is `polling`, `held` or `unconfigured` (messages wait for an account nobody configured).

    `rate` is requests a second in force, `rate_limit` as configured. `asking` requests are under way, on at most
    `connections`. `in_memory` messages are due soon or under way, `backlog` of them wait for the limit. `due` and
    `late` (by a minute) count in the database, up to 100,000.
    """

    name: str
    state: Literal["polling", "held", "unconfigured"]
    hold: HoldDocument | None
    rate: float
    rate_limit: float
    connections: int
    asking: int
    polls: int
    polls_per_second_10s: float
    polls_per_second_60s: float
    in_memory: int
    backlog: int
    due: int
    late: int
    next_poll_at: str | None
    held_seconds_total: float
    credit: float | None
    currency: str | None
    credit_low: bool


class OutputDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One output: its place (of the reader furthest behind), and how many events lie behind it, since when."""

    name: str
    seq: int
    lag: int
    behind_since: str | None
    readers: int | None
    trouble: str | None


class MessageCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How many messages are in which state; `new` ones are planned in a moment (counted up to 100,000)."""

    new: int
    pending: int
    finished: int
    gave_up: int


class DatabaseDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The database. `trouble` is null while it can be written; polling waits while it cannot."""

    path: str
    size: int
    wal_size: int
    last_seq: int
    pruned_seq: int
    trouble: str | None


class BackoffDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What the backoff says of itself; `stalled` are the operators whose deliveries seem to stand still."""

    policy: str
    predicted_polls: float | None
    measured_polls: float | None
    price: float | None
    learned_events: float
    stalled: list[str]


class LogDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A warning or an error of the log."""

    at: str
    level: str
    event: str | None
    message: str


class StatusDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The whole daemon at one look. `problem` says what stands still, as `/healthz` does; null when all is well."""

    version: str
    pid: int
    since: str
    uptime: float
    configuration: str
    healthy: bool
    problem: str | None
    messages: MessageCounts
    polls: int
    oldest_due_lag: float
    accounts: list[AccountDocument]
    outputs: list[OutputDocument]
    followers: int
    database: DatabaseDocument
    backoff: BackoffDocument
    log: list[LogDocument]


class About(msgspec.Struct, frozen=True):
    """What never changes while a daemon runs."""

    version: str
    configuration: str
    database: str
    policy: str


def status_document(sight: Sight, about: About, followers: int, log: Sequence[LogDocument]) -> StatusDocument:
    """The document of one look."""
    overview = sight.overview
    problem = sight.trouble or sight.complaint
    return StatusDocument(
        version=about.version,
        pid=os.getpid(),
        since=instant(sight.at - sight.uptime),
        uptime=round(sight.uptime, 3),
        configuration=about.configuration,
        healthy=not problem,
        problem=problem or None,
        messages=MessageCounts(
            new=overview.new, pending=overview.pending, finished=overview.finished, gave_up=overview.gave_up
        ),
        polls=overview.polls,
        oldest_due_lag=round(sight.oldest_due_lag, 3),
        accounts=[*map(_account, sight.accounts), *_unconfigured(sight)],
        outputs=[_output(output) for output in sight.outputs],
        followers=followers,
        database=DatabaseDocument(
            path=about.database,
            size=sight.database_size,
            wal_size=sight.wal_size,
            last_seq=sight.last_seq,
            pruned_seq=overview.pruned_seq,
            trouble=sight.trouble or None,
        ),
        backoff=BackoffDocument(
            policy=about.policy,
            predicted_polls=sight.backoff.predicted_polls,
            measured_polls=sight.backoff.measured_polls,
            price=sight.backoff.price,
            learned_events=sight.backoff.events,
            stalled=[str(key) for key in sight.backoff.down],
        ),
        log=list(log),
    )


def _account(account: AccountSight) -> AccountDocument:
    held, stored = account.held, account.stored
    hold = None
    if held is not None and held.held_reason is not None:
        hold = HoldDocument(
            reason=held.held_reason.value,
            detail=held.held_detail,
            since=moment(held.held_since),
            until=moment(held.held_until),
        )
    return AccountDocument(
        name=account.name,
        state="polling" if hold is None else "held",
        hold=hold,
        rate=account.rate,
        rate_limit=account.bounds.rate,
        connections=account.bounds.connections,
        asking=account.asking,
        polls=account.polls,
        polls_per_second_10s=round(account.polls_short, 3),
        polls_per_second_60s=round(account.polls_long, 3),
        in_memory=account.in_memory,
        backlog=account.backlog,
        due=stored.due,
        late=stored.late,
        next_poll_at=moment(stored.next_poll_at),
        held_seconds_total=round(account.held_total, 3),
        credit=stored.credit,
        currency=stored.currency,
        credit_low=stored.credit_low,
    )


def _unconfigured(sight: Sight) -> list[AccountDocument]:
    known = {account.name for account in sight.accounts}
    return [
        AccountDocument(
            name=stored.name,
            state="unconfigured",
            hold=None,
            rate=0.0,
            rate_limit=0.0,
            connections=0,
            asking=0,
            polls=0,
            polls_per_second_10s=0.0,
            polls_per_second_60s=0.0,
            in_memory=0,
            backlog=0,
            due=stored.due,
            late=stored.late,
            next_poll_at=moment(stored.next_poll_at),
            held_seconds_total=0.0,
            credit=stored.credit,
            currency=stored.currency,
            credit_low=stored.credit_low,
        )
        for stored in sight.overview.accounts
        if stored.name not in known and (stored.due or stored.next_poll_at is not None)
    ]


def _output(output: OutputSight) -> OutputDocument:
    return OutputDocument(
        name=output.name,
        seq=output.seq,
        lag=output.lag,
        behind_since=moment(output.behind_since),
        readers=output.readers,
        trouble=output.trouble or None,
    )
