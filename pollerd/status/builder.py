"""Makes the status document, in this one place: from the database, and from the running daemon where there is one."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Final

import msgspec

from pollerd.core.event import instant
from pollerd.core.ports import OutputHealth
from pollerd.core.ports.view import AGE_SLOT, CAP, AccountView, ClusterView, Overview
from pollerd.status import sentences
from pollerd.status.document import (
    AccountDocument,
    AgeDocument,
    BackoffDocument,
    ClusterDocument,
    DaemonDocument,
    DatabaseDocument,
    DeliveryDocument,
    EventsDocument,
    HoldDocument,
    IncomingDocument,
    MemberDocument,
    MessageCounts,
    OutputDocument,
    PollsDocument,
    SourceAddressDocument,
    SourceDocument,
    StatusDocument,
    ThroughputDocument,
    UndeliveredDocument,
)
from pollerd.status.forecast import Forecast, Load, forecast
from pollerd.status.message import moment
from pollerd.status.statistics import STATISTICS_NOTE, Statistics
from pollerd.store.engine import engine_of

if TYPE_CHECKING:
    from pollerd.config import AccountConfig, Config
    from pollerd.polling.incoming import IncomingState
    from pollerd.status.snapshot import AccountSnapshot, Snapshot

AGES: Final = (60.0, 300.0, 1800.0, 7200.0, 43200.0, 86400.0, 259200.0)
"""Seconds since sending by which pending messages are grouped; what is older is one group more."""
_POLLS: Final = 5.0
"""Polls a message in a forecast, until the backoff or the database knows better."""


def from_database(config: Config, now: float) -> StatusDocument:
    """The document at `now` (by the wall clock) without asking a daemon. Raises DatabaseMissingError, StoreError."""
    with engine_of(config.store).view() as view:
        overview = view.overview(now)
        counted = view.note(STATISTICS_NOTE)
    if counted is None:
        return build(config, overview, None, now)
    statistics = Statistics(now)
    statistics.restore(counted)
    return build(config, overview, statistics.report(now), now)


def build(
    config: Config, overview: Overview, delivery: DeliveryDocument | None, now: float, snapshot: Snapshot | None = None
) -> StatusDocument:
    """The document of `overview` at `now` (by the wall clock); `snapshot` is what the running daemon adds to it."""
    due = [account.next_poll_at for account in overview.accounts if account.next_poll_at is not None]
    running = snapshot is not None or overview.daemon is not None
    pid = overview.daemon or 0 if snapshot is None else os.getpid()
    problem = None if snapshot is None else snapshot.trouble or snapshot.stuck or None
    last_seq = overview.last_seq if snapshot is None else snapshot.last_seq
    ages = group_by_age(overview.ages, AGE_SLOT, now)
    oldest = moment(overview.oldest_sent_at)
    accounts = list(_accounts(config, overview, now, snapshot))
    found = StatusDocument(
        time=instant(now),
        version=_release(),
        daemon=DaemonDocument(running=running, pid=pid or None),
        pid=pid,
        since="" if snapshot is None else instant(now - snapshot.uptime),
        uptime=0.0 if snapshot is None else round(snapshot.uptime, 3),
        configuration=config.source,
        healthy=running and problem is None,
        problem=problem,
        late=[],
        messages=MessageCounts(
            new=overview.new,
            not_planned=overview.new,
            pending=overview.pending + overview.new,
            finished=overview.finished,
            gave_up=overview.gave_up,
            overdue=overview.overdue,
            set_aside=overview.set_aside,
            set_aside_first=[f"message {number}: {why}" for number, why in overview.set_aside_first],
            oldest_pending_sent_at=oldest,
            last_handed_over_at=moment(overview.last_handed_over),
            by_age=ages,
        ),
        polls=PollsDocument(
            total=overview.polls,
            per_second=None if snapshot is None else sum(account.polls_per_second_10s for account in accounts),
        ),
        oldest_due_lag=round(max(0.0, now - min(due)), 3) if due else 0.0,
        accounts=accounts,
        outputs=list(_outputs(overview, last_seq, now, snapshot)),
        followers=0 if snapshot is None else snapshot.followers,
        events=EventsDocument(last_seq=last_seq, pruned_seq=overview.pruned_seq),
        database=_database(config.store.where, overview, last_seq, "" if snapshot is None else snapshot.trouble),
        backoff=_backoff(config.backoff.policy, snapshot),
        log=[] if snapshot is None else list(snapshot.log),
        oldest_pending_sent_at=oldest,
        ages=ages,
        delivery=delivery,
        throughput=[
            ThroughputDocument(at=instant(at), polls_per_second=round(polls, 3))
            for at, polls in (() if snapshot is None else snapshot.throughput)
        ],
        requests_waiting=overview.requests,
        sources=[
            SourceDocument(name=source.name, trouble=source.trouble or None, refused=source.refused)
            for source in (() if snapshot is None else snapshot.sources)
        ],
        cluster=_cluster(config, overview.cluster, snapshot),
        undelivered=UndeliveredDocument(waiting=overview.waiting, parked=overview.parked),
    )
    return msgspec.structs.replace(found, late=[sentence.text for sentence in sentences.late(found)])


@cache
def _release() -> str:
    # It is read from the disk each time.
    from importlib.metadata import version

    return version("pollerd")


def group_by_age(slots: Iterable[tuple[float, int]], width: float, now: float) -> list[AgeDocument]:
    """Pending messages by age. A slot is from when (by the wall clock) and how many; messages lie in its middle."""
    counts = [0] * (len(AGES) + 1)
    for since, count in slots:
        age = now - since - width / 2
        counts[next((place for place, bound in enumerate(AGES) if age <= bound), len(AGES))] += count
    return [AgeDocument(up_to=bound, count=count) for bound, count in zip((*AGES, None), counts, strict=True)]


def _accounts(config: Config, overview: Overview, now: float, snapshot: Snapshot | None) -> Iterator[AccountDocument]:
    """The configured accounts, then those that have messages without being configured."""
    known = {account.name: account for account in overview.accounts}
    for name, account in config.accounts.items():
        view, live = known.get(name) or AccountView(name), None if snapshot is None else snapshot.accounts.get(name)
        found = _configured(account, view, live, _forecast(account, view, overview, live, snapshot, now))
        yield msgspec.structs.replace(found, advice=sentences.advice(found))
    for name, view in sorted(known.items()):
        if name not in config.accounts and (view.due or view.next_poll_at is not None):
            found = _unconfigured(view)
            yield msgspec.structs.replace(found, advice=sentences.advice(found))


def _configured(
    account: AccountConfig, view: AccountView, live: AccountSnapshot | None, outlook: Forecast | None
) -> AccountDocument:
    hold = _stored_hold(view) if live is None else _hold(live)
    return AccountDocument(
        name=view.name,
        state="polling" if hold is None else "held",
        hold=hold,
        rate=account.limits.requests_per_second if live is None else live.rate,
        rate_limit=account.limits.requests_per_second,
        connections=account.connections,
        asking=live.asking if live else 0,
        polls=live.polls if live else 0,
        polls_per_second_10s=round(live.polls_short, 3) if live else 0.0,
        polls_per_second_60s=round(live.polls_long, 3) if live else 0.0,
        in_memory=live.in_memory if live else 0,
        backlog=live.backlog if live else 0,
        due=view.due,
        late=view.late,
        next_poll_at=moment(view.next_poll_at),
        held_seconds_total=round(live.held_total, 3) if live else 0.0,
        credit=view.credit,
        currency=view.currency,
        credit_low=view.credit_low,
        arrivals_per_second=round(live.arrivals, 3) if live else 0.0,
        forecast=outlook,
        unknown=view.unknown,
        connections_kept=live.keeps_connections if live else True,
        repeated_requests=live.repeats if live else 0,
        source_addresses=_source_addresses(account, live),
        renewal=account.renewal,
        incoming=None if live is None else _incoming(live.incoming),
    )


def _incoming(state: IncomingState | None) -> IncomingDocument | None:
    if state is None:
        return None
    return IncomingDocument(
        state="denied" if state.denied else "reading",
        trouble=state.trouble or None,
        interval=round(state.interval, 3),
        asked_at=moment(state.asked_at),
        found=state.found,
        requests=state.requests,
        results=state.results,
    )


def _source_addresses(account: AccountConfig, live: AccountSnapshot | None) -> list[SourceAddressDocument]:
    if live is None:
        return [
            SourceAddressDocument(address=address, asking=0, trouble=None) for address in account.source_addresses or ()
        ]
    return [
        SourceAddressDocument(address=each.address, asking=each.asking, trouble=each.trouble or None)
        for each in live.source_addresses
    ]


def _unconfigured(view: AccountView) -> AccountDocument:
    return AccountDocument(
        name=view.name,
        configured=False,
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
        due=view.due,
        late=view.late,
        next_poll_at=moment(view.next_poll_at),
        held_seconds_total=0.0,
        credit=view.credit,
        currency=view.currency,
        credit_low=view.credit_low,
        unknown=view.unknown,
    )


def _stored_hold(view: AccountView) -> HoldDocument | None:
    if view.held_reason is None:
        return None
    return HoldDocument(
        reason=view.held_reason,
        detail=view.held_detail or "",
        since=moment(view.held_since),
        until=moment(view.held_until),
    )


def _hold(live: AccountSnapshot) -> HoldDocument | None:
    held = live.held
    if held is None or held.held_reason is None:
        return None
    return HoldDocument(
        reason=held.held_reason.value,
        detail=held.held_detail,
        since=moment(held.held_since),
        until=moment(held.held_until),
    )


def _forecast(
    account: AccountConfig,
    view: AccountView,
    overview: Overview,
    live: AccountSnapshot | None,
    snapshot: Snapshot | None,
    now: float,
) -> Forecast | None:
    if live is None or snapshot is None:
        if overview.daemon is not None or not view.due:
            return None
        rate = account.limits.requests_per_second
        found = forecast(Load(view.due, view.pending, 0.0, 0.0, rate, running=False))
    else:
        held, ended = live.held, overview.finished + overview.gave_up
        waiting = None
        if held is not None:
            waiting = 0.0 if held.held_until is None else max(0.0, held.held_until - now)
        learned = snapshot.backoff.predicted_polls or snapshot.backoff.measured_polls
        found = forecast(
            Load(
                backlog=max(live.backlog, view.due - live.asking),
                # A count that stops at CAP says too little; that of all accounts is too much at most.
                pending=view.pending if view.pending < CAP else overview.pending,
                arrivals=live.arrivals,
                polls=learned or (overview.polls / ended if ended else _POLLS),
                rate=live.rate,
                held_for=waiting,
            )
        )
    return msgspec.structs.replace(found, text=sentences.outlook(found, now).text)


def _outputs(overview: Overview, last_seq: int, now: float, snapshot: Snapshot | None) -> Iterator[OutputDocument]:
    known = {output.name: output for output in overview.outputs}
    kept = [
        OutputHealth(output.name, output.seq, keeps=bool(output.waiting + output.parked)) for output in known.values()
    ]
    for health in kept if snapshot is None else snapshot.outputs:
        view, lag = known.get(health.name), max(0, last_seq - health.seq)
        since = view.behind_since if view is not None and lag else None
        yield OutputDocument(
            name=health.name,
            seq=health.seq,
            lag=lag,
            lag_seconds=None if since is None else max(0.0, now - since),
            behind_since=moment(since),
            readers=health.readers,
            trouble=health.trouble or None,
            waiting=0 if view is None else view.waiting,
            parked=0 if view is None else view.parked,
            keeps=health.keeps,
        )


def _cluster(config: Config, found: ClusterView | None, snapshot: Snapshot | None) -> ClusterDocument | None:
    if found is None:
        return None
    active = next((member.name for member in found.members if member.active), None)
    return ClusterDocument(
        name=None if snapshot is None else config.store.member or socket.gethostname(),
        active=active,
        active_since=moment(found.active_since),
        took_over=found.took_over or None,
        unfit=None if snapshot is None else snapshot.unfit or None,
        takeovers=found.takeovers,
        commit_doubts=None if snapshot is None else snapshot.doubts,
        jumps=found.jumped.times,
        jumped=found.jumped.why or None,
        jumped_at=moment(found.jumped.last),
        members=[
            MemberDocument(
                name=member.name,
                host=member.host,
                pid=member.pid,
                version=member.version,
                active=member.active,
                since=instant(member.since),
                renewed_ago=round(member.renewed, 3),
            )
            for member in found.members
        ],
    )


def _database(where: str, overview: Overview, last_seq: int, trouble: str) -> DatabaseDocument:
    return DatabaseDocument(
        path=where,
        size=overview.size.data,
        bytes=overview.size.data,
        wal_size=overview.size.log,
        last_seq=last_seq,
        pruned_seq=overview.pruned_seq,
        trouble=trouble or None,
    )


def _backoff(policy: str, snapshot: Snapshot | None) -> BackoffDocument:
    known = None if snapshot is None else snapshot.backoff
    return BackoffDocument(
        policy=policy,
        predicted_polls=known.predicted_polls if known else None,
        measured_polls=known.measured_polls if known else None,
        price=known.price if known else None,
        learned_events=known.events if known else 0.0,
        stalled=[str(key) for key in known.down] if known else [],
    )
