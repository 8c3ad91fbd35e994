"""Webhook and SQLite through the installed command: what a receiver and a foreign database have in the end."""

from __future__ import annotations

import asyncio
import json
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

from pollerd.simulator import Simulator, SimulatorConfig, Step
from tests.acceptance.conftest import Row
from tests.acceptance.crash_kit import FAST, LIVELY, QUICK, Follower, settled
from tests.acceptance.deployment import Deployment
from tests.acceptance.waiting import until
from tests.integration.webhook_kit import SECRET, Receiver, flaky, receiving
from tests.sqlite_kit import rows, transaction

STEPS = (Step(0, "BUFFERED"), Step(8, "ENROUTE"), Step(16, "ACCEPTED_BY_SMSC"), Step(24, "DELIVERED"))
"""A change every 0.8 seconds at a speed of 10, so that one waits for another when posts fail."""

WEBHOOK = """
[outputs.webhook]
url = "{url}"
secret = "{secret}"
retry_after = {retry_after}
"""


def webhook(receiver: Receiver, retry_after: list[str]) -> str:
    return WEBHOOK.format(url=receiver.url, secret=SECRET, retry_after=json.dumps(retry_after))


def changes(told: list[dict[str, Any]]) -> dict[tuple[int, int], list[str]]:
    """What was delivered about each recipient, in order; a repetition counts once."""
    found: dict[tuple[int, int], list[str]] = defaultdict(list)
    for event in told:
        states = found[event["id"], event["msisdn"]]
        if states[-1:] != [event["status"]]:
            states.append(event["status"])
    return found


def waiting(deployment: Deployment) -> bool:
    """Whether anything is still to be posted."""
    last = deployment.query("SELECT coalesce(max(seq), 0) FROM events")[0][0]
    place = deployment.query("SELECT seq FROM outputs WHERE name = 'webhook'")
    rows = deployment.query("SELECT count(*) FROM deliveries WHERE state < 2")[0][0]
    return not place or place[0][0] < last or rows > 0


async def test_a_thousand_messages_a_failing_receiver_and_ten_kills(tmp_path: Path, row: Row) -> None:
    """Every change at least once, none out of order; the file and the socket have each event exactly once."""
    rng = random.Random(6)
    receiver = Receiver(answer=flaky(0.3))
    async with (
        Simulator(SimulatorConfig(speed=10, population=LIVELY)) as simulator,
        receiving(receiver),
        Deployment(
            tmp_path,
            simulator,
            limits=FAST,
            backoff=QUICK,
            more=webhook(receiver, ["100ms", "200ms", *["500ms"] * 18]),
        ) as deployment,
    ):
        await deployment.start()
        follower = Follower(deployment.socket)
        ids: list[int] = []
        async with follower.following():
            for _ in range(10):
                new = [simulator.truth.add(steps=STEPS) for _ in range(100)]
                ids += new
                deployment.insert(new)
                enough = len(receiver.tries) + rng.randrange(10, 100)
                await until(lambda: len(receiver.tries) >= enough, "some posts")  # noqa: B023 - awaited here
                await deployment.kill()
                await deployment.start()
            await settled(deployment)
            await until(lambda: not waiting(deployment), "all is posted")
            told = deployment.events()
            await until(lambda: follower.seq == told[-1]["seq"], "the reader has everything")
        assert await deployment.stop() == 0
    status = [event for event in told if event["type"] == "message.status"]
    row(f"{len(status)} changes, {len(receiver.tries)} posts, {len(receiver.got)} taken")
    assert {event["id"] for event in status} == set(ids)
    assert changes(receiver.got) == changes(status)
    assert [event["seq"] for event in told] == list(range(1, len(told) + 1))
    assert [json.loads(line) for line in follower.lines] == told


async def test_a_dead_receiver_delays_neither_file_nor_socket(tmp_path: Path) -> None:
    receiver = Receiver(answer=lambda _: 500, gate=asyncio.Event())
    async with (
        Simulator(SimulatorConfig(speed=10, population=LIVELY)) as simulator,
        receiving(receiver),
        Deployment(tmp_path, simulator, limits=FAST, backoff=QUICK, more=webhook(receiver, [])) as deployment,
    ):
        await deployment.start()
        follower = Follower(deployment.socket)
        async with follower.following():
            deployment.insert([simulator.truth.add(steps=STEPS) for _ in range(100)])
            await settled(deployment)
            told = deployment.events()
            assert sum(event["type"] == "message.completed" for event in told) == 100
            await until(lambda: follower.seq == told[-1]["seq"], "the reader has everything")
        assert receiver.got == []
        assert await deployment.stop() == 0


