"""From a change at the gateway to a line in the file, and what one enormous message does to the others."""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median

import msgspec

from tests.benchmarks.throughput.daemon import Settings, daemon, wait_until
from tests.benchmarks.throughput.gateway import gateway
from tests.benchmarks.throughput.rows import Row, Scale, percentile

RATE = 500
MANY = 20


class _Line(msgspec.Struct):
    id: int


def latency(scale: Scale) -> Iterator[Row]:
    """500 polls a second, each a change: the gateway's answer to the line in the file."""
    count = int(RATE * scale.seconds * 2)
    with gateway("buffered", note=True) as stub, daemon(Settings(stub.url, interval=3600.0)) as polled:
        start = time.time() + 3.0
        polled.fill(count, (start, start + count / RATE))
        polled.start()
        seen = arrivals(polled.events, count)
        asked = dict(stub.notes()["noted"])
    waits = [1000 * (at - asked[number]) for number, at in seen.items()]
    note = f"{len(waits):,} changes, median {median(waits):.1f} ms"
    yield Row("a change, when polled, to its line, p99", percentile(waits, 0.99), "ms", 50.0, "most", max(waits), note)


def arrivals(path: Path, count: int) -> dict[int, float]:
    """When the first line of each id was there, on the monotonic clock; checked about every millisecond."""
    seen: dict[int, float] = {}
    decoder = msgspec.json.Decoder(_Line)
    wait_until(path.exists)
    with path.open("rb") as file:
        rest = b""
        until = time.monotonic() + 120.0
        while len(seen) < count and time.monotonic() < until:
            block = file.read()
            if not block:
                time.sleep(0.001)
                continue
            now = time.monotonic()
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                seen.setdefault(decoder.decode(line).id, now)
    return seen


def many(scale: Scale) -> Iterator[Row]:
    """10,000 recipients, 100 of them changed at each poll, among others polled 500 times a second."""
    with gateway("many") as stub, daemon(Settings(stub.url)) as polled:
        now = time.time() + 2.0
        polled.fill(2 * RATE, (now, now + 2.0))
        polled.command("track", "1")
        polled.start()
        wait_until(lambda: len(stub.notes()["many"]) >= 2)
        stub.forget()
        wanted = MANY if scale.rounds >= 5 else 5
        wait_until(lambda: len(stub.notes()["many"]) > wanted, 300.0, 0.5)
        notes = stub.notes()
        events = polled.events.read_bytes().count(b'"id":1,')
    times: list[float] = notes["times"]
    blocked = [_longest_gap(times, at, at + 1.0) for at in notes["many"][:wanted]]
    usual = [_longest_gap(times, at - 0.7, at - 0.1) for at in notes["many"][1:wanted]]
    note = f"{events:,} events; {1000 * median(usual):.0f} ms without it"
    yield Row(
        "10,000 recipients, 100 changed: longest gap",
        1000 * median(blocked),
        "ms",
        60.0,
        "most",
        1000 * max(blocked),
        note,
    )


def _longest_gap(times: list[float], start: float, end: float) -> float:
    some = times[bisect_left(times, start) : bisect_right(times, end)]
    return max((later - earlier for earlier, later in pairwise(some)), default=end - start)
