"""A million ids at once for a daemon that polls: what planning them costs, and whether others wait for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from tests.benchmarks.throughput import machine
from tests.benchmarks.throughput.daemon import FIRST_ID, Daemon, Settings, daemon, wait_until
from tests.benchmarks.throughput.gateway import Stub, gateway
from tests.benchmarks.throughput.rows import Row, Scale, medians, percentile
from tests.sqlite_kit import autocommit

RATE = 200
"""Polls of other messages a second."""
_LASTING = 300
"""Seconds for which there are others to poll."""
_QUIET = 5.0
"""Seconds in which the daemon does nothing but poll the others."""
_NEW = FIRST_ID + 10**9
"""Far from the others' ids."""


def planning(scale: Scale) -> Iterator[Row]:
    """`track -` into a running daemon that polls 200 other messages a second; the new ones are due in an hour."""
    count = 1_000_000 if scale.rounds >= 5 else 100_000
    rounds = []
    with gateway(note=True) as stub:
        for _ in range(3):
            with daemon(Settings(stub.url, interval=3600.0, policy="adaptive", first="1h")) as polled:
                rounds.append(_one_round(polled, stub, count))
    cpu, quiet, seconds, late, latest, usual = medians(rounds)
    note = f"{seconds:.1f} s, {quiet:.1f} s of processor time for the others taken off"
    target = 12.0 * count / 1_000_000
    worst = max(each[0] for each in rounds)
    yield Row(f"{count:,} new messages planned: processor", cpu, "s", target, "most", worst, note)
    note = f"{RATE} others a second, the last one {latest:.0f} ms, {usual:.0f} ms without it"
    yield Row("  others late by, p99", late, "ms", 100.0, "most", max(each[3] for each in rounds), note)


def _one_round(polled: Daemon, stub: Stub, count: int) -> tuple[float, ...]:
    """Processor seconds for planning, those for polling meanwhile, seconds; lateness in ms: p99, worst, p99 before."""
    others = RATE * _LASTING
    polled.fill(others, (time.time() + 86400.0, time.time() + 2 * 86400.0))
    start = time.time() + 4.0
    due = polled.plan(others, others, start, RATE)
    stub.forget()
    polled.start()
    polled.ready()
    wait_until(lambda: time.time() > start + 2.0)
    share = _processor(polled, lambda: time.sleep(_QUIET))
    began = time.time()
    used = _processor(polled, lambda: _hand_over(polled, count))
    ended = time.time()
    notes = stub.notes()["noted"]
    polled.stop()
    offset = time.time() - time.monotonic()
    late = [(due[n], 1000 * (at + offset - due[n])) for n, at in notes if n in due]
    lateness = [ms for when, ms in late if began <= when <= ended]
    usual = [ms for when, ms in late if began - _QUIET <= when < began]
    quiet = share / _QUIET * (ended - began)
    return used - quiet, quiet, ended - began, percentile(lateness, 0.99), max(lateness), percentile(usual, 0.99)


def _processor(polled: Daemon, work: Callable[[], None]) -> float:
    """Processor seconds of the daemon while `work` runs."""
    used = machine.cpu(polled.pid)
    work()
    return machine.cpu(polled.pid) - used


def _hand_over(polled: Daemon, count: int) -> None:
    """Give it so many ids, and return when all are planned."""
    ids = b"".join(b"%d\n" % number for number in range(_NEW, _NEW + count))
    polled.command("track", "-", given=ids)
    with autocommit(polled.database) as connection:
        left = "SELECT EXISTS (SELECT 1 FROM messages WHERE state = 0)"
        wait_until(lambda: connection.execute(left).fetchone() == (0,), 600.0, 0.05)
