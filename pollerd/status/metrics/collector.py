"""The numbers as Prometheus metrics. Names and meanings here are what dashboards and alert rules are built on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector

from pollerd.core.event import TYPES
from pollerd.core.model import HoldReason
from pollerd.status.metrics.meter import AccountMeter, CommitMeter, Histogram, Meter
from pollerd.status.snapshot import AccountSight, Sight

_PREFIX: Final = "pollerd_"
_ACCOUNT_GAUGES: Final[tuple[tuple[str, str, Callable[[AccountSight], float]], ...]] = (
    ("account_request_rate", "Requests a second in force.", lambda a: a.rate),
    ("account_request_rate_limit", "Requests a second as configured.", lambda a: a.bounds.rate),
    ("account_connections", "Requests under way.", lambda a: a.asking),
    ("account_connections_limit", "Connections as configured.", lambda a: a.bounds.connections),
    ("account_connections_kept", "0 while each request opens a connection of its own.", lambda a: a.keeps_connections),
    ("account_messages_in_memory", "Messages in memory: due soon or under way.", lambda a: a.in_memory),
    ("account_backlog", "Messages in memory that are due and wait for the limit.", lambda a: a.backlog),
    ("account_due", "Messages that are due, counted up to 100,000.", lambda a: a.stored.due),
    (
        "account_unknown",
        "Messages that the gateway has never shown, past not_found_grace, counted up to 100,000.",
        lambda a: a.stored.unknown,
    ),
    ("account_late", "Messages due for a minute or more, counted up to 100,000.", lambda a: a.stored.late),
)


class Crowding(msgspec.Struct, frozen=True):
    """A place where others connect: connections open and allowed, and how many were turned away since the start."""

    place: str
    open: int
    most: int
    turned_away: int


class Exposed(msgspec.Struct, frozen=True):
    """What one scrape shows. `followers` read the event log over the control socket, `warnings` counts by log level."""

    sight: Sight
    version: str
    followers: int
    warnings: Mapping[str, int]
    places: Sequence[Crowding] = ()


class Collector:
    """A collector of prometheus_client: shows the meter as it is and the last `Exposed` it was given."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self.exposed: Exposed | None = None

    def collect(self) -> Iterator[Metric]:
        """All metrics; called by the registry."""
        yield from _polls(self._meter.accounts)
        yield from _commits(self._meter.commits)
        if (exposed := self.exposed) is not None:
            yield from _daemon(exposed)
            yield from _messages(exposed.sight)
            yield from _accounts(exposed.sight)
            yield from _outputs(exposed)
            yield from _sources(exposed.sight)
            yield from _database(exposed.sight)
            yield from _backoff(exposed.sight)


def registry(collector: Collector) -> CollectorRegistry:
    """A registry of its own, so that several daemons may live in one process."""
    made = CollectorRegistry(auto_describe=False)
    made.register(collector)
    ProcessCollector(namespace="pollerd", pid=os.getpid, registry=made)
    return made


def _polls(accounts: Mapping[str, AccountMeter]) -> Iterator[Metric]:
    made = CounterMetricFamily(f"{_PREFIX}polls", "Polls by what they met.", labels=("account", "outcome"))
    for name, meter in accounts.items():
        for outcome, count in meter.polls().items():
            made.add_metric((name, outcome), count)
    yield made
    yield _histogram(
        "request_duration_seconds",
        "Time from a request to its whole answer.",
        ("account",),
        (((name,), meter.requests) for name, meter in accounts.items()),
    )
    yield _histogram(
        "due_lag_seconds",
        "Time from when a poll was due to when it was made.",
        ("account",),
        (((name,), meter.lag) for name, meter in accounts.items()),
    )
    delays = [((name, "final"), meter.delay_final) for name, meter in accounts.items()]
    delays += [((name, "interim"), meter.delay_interim) for name, meter in accounts.items()]
    yield _histogram(
        "detection_delay_seconds",
        "Time from a state's own time at the gateway (whole seconds) to its observation.",
        ("account", "state"),
        delays,
    )


