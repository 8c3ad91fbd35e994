"""Polls a second of a daemon whose store is in PostgreSQL, against one with a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from tests.benchmarks.postgresql.server import on_server, stored
from tests.benchmarks.throughput import machine
from tests.benchmarks.throughput.daemon import Settings, daemon
from tests.benchmarks.throughput.gateway import gateway
from tests.benchmarks.throughput.polling import measured, rest, running
from tests.benchmarks.throughput.rows import Row, Scale, medians


def unchanged(scale: Scale) -> Iterator[Row]:
    """Polls that change nothing."""
    yield from _compared("polls a second", "enroute", scale)


def changing(scale: Scale) -> Iterator[Row]:
    """Every poll a change: committed, and written to the file."""
    yield from _compared("polls a second, each a change", "flip", scale)


def _compared(what: str, mode: str, scale: Scale) -> Iterator[Row]:
    with ExitStack() as opened:
        enter = opened.enter_context
        stub, store = enter(gateway(mode)), enter(stored())
        here = enter(daemon(Settings(stub.url)))
        there = enter(on_server(Settings(stub.url), store))
        server = store.database.server.pid
        for each in (here, there):
            enter(running(stub, each))
            rest(each)
        rounds = []
        for _ in range(scale.rounds):
            rate, cpu = measured(stub, here, scale.seconds)
            rate_there, cpu_there, of_server = measured(stub, there, scale.seconds, lambda: machine.family(server))
            rounds.append((rate_there / rate, cpu_there / cpu, rate_there, rate, cpu_there, cpu, of_server))
    ratio, over_cpu, rate_there, rate, cpu_there, cpu, of_server = medians(rounds)
    note = f"{rate_there:,.0f}/s to {rate:,.0f}/s"
    yield Row(f"{what}, over SQLite", ratio, "x", 0.8, "least", min(r[0] for r in rounds), note)
    note = f"{1e6 * cpu_there:.0f} µs to {1e6 * cpu:.0f} µs"
    yield Row(
        "  the daemon's processor time a poll, over SQLite", over_cpu, "x", worst=max(r[1] for r in rounds), note=note
    )
    yield Row("  the server's processor time a poll", 1e6 * of_server, "µs", worst=1e6 * max(r[6] for r in rounds))
