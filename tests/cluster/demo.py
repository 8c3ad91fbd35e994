"""The demo: two daemons on a PostgreSQL in a temporary folder; one is killed, and the other goes on. For a stranger."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from pathlib import Path

from pollerd.simulator import Population, Simulator, SimulatorConfig, Step
from tests.acceptance.members_kit import MemberDeployment, check_files, members
from tests.acceptance.waiting import until
from tests.servers.postgresql import PostgreSql
from tests.store_database import new_store

BACKOFF = 'policy = "exponential"\nfirst_poll_after = "0s"\nmin_interval = "500ms"\nmax_interval = "2s"'
HANDED_OVER = 5
"""Messages, each half second."""


class Show:
    """Says what happens, and when."""

    def __init__(self, simulator: Simulator, one: MemberDeployment) -> None:
        self._began = time.monotonic()
        self._simulator = simulator
        self._one = one
        self.ids: list[int] = []

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self._began:5.1f} s  {text}", flush=True)

    async def hand_over(self) -> None:
        """An application inserts ids by plain SQL, whoever polls."""
        while True:
            steps = [[Step(0.0, "ENROUTE"), Step(random.uniform(1, 8), "DELIVERED")] for _ in range(HANDED_OVER)]
            fresh = [self._simulator.truth.add(steps=each) for each in steps]
            await asyncio.to_thread(self._one.insert, fresh)
            self.ids += fresh
            await asyncio.sleep(0.5)

    async def polled(self) -> None:
        """Until the gateway is asked again."""
        asked = self._simulator.statistics().requests
        await until(lambda: self._simulator.statistics().requests > asked, "somebody polls")

    async def goes_over(self, other: MemberDeployment, began: float) -> None:
        """Until `other` polls; what it says about that."""
        before = other.count("took_over")
        await until(lambda: other.count("took_over") > before, "the other takes over")
        await self.polled()
        took = time.monotonic() - began
        self.say(f'{other.name}: "{other.logged("took_over")[-1]["message"]}"')
        self.say(f"the gateway was asked again after {took:.1f} s")


async def perform() -> None:
    """Play it, with a summary at the end. AssertionError when anything was lost or told twice."""
    print(
        "Two daemons, app1 and app2, as on two machines; a PostgreSQL; a simulated gateway. All in a temporary folder."
    )
    with tempfile.TemporaryDirectory() as folder, PostgreSql(durable=True) as server, server.database() as database:
        population = Population(visibility_median=0.0)
        async with (
            Simulator(SimulatorConfig(population=population)) as simulator,
            members(Path(folder), simulator, new_store(database), ["app1", "app2"], backoff=BACKOFF) as (one, two),
        ):
            await _play(Show(simulator, one), one, two)


async def _play(show: Show, one: MemberDeployment, two: MemberDeployment) -> None:
    # On one machine a member would see at once that the other's process is gone.
    one.elsewhere()
    show.say("app1 polls, app2 stands by. An application inserts ten ids a second with plain SQL")
    application = asyncio.create_task(show.hand_over())
    await until(lambda: len(two.told()) > 30, "events flow")
    show.say(f"app2, which only stands by, has {len(two.told())} events in its file as well")

    assert one.process is not None
    show.say(f"kill -9 of app1 (process {one.process.pid}), as if its machine were gone")
    began = time.monotonic()
    await one.kill()
    await show.goes_over(two, began)
    await one.join("standing_by")
    show.say("app1 was started again, as systemd does. It stands by, and reads what it missed")
    _, status, _ = await one.command("status")
    show.say("pollerd status on app1: " + " ".join(status.splitlines()[0].split()))

    show.say("SIGTERM to app2, as systemctl stop does: it hands over")
    began = time.monotonic()
    stopped = asyncio.create_task(two.stop())
    await show.goes_over(one, began)
    await stopped
    await two.join("standing_by")

    application.cancel()
    await asyncio.gather(application, return_exceptions=True)
    show.say(f"the application has handed over {len(show.ids)} messages; they end one after the other")

    def done() -> bool:
        return all(sum(bool(line.get("final")) for line in each.told()) == len(show.ids) for each in (one, two))

    await until(done, "all messages end")
    await two.stop()
    await one.stop()
    lines = check_files([one, two], len(show.ids))
    show.say(f"both event files have the same {lines} lines, numbered 1 to {lines}: nothing lost, nothing told twice")