async def test_a_foreign_database_of_ten_thousand_rows_is_followed_to_the_end(tmp_path: Path, row: Row) -> None:
    """Every row carries the gateway's final state; the application has changed nothing but its configuration."""
    shop = tmp_path / "shop.db"
    more = f"""
[[sources.sqlite]]
path = "{shop}"
query = "SELECT gateway_id AS id, reference AS userref FROM sms WHERE status IS NULL OR final = 0"
every = "500ms"
[[outputs.sqlite]]
path = "{shop}"
statement = "UPDATE sms SET status = :status, final = :final, reference_told = :userref WHERE gateway_id = :id"
"""
    async with (
        Simulator(SimulatorConfig(speed=2000, population=LIVELY)) as simulator,
        Deployment(tmp_path, simulator, limits="requests_per_second = 2000", backoff=QUICK, more=more) as deployment,
    ):
        ids = [simulator.truth.add() for _ in range(10_000)]
        with transaction(shop) as database:
            database.execute(
                "CREATE TABLE sms"
                " (gateway_id TEXT PRIMARY KEY, reference TEXT, status TEXT, final INTEGER, reference_told)"
            )
            database.executemany(
                "INSERT INTO sms (gateway_id, reference) VALUES (?, ?)", [(str(i), f"order-{i}") for i in ids]
            )
        await deployment.start()

        def open_rows() -> int:
            return int(rows(shop, "SELECT count(*) FROM sms WHERE final IS NOT 1")[0][0])

        await until(lambda: open_rows() == 0, "all rows are final", patience=150)
        found = {int(i): (s, r) for i, s, r in rows(shop, "SELECT gateway_id, status, reference_told FROM sms")}
        assert await deployment.stop() == 0
        row(f"{len(found)} rows")
        truth = {record.id: record.recipients[0].final for record in simulator.records()}
        assert {i: status for i, (status, _) in found.items()} == truth
        assert all(reference == f"order-{i}" for i, (_, reference) in found.items())


async def test_what_nobody_took_is_listed_and_posted_again_on_demand(tmp_path: Path) -> None:
    down = True
    receiver = Receiver(answer=lambda _: 500 if down else 200)
    steps = [Step(0, "DELIVERED")]
    async with (
        Simulator(SimulatorConfig(speed=100, population=LIVELY)) as simulator,
        receiving(receiver),
        Deployment(tmp_path, simulator, limits=FAST, backoff=QUICK, more=webhook(receiver, ["50ms"])) as deployment,
    ):
        await deployment.start()
        code, out, _ = await deployment.command("events", "--undelivered")
        assert (code, out) == (0, "")
        message = simulator.truth.add(steps=steps)
        deployment.insert([message])
        await until(
            lambda: deployment.query("SELECT count(*) FROM deliveries WHERE state = 1") == [(1,)], "it is parked"
        )
        code, out, _ = await deployment.command("events", "--undelivered", "--json")
        (listed,) = [json.loads(line) for line in out.splitlines()]
        assert code == 0
        assert (listed["id"], listed["status"]) == (message, "DELIVERED")
        assert listed["delivery"] == {"state": "parked", "attempts": 2, "next_at": None, "error": "answered 500"}
        seen = (await deployment.command("status"))[1]
        assert "1 parked, no attempt is left: post again with pollerd retry --webhook" in seen
        counted = json.loads((await deployment.command("status", "--json"))[1])
        assert counted["undelivered"] == {"waiting": 0, "parked": 1}
        assert (await deployment.command("events", "--undelivered", "--follow"))[0] == 2
        assert (await deployment.command("retry", "--webhook", str(message)))[0] == 2
        down = False
        code, out, _ = await deployment.command("retry", "--webhook", "--json")
        assert (code, json.loads(out)) == (0, {"taken_up": 1})
        await until(lambda: [body["id"] for body in receiver.got] == [message], "it is posted")
        await until(lambda: not waiting(deployment), "nothing is left")
        assert await deployment.stop() == 0
        code, out, _ = await deployment.command("retry", "--webhook")
        assert (code, out) == (0, "No event was given up by the webhook.\n")


async def test_a_parked_state_that_a_later_one_overtook_is_never_posted_again(tmp_path: Path) -> None:
    receiver = Receiver(answer=lambda body: 500 if body["status"] == "ENROUTE" else 200)
    async with (
        Simulator(SimulatorConfig(speed=10, population=LIVELY)) as simulator,
        receiving(receiver),
        Deployment(tmp_path, simulator, limits=FAST, backoff=QUICK, more=webhook(receiver, ["50ms"])) as deployment,
    ):
        await deployment.start()
        message = simulator.truth.add(steps=[Step(0, "ENROUTE"), Step(30, "DELIVERED")])
        deployment.insert([message])
        await until(lambda: [body["status"] for body in receiver.got] == ["DELIVERED"], "the final state is taken")
        await until(lambda: not waiting(deployment), "the other one is dropped")
        assert (await deployment.command("events", "--undelivered", "--json"))[:2] == (0, "")
        code, out, _ = await deployment.command("retry", "--webhook", "--json")
        assert (code, json.loads(out)) == (0, {"taken_up": 0})
        assert await deployment.stop() == 0
    assert [body["status"] for body in receiver.tries] == ["ENROUTE", "ENROUTE", "DELIVERED"]
