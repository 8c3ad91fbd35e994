"""What it costs to delete old messages and events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

from tests.benchmarks.postgresql.server import stored
from tests.benchmarks.throughput import machine
from tests.benchmarks.throughput.rows import Row, Scale
from tests.store_place import FilePlace, Place, ServerPlace

OLD: Final = 1.7e9
"""When the messages ended and the events happened (UNIX seconds): longer ago than anything is kept."""
FILL: Final = (
    "INSERT INTO messages (id, sent_at, state, finished_at) VALUES (?, ?, 2, ?)",
    "INSERT INTO events (seq, type, message_id, at, body) VALUES (?, 'message.status', ?, ?, '{}')",
)


def retention(scale: Scale) -> Iterator[Row]:
    """Messages that have ended long ago, with an event each."""
    count = 10_000 if scale.rounds >= 5 else 2000
    with stored() as store, TemporaryDirectory() as folder:
        server = store.database.server.pid
        with store.engine().handover():
            pass
        here, there = FilePlace(Path(folder) / "pollerd.db"), ServerPlace(store)
        rounds = []
        for _ in range(scale.rounds):
            in_file = asyncio.run(_pruned(here, count, lambda: 0.0))
            rounds.append((*asyncio.run(_pruned(there, count, lambda: machine.family(server))), *in_file))
    seconds, cpu, of_server, in_file, cpu_file, _ = map(median, zip(*rounds, strict=True))
    note = f"{cpu:.2f} s of the daemon's processor, {of_server:.2f} s of the server's"
    yield Row(f"retention of {count:,} messages and events", seconds, "s", note=note)
    yield Row("  the same with SQLite", in_file, "s", note=f"{cpu_file:.2f} s of processor time")


async def _pruned(place: Place, count: int, used: Callable[[], float]) -> tuple[float, float, float]:
    """Seconds, those of this process's processor and of the server's."""
    async with place.opened() as store:
        place.execute("DELETE FROM messages")
        for sql, of_event in zip(FILL, (False, True), strict=True):
            place.many(sql, [(n, *([n] if of_event else [OLD]), OLD) for n in range(1, count + 1)])
        deleting = store.retention(frozenset(), 60.0, 60.0)
        began, own, others = time.monotonic(), time.process_time(), used()
        await deleting.run(time.time())
        assert place.execute("SELECT count(*) FROM messages") == place.execute("SELECT count(*) FROM events") == [(0,)]
        return time.monotonic() - began, time.process_time() - own, used() - others
