"""One message with 500 recipients beside messages with one, in the installed daemon: by the simulator's truth."""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

from pollerd.simulator import Mix, Population, Simulator, SimulatorConfig
from tests.acceptance.deployment import Deployment, finals
from tests.acceptance.waiting import until
from tests.store_database import StoreDatabase

RECIPIENTS = 500
SINGLES = 60
MIN_INTERVAL = 0.1
POPULATION = Population(mix=Mix(never=0), tail=0.02, visibility_median=0.0)
BACKOFF = f'min_interval = {MIN_INTERVAL}\nfirst_poll_after = "100ms"\npolls_per_message = 5'
VALIDITY = 900.0
"""Seconds of the simulated world after which a message expires."""


async def test_a_mailing_takes_few_polls_and_none_from_single_messages(
    tmp_path: Path, engine: StoreDatabase | None
) -> None:
    """Every recipient is reported once; few polls are the mailing's, and `show` says by whom the next one is chosen."""
    async with (
        Simulator(SimulatorConfig(speed=60, population=POPULATION)) as simulator,
        Deployment(tmp_path, simulator, engine, backoff=BACKOFF) as deployment,
    ):
        await deployment.start()
        first = [simulator.truth.add(validity=VALIDITY) for _ in range(SINGLES // 2)]
        mailing = simulator.truth.add(recipients=RECIPIENTS, validity=VALIDITY)
        rest = [simulator.truth.add(validity=VALIDITY) for _ in range(SINGLES // 2)]
        deployment.insert([*first, mailing, *rest])
        await until(lambda: mailing in {one for one, _ in finals(deployment.events())}, "some of the mailing ended")
        # The last ones take until they expire; a daemon that is killed leaves them as they are.
        await deployment.kill()
        code, out, err = await deployment.command("show", str(mailing))
        assert code == 0, err
        assert re.search(rf"\d+ of {RECIPIENTS} recipients (is|are) pending", " ".join(out.split())), out
        await deployment.start()
        await until(lambda: deployment.pending() == 0, "all have ended")
        assert await deployment.stop() == 0

        told = Counter(one for one, _ in finals(deployment.events()))
        assert told == Counter({mailing: RECIPIENTS, **dict.fromkeys([*first, *rest], 1)})
        truth = simulator.record(mailing)
        singles = [simulator.record(each) for each in (*first, *rest)]
        # It is one message and waits as they do, so few requests are for it.
        assert truth.polls < sum(each.polls for each in singles)
        log = [at for at, _ in truth.poll_log]
        assert all(later - earlier >= 0.9 * MIN_INTERVAL for earlier, later in pairwise(log))


async def test_plan_explains_a_mailing_before_anything_is_learned(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path, "http://127.0.0.1:9", backoff="")
    plans = {}
    for k in (1, RECIPIENTS):
        code, out, err = await deployment.command("plan", "--recipients", str(k), "--json")
        assert code == 0, err
        plans[k] = json.loads(out)
    assert plans[1]["budget"] < plans[RECIPIENTS]["budget"] <= 4 * plans[1]["budget"]
    code, out, err = await deployment.command("plan", "--recipients", str(RECIPIENTS))
    assert code == 0, err
    said = " ".join(out.split())
    assert f"one poll shows all {RECIPIENTS}, and polling goes on while any is pending" in said
    assert "pending by then: " in said
    assert "more polls are expected than that: max_interval = 1 h bounds" in said
    code, out, err = await deployment.command("plan", "--recipients", "10000")
    assert code == 0, err
    left = re.search(r"pending by then: ([\d,]+) after 10 s, ", " ".join(out.split()))
    assert left is not None, out
    assert 100 < int(left[1].replace(",", "")) < 10_000
    code, _, err = await deployment.command("plan", "--recipients", "10001")
    assert code == 2
    assert "10001 is too many; a message has 10,000 recipients at most" in " ".join(err.split())
