"""An account that is not let in, or asked to be patient: one event, few probes, no message the worse for it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from pollerd.simulator import Credentials, Simulator, SimulatorConfig, Step
from tests.acceptance.bad_days_kit import AT_ONCE, Shim, account_events, asked, blamed, busiest
from tests.acceptance.conftest import Row
from tests.acceptance.deployment import Deployment
from tests.acceptance.waiting import until, until_past

SPEED = 30.0
FOREVER = [Step(0.0, "ENROUTE")]
# Held time has to outlast the deadline: only frozen ages survive that.
BACKOFF = (
    'policy = "exponential"\nmin_interval = "2s"\nmax_interval = "20s"\ngive_up_after = "4m"\nfirst_poll_after = "2s"'
)
LIMITS = 'requests_per_second = 10\ntimeout = "60s"'
TOKENS = Credentials(tokens=frozenset({"first", "second"}))


@pytest.mark.parametrize(("status", "reason"), [("401", "unauthorized"), ("403", "forbidden")])
async def test_not_let_in(status: str, reason: str, tmp_path: Path, shim: Shim, row: Row) -> None:
    """One event, single probes at growing intervals, one at once for a new token, recovery; nobody blamed or aged."""
    async with (
        Simulator(SimulatorConfig(credentials=TOKENS, population=AT_ONCE)) as simulator,
        Deployment(tmp_path, simulator, backoff=BACKOFF, limits=LIMITS) as deployment,
    ):
        (tmp_path / "token").write_text("first\n")
        ids = [simulator.truth.add(steps=FOREVER) for _ in range(30)]
        await deployment.start(environment=shim.environment(speed=SPEED))
        deployment.insert(ids)
        await until(lambda: all(simulator.truth.polls(i) for i in ids), "every message was asked for")
        simulator.faults.set(status)
        began = simulator.now()
        await until(lambda: account_events(deployment), "the account is held")
        held = account_events(deployment)[0]
        assert (held["type"], held["reason"]) == ("account.held", reason)
        # 30, 60, 120 and 240 s, each up to a quarter less: the deadline of every message lies in between.
        await until(lambda: len(probes(simulator, began)) >= 4, "four probes")
        times = probes(simulator, began)
        gaps = [(after - before) * SPEED for before, after in pairwise(times)]
        assert gaps == sorted(gaps)
        assert busiest(times, 10.0 / SPEED) == 1
        assert blamed(deployment) == []
        before = len(asked(simulator))
        simulator.faults.set()
        (tmp_path / "token").write_text("second\n")
        changed = simulator.now()
        await until(lambda: len(asked(simulator)) > before, "a probe for the new token")
        waited = (asked(simulator)[before][0] - changed) * SPEED
        assert waited < 120, "the next probe would have been due after 180 s at least"
        await until(lambda: len(account_events(deployment)) == 2, "the account has recovered")
        since = simulator.now()
        await until(lambda: {i for i in ids if simulator.record(i).poll_log[-1][0] > since} == set(ids), "all go on")
        assert [event["type"] for event in account_events(deployment)] == ["account.held", "account.recovered"]
        assert blamed(deployment) == []
        assert await deployment.stop() == 0
        row(
            f"1 held, {len(times)} probes at {', '.join(f'{gap:.0f}' for gap in gaps)} s, one {waited:.0f} s after "
            f"the new token, 1 recovered, {len(ids)} messages, 0 blamed, 0 aged"
        )


def probes(simulator: Simulator, since: float) -> list[float]:
    """Requests after those that were under way when the account was closed."""
    times = [at for at, _ in asked(simulator, since)]
    return [at for at in times if at > times[0] + 5.0 / SPEED]


FORMS = {
    "7": (7, 9),
    "date+1200": (0, 3600),
    "-5": (0, 60),
    "99999999999": (3599, 3610),
    "soon": (0, 60),
    "1e400": (0, 60),
    "nan": (0, 60),
    "": (0, 60),
    "12, 13": (0, 60),
}
"""Retry-After, and after how many seconds the account may be asked again: from, to."""
TRIES = 5


@pytest.mark.parametrize("status", ["429", "503"])
async def test_retry_after(status: str, tmp_path: Path, shim: Shim, row: Row) -> None:
    """Seconds, a date, negative, huge, garbage: honoured from nothing to an hour, nothing falls over."""
    speed = 300.0
    waits: dict[str, float] = {}
    async with (
        Simulator(SimulatorConfig(population=AT_ONCE)) as simulator,
        Deployment(
            tmp_path,
            simulator,
            backoff='policy = "exponential"\nmin_interval = "2s"\nmax_interval = "20s"',
            limits='requests_per_second = 1\ntimeout = "10m"\nmax_connections = 1',
        ) as deployment,
    ):
        ids = [simulator.truth.add(steps=FOREVER) for _ in range(10)]
        await deployment.start(environment=shim.environment(speed=speed))
        deployment.insert(ids)
        for form, (least, most) in FORMS.items():
            # A virtual minute is 0.2 s: a busy machine's own delays are in it, and not in every try.
            for _ in range(TRIES):
                answered = len(asked(simulator))
                await until_past(lambda: len(asked(simulator)), answered + 5, "polling goes on")
                simulator.faults.set(f"{status}:next=1:retry_after={form}")
                count = simulator.statistics().by_fault.get(status, 0)
                await until_past(lambda: simulator.statistics().by_fault.get(status, 0), count, "it is refused")
                refused = max(at for at, answer in asked(simulator) if "fault" in answer)
                await until_past(lambda: asked(simulator)[-1][0], refused, f"asked again after {form!r}")
                waits[form] = (min(at for at, _ in asked(simulator) if at > refused) - refused) * speed
                assert waits[form] >= least, f"Retry-After: {form}"
                if waits[form] <= most + 300:
                    break
        assert await deployment.stop() == 0
        assert "Traceback" not in deployment.text_log()
        assert blamed(deployment) == []
        row(", ".join(f"{form!r} waited {wait:.0f} s" for form, wait in waits.items()))
        for form, (_, most) in FORMS.items():
            assert waits[form] <= most + 300, f"Retry-After: {form}"


async def test_no_storm_when_the_hold_ends(tmp_path: Path, shim: Shim, row: Row) -> None:
    """After a Retry-After the account returns at a fifth of its rate, in steps, though everything is overdue."""
    speed, rate = 10.0, 20.0
    async with (
        Simulator(SimulatorConfig(population=AT_ONCE)) as simulator,
        Deployment(
            tmp_path,
            simulator,
            backoff='policy = "exponential"\nmin_interval = "2s"\nmax_interval = "4s"\nfirst_poll_after = "1s"',
            limits=f'requests_per_second = {rate}\ntimeout = "60s"',
        ) as deployment,
    ):
        ids = [simulator.truth.add(steps=FOREVER) for _ in range(400)]
        await deployment.start(environment=shim.environment(speed=speed))
        deployment.insert(ids)
        await until(lambda: simulator.statistics().requests > 200, "polling is at its rate")
        simulator.faults.set("429:retry_after=60:next=1")
        await until(lambda: account_events(deployment), "the account is held")
        await until(lambda: len(account_events(deployment)) == 2, "it goes on")
        ended = simulator.now()
        await until(lambda: len(asked(simulator, ended)) > 150, "polling goes on")
        times = [at for at, _ in asked(simulator, ended)]
        first = sum(at < ended + 10.0 / speed for at in times)
        assert await deployment.stop() == 0
        assert first <= rate * 0.2 * 10 * 1.3 + 5
        assert busiest(times, 10.0 / speed) <= rate * 10 * 1.1
        row(f"{len(ids)} overdue, {rate:.0f} a second allowed: {first / 10:.1f} a second in the first 10 s")


async def test_without_retry_after_the_rate_falls_and_returns(tmp_path: Path, shim: Shim, row: Row) -> None:
    """A gateway that allows less than configured is found out within seconds, and hardly refuses from then on."""
    speed = 5.0
    async with (
        # The simulator counts real seconds: 100 there are 20 of the daemon's.
        Simulator(SimulatorConfig(requests_per_second=100, population=AT_ONCE)) as simulator,
        Deployment(
            tmp_path,
            simulator,
            backoff='policy = "exponential"\nmin_interval = "2s"\nmax_interval = "4s"\nfirst_poll_after = "1s"',
            limits='requests_per_second = 80\ntimeout = "60s"',
        ) as deployment,
    ):
        ids = [simulator.truth.add(steps=FOREVER) for _ in range(600)]
        await deployment.start(environment=shim.environment(speed=speed))
        deployment.insert(ids)
        await until(lambda: simulator.statistics().throttled > 0, "too fast")
        await until(lambda: simulator.statistics().requests > 1000, "a thousand requests")
        counted = simulator.statistics()
        assert await deployment.stop() == 0
        assert counted.throttled < 0.2 * counted.requests
        assert blamed(deployment) == []
        row(f"80 a second wanted, 20 allowed: {counted.throttled} of {counted.requests} requests refused, 0 blamed")
