"""Messages that the gateway does not know yet: scheduled ones, and ids that are none of this account's."""

from __future__ import annotations

import asyncio
import json
import random
import time
from asyncio.subprocess import PIPE
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pollerd import AsyncClient
from pollerd.simulator import Simulator, SimulatorConfig, Step
from tests.acceptance.bad_days_kit import AT_ONCE, Shim
from tests.acceptance.conftest import Row
from tests.acceptance.deployment import Deployment, finals, until
from tests.sqlite_kit import transaction

SOON = [Step(0.0, "ENROUTE"), Step(0.1, "DELIVERED")]
AT_LAST = [Step(0.0, "DELIVERED")]
BACKOFF = 'policy = "exponential"\nmin_interval = "2s"\nmax_interval = "1m"\nnot_found_grace = "15m"'


async def test_scheduled_messages_are_asked_about_from_their_time_on(tmp_path: Path, row: Row) -> None:
    """`sendtime` by command, control socket, Python, source and plain SQL: nothing is asked before, all is told."""
    orders = tmp_path / "orders.db"
    with transaction(orders) as database:
        database.execute("CREATE TABLE orders (id INTEGER, sendtime TEXT)")
    source = f"[[sources.sqlite]]\npath = '{orders}'\nquery = 'SELECT id, sendtime FROM orders'\nevery = '200ms'"
    async with (
        Simulator(SimulatorConfig(population=AT_ONCE)) as simulator,
        Deployment(tmp_path, simulator, backoff='min_interval = "100ms"', more=source) as deployment,
    ):
        at = time.time() + 4.0
        ids = [simulator.truth.add(sendtime=at, steps=SOON) for _ in range(5)]
        written = datetime.fromtimestamp(at, UTC).isoformat()
        await deployment.start()
        assert (await deployment.command("track", str(ids[0]), "--sendtime", written))[0] == 0
        body = json.dumps({"ids": [ids[1]], "sendtime": written})
        handed = await asyncio.create_subprocess_exec(
            "curl", "-sf", "--unix-socket", tmp_path / "control.sock", "http://localhost/messages", "-d", body
        )
        assert await handed.wait() == 0
        async with AsyncClient(deployment.config) as client:
            await client.track(ids[2], sendtime=datetime.fromtimestamp(at, UTC))
        with transaction(orders) as database:
            database.execute("INSERT INTO orders VALUES (?, ?)", (ids[3], written))
        with transaction(deployment.database) as database:
            database.execute("INSERT INTO messages (id, sendtime) VALUES (?, ?)", (ids[4], written))
        await until(lambda: deployment.query("SELECT count(*) FROM messages WHERE state = 1") == [(5,)], "all planned")
        assert deployment.query("SELECT count(*) FROM messages WHERE next_poll_at >= ? AND polls = 0", at) == [(5,)]
        await until(lambda: len(finals(deployment.events())) == 5, "all are told")
        early = [when for i in ids for when, _ in simulator.record(i).poll_log if when < at]
        assert early == []
        assert await deployment.stop() == 0
        row(f"5 forms of hand-over, {len(ids)} messages 4 s ahead: 0 polls before their time")


@pytest.mark.parametrize("known", [True, False], ids=["sendtime known", "nothing known"])
async def test_nothing_scheduled_is_lost(known: bool, tmp_path: Path, shim: Shim, row: Row, long: bool) -> None:
    """From minutes to a day ahead (to 20 of them in the long form), sped up: all delivered and told."""
    speed, count, days = (20_000.0, 2000, 20.0) if long else (6_000.0, 200, 1.0)
    limits = 'requests_per_second = 10000\ntimeout = "10m"\nmax_connections = 40'
    async with (
        Simulator(SimulatorConfig(population=AT_ONCE)) as simulator,
        Deployment(tmp_path, simulator, backoff=BACKOFF, limits=limits) as deployment,
    ):
        await deployment.start(environment=shim.environment(speed=speed))
        rng = random.Random(1)
        # Evenly on a log scale. By the daemon's clock, and in real seconds at the simulator.
        ahead = [60.0 * (days * 1440.0) ** rng.random() for _ in range(count)]
        clock, began = await wall(deployment), simulator.now()
        ids = [simulator.truth.add(sendtime=began + wait / speed, steps=AT_LAST) for wait in ahead]
        with transaction(deployment.database) as database:
            values = [(i, clock + wait if known else None, clock) for i, wait in zip(ids, ahead, strict=True)]
            database.executemany("INSERT INTO messages (id, sendtime, sent_at) VALUES (?, ?, ?)", values)
        await until(lambda: len(finals(deployment.events())) == count, "all are told", patience=180)
        assert await deployment.stop() == 0
        assert not [event for event in deployment.events() if event["type"] == "message.gave_up"]
        before = [
            sum(when < began + wait / speed for when, _ in simulator.record(i).poll_log)
            for i, wait in zip(ids, ahead, strict=True)
        ]
        assert max(before) <= (12 if known else 150)
        row(
            f"{count} scheduled, 1 min to {days:.0f} days: 0 lost; polls before their time {sum(before) / count:.1f} "
            f"each, {max(before)} at most"
        )


async def wall(deployment: Deployment) -> float:
    """The wall clock as the daemon sees it."""
    asking = await asyncio.create_subprocess_exec(
        "curl", "-sf", "--unix-socket", deployment.folder / "control.sock", "http://localhost/status", stdout=PIPE
    )
    status = json.loads((await asking.communicate())[0])
    return datetime.fromisoformat(status["since"]).timestamp() + float(status["uptime"])
