"""Another installation and this one, in one run: what a poll costs each, in processor time over the bare loop's."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from tests.benchmarks.throughput.daemon import Daemon, Settings, daemon, wait_until
from tests.benchmarks.throughput.gateway import Stub, gateway
from tests.benchmarks.throughput.polling import MESSAGES, measured, yardstick
from tests.benchmarks.throughput.rows import Row, Scale, medians


@dataclass(frozen=True, slots=True)
class _Case:
    name: str
    mode: str = "enroute"
    latency: float = 0.0
    interval: float = 2.0
    socket: bool = False


_CASES = (
    _Case("unchanged"),
    _Case("changing", "flip", socket=True),
    _Case("distant", latency=0.05, interval=10.0),
)


def compared(python: Path, names: list[str], scale: Scale) -> Iterator[Row]:
    """The cases with those names, `before` by the pollerd of the interpreter `python`, `after` by this one."""
    for case in _CASES:
        if case.name in names:
            yield from _compared(case, python, scale)


def _compared(case: _Case, python: Path, scale: Scale) -> Iterator[Row]:
    rounds = []
    with ExitStack() as stack:
        before = _running(stack, case, python)
        after = _running(stack, case, None)
        for _ in range(scale.rounds):
            rate, bare = yardstick(after[0], scale.seconds)
            rate_before, cpu_before = measured(*before, scale.seconds)
            rate_after, cpu_after = measured(*after, scale.seconds)
            rounds.append((cpu_before / bare, cpu_after / bare, cpu_after / cpu_before, rate_before, rate_after, rate))
    over_before, over_after, over, rate_before, rate_after, rate = medians(rounds)
    note = f"{rate_before:,.0f}/s, then {rate_after:,.0f}/s; the bare loop {rate:,.0f}/s"
    yield Row(f"{case.name}: processor time a poll over the bare loop, before", over_before, "x")
    yield Row("  after", over_after, "x", worst=max(r[1] for r in rounds), note=note)
    yield Row("  after over before", over, "x", worst=max(r[2] for r in rounds))


def _running(stack: ExitStack, case: _Case, python: Path | None) -> tuple[Stub, Daemon]:
    """A daemon with everything due, stopped in its tracks."""
    stub = stack.enter_context(gateway(case.mode, case.latency))
    settings = Settings(stub.url, interval=case.interval)
    if python is not None:
        settings = replace(settings, python=str(python))
    polled = stack.enter_context(daemon(settings, socket=case.socket))
    # It makes its own database: another release may have another schema.
    polled.start()
    polled.ready()
    polled.stop()
    now = time.time()
    polled.fill(MESSAGES, (now - 1.0, now))
    polled.start()
    wait_until(lambda: stub.count().reads > 2000)
    polled.signal(signal.SIGSTOP)
    return stub, polled
