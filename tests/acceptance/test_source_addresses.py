"""The installed daemon with several source addresses: what the gateway counts by address, and what people are told."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from pollerd.simulator import Population, Simulator, SimulatorConfig, parse_fault
from tests.acceptance.conftest import Row
from tests.acceptance.deployment import Deployment
from tests.acceptance.test_reload import account, edit, logged, reload
from tests.acceptance.waiting import until

MESSAGES = 400
RATE = 150
ABSENT = "192.0.2.10"
"""Of a network for documentation: no machine has it."""
BUSY = dict.fromkeys(("127.0.0.2", "127.0.0.3"), 40)


async def test_connections_from_several_addresses(tmp_path: Path, row: Row) -> None:
    """A slow gateway that allows forty connections an address: eighty are used, at one pace, and none is turned away. A
    third address, which the machine does not have, is named everywhere and holds nobody up; a reload changes them all.
    """
    visible = Population(any_id=True, visibility_median=0.0)
    slow = parse_fault("slow:seconds=1")
    async with Simulator(SimulatorConfig(population=visible, faults=(slow,), connection_limit=40)) as simulator:
        deployment = Deployment(
            tmp_path,
            simulator,
            account=f'source_addresses = ["127.0.0.2", "{ABSENT}", "127.0.0.3"]',
            limits=f'requests_per_second = {RATE}\nmax_connections = 40\ntimeout = "60s"',
            backoff='policy = "exponential"\nfirst_poll_after = "0s"\nmin_interval = "1s"\nmax_interval = "2s"',
        )
        async with deployment:
            await deployment.start()
            _, advised, _ = await deployment.command("doctor")
            deployment.insert(range(1, MESSAGES + 1))
            await until(lambda: simulator.statistics().max_connections_by_address == BUSY, "both are used to the full")
            found = await account(deployment)
            _, shown, _ = await deployment.command("status")
            metrics = subprocess.run(
                ["curl", "-s", "--unix-socket", str(tmp_path / "control.sock"), "http://localhost/metrics"],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            before = simulator.statistics()

            edit(deployment, f'["127.0.0.2", "{ABSENT}", "127.0.0.3"]', '["127.0.0.4"]')
            record = await reload(deployment)
            await until(
                lambda: simulator.statistics().requests_by_address.get("127.0.0.4", 0) > 100, "the new address is used"
            )
            assert [source["address"] for source in (await account(deployment))["source_addresses"]] == ["127.0.0.4"]
            assert await deployment.stop() == 0
        seen = simulator.statistics()

    assert before.rejected_connections == seen.rejected_connections == 0
    assert max(seen.max_connections_by_address.values()) == 40
    assert seen.max_requests_per_second <= RATE + max(1, RATE * 0.02)
    assert "accounts.default.source_addresses" in record["changed"]
    assert record["restart"] == []
    troubles = {source["address"]: source["trouble"] for source in found["source_addresses"]}
    assert troubles == {"127.0.0.2": None, ABSENT: "not on this machine", "127.0.0.3": None}
    assert found["connections"] == 120
    assert len(logged(deployment, "source_address_missing")) == 1
    assert "polling from 2 of 3 source addresses" in shown
    assert f"{ABSENT} is not on this machine" in advised
    assert "accepted from 127.0.0.3" in advised
    assert f'pollerd_account_source_up{{account="default",address="{ABSENT}"}} 0.0' in metrics
    assert 'pollerd_account_source_up{account="default",address="127.0.0.3"} 1.0' in metrics
    assert not [event for event in deployment.events() if event["type"].startswith("account.")]
    row(f"{json.dumps(seen.requests_by_address)} requests, at most 40 connections from each, one pace of {RATE}/s")
