"""A refusal of everything is no verdict on anything: nothing that was seen before ends by it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pollerd.simulator import Simulator, SimulatorConfig, Step
from tests.acceptance.bad_days_kit import AT_ONCE, Shim, account_events, asked, blamed
from tests.acceptance.conftest import Row
from tests.acceptance.deployment import Deployment, finals, until

SPEED = 120.0
FOREVER = [Step(0.0, "ENROUTE")]
BACKOFF = 'policy = "exponential"\nmin_interval = "2s"\nmax_interval = "30s"\nnot_found_grace = "15m"'
LIMITS = 'requests_per_second = 20\ntimeout = "5m"'


async def all_seen(simulator: Simulator, deployment: Deployment, ids: list[int]) -> None:
    """Every message was answered, and the daemon has it on disk."""
    marks = ",".join(map(str, ids))
    count = f"SELECT count(*) FROM messages WHERE seen_at IS NOT NULL AND id IN ({marks})"
    await until(lambda: deployment.query(count) == [(len(ids),)], "all were seen")


async def pass_time(simulator: Simulator, seconds: float) -> None:
    """So many of the daemon's seconds pass."""
    ends = simulator.now() + seconds / SPEED
    await until(lambda: simulator.now() > ends, "time passes", patience=seconds / SPEED + 30)


def deliver(simulator: Simulator, ids: list[int]) -> None:
    for number in ids:
        simulator.truth.get(number).steps = (Step(0.0, "ENROUTE"), Step(1.0, "DELIVERED"))


def gave_up(deployment: Deployment) -> dict[int, str]:
    return {event["id"]: event["reason"] for event in deployment.events() if event["type"] == "message.gave_up"}


@pytest.mark.parametrize(
    ("fault", "count"), [("404:form=text", 20), ("404:form=empty", 1), ("410:form=json", 1), ("418:form=vendor", 20)]
)
async def test_what_the_gateway_did_not_write_ends_nothing(
    fault: str, count: int, tmp_path: Path, shim: Shim, row: Row
) -> None:
    """A proxy without a backend refuses all for 18 minutes: held, few requests, everything told afterwards."""
    async with (
        Simulator(SimulatorConfig(population=AT_ONCE)) as simulator,
        Deployment(tmp_path, simulator, backoff=BACKOFF, limits=LIMITS) as deployment,
    ):
        ids = [simulator.truth.add(steps=FOREVER) for _ in range(count)]
        await deployment.start(environment=shim.environment(speed=SPEED))
        deployment.insert(ids)
        await all_seen(simulator, deployment, ids)
        simulator.faults.set(f"{fault}:on=read")
        began = simulator.now()
        await until(lambda: account_events(deployment), "the account is held")
        await pass_time(simulator, 18 * 60)
        requests = len(asked(simulator, began))
        assert blamed(deployment) == []
        deliver(simulator, ids)
        simulator.faults.set()
        await until(lambda: len(finals(deployment.events())) == count, "everything is told")
        assert await deployment.stop() == 0
        assert gave_up(deployment) == {}
        assert [event["type"] for event in account_events(deployment)] == ["account.held", "account.recovered"]
        assert "not written by the gateway" in account_events(deployment)[0]["detail"] or "418" in fault
        assert requests < 60
        row(f"{fault}, {count} messages, 18 min: {requests} requests, 0 given up")
