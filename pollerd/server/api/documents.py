"""What the control socket answers, as typed values: the JSON and its schema come from the same place.

Instants are RFC 3339 in UTC, durations and lags are seconds, sizes are bytes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Annotated, Final, Literal

import msgspec

from pollerd.core.event import instant
from pollerd.intake.body import NAMED, RefusedId
from pollerd.status.ages import ages
from pollerd.status.document import (
    AccountDocument,
    BackoffDocument,
    BeatDocument,
    DatabaseDocument,
    HoldDocument,
    LogDocument,
    MessageCounts,
    OutputDocument,
    SourceDocument,
    StatusDocument,
    UndeliveredDocument,
)
from pollerd.status.forecast import Forecast, Load, forecast
from pollerd.status.message import MessageDocument, moment
from pollerd.status.snapshot import AccountSight, OutputSight, Sight
from pollerd.store.rows import AGE_SLOT

_POLLS: Final = 5.0
"""Polls a message while nobody knows better."""


class TrackedDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the ids handed over: newly followed, followed before, and refused.

    `refused` names the first 100 of `refused_count`, each with its reason. `given_up` of the known ones are not polled
    any more; `POST /messages/ID/retry` takes one up again.
    """

    tracked: int
    known: int
    given_up: int
    refused_count: int
    refused: Annotated[list[RefusedId], msgspec.Meta(max_length=NAMED)]


class MessagesDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A page of messages. `next` is what to give as `after` for the next page, null on the last one."""

    messages: list[MessageDocument]
    next: str | None


class ForgottenDocument(msgspec.Struct, frozen=True):
    """The network about which all that was learned is forgotten; null: all networks."""

    forgotten: str | None


class RetriedDocument(msgspec.Struct, frozen=True, kw_only=True):
    """So many events of the webhook are posted again, with all their attempts."""

    taken_up: int


class ResumedDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The account is polled again; what the gateway refuses from now on is believed."""

    account: str


class HealthDocument(msgspec.Struct, frozen=True, kw_only=True):
    """All is well."""

    status: Literal["ok"]


class GapDocument(msgspec.Struct, frozen=True, kw_only=True, tag="gap", tag_field="type"):
    """In the stream of events: those after `after` and before `first` were deleted by retention."""

    after: int
    first: int


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
            new=overview.new,
            pending=overview.pending,
            finished=overview.finished,
            gave_up=overview.gave_up,
            overdue=overview.overdue,
            set_aside=overview.set_aside,
        ),
        polls=overview.polls,
        oldest_due_lag=round(sight.oldest_due_lag, 3),
        accounts=[*(_account(account, sight) for account in sight.accounts), *_unconfigured(sight)],
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
        oldest_pending_sent_at=moment(overview.oldest_sent_at),
        ages=ages(overview.ages, AGE_SLOT, sight.at),
        delivery=sight.delivery,
        requests_waiting=overview.requests,
        throughput=[BeatDocument(at=instant(at), polls_per_second=round(rate, 3)) for at, rate in sight.beats],
        sources=[SourceDocument(name=source.name, trouble=source.trouble or None) for source in sight.sources],
        undelivered=UndeliveredDocument(waiting=overview.waiting, parked=overview.parked),
    )


def _forecast(account: AccountSight, sight: Sight) -> Forecast:
    overview, held = sight.overview, account.held
    ended = overview.finished + overview.gave_up
    learned = sight.backoff.predicted_polls or sight.backoff.measured_polls
    waiting = None
    if held is not None:
        waiting = 0.0 if held.held_until is None else max(0.0, held.held_until - sight.at)
    return forecast(
        Load(
            backlog=max(account.backlog, account.stored.due - account.asking),
            pending=overview.pending,
            arrivals=account.arrivals,
            polls=learned or (overview.polls / ended if ended else _POLLS),
            rate=account.rate,
            held_for=waiting,
        )
    )


def _account(account: AccountSight, sight: Sight) -> AccountDocument:
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
        unknown=stored.unknown,
        next_poll_at=moment(stored.next_poll_at),
        held_seconds_total=round(account.held_total, 3),
        credit=stored.credit,
        currency=stored.currency,
        credit_low=stored.credit_low,
        arrivals_per_second=round(account.arrivals, 3),
        forecast=_forecast(account, sight),
        connections_kept=account.keeps_connections,
        repeated_requests=account.repeats,
        renewal=account.bounds.renewal,
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
            unknown=stored.unknown,
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
        waiting=output.waiting,
        parked=output.parked,
    )
