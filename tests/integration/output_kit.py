"""What the tests of the outputs share: a real store, events, and what an event file holds."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from pollerd.core import event as events
from pollerd.core.ports import Batch, EventLog, Output
from pollerd.store.sqlite.store import SqliteStore
from pollerd.store.store import SqlStore
from tests.sqlite_kit import autocommit

_ids = itertools.count(1)
PATIENCE = 120.0


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(path, time.time)
    try:
        yield store
    finally:
        await store.close()


def status(message_id: int, *, error: str | None = None) -> events.Status:
    return events.Status(
        id=message_id,
        account="default",
        msisdn=4587654321,
        status="DELIVERED",
        previous="ENROUTE",
        final=True,
        time=1764000042,
        error=error,
        code=None,
        userref=f"order-{message_id}",
        country_code="DK",
        country_prefix=45,
        mcc="238",
        mnc="1",
        observed_at=events.instant(1764000042.0 + message_id / 1000),
        polls=4,
    )


async def commit(store: SqlStore, count: int, *, error: str | None = None) -> int:
    """Commit `count` more events, each different from every other in this process; returns the last `seq`."""
    await store.commit(Batch(bodies=[status(next(_ids), error=error) for _ in range(count)], at=time.time()))
    return store.last


@asynccontextmanager
async def running(output: Output, log: EventLog) -> AsyncIterator[asyncio.Task[None]]:
    """The output at work; stopped in order on leaving, and its error raised if it ended by one."""
    task = asyncio.create_task(output.run(log))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})
    if not task.cancelled():
        task.result()


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for the condition, at most `PATIENCE` seconds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"waited in vain: {what}"
        await asyncio.sleep(0.005)


def size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def seqs(path: Path) -> list[int]:
    """The numbers in an event file, every line of which must be whole."""
    content = path.read_bytes()
    assert content == b"" or content.endswith(b"\n"), f"torn line at the end of {path}"
    return [json.loads(line)["seq"] for line in content.splitlines()]


def seqs_in_all(folder: Path, pattern: str = "events.ndjson*") -> list[int]:
    """The numbers in the event file and in all it was rotated to."""
    return sorted(seq for path in folder.glob(pattern) for seq in seqs(path))


async def wait_written(path: Path, last: int) -> None:
    """Wait until the file ends with the event `last`."""
    ending = b'{"seq":%d,' % last

    def there() -> bool:
        try:
            with path.open("rb") as file:
                file.seek(max(0, size(path) - 65536))
                content = file.read()
        except FileNotFoundError:
            # Not there yet, or just set aside.
            return False
        return content.endswith(b"\n") and content.splitlines()[-1].startswith(ending)

    await until(there, f"event {last} in {path}")


def exactly(last: int, first: int = 1) -> list[int]:
    return list(range(first, last + 1))


async def stored_lines(store: SqlStore) -> list[bytes]:
    return [event.line for event in await store.read(0, 1_000_000)]


def write_lines(path: Path, lines: Iterable[bytes]) -> None:
    path.write_bytes(b"".join(lines))


def parsed(line: bytes) -> dict[str, Any]:
    value = json.loads(line)
    assert isinstance(value, dict)
    return value


def prune(database: Path, last: int) -> None:
    """Retention has deleted the events up to `last`, while nothing ran."""
    with autocommit(database) as connection:
        connection.execute("DELETE FROM events WHERE seq <= ?", (last,))
