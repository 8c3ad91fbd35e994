"""Messages that the gateway does not know yet: scheduled ones, and ids that are none of this account's."""

from __future__ import annotations

import asyncio
import json
import random
import time
from asyncio.subprocess import PIPE
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from pollerd import AsyncClient
from pollerd.simulator import Simulator, SimulatorConfig, Step
from tests.acceptance.bad_days_kit import AT_ONCE, Shim
from tests.acceptance.conftest import Row
from tests.acceptance.deployment import Deployment, finals
from tests.acceptance.waiting import until
from tests.sqlite_kit import transaction
from tests.store_database import StoreDatabase

SOON = [Step(0.0, "ENROUTE"), Step(0.1, "DELIVERED")]
AT_LAST = [Step(0.0, "DELIVERED")]
BACKOFF = 'policy = "exponential"\nmin_interval = "2s"\nmax_interval = "1m"\nnot_found_grace = "15m"'


async def test_scheduled_messages_are_asked_about_from_their_time_on(
    tmp_path: Path, engine: StoreDatabase | None, row: Row
) -> None:
    """`sendtime` by command, control socket, Python, source and plain SQL: nothing is asked before, all is reported."""
    orders = tmp_path / "orders.db"
    with transaction(orders) as database:
        database.execute("CREATE TABLE orders (id INTEGER, sendtime TEXT)")
    source = f"[[sources.sqlite]]\npath = '{orders}'\nquery = 'SELECT id, sendtime FROM orders'\nevery = '200ms'"
    async with (
        Simulator(SimulatorConfig(population=AT_ONCE)) as simulator,
        Deployment(tmp_path, simulator, engine, backoff='min_interval = "100ms"', more=source) as deployment,
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
        # In PostgreSQL the column is a number.
        plain = written if engine is None else at
        deployment.store.execute("INSERT INTO messages (id, sendtime) VALUES (?, ?)", ids[4], plain)
        await until(lambda: deployment.query("SELECT count(*) FROM messages WHERE state = 1") == [(5,)], "all planned")
        assert deployment.query("SELECT count(*) FROM messages WHERE next_poll_at >= ? AND polls = 0", at) == [(5,)]
        await until(lambda: len(finals(deployment.events())) == 5, "all are told")
        early = [when for i in ids for when, _ in simulator.record(i).poll_log if when < at]
        assert early == []
        assert await deployment.stop() == 0
        row(f"5 forms of hand-over, {len(ids)} messages 4 s ahead: 0 polls before their time")


@pytest.mark.parametrize("known", [True, False], ids=["sendtime known", "nothing known"])
async def test_nothing_scheduled_is_lost(known: bool, tmp_path: Path, shim: Shim, row: Row, long: bool) -> None:
    """From minutes to half a day ahead (to 20 of them in the long form), sped up: all delivered and reported."""
    speed, count, days = (20_000.0, 2000, 20.0) if long else (3_000.0, 200, 0.5)
    limits = 'requests_per_second = 10000\ntimeout = "10m"\nmax_connections = 40'
    async with (
        Simulator(SimulatorConfig(population=AT_ONCE)) as simulator,
        Deployment(tmp_path, simulator, backoff=BACKOFF, limits=limits) as deployment,
    ):
        await deployment.start(environment=shim.environment(speed=speed))
        rng = random.Random(1)
        # Evenly on a log scale. By the daemon's clock, and in real seconds at the simulator.
        ahead = [60.0 * (days * 1440.0) ** rng.random() for _ in range(count)]
        # In this order: the time that the question takes makes no poll early.
        began = simulator.now()
        clock = await wall(deployment)
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
            f"{count} scheduled, 1 min to {days:g} days: 0 lost; polls before their time {sum(before) / count:.1f} "
            f"each, {max(before)} at most"
        )


async def wall(deployment: Deployment) -> float:
    """The wall clock as the daemon sees it."""
    address = ("--unix-socket", deployment.folder / "control.sock", "http://localhost/status")
    shown = b""
    while not shown:
        # By its fast clock the daemon's timeout of a request lasts milliseconds: ask until it has answered.
        asking = await asyncio.create_subprocess_exec("curl", "-sf", *address, stdout=PIPE)
        shown = (await asking.communicate())[0]
    status = json.loads(shown)
    return datetime.fromisoformat(status["since"]).timestamp() + float(status["uptime"])


async def test_wrong_ids_neither_stop_the_others_nor_end_nor_are_polled_without_end(
    tmp_path: Path, shim: Shim, row: Row, long: bool
) -> None:
    """Ids of another account, more than the limit can serve, beside messages that are delivered in the meantime."""
    speed, wrong = 60.0, 10_000 if long else 1000
    limits = 'requests_per_second = 5\ntimeout = "60s"'
    async with (
        Simulator(SimulatorConfig(population=AT_ONCE, speed=speed)) as simulator,
        Deployment(tmp_path, simulator, backoff='not_found_grace = "5m"', limits=limits) as deployment,
    ):
        await deployment.start(environment=shim.environment(speed=speed))
        deployment.insert(range(4_000_000_000, 4_000_000_000 + wrong))
        await until(lambda: simulator.statistics().polls_unknown > 200, "the wrong ones are asked for")
        delays = []
        for _ in range(15):
            good = simulator.truth.add(steps=[Step(0.0, "ENROUTE"), Step(30.0, "DELIVERED")])
            deployment.insert([good])
            began = simulator.now()
            await until(partial(ended, deployment, good), "a good one is reported")
            delays.append((simulator.now() - began) * speed - 30.0)
        await until(lambda: unknown(deployment) >= wrong // 2, "the count of unknown ids")
        status, doctor = [(await deployment.command(name))[1] for name in ("status", "doctor")]
        await until(lambda: warned(deployment), "a warning in the log")
        for said in (status, doctor, warned(deployment)[0]):
            assert "ids are unknown to this account: another account, the other region, or scheduled?" in flat(said)
        assert await deployment.stop() == 0
        told = {event["type"] for event in deployment.events()}
        assert told == {"message.status", "message.completed"}, "no hold, and nothing is given up"
        assert len(warned(deployment)) == 1
        assert sorted(delays)[10] < wrong / 5, "sooner than a round of the wrong ones takes"
        row(f"{wrong} wrong ids at 5 requests/s: good ones told {sorted(delays)[7]:.0f} s late (median), 0 holds")


def ended(deployment: Deployment, number: int) -> bool:
    """Whether a recipient of this message has reached a final state."""
    return any(key[0] == number for key in finals(deployment.events()))


def unknown(deployment: Deployment) -> int:
    return int(deployment.query("SELECT count(*) FROM messages WHERE unknown = 1 AND state = 1")[0][0])


def warned(deployment: Deployment) -> list[str]:
    return [line["message"] for line in deployment.log() if line.get("event") == "ids_unknown"]


def flat(text: str) -> str:
    """Without the line breaks of a terminal."""
    return " ".join(text.split())