def _commits(meter: CommitMeter) -> Iterator[Metric]:
    told = CounterMetricFamily(f"{_PREFIX}events", "Events committed since the start, by type.", labels=("type",))
    for kind in TYPES:
        told.add_metric((kind,), meter.events[kind])
    yield told
    yield _histogram("commit_duration_seconds", "Time of a database transaction.", (), [((), meter.duration)])
    yield _counter("committed_results", "Poll results and other decisions written to the database.", meter.results)


def _daemon(exposed: Exposed) -> Iterator[Metric]:
    sight = exposed.sight
    build = GaugeMetricFamily(f"{_PREFIX}build_info", "Always 1; the version is in the label.", labels=("version",))
    build.add_metric((exposed.version,), 1)
    yield build
    yield _gauge("uptime_seconds", "Time since the daemon started.", sight.uptime)
    healthy = not sight.trouble and sight.complaint is None
    yield _gauge("healthy", "1 while everything that could move moves, as GET /healthz tells.", healthy)
    logged = CounterMetricFamily(f"{_PREFIX}log_messages", "Warnings and errors logged.", labels=("level",))
    for level, count in exposed.warnings.items():
        logged.add_metric((level,), count)
    yield logged
    yield from _places(exposed.places)


def _places(places: Sequence[Crowding]) -> Iterator[Metric]:
    label = ("place",)
    there = GaugeMetricFamily(f"{_PREFIX}connections", "Connections that others have open.", labels=label)
    most = GaugeMetricFamily(f"{_PREFIX}connections_limit", "Connections that others may have open.", labels=label)
    away = CounterMetricFamily(
        f"{_PREFIX}connections_turned_away",
        "Connections refused, or closed because they were silent, when there were as many as there may be.",
        labels=label,
    )
    for place in places:
        there.add_metric((place.place,), place.open)
        most.add_metric((place.place,), place.most)
        away.add_metric((place.place,), place.turned_away)
    yield from (there, most, away)


def _messages(sight: Sight) -> Iterator[Metric]:
    overview = sight.overview
    made = GaugeMetricFamily(f"{_PREFIX}messages", "Messages in the database by state.", labels=("state",))
    for state in ("new", "pending", "finished", "gave_up", "set_aside"):
        made.add_metric((state,), getattr(overview, state))
    yield made
    yield _gauge("overdue_messages", "Pending messages told as overdue, counted up to 100,000.", overview.overdue)
    yield _counter("database_polls", "Polls that the database knows of, earlier runs included.", overview.polls)
    yield _gauge("oldest_due_lag_seconds", "How long the message that is longest due has waited.", sight.oldest_due_lag)


def _accounts(sight: Sight) -> Iterator[Metric]:
    held = GaugeMetricFamily(
        f"{_PREFIX}account_held",
        "1 while polling of the account is paused for this reason.",
        labels=("account", "reason"),
    )
    for account in sight.accounts:
        for reason in HoldReason:
            now = account.held is not None and account.held.held_reason is reason
            held.add_metric((account.name, reason.value), now)
    yield held
    total = CounterMetricFamily(
        f"{_PREFIX}account_held_seconds", "Time the account was paused, earlier runs included.", labels=("account",)
    )
    for account in sight.accounts:
        total.add_metric((account.name,), account.held_total)
    yield total
    repeated = CounterMetricFamily(
        f"{_PREFIX}account_repeated_requests",
        "Requests made a second time because the other side had forgotten the connection.",
        labels=("account",),
    )
    for account in sight.accounts:
        repeated.add_metric((account.name,), account.repeats)
    yield repeated
    for name, text, value in _ACCOUNT_GAUGES:
        made = GaugeMetricFamily(f"{_PREFIX}{name}", text, labels=("account",))
        for account in sight.accounts:
            made.add_metric((account.name,), value(account))
        yield made
    credit = GaugeMetricFamily(
        f"{_PREFIX}account_credit", "The account's balance when it was last read.", labels=("account", "currency")
    )
    for account in sight.accounts:
        if account.stored.credit is not None:
            credit.add_metric((account.name, account.stored.currency or ""), account.stored.credit)
    yield credit


