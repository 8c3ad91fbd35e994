"""The status document: the state of the whole daemon as every reader gets it, with the daemon running or not.

`GET /status` and `status --json` print it; the terminal, the page and the metrics are made from it. Instants are
RFC 3339 in UTC, durations and lags are seconds, sizes are bytes.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from pollerd.status.forecast import Forecast


class HoldDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Why an account is not polled, since when, and when it is tried again."""

    reason: str
    detail: str
    since: str | None
    until: str | None


class SourceAddressDocument(msgspec.Struct, frozen=True, kw_only=True):
    """An address of this machine that an account's connections are opened from: `asking` requests are under way from
    there. `trouble` says why none go out (null: they do).
    """

    address: str
    asking: int
    trouble: str | None


class IncomingDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What reads an account's incoming messages. `state` is `reading`, or `denied` where the account may not: it is
    tried again every hour. `trouble` is what the last request met (null: nothing).

    It asks every `interval` seconds now, and asked last at `asked_at`; `found` messages were reported and `requests`
    made since the start. `results` is how many there are in the days asked for, by the gateway.
    """

    state: Literal["reading", "denied"]
    trouble: str | None
    interval: float
    asked_at: str | None
    found: int
    requests: int
    results: int | None


class AccountDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One account. `state` is `polling`, `held` or `unconfigured`: it has messages, but the configuration does not name
    it, and `configured` is false.

    `rate` is requests a second in force, `rate_limit` as configured. `asking` requests are under way, on at most
    `connections`. `in_memory` messages are due soon or under way, `backlog` of them wait for the limit. `due` and
    `late` (by a minute) count in the database, up to 100,000, and so do `unknown` ones: never seen, and past
    `not_found_grace`. `arrivals_per_second` is messages handed over, over five
    minutes; while no daemon runs, `forecast` is null unless messages are due. `repeated_requests` were made a second
    time since the start: the other side had forgotten a kept connection; `connections_kept` is false where that
    happened too often. `source_addresses` are the configured addresses of this machine that connections are opened
    from. `renewal` says what a person does so that another secret is taken up, `advice` what to do about
    the account (null: nothing). `incoming` is null where
    incoming messages are not read, or no daemon runs.
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
    arrivals_per_second: float = 0.0
    forecast: Forecast | None = None
    unknown: int = 0
    connections_kept: bool = True
    repeated_requests: int = 0
    source_addresses: list[SourceAddressDocument] = []
    renewal: str = ""
    configured: bool = True
    advice: str | None = None
    incoming: IncomingDocument | None = None


class OutputDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One output: its cursor `seq` (of the reader furthest behind), and `lag`, the number of events after it. The first
    of them was committed at `behind_since`, `lag_seconds` ago.

    An output that `keeps` events beside its cursor has some `waiting` for another attempt, and some `parked`, whose
    attempts are used up (both counted up to 100,000).
    """

    name: str
    seq: int
    lag: int
    behind_since: str | None
    readers: int | None
    trouble: str | None
    waiting: int = 0
    parked: int = 0
    lag_seconds: float | None = None
    keeps: bool = False


class AgeDocument(msgspec.Struct, frozen=True, kw_only=True):
    """So many pending messages are at most `up_to` old, and older than the group before; null: all older ones."""

    up_to: float | None
    count: int


class MessageCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How many messages are in which state. `pending` includes the `new` ones (`not_planned` says the same), which get
    their first due time within a second while the daemon runs. `overdue` ones are pending, and were reported as
    `message.overdue`; `set_aside` ones are not polled, since their rows cannot be used
    (`set_aside_first` names the first three and says why). `new`, `overdue` and `set_aside`
    are counted up to 100,000; with so many new ones, `pending` is the least there can be. `last_handed_over_at` is when
    the last id came in (null: none since this version).
    """

    new: int
    pending: int
    finished: int
    gave_up: int
    overdue: int = 0
    set_aside: int = 0
    set_aside_first: list[str] = []
    not_planned: int
    oldest_pending_sent_at: str | None
    last_handed_over_at: str | None = None
    by_age: list[AgeDocument]


class PollsDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Polls that the database knows of, earlier runs included, and polls a second now (null: not measured)."""

    total: int
    per_second: float | None


class EventsDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The highest `seq` given, and the one up to which retention has deleted the events."""

    last_seq: int
    pruned_seq: int


class DaemonDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a daemon runs on this database, and its process id where that is known."""

    running: bool
    pid: int | None


class MemberDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A daemon that shares the store: `active` while it polls, else it stands by. It renewed its lease `renewed_ago`
    seconds ago.
    """

    name: str
    host: str
    pid: int
    version: str
    active: bool
    since: str
    renewed_ago: float


class ClusterDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The daemons that share a store in PostgreSQL, and which of them polls. `name` is that of the daemon that answers
    (null: no daemon was asked), `active` that of the one that polls, since `active_since` (null: none does).
    `took_over` says from whom it took over and why; null where that was nobody. `commit_doubts` counts the transactions
    of the daemon that answers, since its start, whose outcome was not known because the connection broke, and was
    asked for again. `unfit` says why it may not poll, such as a wrong clock; null where nothing speaks against it.
    `jumps`: how often event numbers were left out because PostgreSQL may have lost some of them in a failover; `jumped`
    says why last, at `jumped_at`.
    """

    name: str | None
    active: str | None
    active_since: str | None
    took_over: str | None
    unfit: str | None
    takeovers: int
    commit_doubts: int | None
    jumps: int
    jumped: str | None
    jumped_at: str | None
    members: list[MemberDocument]


class DatabaseDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The database. `size` (`bytes` says the same) is the file's, `wal_size` that of the write-ahead log beside it.
    `trouble` is null while it can be written; polling waits while it cannot.
    """

    path: str
    size: int
    bytes: int
    wal_size: int
    last_seq: int
    pruned_seq: int
    trouble: str | None


class BackoffDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What the backoff has learned; `stalled` are the operators whose deliveries seem to stand still."""

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


class DelayDocument(msgspec.Struct, frozen=True, kw_only=True):
    """From a final state's own time at the gateway to when it was known, over this hour and the one before."""

    count: int
    median: float
    p95: float


class CountryDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A country's recipients by final state; time from sending to delivery as median, 95 % mark and counts.

    `times` counts up to 2, 5, 10, 20, 60 s, 5 and 30 min, 2, 12 and 24 h, and above. `??`: no country known.
    """

    country: str
    states: dict[str, int]
    median: float | None
    p95: float | None
    times: list[int]


class HourDocument(msgspec.Struct, frozen=True, kw_only=True):
    """States that recipients reached in the hour from `at` on."""

    at: str
    states: dict[str, int]


class DeliveryDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What became of recipients since `since`: `seen` at the gateway, and how often each state was reached."""

    since: str
    seen: int
    reached: dict[str, int]
    detection: DelayDocument | None
    countries: list[CountryDocument]
    hours: list[HourDocument]


class SourceDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Another program's database that ids are read from. `trouble`: why it cannot be read now; null when it can.
    `refused` of its ids cannot be used.
    """

    name: str
    trouble: str | None
    refused: int = 0


class UndeliveredDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What all outputs together could not deliver, counted up to 100,000: events `waiting` for another attempt, and
    `parked` ones whose attempts are used up.
    """

    waiting: int
    parked: int


class ThroughputDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Polls a second in the 15 s before `at`."""

    at: str
    polls_per_second: float


class StatusDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the whole daemon at `time`. Without a daemon, or where it cannot be asked, it comes from the
    database: what only a running daemon knows is null, empty or 0 then.

    `problem` says what does not move, as `/healthz` does; null when all is well. `late` says in words what is late or
    needs somebody, and why. `configuration` is the file's path, `followers` read `GET /events` with `follow`.
    `oldest_pending_sent_at` and `ages` stand in `messages` too, `pid` in `daemon`, the two numbers of `events` in
    `database`.
    """

    time: str
    version: str
    daemon: DaemonDocument
    pid: int
    since: str
    uptime: float
    configuration: str
    healthy: bool
    problem: str | None
    late: list[str]
    messages: MessageCounts
    polls: PollsDocument
    oldest_due_lag: float
    accounts: list[AccountDocument]
    outputs: list[OutputDocument]
    followers: int
    events: EventsDocument
    database: DatabaseDocument
    backoff: BackoffDocument
    log: list[LogDocument]
    oldest_pending_sent_at: str | None = None
    ages: list[AgeDocument] = []
    delivery: DeliveryDocument | None = None
    throughput: list[ThroughputDocument] = []
    requests_waiting: int = 0
    sources: list[SourceDocument] = []
    undelivered: UndeliveredDocument | None = None
    cluster: ClusterDocument | None = None

    @property
    def now(self) -> float:
        """`time` as UNIX seconds."""
        return datetime.fromisoformat(self.time).timestamp()
