"""What the number of pending messages costs: memory, start, lateness, idling, commands."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from statistics import median
from typing import NamedTuple

from tests.benchmarks.throughput import machine
from tests.benchmarks.throughput.daemon import FIRST_ID, Daemon, Settings, daemon, wait_until
from tests.benchmarks.throughput.gateway import Stub, gateway
from tests.benchmarks.throughput.rows import Row, Scale, percentile

IDLE = 1_000_000
_FAR = 86400.0
_LEAD = 8.0
"""Seconds before the first poll is due in which the daemon is to start."""
COMMANDS = (("status",), ("show", str(FIRST_ID + 1)), ("list", "--limit", "50"))


class Load(NamedTuple):
    """What a size is measured under: `rate` polls due a second, for `seconds`."""

    stub: Stub
    size: int
    rate: float
    seconds: float


def pending(scale: Scale) -> Iterator[Row]:
    """Memory, start and lateness at every size, the commands at the largest, at half of what can be polled."""
    with gateway(note=True) as stub:
        half = _capacity(stub) / 2
        memory: list[float] = []
        for size in scale.sizes:
            with daemon(Settings(stub.url, interval=_FAR)) as polled:
                yield from _one_size(polled, Load(stub, size, half, 4 * scale.seconds), memory)
                if size == scale.sizes[-1]:
                    yield from _commands(polled, size, scale)
    yield Row("  between the sizes", max(memory) - min(memory), "MB", 20.0)


def _one_size(polled: Daemon, load: Load, memory: list[float]) -> Iterator[Row]:
    """One size under load; what is in memory after it goes to `memory`."""
    polled.fill(load.size, (time.time() + _FAR, time.time() + 2 * _FAR))
    start = time.time() + _LEAD
    due = polled.plan(load.size, int(load.rate * load.seconds), start, load.rate)
    load.stub.forget()
    began = time.monotonic()
    polled.start()
    polled.ready()
    ready = time.monotonic() - began
    late_start = time.time() > start
    wait_until(lambda: time.time() > start + load.seconds, 600.0, 0.1)
    memory.append(machine.resident(polled.pid))
    polled.stop()
    offset = time.time() - time.monotonic()
    lateness = [at + offset - due[number] for number, at in load.stub.notes()["noted"]]
    yield Row(f"{load.size:,} pending: resident memory", memory[-1], "MB", 70.0)
    yield Row("  start to ready", ready, "s", 2.0)
    yield Row("  start to first poll", first_poll(load.stub, polled), "s", 2.0)
    note = f"{len(lateness):,} polls at {load.rate:,.0f}/s, median {1000 * median(lateness):.0f} ms"
    note += ", started too late" if late_start else ""
    yield Row("  late by, p99", percentile(lateness, 0.99), "s", 1.0, "most", max(lateness), note)


def first_poll(stub: Stub, polled: Daemon) -> float:
    """Seconds from the start of the process to its first poll, with something due."""
    polled.make_due(100)
    stub.forget()
    began = time.monotonic()
    polled.start()
    wait_until(lambda: stub.count().first > 0.0, 60.0)
    polled.stop()
    return stub.count().first - began


def _capacity(stub: Stub) -> float:
    """Polls a second at full speed."""
    with daemon(Settings(stub.url)) as polled:
        now = time.time()
        polled.fill(20_000, (now - 1.0, now))
        polled.start()
        wait_until(lambda: stub.count().reads > 4000)
        before = stub.count()
        time.sleep(4.0)
        after = stub.count()
    return (after.reads - before.reads) / (after.at - before.at)


def _commands(polled: Daemon, size: int, scale: Scale) -> Iterator[Row]:
    polled.start()
    polled.ready()
    for command in COMMANDS:
        walls, cpus = zip(*(_timed(polled, command) for _ in range(2 * scale.rounds)), strict=True)
        note = f"{median(cpus):.2f} s of processor time"
        yield Row(f"{size:,} pending: {' '.join(command[:1])}", median(walls), "s", 0.3, "most", max(walls), note)
    bare, cpu = zip(*(_interpreter() for _ in range(2 * scale.rounds)), strict=True)
    yield Row(
        "  an interpreter that imports click, for comparison",
        median(bare),
        "s",
        note=f"{median(cpu):.2f} s of processor time",
    )
    polled.stop()


def _timed(polled: Daemon, command: tuple[str, ...]) -> tuple[float, float]:
    began = time.monotonic()
    used = machine.children()
    polled.command(*command)
    return time.monotonic() - began, machine.children() - used


def _interpreter() -> tuple[float, float]:
    began = time.monotonic()
    used = machine.children()
    subprocess.run([sys.executable, "-c", "import click"], check=True)
    return time.monotonic() - began, machine.children() - used


def idle(scale: Scale) -> Iterator[Row]:
    """A million pending, nothing due."""
    with gateway() as stub, daemon(Settings(stub.url)) as polled:
        now = time.time()
        polled.fill(IDLE if scale.rounds >= 5 else 100_000, (now + _FAR, now + 2 * _FAR))
        polled.start()
        polled.ready()
        time.sleep(3.0)
        used, began = machine.cpu(polled.pid), time.monotonic()
        time.sleep(8 * scale.seconds)
        share = 100 * (machine.cpu(polled.pid) - used) / (time.monotonic() - began)
        polls = stub.count().reads
    yield Row("idle, a million pending: processor", share, "% of a core", 0.5, note=f"{polls} polls")


def handover(scale: Scale) -> Iterator[Row]:
    """`track -` into an empty store."""
    count = 1_000_000 if scale.rounds >= 5 else 200_000
    ids = b"".join(b"%d\n" % number for number in range(FIRST_ID, FIRST_ID + count))
    few = b"".join(b"%d\n" % number for number in range(FIRST_ID, FIRST_ID + count // 10))
    rates, peaks, small = [], [], []
    for _ in range(scale.rounds):
        with daemon(Settings("http://127.0.0.1:9")) as polled:
            seconds, peak = polled.tracked(ids)
            rates.append(count / seconds)
            peaks.append(peak)
        with daemon(Settings("http://127.0.0.1:9")) as polled:
            small.append(polled.tracked(few)[1])
    yield Row("track -, an empty store: ids a second", median(rates), "", 100_000, "least", min(rates))
    note = f"{median(small):.0f} MB for a tenth of the ids"
    yield Row("  its largest memory", median(peaks), "MB", median(small) + 5.0, "most", max(peaks), note)