def _outputs(exposed: Exposed) -> Iterator[Metric]:
    sight = exposed.sight
    lag = GaugeMetricFamily(
        f"{_PREFIX}output_lag_events", "Committed events that the output has still to tell.", labels=("output",)
    )
    waited = GaugeMetricFamily(
        f"{_PREFIX}output_lag_seconds",
        "How long the first event the output has still to tell has waited.",
        labels=("output",),
    )
    working = GaugeMetricFamily(f"{_PREFIX}output_up", "0 while the output is in trouble.", labels=("output",))
    readers = GaugeMetricFamily(f"{_PREFIX}output_readers", "Readers connected.", labels=("output",))
    for output in sight.outputs:
        lag.add_metric((output.name,), output.lag)
        waited.add_metric(
            (output.name,), 0.0 if output.behind_since is None else max(0.0, sight.at - output.behind_since)
        )
        working.add_metric((output.name,), not output.trouble)
        if output.readers is not None:
            readers.add_metric((output.name,), output.readers)
    readers.add_metric(("control",), exposed.followers)
    yield from (lag, waited, working, readers)
    undelivered = GaugeMetricFamily(
        f"{_PREFIX}undelivered_events",
        "Events that outputs could not deliver: waiting for another attempt, or parked after the last.",
        labels=("state",),
    )
    kept = GaugeMetricFamily(
        f"{_PREFIX}output_undelivered_events",
        "Events that this output could not deliver: waiting for another attempt, or parked after the last.",
        labels=("output", "state"),
    )
    keeping = [output for output in sight.outputs if output.keeps]
    for state in ("waiting", "parked") if keeping else ():
        undelivered.add_metric((state,), getattr(sight.overview, state))
        for output in keeping:
            kept.add_metric((output.name, state), getattr(output, state))
    yield kept
    yield undelivered


def _sources(sight: Sight) -> Iterator[Metric]:
    working = GaugeMetricFamily(f"{_PREFIX}source_up", "0 while the source cannot be read.", labels=("source",))
    for source in sight.sources:
        working.add_metric((source.name,), not source.trouble)
    yield working


def _database(sight: Sight) -> Iterator[Metric]:
    yield _gauge("database_size_bytes", "Size of the database file.", sight.database_size)
    yield _gauge("database_wal_size_bytes", "Size of the write-ahead log beside it.", sight.wal_size)
    yield _gauge("database_trouble", "1 while the database cannot be written and polling waits.", bool(sight.trouble))
    yield _gauge("last_seq", "The highest event number given.", sight.last_seq)
    yield _gauge("pruned_seq", "Events up to this number have been deleted by retention.", sight.overview.pruned_seq)


def _backoff(sight: Sight) -> Iterator[Metric]:
    found = sight.backoff
    polls = GaugeMetricFamily(
        f"{_PREFIX}backoff_polls_per_message", "Polls a message as predicted and as measured.", labels=("kind",)
    )
    for kind, value in (("predicted", found.predicted_polls), ("measured", found.measured_polls)):
        if value is not None:
            polls.add_metric((kind,), value)
    yield polls
    if found.price is not None:
        yield _gauge("backoff_price", "What a poll must be worth to be made; rises when polls are short.", found.price)
    yield _gauge("backoff_learned_events", "Final states (decayed) that the backoff has learned from.", found.events)
    yield _gauge("backoff_stalled_operators", "Operators whose deliveries seem to stand still.", len(found.down))


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{_PREFIX}{name}", text, value=float(value))


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"{_PREFIX}{name}", text, value=float(value))


def _histogram(
    name: str, text: str, labels: tuple[str, ...], found: Iterable[tuple[tuple[str, ...], Histogram]]
) -> Metric:
    made = HistogramMetricFamily(f"{_PREFIX}{name}", text, labels=labels)
    for values, histogram in found:
        taken = histogram.copy()
        made.add_metric(values, taken.buckets(), taken.total)
    return made
