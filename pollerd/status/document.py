"""The whole daemon at one look, as `GET /status` answers it and as pages and terminals are painted from it.

Instants are RFC 3339 in UTC, durations and lags are seconds, sizes are bytes.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from pollerd.status.forecast import Forecast


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
    `late` (by a minute) count in the database, up to 100,000, and so do `unknown` ones: never seen, and past
    `not_found_grace`. `arrivals_per_second` is messages handed over, over five
    minutes; `forecast` is null while no daemon runs. `repeated_requests` were made a second time since the start:
    the other side had forgotten a kept connection; `connections_kept` is false where that happened too often.
    `renewal` says what a person does so that another secret is taken up.
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
    renewal: str = ""


class OutputDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One output: its place (of the reader furthest behind), and how many events lie behind it, since when.

    Beside its place it keeps events that are `waiting` for another attempt, and `parked` ones whose attempts are used
    up (both counted up to 100,000).
    """

    name: str
    seq: int
    lag: int
    behind_since: str | None
    readers: int | None
    trouble: str | None
    waiting: int = 0
    parked: int = 0


class MessageCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How many messages are in which state; `new` ones are planned in a moment. `overdue` ones are pending, and were
    told as `message.overdue`, `set_aside` ones are not polled, since their rows were damaged. All three are counted up
    to 100,000.
    """

    new: int
    pending: int
    finished: int
    gave_up: int
    overdue: int = 0
    set_aside: int = 0


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


class AgeDocument(msgspec.Struct, frozen=True, kw_only=True):
    """So many pending messages are at most `up_to` old, and older than the group before; null: all older ones."""

    up_to: float | None
    count: int


class DelayDocument(msgspec.Struct, frozen=True, kw_only=True):
    """From a final state's own time at the gateway to when it was known, over this hour and the one before."""

    count: int
    median: float
    p95: float


class CountryDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A country's recipients by final state; time from sending to delivery as median, 95 % mark and counts.

    `times` counts up to 2, 5, 10, 20, 60 s, 5 and 30 min, 2, 12 and 24 h, and above. `??`: country not told.
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
    """A foreign database that ids are read from. `trouble`: why nothing can be read now; null when all is well."""

    name: str
    trouble: str | None


class UndeliveredDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What all outputs together could not deliver, counted up to 100,000: events `waiting` for another attempt, and
    `parked` ones whose attempts are used up.
    """

    waiting: int
    parked: int


class BeatDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Polls a second in the 15 s before `at`."""

    at: str
    polls_per_second: float


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
    oldest_pending_sent_at: str | None = None
    ages: list[AgeDocument] = []
    delivery: DeliveryDocument | None = None
    throughput: list[BeatDocument] = []
    requests_waiting: int = 0
    sources: list[SourceDocument] = []
    undelivered: UndeliveredDocument | None = None
