"""A gateway, or something before it, that forgets the connections which the daemon keeps."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from pollerd.simulator import Simulator, SimulatorConfig, Step
from tests.acceptance.bad_days_kit import AT_ONCE, Shim, account_events, blamed
from tests.acceptance.conftest import Row
from tests.acceptance.deployment import Deployment
from tests.acceptance.waiting import until

BACKOFF = 'policy = "exponential"\nmin_interval = "2s"\nmax_interval = "3s"\nfirst_poll_after = "2s"'
SPEED = 10.0


@pytest.mark.parametrize("fault", [f"reset:rest={1.0 / SPEED}", "drop:rest=0"], ids=["after a rest", "at once"])
async def test_a_gateway_that_forgets_connections_is_no_outage(
    fault: str, tmp_path: Path, shim: Shim, row: Row
) -> None:
    """Reset after a second of rest, or closed at every second request: no hold, no failed poll, requests counted."""
    async with (
        Simulator(SimulatorConfig(population=AT_ONCE)) as simulator,
        Deployment(
            tmp_path,
            simulator,
            backoff=BACKOFF,
            limits='requests_per_second = 20\nmax_connections = 3\ntimeout = "10m"',
        ) as deployment,
    ):
        simulator.faults.set(fault)
        ids = [simulator.truth.add(steps=[Step(0.0, "ENROUTE")]) for _ in range(3)]
        await deployment.start(environment=shim.environment(speed=SPEED))
        deployment.insert(ids)

        def told() -> list[object]:
            return [line for line in deployment.log() if line.get("event") == "connections_not_kept"]

        await until(told, "connections are not kept any more")
        before = simulator.statistics()
        await until(lambda: simulator.statistics().requests > before.requests + 30, "polling goes on")
        after = simulator.statistics()
        assert after.by_fault == before.by_fault, "no connection is kept that could be forgotten"
        _, text, _ = await deployment.command("status", "--json")
        (account,) = json.loads(text)["accounts"]
        _, shown, _ = await deployment.command("status")
        _, advised, _ = await deployment.command("doctor")
        metrics = subprocess.run(
            ["curl", "-s", "--unix-socket", str(tmp_path / "control.sock"), "http://localhost/metrics"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert await deployment.stop() == 0
        seen = simulator.statistics()
        repeats = seen.by_fault[fault.partition(":")[0]]
        assert account_events(deployment) == []
        assert blamed(deployment) == []
        assert deployment.query("SELECT min(last_answer), max(last_answer) FROM messages") == [("200", "200")]
        assert len(told()) == 1
        assert (account["connections_kept"], account["repeated_requests"]) == (False, repeats)
        assert "each request on a connection of its own" in shown
        assert "the other side forgets" in advised
        assert f'pollerd_account_repeated_requests_total{{account="default"}} {float(repeats)}' in metrics
        assert 'pollerd_account_connections_kept{account="default"} 0.0' in metrics
        failed = re.findall(r'pollerd_polls_total\{account="default",outcome="unreachable"\} (\S+)', metrics)
        assert failed == ["0.0"]
        assert seen.by_action["read"] - repeats == sum(simulator.record(i).answers.get("ENROUTE=1", 0) for i in ids)
        row(f"{fault}: {seen.by_action['read']} requests, {repeats} of them made again, 0 failed polls, 0 holds")
