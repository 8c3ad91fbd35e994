"""From a change at the gateway to a line in the file: of the member that polls, and of one that stands by."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Final

from tests.benchmarks.postgresql.server import OnServer, stored
from tests.benchmarks.throughput.daemon import Daemon, Settings, daemon, wait_until
from tests.benchmarks.throughput.gateway import gateway
from tests.benchmarks.throughput.news import RATE, arrivals
from tests.benchmarks.throughput.rows import Row, Scale, percentile
from tests.store_database import StoreDatabase

START: Final = 10.0
"""Seconds from the filling until the first message is due: both members run by then."""
_SPREAD: Final = """
UPDATE messages SET next_poll_at = %s + place / %s::float8
FROM (SELECT id, row_number() OVER (ORDER BY id) AS place FROM messages) AS numbered WHERE numbered.id = messages.id
"""
_TRANSACTIONS: Final = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = %s"
NOWHERE: Final = "http://127.0.0.1:9"
"""No gateway is asked."""


def latency(scale: Scale) -> Iterator[Row]:
    """500 polls a second, each a change: the gateway's answer to the line in each member's file."""
    count = int(RATE * scale.seconds * 2)
    with gateway("buffered", note=True) as stub, stored() as store:
        settings = Settings(stub.url, interval=3600.0)
        with _member(settings, store, "db1") as active, _member(settings, store, "db2") as standby:
            active.fill(count, (time.time() + 3600.0, time.time() + 7200.0))
            start = time.time() + START
            store.database.execute(_SPREAD, start, RATE)
            active.start()
            active.ready()
            _stand_by(standby)
            if time.time() > start:
                raise RuntimeError("the members took too long to start: nothing was measured")
            with ThreadPoolExecutor() as threads:
                seen = list(threads.map(lambda member: arrivals(member.events, count), (active, standby)))
            asked = dict(stub.notes()["noted"])
    for who, target, found in zip(("polls", "stands by"), (50.0, 300.0), seen, strict=True):
        waits = [1000 * (at - asked[number]) for number, at in found.items()]
        note = f"{len(waits):,} of {count:,} changes, median {median(waits):.1f} ms"
        what = f"a change to its line, where one {who}, p99"
        yield Row(what, percentile(waits, 0.99), "ms", target, "most", max(waits), note)


def standby(scale: Scale) -> Iterator[Row]:
    """What a member that stands by asks of the server while nothing is committed."""
    seconds = 5 * scale.seconds
    with stored() as store:
        settings = Settings(NOWHERE)
        with _member(settings, store, "db1") as active, _member(settings, store, "db2") as idle:
            active.start()
            active.ready()
            alone = _transactions(store, seconds)
            _stand_by(idle)
            both = _transactions(store, seconds)
    note = f"the one that polls, with nothing to poll: {alone:.1f}"
    yield Row("transactions a second of an idle standby", both - alone, "", note=note)


def _member(settings: Settings, store: StoreDatabase, name: str) -> AbstractContextManager[Daemon]:
    keys = f'{store.toml}\n[cluster]\nname = "{name}"'
    return daemon(replace(settings, store=keys), make=partial(OnServer, store=store))


def _stand_by(member: Daemon) -> None:
    member.start()
    wait_until(lambda: "[standing_by]" in member.log)


def _transactions(store: StoreDatabase, seconds: float) -> float:
    """How many a second there are in the database, once all have settled."""
    time.sleep(3.0)
    found = []
    for pause in (seconds, 0.0):
        # The server's processes report what they did once a second at the most.
        time.sleep(1.0)
        found.append((time.monotonic(), int(store.database.execute(_TRANSACTIONS, store.database.name)[0][0])))
        time.sleep(pause)
    (began, before), (ended, after) = found
    return (after - before) / (ended - began)
