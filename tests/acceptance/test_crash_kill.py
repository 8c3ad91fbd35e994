"""`kill -9` under load, at random and at every step between commit, write, sync and cursor."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
from pathlib import Path

import pytest

from pollerd.simulator import Simulator, SimulatorConfig
from tests.acceptance.conftest import Row
from tests.acceptance.crash_kit import (
    FAST,
    LIVELY,
    QUICK,
    Follower,
    Load,
    balance,
    settled,
    steady,
    stored,
)
from tests.acceptance.deployment import Deployment
from tests.acceptance.waiting import PATIENCE, until
from tests.store_database import StoreDatabase

KILLS = {"sqlite": 60, "postgresql": 15}
LONG_KILLS = 200
EACH = {"sqlite": 5, "postgresql": 3}
LONG_EACH = 20
"""The long forms: POLLERD_LONG=1 pytest tests/acceptance/test_crash_kill.py"""
STORE = ("store.begun", "store.written", "store.committed")
FILE = (
    "file.before_write",
    "file.mid_write",
    "file.after_write",
    "file.before_fsync",
    "file.after_fsync",
    "file.before_cursor",
    "file.after_cursor",
)


def deployed(folder: Path, simulator: Simulator, engine: StoreDatabase | None, long: bool) -> Deployment:
    """The long form loads the installed command from the disk each time."""
    deployment = Deployment(folder, simulator, engine, limits=FAST, backoff=QUICK)
    if long:
        deployment.warm = None
    return deployment


def kind(engine: StoreDatabase | None) -> str:
    return "sqlite" if engine is None else "postgresql"


def whole(path: Path) -> None:
    """Every line of the file can be read, the last one included."""
    content = path.read_bytes()
    assert content.endswith(b"\n"), "torn last line after a restart"
    for line in content.splitlines():
        json.loads(line)


@pytest.mark.timeout(900)
async def test_kills_at_random_moments(tmp_path: Path, engine: StoreDatabase | None, row: Row, long: bool) -> None:
    rng, kills = random.Random(20), LONG_KILLS if long else KILLS[kind(engine)]
    config = SimulatorConfig(speed=150, population=LIVELY)
    async with Simulator(config) as simulator, deployed(tmp_path, simulator, engine, long) as deployment:
        await deployment.start()
        load, follower = Load(deployment, simulator), Follower(deployment.socket)
        async with follower.following():
            async with steady(load, 8, 0.1):
                for _ in range(kills):
                    await asyncio.sleep(rng.uniform(0.0, 0.3))
                    await deployment.kill()
                    # One in four dies while it starts, the others at work.
                    if rng.random() < 0.25:
                        await deployment.launch()
                    else:
                        await deployment.start()
            await settled(deployment)
            told = deployment.events()
            await until(lambda: follower.seq == told[-1]["seq"], "the reader has everything")
        assert await deployment.stop() == 0
        found = balance(told, simulator, load.ids)
        starts = sum(entry.get("event") == "started" for entry in deployment.log())
        row(
            f"{kills} kills ({kills + 1 - starts} during the start), {simulator.statistics().requests} polls, "
            f"{follower.connections} connections: {found}"
        )
        assert found.differences == 0
        assert told == stored(deployment)
        assert follower.gaps == 0
        assert [json.loads(line) for line in follower.lines] == told


@pytest.mark.timeout(900)
@pytest.mark.parametrize("point", [*STORE, *FILE])
async def test_a_kill_at_every_step(point: str, tmp_path: Path, row: Row, long: bool) -> None:
    await killed_at(point, tmp_path, None, row, long)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("point", ["store.begun", "store.committed", "file.before_cursor", "file.after_cursor"])
async def test_a_kill_at_the_steps_that_postgresql_has_a_part_in(
    point: str, tmp_path: Path, store_database: StoreDatabase, row: Row, long: bool
) -> None:
    """A group of results is one call there: nothing lies between begun and committed."""
    await killed_at(point, tmp_path, store_database, row, long)


async def killed_at(point: str, tmp_path: Path, engine: StoreDatabase | None, row: Row, long: bool) -> None:
    """Deaths at the named step: at its first to fifth time after the start, or second where it comes slowly."""
    rng, kills = random.Random(point), LONG_EACH if long else EACH[kind(engine)]
    last = 2 if "sync" in point or "cursor" in point else 5
    config = SimulatorConfig(speed=150, population=LIVELY)
    torn = 0
    async with Simulator(config) as simulator, deployed(tmp_path, simulator, engine, long) as deployment:
        deployment.config.write_text(deployment.config.read_text().replace('format = "json"', 'level = "warning"'))
        load = Load(deployment, simulator)
        assert (await deployment.command("track", str(simulator.truth.add())))[0] == 0
        load.ids += [record.id for record in simulator.records()]
        async with steady(load, 4, 0.1):
            for _ in range(kills):
                arm = {"POLLERD_FAILPOINTS": f"{point}=kill:{rng.randint(1, last)}"}
                process = await deployment.launch(environment=arm)
                async with asyncio.timeout(2 * PATIENCE):
                    assert await process.wait() == -signal.SIGKILL
                with contextlib.suppress(FileNotFoundError):
                    torn += not deployment.file.read_bytes().endswith(b"\n") and deployment.file.stat().st_size > 0
        await deployment.launch(environment={"POLLERD_FAILPOINTS": ""})
        await settled(deployment)
        whole(deployment.file)
        assert await deployment.stop() == 0
        told = deployment.events()
        found = balance(told, simulator, load.ids)
        row(f"{kills} kills, {torn} torn lines repaired: {found}")
        assert found.differences == 0
        assert told == stored(deployment)
        assert (torn > 0) == (point == "file.mid_write")
