"""The numbers as Prometheus metrics. Names and meanings here are what dashboards and alert rules are built on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector

from pollerd.core.event import TYPES
from pollerd.core.model import HoldReason
from pollerd.status.document import AccountDocument, IncomingDocument, StatusDocument
from pollerd.status.metrics.meter import AccountMeter, CommitCounts, Histogram, Meter
from pollerd.status.metrics.scrape import ConnectionUse, Scrape

_PREFIX: Final = "pollerd_"
_ACCOUNT_GAUGES: Final[tuple[tuple[str, str, Callable[[AccountDocument], float]], ...]] = (
    ("account_request_rate", "Requests a second in force.", lambda a: a.rate),
    ("account_request_rate_limit", "Requests a second as configured.", lambda a: a.rate_limit),
    ("account_connections", "Requests under way.", lambda a: a.asking),
    ("account_connections_limit", "Connections as configured.", lambda a: a.connections),
    ("account_connections_kept", "0 while each request opens a connection of its own.", lambda a: a.connections_kept),
    ("account_messages_in_memory", "Messages in memory: due soon or under way.", lambda a: a.in_memory),
    ("account_backlog", "Messages in memory that are due and wait for the limit.", lambda a: a.backlog),
    ("account_due", "Messages that are due, counted up to 100,000.", lambda a: a.due),
    (
        "account_unknown",
        "Messages that the gateway has never shown, past not_found_grace, counted up to 100,000.",
        lambda a: a.unknown,
    ),
    ("account_late", "Messages due for a minute or more, counted up to 100,000.", lambda a: a.late),
)


class Collector:
    """A collector of prometheus_client: shows the meter and a scrape."""

    def __init__(self, meter: Meter, scrape: Scrape) -> None:
        self._meter = meter
        self._scrape = scrape

    def collect(self) -> Iterator[Metric]:
        """All metrics; called by the registry."""
        scrape = self._scrape
        yield from _polls(self._meter.accounts)
        yield from _commits(self._meter.commits)
        yield from _daemon(scrape)
        yield from _messages(scrape.status)
        yield from _accounts(scrape.status)
        yield from _outputs(scrape)
        yield from _sources(scrape.status)
        yield from _database(scrape.status)
        yield from _backoff(scrape.status)
        yield from _cluster(scrape.status)


def rendered(meter: Meter, scrape: Scrape) -> bytes:
    """The metrics as Prometheus reads them."""
    # A registry of its own, so that several daemons may live in one process.
    made = CollectorRegistry(auto_describe=False)
    made.register(Collector(meter, scrape))
    ProcessCollector(namespace="pollerd", pid=os.getpid, registry=made)
    return generate_latest(made)


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


def _commits(meter: CommitCounts) -> Iterator[Metric]:
    events = CounterMetricFamily(f"{_PREFIX}events", "Events committed since the start, by type.", labels=("type",))
    for kind in TYPES:
        events.add_metric((kind,), meter.events[kind])
    yield events
    yield _histogram("commit_duration_seconds", "Time of a database transaction.", (), [((), meter.duration)])
    yield _counter("committed_results", "Poll results and other decisions written to the database.", meter.results)


def _daemon(scrape: Scrape) -> Iterator[Metric]:
    build = GaugeMetricFamily(f"{_PREFIX}build_info", "Always 1; the version is in the label.", labels=("version",))
    build.add_metric((scrape.status.version,), 1)
    yield build
    yield _gauge("uptime_seconds", "Time since the daemon started.", scrape.status.uptime)
    healthy = scrape.status.healthy
    yield _gauge("healthy", "1 while everything that could move moves, as GET /healthz says.", healthy)
    logged = CounterMetricFamily(f"{_PREFIX}log_messages", "Warnings and errors logged.", labels=("level",))
    for level, count in scrape.warnings.items():
        logged.add_metric((level,), count)
    yield logged
    yield from _places(scrape.places)


def _places(places: Sequence[ConnectionUse]) -> Iterator[Metric]:
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


def _messages(status: StatusDocument) -> Iterator[Metric]:
    counts = status.messages
    made = GaugeMetricFamily(f"{_PREFIX}messages", "Messages in the database by state.", labels=("state",))
    by_state = {
        "new": counts.new,
        "pending": counts.pending - counts.new,
        "finished": counts.finished,
        "gave_up": counts.gave_up,
        "set_aside": counts.set_aside,
    }
    for state, count in by_state.items():
        made.add_metric((state,), count)
    yield made
    yield _gauge("overdue_messages", "Pending messages reported as overdue, counted up to 100,000.", counts.overdue)
    yield _counter("database_polls", "Polls that the database knows of, earlier runs included.", status.polls.total)
    yield _gauge(
        "oldest_due_lag_seconds", "How long the message that is longest due has waited.", status.oldest_due_lag
    )


def _accounts(status: StatusDocument) -> Iterator[Metric]:
    held = GaugeMetricFamily(
        f"{_PREFIX}account_held",
        "1 while polling of the account is paused for this reason.",
        labels=("account", "reason"),
    )
    accounts = [account for account in status.accounts if account.configured]
    for account in accounts:
        for reason in HoldReason:
            now = account.hold is not None and account.hold.reason == reason.value
            held.add_metric((account.name, reason.value), now)
    yield held
    total = CounterMetricFamily(
        f"{_PREFIX}account_held_seconds", "Time the account was paused, earlier runs included.", labels=("account",)
    )
    for account in accounts:
        total.add_metric((account.name,), account.held_seconds_total)
    yield total
    repeated = CounterMetricFamily(
        f"{_PREFIX}account_repeated_requests",
        "Requests made a second time because the other side had forgotten the connection.",
        labels=("account",),
    )
    for account in accounts:
        repeated.add_metric((account.name,), account.repeated_requests)
    yield repeated
    yield from _source_addresses(accounts)
    for name, text, value in _ACCOUNT_GAUGES:
        made = GaugeMetricFamily(f"{_PREFIX}{name}", text, labels=("account",))
        for account in accounts:
            made.add_metric((account.name,), value(account))
        yield made
    yield from _incoming([(account.name, found) for account in accounts if (found := account.incoming) is not None])
    credit = GaugeMetricFamily(
        f"{_PREFIX}account_credit", "The account's balance when it was last read.", labels=("account", "currency")
    )
    for account in accounts:
        if account.credit is not None:
            credit.add_metric((account.name, account.currency or ""), account.credit)
    yield credit


def _source_addresses(accounts: Sequence[AccountDocument]) -> Iterator[Metric]:
    labels = ("account", "address")
    working = GaugeMetricFamily(
        f"{_PREFIX}account_source_up", "0 while nothing goes out from the source address.", labels=labels
    )
    asking = GaugeMetricFamily(
        f"{_PREFIX}account_source_connections", "Requests under way from the source address.", labels=labels
    )
    for account in accounts:
        for source in account.source_addresses:
            working.add_metric((account.name, source.address), not source.trouble)
            asking.add_metric((account.name, source.address), source.asking)
    yield from (working, asking)


def _incoming(accounts: Sequence[tuple[str, IncomingDocument]]) -> Iterator[Metric]:
    label = ("account",)
    requests = CounterMetricFamily(f"{_PREFIX}incoming_requests", "Requests for incoming messages.", labels=label)
    found = CounterMetricFamily(f"{_PREFIX}incoming_messages", "Incoming messages reported.", labels=label)
    denied = GaugeMetricFamily(
        f"{_PREFIX}incoming_denied", "1 while the account may not read incoming messages.", labels=label
    )
    for name, incoming in accounts:
        requests.add_metric((name,), incoming.requests)
        found.add_metric((name,), incoming.found)
        denied.add_metric((name,), incoming.state == "denied")
    yield from (requests, found, denied)


def _outputs(scrape: Scrape) -> Iterator[Metric]:
    status = scrape.status
    lag = GaugeMetricFamily(
        f"{_PREFIX}output_lag_events", "Committed events that the output has still to deliver.", labels=("output",)
    )
    waited = GaugeMetricFamily(
        f"{_PREFIX}output_lag_seconds",
        "How long the first event the output has still to deliver has waited.",
        labels=("output",),
    )
    working = GaugeMetricFamily(f"{_PREFIX}output_up", "0 while the output is in trouble.", labels=("output",))
    readers = GaugeMetricFamily(f"{_PREFIX}output_readers", "Readers connected.", labels=("output",))
    for output in status.outputs:
        lag.add_metric((output.name,), output.lag)
        waited.add_metric((output.name,), output.lag_seconds or 0.0)
        working.add_metric((output.name,), not output.trouble)
        if output.readers is not None:
            readers.add_metric((output.name,), output.readers)
    readers.add_metric(("control",), status.followers)
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
    keeping = [output for output in status.outputs if output.keeps]
    if keeping and (together := status.undelivered) is not None:
        undelivered.add_metric(("waiting",), together.waiting)
        undelivered.add_metric(("parked",), together.parked)
    for output in keeping:
        kept.add_metric((output.name, "waiting"), output.waiting)
        kept.add_metric((output.name, "parked"), output.parked)
    yield kept
    yield undelivered


def _sources(status: StatusDocument) -> Iterator[Metric]:
    working = GaugeMetricFamily(f"{_PREFIX}source_up", "0 while the source cannot be read.", labels=("source",))
    for source in status.sources:
        working.add_metric((source.name,), not source.trouble)
    yield working


def _database(status: StatusDocument) -> Iterator[Metric]:
    yield _gauge("database_size_bytes", "Size of the database file.", status.database.size)
    yield _gauge("database_wal_size_bytes", "Size of the write-ahead log beside it.", status.database.wal_size)
    yield _gauge(
        "database_trouble", "1 while the database cannot be written and polling waits.", bool(status.database.trouble)
    )
    yield _gauge("last_seq", "The highest event number given.", status.database.last_seq)
    yield _gauge("pruned_seq", "Events up to this number have been deleted by retention.", status.database.pruned_seq)


def _backoff(status: StatusDocument) -> Iterator[Metric]:
    found = status.backoff
    polls = GaugeMetricFamily(
        f"{_PREFIX}backoff_polls_per_message", "Polls a message as predicted and as measured.", labels=("kind",)
    )
    for kind, value in (("predicted", found.predicted_polls), ("measured", found.measured_polls)):
        if value is not None:
            polls.add_metric((kind,), value)
    yield polls
    if found.price is not None:
        yield _gauge("backoff_price", "What a poll must be worth to be made; rises when polls are short.", found.price)
    yield _gauge(
        "backoff_learned_events", "Final states (decayed) that the backoff has learned from.", found.learned_events
    )
    yield _gauge("backoff_stalled_operators", "Operators whose deliveries seem to stand still.", len(found.stalled))


def _cluster(status: StatusDocument) -> Iterator[Metric]:
    if (found := status.cluster) is None:
        return
    yield _gauge(
        "active", "1 while this daemon is the one that polls, 0 while it stands by.", found.active == found.name
    )
    renewed = max((member.renewed_ago for member in found.members if member.active), default=0.0)
    yield _gauge("lease_seconds", "How long ago the daemon that polls renewed its lease.", renewed)
    yield _counter("takeovers", "How often one daemon took over from another, as the store knows.", found.takeovers)
    doubts = "Transactions whose outcome was not known, since the connection broke, and was asked for again."
    yield _counter("commit_doubts", doubts, found.commit_doubts or 0)
    yield _counter("jumps", "How often event numbers were left out, since some may have been lost.", found.jumps)
    yield _gauge("members", "Daemons that share the store.", len(found.members))


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
