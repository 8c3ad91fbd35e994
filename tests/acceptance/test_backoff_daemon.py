"""The learner in the installed daemon: its advantage by the daemon's own metrics, and what a restart leaves of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from pollerd.simulator import Mix, Population, Simulator, SimulatorConfig
from tests.acceptance.deployment import Deployment, finals
from tests.acceptance.waiting import until
from tests.benchmarks.backoff.daemon import World, compare

SMALL = World(speed=20.0, rate=20.0, learning=15.0, measured=12.0, validity=200.0)
BACKOFF = 'min_interval = "50ms"\npolls_per_message = 4'
HELD = 150
"""Messages before the stop."""


async def test_final_states_are_known_sooner_than_with_exponential_at_no_more_polls(
    tmp_path: Path, row: Callable[[str], None]
) -> None:
    """By the Prometheus text of two daemons that follow the same messages at the same time."""
    plain, learner, budget = await compare(SMALL, tmp_path, share=0.85)
    row(
        f"exponential {plain.polls:.2f} polls a message, {plain.delay:.2f} s late; adaptive (budget {budget:.2f}) "
        f"{learner.polls:.2f} and {learner.delay:.2f} s"
    )
    assert learner.polls <= plain.polls
    assert learner.delay < plain.delay
    assert learner.exact < plain.exact


async def learned(deployment: Deployment) -> dict[str, Any]:
    """What the store has of the learner, laid open by `pollerd plan --json`."""
    code, out, err = await deployment.command("plan", "--json")
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def rows(plan: dict[str, Any]) -> list[float]:
    """When a fresh message would be polled."""
    return [row["age"] for row in plan["rows"]]


async def events_learned(deployment: Deployment) -> float:
    """The daemon's own count, by its Prometheus text."""
    connector = aiohttp.UnixConnector(str(deployment.folder / "control.sock"))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get("http://localhost/metrics") as answer,
    ):
        found = re.search(r"^pollerd_backoff_learned_events (\S+)$", await answer.text(), re.MULTILINE)
    assert found is not None
    return float(found[1])


@pytest.mark.parametrize("killed", [False, True], ids=["SIGTERM", "SIGKILL after a snapshot"])
async def test_a_restart_in_the_middle_keeps_what_was_learned(tmp_path: Path, *, killed: bool) -> None:
    """The same events, the same plan and price; what is learned afterwards comes on top."""
    population = Population(mix=Mix(never=0), tail=0.01, visibility_median=0.0)
    async with (
        Simulator(SimulatorConfig(speed=60, population=population)) as simulator,
        Deployment(tmp_path, simulator, backoff=BACKOFF) as deployment,
    ):
        fresh = await learned(deployment)
        assert fresh["events"] == 0
        await deployment.start()
        deployment.insert(simulator.truth.add() for _ in range(HELD))
        await until(lambda: deployment.pending() == 0, "the first ones have ended")
        if killed:
            # A clean stop writes the snapshot that the kill then finds.
            assert await deployment.stop() == 0
            await deployment.start()
            deployment.insert(simulator.truth.add() for _ in range(HELD))
            await until(lambda: len(finals(deployment.events())) > HELD, "it learns more")
            await deployment.kill()
        else:
            deployment.insert(simulator.truth.add() for _ in range(HELD))
            await until(lambda: len(finals(deployment.events())) > HELD, "stopped in the middle")
            assert deployment.pending() > 0
            assert await deployment.stop() == 0
        # Not by the event file, which may be behind the database at a kill.
        left = deployment.pending()
        kept = await learned(deployment)
        assert kept["events"] >= HELD * 0.95
        assert rows(kept) != rows(fresh)
        assert {key["key"] for key in kept["known"]} > {"238/01"}

        await deployment.start()
        assert await events_learned(deployment) >= kept["events"] * 0.99
        await until(lambda: deployment.pending() == 0, "the others have ended")
        assert await deployment.stop() == 0
        later = await learned(deployment)
        assert later["events"] > kept["events"]
        # Lost is at most what ended between the snapshot and the kill.
        assert later["events"] >= (kept["events"] + left) * 0.95
        known = {key["key"]: key["events"] for key in later["known"]}
        assert all(known[key["key"]] >= key["events"] * 0.99 for key in kept["known"])
