"""Incoming messages by the installed command: each reported once and in order, whatever happens meanwhile."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pollerd.simulator import InboxStyle, Simulator, SimulatorConfig
from tests.acceptance.conftest import Row
from tests.acceptance.crash_kit import WarmDeployment
from tests.acceptance.deployment import Deployment
from tests.acceptance.waiting import until
from tests.acceptance.warm import Warm

EAGER = '[accounts.default.incoming]\nevery = "100ms"'


def deployed(folder: Path, simulator: Simulator, warm: Warm, incoming: str = EAGER, **more: str) -> Deployment:
    return WarmDeployment(folder, simulator, warm, account=incoming, **more)


def received(deployment: Deployment) -> list[dict[str, Any]]:
    """What is in the file by now; a line that is just being written, or was torn by a kill, does not count yet."""
    content = deployment.file.read_bytes() if deployment.file.exists() else b""
    found = [json.loads(line) for line in content[: content.rfind(b"\n") + 1].splitlines()]
    return [event for event in found if event["type"] == "message.received"]


async def looked(simulator: Simulator) -> None:
    """The daemon has asked once more, from beginning to end."""
    asked = simulator.stats.by_action["incoming"]
    await until(lambda: simulator.stats.by_action["incoming"] > asked + 1, "it asks again")


async def more_than(count: int, deployment: Deployment) -> None:
    await until(lambda: len(received(deployment)) > count, "some more are reported")


def to_midnight(simulator: Simulator) -> float:
    """Seconds to the next midnight of the simulator's clock, in UTC."""
    now = datetime.fromtimestamp(simulator.now(), UTC)
    return ((now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0) - now).total_seconds()


@pytest.mark.parametrize("order", ["newest", "oldest"])
async def test_each_is_reported_once_over_midnight_and_kills(
    order: Any, tmp_path: Path, warm: Warm, row: Row, long: bool
) -> None:
    """Pages shift while they are read, the gateway's clock passes midnight, and the daemon dies again and again."""
    kills, each = (10, 200) if long else (4, 60)
    rng = random.Random(order)
    config = SimulatorConfig(inbox=InboxStyle(order=order, zone=-7.0))
    async with Simulator(config) as simulator, deployed(tmp_path, simulator, warm) as deployment:
        before = simulator.inbox.add("there before the first look", senttime=simulator.now() - 60)
        await deployment.start()
        await looked(simulator)
        simulator.skip(to_midnight(simulator) - 30)
        for number in range(kills):
            if number == kills // 2:
                simulator.skip(60)
            simulator.inbox.shift(3, "come")
            before_it = len(received(deployment))
            simulator.inbox.burst(each)
            if rng.random() < 0.7:
                await more_than(before_it, deployment)
            await deployment.kill()
            simulator.inbox.burst(each - each // 2)
            await deployment.start()
        simulator.inbox.shift(0)
        await until(lambda: len(received(deployment)) >= len(simulator.inbox) - 1, "all are reported")
        await looked(simulator)
        sent = {record.mosms_id: record for record in simulator.inbox.records if record.mosms_id != before}
        assert await deployment.stop() == 0
        found = received(deployment)
        requests = simulator.stats.by_action["incoming"]
        row(f"{order}: {len(sent)} messages, {kills} kills, {requests} requests, {len(found)} reported")
        assert sorted(event["incoming_id"] for event in found) == sorted(sent)
        for event in found:
            record = sent[event["incoming_id"]]
            assert (event["text"], event["msisdn"], event["receiver"]) == (record.message, record.msisdn, 451204)
        times = [(event["senttime"], event["incoming_id"]) for event in found]
        assert all(earlier < later for earlier, later in pairwise(times))
