"""What the number of messages costs: handing over, memory, start, and what a daemon at rest asks of the server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Final, NamedTuple

from pollerd.store.commands import CHUNK
from tests.benchmarks.postgresql.server import on_server, stored
from tests.benchmarks.throughput import machine
from tests.benchmarks.throughput.daemon import FIRST_ID, Daemon, Settings, daemon
from tests.benchmarks.throughput.gateway import Stub, gateway
from tests.benchmarks.throughput.rows import Row, Scale
from tests.benchmarks.throughput.size import first_poll
from tests.store_database import StoreDatabase

FAR: Final = 86400.0
"""Seconds until something is due: nothing is while the daemon is measured."""
NOWHERE: Final = "http://127.0.0.1:9"
"""No gateway is asked."""
LITTLE: Final = 0.1
"""Seconds of processor time in two seconds of a daemon that rests."""
_CALLS: Final = "SELECT sum(calls) FROM pg_stat_statements JOIN pg_roles ON oid = userid WHERE rolname = %s"


def handover(scale: Scale) -> Iterator[Row]:
    """`track -` into an empty store."""
    count = 1_000_000 if scale.rounds >= 5 else 100_000
    few, settings = max(count // 10, CHUNK), Settings(NOWHERE)
    rounds = []
    with stored() as store:
        for _ in range(scale.rounds // 2):
            with daemon(settings) as here, on_server(settings, store) as there:
                small = _tracked(there, store, few)[1]
                rounds.append((*_tracked(there, store, count), small, *here.tracked(_ids(count))))
    seconds, peak, small, in_file, peak_file = map(median, zip(*rounds, strict=True))
    worst = count / max(r[0] for r in rounds)
    yield Row(
        "track -, an empty store: ids a second", count / seconds, "", worst=worst, note=f"SQLite {count / in_file:,.0f}"
    )
    note = f"{small:.0f} MB for {few:,}, SQLite {peak_file:.0f} MB"
    yield Row("  its largest memory", peak, "MB", small + 5.0, "most", max(r[1] for r in rounds), note)


def _tracked(there: Daemon, store: StoreDatabase, count: int) -> tuple[float, float]:
    with store.engine().handover():
        store.database.execute("TRUNCATE messages")
    return there.tracked(_ids(count))


def _ids(count: int) -> bytes:
    return b"".join(b"%d\n" % number for number in range(FIRST_ID, FIRST_ID + count))


class _Rest(NamedTuple):
    """A daemon with nothing due: memory in MB, seconds from its start to its first poll, its share of a core in
    percent, and statements a second that it sends to the server.
    """

    memory: float
    first: float
    share: float
    statements: float


def pending(scale: Scale) -> Iterator[Row]:
    """A million pending, nothing due: memory, start to the first poll, and the server of a daemon at rest."""
    count = 1_000_000 if scale.rounds >= 5 else 100_000
    with gateway(note=True) as stub:
        settings = Settings(stub.url, interval=FAR)
        with daemon(settings) as polled:
            here = _rest(polled, stub, count, scale, lambda: 0)
        with stored("shared_preload_libraries = 'pg_stat_statements'") as store, on_server(settings, store) as polled:
            store.database.execute("CREATE EXTENSION pg_stat_statements")
            there = _rest(polled, stub, count, scale, lambda: _statements(store))
    note = f"SQLite {here.memory:.1f} MB"
    yield Row(f"{count:,} pending: resident memory", there.memory, "MB", here.memory + 20.0, note=note)
    yield Row("  start to first poll", there.first, "s", 2.0, note=f"SQLite {here.first:.2f} s")
    yield Row("  at rest: processor", there.share, "% of a core", note=f"SQLite {here.share:.2f} %")
    yield Row("  at rest: statements a second to the server", there.statements, "")


def _rest(polled: Daemon, stub: Stub, count: int, scale: Scale, sent: Callable[[], int]) -> _Rest:
    now = time.time()
    polled.fill(count, (now + FAR, now + 2 * FAR))
    first = first_poll(stub, polled)
    polled.start()
    polled.ready()
    _settle(polled)
    used, asked, began = machine.cpu(polled.pid), sent(), time.monotonic()
    time.sleep(5 * scale.seconds)
    over = time.monotonic() - began
    found = _Rest(
        machine.resident(polled.pid), first, 100 * (machine.cpu(polled.pid) - used) / over, (sent() - asked) / over
    )
    polled.stop()
    return found


def _settle(polled: Daemon) -> None:
    """Return when it has looked at everything once, and rests."""
    used = 0.0
    while (now := machine.cpu(polled.pid)) - used > LITTLE:
        used = now
        time.sleep(2.0)


def _statements(store: StoreDatabase) -> int:
    return int(store.database.execute(_CALLS, store.user)[0][0])
