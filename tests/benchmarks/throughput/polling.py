"""Polls a second: against a bare loop and a plain script, with every poll a change, and at a distance of 50 ms."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.benchmarks.throughput import machine
from tests.benchmarks.throughput.daemon import Daemon, Settings, daemon, listener, wait_until
from tests.benchmarks.throughput.gateway import Stub, gateway
from tests.benchmarks.throughput.rows import Row, Scale, medians

CONNECTIONS = 40
MESSAGES = 20_000
_WARM = 1.0


def unchanged(scale: Scale) -> Iterator[Row]:
    """Polls that change nothing, no latency."""
    with gateway() as stub, daemon(Settings(stub.url)) as polled:
        rounds = []
        with running(stub, polled):
            for _ in range(scale.rounds):
                bare, bare_cpu = yardstick(stub, scale.seconds)
                plain, shared = script(stub, scale.seconds), script(stub, scale.seconds, "--shared")
                rate, cpu = measured(stub, polled, scale.seconds)
                rounds.append((rate / bare, rate / plain, rate / shared, bare_cpu / cpu, rate, bare, plain))
    over_bare, over_plain, over_shared, over_cpu, rate, bare, plain = medians(rounds)
    note = f"{rate:,.0f}/s to {bare:,.0f}/s"
    yield Row("polls a second, over the bare loop", over_bare, "x", 0.70, "least", min(r[0] for r in rounds), note)
    yield Row("  the same in processor time a poll", over_cpu, "x", worst=min(r[3] for r in rounds))
    note = f"{plain:,.0f}/s"
    yield Row("polls a second, over the plain script", over_plain, "x", 4.0, "least", min(r[1] for r in rounds), note)
    yield Row("  over the script whose jobs share commits", over_shared, "x", worst=min(r[2] for r in rounds))


def changing(scale: Scale) -> Iterator[Row]:
    """Every poll a change: committed with FULL, written to the file, told on the socket."""
    with gateway("flip") as stub, daemon(Settings(stub.url), socket=True) as polled:
        rounds = []
        with running(stub, polled), listener(polled) as told:
            for _ in range(scale.rounds):
                bare, bare_cpu = yardstick(stub, scale.seconds)
                heard = told.events
                rate, cpu = measured(stub, polled, scale.seconds)
                rounds.append((rate / bare, bare_cpu / cpu, rate, bare, told.events - heard))
            wait_until(lambda: told.events > 0)
    over_bare, over_cpu, rate, bare, events = medians(rounds)
    note = f"{rate:,.0f}/s to {bare:,.0f}/s, {events:,.0f} events heard a round"
    yield Row(
        "polls a second, each a change, over the bare loop",
        over_bare,
        "x",
        0.40,
        "least",
        min(r[0] for r in rounds),
        note,
    )
    yield Row("  the same in processor time a poll", over_cpu, "x", worst=min(r[1] for r in rounds))


def distant(scale: Scale) -> Iterator[Row]:
    """50 ms to the gateway and back."""
    latency = 0.05
    carries = CONNECTIONS / latency
    with gateway(latency=latency) as stub, daemon(Settings(stub.url, interval=10.0)) as polled:
        rounds = []
        with running(stub, polled):
            for _ in range(scale.rounds):
                bare, bare_cpu = yardstick(stub, scale.seconds)
                rate, cpu = measured(stub, polled, scale.seconds)
                rounds.append((100 * rate / carries, 100 * rate * cpu, 100 * bare / carries, 100 * bare * bare_cpu))
    carried, core, bare, bare_core = medians(rounds)
    worst = min(r[0] for r in rounds)
    note = f"the bare loop: {bare:.1f} %"
    yield Row("of what 40 connections can carry at 50 ms", carried, "%", 98.0, "least", worst, note)
    worst, note = max(r[1] for r in rounds), f"the bare loop: {bare_core:.1f} %"
    yield Row("  processor for it", core, "% of a core", 33.3, "most", worst, note)


@contextmanager
def running(stub: Stub, polled: Daemon) -> Iterator[None]:
    """A daemon with everything due, polling for as long as the body runs."""
    now = time.time()
    polled.fill(MESSAGES, (now - 1.0, now))
    asked = stub.count().reads
    polled.start()
    try:
        wait_until(lambda: stub.count().reads > asked + 2000)
        yield
    finally:
        polled.stop()


def yardstick(stub: Stub, seconds: float) -> tuple[float, float]:
    """The bare loop's polls a second, and its processor seconds a poll."""
    rate, cpu = _printed("bare", stub, seconds)
    return rate, cpu


def script(stub: Stub, seconds: float, *options: str) -> float:
    """The plain script's polls a second."""
    return _printed("plain", stub, seconds, *options)[0]


def _printed(module: str, stub: Stub, seconds: float, *options: str) -> list[float]:
    command = [
        sys.executable,
        "-m",
        f"tests.benchmarks.throughput.{module}",
        stub.url,
        "--seconds",
        str(seconds),
        *options,
    ]
    return [float(text) for text in subprocess.check_output(command).split()]


def measured(stub: Stub, polled: Daemon, seconds: float, *used: Callable[[], float]) -> tuple[float, ...]:
    """Polls a second and processor seconds a poll, of a daemon that rests before and after. `used` count the processor
    seconds of others: what each has of them a poll.
    """
    counters = (lambda: machine.cpu(polled.pid), *used)
    asked = stub.count().reads
    polled.signal(signal.SIGCONT)
    # A member whose lease has ended meanwhile renews it first.
    wait_until(lambda: stub.count().reads > asked)
    time.sleep(_WARM)
    before, spent = stub.count(), [counter() for counter in counters]
    time.sleep(seconds)
    after, spent = stub.count(), [counter() - earlier for counter, earlier in zip(counters, spent, strict=True)]
    rest(polled)
    polls = after.reads - before.reads
    if not polls:
        raise RuntimeError(f"nothing was polled; the daemon's log:\n{polled.log}")
    return polls / (after.at - before.at), *(each / polls for each in spent)


def rest(polled: Daemon) -> None:
    """Stop a daemon in its tracks until it is its turn."""
    polled.signal(signal.SIGSTOP)
