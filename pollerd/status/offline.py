"""The look at the daemon when it does not run or cannot be asked: what the database knows, in the same document."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Literal

from pollerd.status.ages import ages
from pollerd.status.document import (
    AccountDocument,
    BackoffDocument,
    DatabaseDocument,
    HoldDocument,
    MessageCounts,
    OutputDocument,
    StatusDocument,
    UndeliveredDocument,
)
from pollerd.status.forecast import Load, forecast
from pollerd.status.message import moment
from pollerd.status.statistics import NOTE, Statistics
from pollerd.store.rows import AGE_SLOT
from pollerd.store.view import AccountView, Overview, View

if TYPE_CHECKING:
    from pollerd.config import Config


def look(config: Config, now: float) -> StatusDocument:
    """The document at `now` (UNIX seconds). Raises DatabaseMissingError, StoreError."""
    with View.open(config.store.path) as view:
        overview = view.overview(now)
        counted = view.note(NOTE)
    statistics = Statistics(now)
    if counted is not None:
        statistics.restore(counted)
    due = [account.next_poll_at for account in overview.accounts if account.next_poll_at is not None]
    return StatusDocument(
        version=version("pollerd"),
        pid=overview.daemon or 0,
        since="",
        uptime=0.0,
        configuration=config.source,
        healthy=overview.daemon is not None,
        problem=None,
        messages=MessageCounts(
            new=overview.new,
            pending=overview.pending,
            finished=overview.finished,
            gave_up=overview.gave_up,
            overdue=overview.overdue,
            set_aside=overview.set_aside,
        ),
        polls=overview.polls,
        oldest_due_lag=max(0.0, now - min(due)) if due else 0.0,
        accounts=[_account(account, config, overview) for account in _accounts(overview, config)],
        outputs=[
            OutputDocument(
                name=output.name,
                seq=output.seq,
                lag=output.lag,
                behind_since=moment(output.behind_since),
                readers=None,
                trouble=None,
                waiting=output.waiting,
                parked=output.parked,
            )
            for output in overview.outputs
        ],
        followers=0,
        database=DatabaseDocument(
            path=str(config.store.path),
            size=overview.size,
            wal_size=0,
            last_seq=overview.last_seq,
            pruned_seq=overview.pruned_seq,
            trouble=None,
        ),
        backoff=BackoffDocument(
            policy=config.backoff.policy,
            predicted_polls=None,
            measured_polls=None,
            price=None,
            learned_events=0.0,
            stalled=[],
        ),
        log=[],
        oldest_pending_sent_at=moment(overview.oldest_sent_at),
        ages=ages(overview.ages, AGE_SLOT, now),
        delivery=statistics.report(now) if counted is not None else None,
        requests_waiting=overview.requests,
        undelivered=UndeliveredDocument(waiting=overview.waiting, parked=overview.parked),
    )


def _accounts(seen: Overview, config: Config) -> list[AccountView]:
    known = {account.name: account for account in seen.accounts}
    names = [*config.accounts, *sorted(known.keys() - config.accounts.keys())]
    return [known.get(name) or AccountView(name) for name in names]


def _account(account: AccountView, config: Config, overview: Overview) -> AccountDocument:
    configured = config.accounts.get(account.name)
    hold = None
    if account.held_reason is not None:
        hold = HoldDocument(
            reason=account.held_reason,
            detail=account.held_detail or "",
            since=moment(account.held_since),
            until=moment(account.held_until),
        )
    state: Literal["polling", "held", "unconfigured"] = "polling" if hold is None else "held"
    rate = configured.limits.requests_per_second if configured is not None else 0.0
    stopped = Load(account.due, overview.pending, 0.0, 0.0, rate, running=False)
    return AccountDocument(
        name=account.name,
        state="unconfigured" if configured is None else state,
        hold=hold,
        rate=rate,
        rate_limit=rate,
        connections=configured.limits.max_connections if configured is not None else 0,
        renewal=configured.renewal if configured is not None else "",
        asking=0,
        polls=0,
        polls_per_second_10s=0.0,
        polls_per_second_60s=0.0,
        in_memory=0,
        backlog=0,
        due=account.due,
        late=account.late,
        unknown=account.unknown,
        next_poll_at=moment(account.next_poll_at),
        held_seconds_total=0.0,
        credit=account.credit,
        currency=account.currency,
        credit_low=account.credit_low,
        forecast=forecast(stopped) if overview.daemon is None and account.due else None,
    )
