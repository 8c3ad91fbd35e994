"""Rotation under load: nothing lost, nothing doubled over all files."""

from __future__ import annotations

import asyncio
import random
import signal
from pathlib import Path

from pollerd.simulator import Simulator, SimulatorConfig
from tests.acceptance.conftest import Row
from tests.acceptance.crash_kit import (
    FAST,
    LIVELY,
    QUICK,
    Load,
    all_files,
    balance,
    last_line,
    settled,
    steady,
)
from tests.acceptance.deployment import Deployment
from tests.acceptance.waiting import PATIENCE, until

LIFE = SimulatorConfig(speed=150, population=LIVELY)


def rotate(deployment: Deployment, number: int, *, create: bool) -> None:
    """As logrotate: rename, and with `create` put an empty file in its place."""
    deployment.file.rename(deployment.file.with_name(f"events.ndjson.{number}"))
    if create:
        try:
            with deployment.file.open("xb"):
                pass
        except FileExistsError:
            # The daemon was faster.
            return


async def test_forty_rotations_under_load(tmp_path: Path, row: Row) -> None:
    """With and without SIGHUP, with and without a file put in its place."""
    async with (
        Simulator(LIFE) as simulator,
        Deployment(tmp_path, simulator, limits=FAST, backoff=QUICK) as deployment,
    ):
        process = await deployment.start()
        load = Load(deployment, simulator)
        async with steady(load, 10, 0.05):
            for number in range(40):
                await until(lambda: last_line(deployment.file), "events flow")
                rotate(deployment, number, create=number % 4 >= 2)
                if number % 2:
                    process.send_signal(signal.SIGHUP)
        await settled(deployment)
        assert await deployment.stop() == 0
        files = list(tmp_path.glob("events.ndjson*"))
        found = balance(all_files(deployment), simulator, load.ids)
        row(f"40 rotations, 20 with SIGHUP, {len(files)} files: {found}")
        assert len(files) == 41
        assert found.differences == 0


async def test_a_kill_right_after_a_rotation(tmp_path: Path, row: Row) -> None:
    """Twenty times: the new file is empty or not there at all when the daemon dies, and when it starts again."""
    rng = random.Random(3)
    empty = 0
    async with (
        Simulator(LIFE) as simulator,
        Deployment(tmp_path, simulator, limits=FAST, backoff=QUICK) as deployment,
    ):
        load = Load(deployment, simulator)
        for number in range(20):
            arm = {"POLLERD_FAILPOINTS": "file.rotated=kill"} if number % 2 else {}
            process = await deployment.start(environment={"POLLERD_FAILPOINTS": "", **arm})
            load.more(20)
            await until(lambda: last_line(deployment.file), "events flow")
            rotate(deployment, number, create=number % 4 >= 2)
            if arm:
                process.send_signal(signal.SIGHUP)
                async with asyncio.timeout(PATIENCE):
                    assert await process.wait() == -signal.SIGKILL
            else:
                await asyncio.sleep(rng.uniform(0, 0.02))
                await deployment.kill()
            empty += not deployment.file.exists() or deployment.file.stat().st_size == 0
        await deployment.start(environment={"POLLERD_FAILPOINTS": ""})
        load.more(10)
        await settled(deployment)
        assert await deployment.stop() == 0
        found = balance(all_files(deployment), simulator, load.ids)
        row(f"20 kills, {empty} times nothing in the new file: {found}")
        assert found.differences == 0
