"""The system's clock stepped by an hour either way: no stall, no burst, nobody ages by it."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

import pytest

from pollerd.simulator import Simulator, SimulatorConfig, Step
from tests.acceptance.bad_days_kit import AT_ONCE, Shim, asked, busiest
from tests.acceptance.conftest import Row
from tests.acceptance.deployment import Deployment
from tests.acceptance.waiting import until
from tests.sqlite_kit import transaction

INTERVAL = 1.5


@pytest.mark.parametrize("hours", [1, -1])
async def test_a_step_of_an_hour(hours: int, tmp_path: Path, shim: Shim, row: Row) -> None:
    backoff = f'policy = "exponential"\nfactor = 1.01\nfirst_poll_after = "{INTERVAL}s"\nmin_interval = "{INTERVAL}s"'
    backoff += f'\nmax_interval = "{INTERVAL}s"\ngive_up_after = "30m"\nnot_found_grace = "30m"'
    async with (
        Simulator(SimulatorConfig(population=AT_ONCE)) as simulator,
        Deployment(tmp_path, simulator, backoff=backoff, limits="requests_per_second = 300") as deployment,
    ):
        ids = [simulator.truth.add(steps=[Step(0.0, "ENROUTE")]) for _ in range(60)]
        await deployment.start(environment=shim.environment())
        deployment.insert(ids)
        await until(lambda: all(simulator.truth.polls(i) >= 4 for i in ids), "every message is polled steadily")
        began, shifted = simulator.now(), simulator.now()
        shim.step(hours * 3600.0)
        await until(lambda: '"clock_stepped"' in deployment.text_log(), "the step is noticed")
        shifted = simulator.now()
        await until(lambda: all(times(simulator, i)[-1] > shifted + 2 * INTERVAL for i in ids), "all are polled on")
        longest = max(after - before for i in ids for before, after in pairwise(times(simulator, i)) if after > began)
        usual = busiest([at for at, _ in asked(simulator) if at < began], INTERVAL)
        after = busiest([at for at, _ in asked(simulator, began)], INTERVAL)
        fresh = simulator.truth.add(steps=[Step(0.0, "DELIVERED")])
        with transaction(deployment.database) as connection:
            # The program that hands it over uses the same stepped clock.
            sent = time.time() + hours * 3600.0
            connection.execute("INSERT INTO messages (id, sent_at) VALUES (?, ?)", (fresh, sent))
        await until(lambda: simulator.truth.polls(fresh) > 0, "a message of the new time is polled")
        assert deployment.query("SELECT count(*) FROM messages WHERE state = 3") == [(0,)]
        assert await deployment.stop() == 0
        assert after <= 2 * usual
        row(
            f"{hours:+d} h: {len(ids)} messages every {INTERVAL} s, longest pause {longest:.1f} s, "
            f"{after} requests in an interval after it, {usual} before, 0 given up"
        )


def times(simulator: Simulator, message_id: int) -> list[float]:
    return [at for at, _ in simulator.record(message_id).poll_log]
