"""A message without a final state is reported once at its time, whatever the account and its schedule."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from pollerd import AsyncClient, OverdueEvent
from pollerd.simulator import AnswerStyle, Simulator, SimulatorConfig, Step
from tests.acceptance.bad_days_kit import AT_ONCE
from tests.acceptance.cli_kit import Cli
from tests.acceptance.deployment import Deployment
from tests.acceptance.waiting import until
from tests.integration.webhook_kit import receiving
from tests.sqlite_kit import autocommit, rows, transaction
from tests.store_database import StoreDatabase

SELDOM = 'policy = "exponential"\nfirst_poll_after = "100ms"\nmin_interval = "100ms"\nfactor = 100\nmax_interval = "1h"'
"""A poll at once, one after ten seconds, the next one a quarter of an hour later."""
SOON = 'overdue_after = "2s"'
ENROUTE = [Step(0.0, "ENROUTE")]


def overdue(deployment: Deployment) -> dict[int, dict[str, Any]]:
    """The events `message.overdue` by message; there is one for each at most."""
    found = [event for event in deployment.events() if event["type"] == "message.overdue"]
    assert max(Counter(event["id"] for event in found).values(), default=0) <= 1, "told twice"
    return {event["id"]: event for event in found}


def types(deployment: Deployment, message_id: int) -> list[str]:
    """What was reported of a message, in order."""
    return [event["type"] for event in deployment.events() if event.get("id") == message_id]


def told_at(event: dict[str, Any]) -> float:
    return datetime.fromisoformat(event["observed_at"]).timestamp()


async def test_it_is_reported_once_in_every_output_and_nothing_ends_by_it(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    with autocommit(other) as connection:
        connection.execute("CREATE TABLE news (seq INTEGER, type TEXT, id INTEGER, pending INTEGER, recipients TEXT)")
    async with (
        receiving() as receiver,
        Simulator(SimulatorConfig(population=AT_ONCE)) as simulator,
        Deployment(
            tmp_path,
            simulator,
            backoff=SELDOM,
            account=SOON,
            more=f"""
[outputs.webhook]
url = "{receiver.url}"
secret = "{receiver.secret}"
all_events = true
[outputs.exec]
command = ["/bin/sh", "-c", "cat >> {tmp_path / "executed"}"]
[[outputs.sqlite]]
path = "{other}"
statement = "INSERT INTO news VALUES (:seq, :type, :id, :pending, :recipients)"
""",
        ) as deployment,
    ):
        await deployment.start()
        number = simulator.truth.add(recipients=[4511111111, 4522222222], steps=ENROUTE)
        done = simulator.truth.add(steps=[Step(0.0, "DELIVERED")])
        unknown = 10**12
        handed = time.time()
        assert (await deployment.command("track", str(number), str(unknown), str(done), "--userref", "call-7"))[0] == 0
        await until(lambda: len(overdue(deployment)) == 2, "both are told")
        event = overdue(deployment)[number]
        assert event == {
            "seq": event["seq"],
            "type": "message.overdue",
            "id": number,
            "account": "default",
            "userref": "call-7",
            "pending": 2,
            "recipients": [
                {"msisdn": 4511111111, "status": "ENROUTE"},
                {"msisdn": 4522222222, "status": "ENROUTE"},
            ],
            "observed_at": event["observed_at"],
        }
        assert told_at(event) >= handed + 2.0
        never = overdue(deployment)[unknown]
        assert (never["pending"], never["recipients"]) == (None, [])
        simulator.truth.get(number).steps = (Step(0.0, "ENROUTE"), Step(0.0, "DELIVERED"))
        assert (await deployment.command("poll", str(number)))[0] == 0
        await until(lambda: "message.completed" in types(deployment, number), "it ends all the same")
        control = aiohttp.UnixConnector(str(tmp_path / "control.sock"))
        async with (
            aiohttp.ClientSession(connector=control) as session,
            session.get("http://localhost/events?type=message.overdue") as answer,
        ):
            streamed = [json.loads(line) async for line in answer.content]
        assert {line["id"] for line in streamed} == {number, unknown}
        reader, writer = await asyncio.open_unix_connection(deployment.socket)
        writer.write(b"after 0\n")
        heard: set[int] = set()
        while heard != {number, unknown}:
            line = json.loads(await reader.readline())
            heard |= {line["id"]} if line["type"] == "message.overdue" else set()
        writer.close()
        code, listed, _ = await deployment.command("events", "--json", "--type", "message.overdue")
        assert (code, {json.loads(line)["id"] for line in listed.splitlines()}) == (0, {number, unknown})
        want = {number, unknown}
        await until(lambda: want <= {p["id"] for p in receiver.got if p.get("type") == "message.overdue"}, "posted")
        executed = tmp_path / "executed"
        await until(lambda: executed.exists() and executed.read_text().count("message.overdue") == 2, "executed")
        sql = "SELECT id, pending, recipients FROM news WHERE type = 'message.overdue' ORDER BY id"
        await until(lambda: len(rows(other, sql)) == 2, "written")
        assert rows(other, sql) == [
            (number, 2, json.dumps(event["recipients"], separators=(",", ":"))),
            (unknown, None, "[]"),
        ]
        assert set(overdue(deployment)) == {number, unknown}
        assert types(deployment, number)[-4:] == [
            "message.overdue",
            "message.status",
            "message.status",
            "message.completed",
        ]
        assert await deployment.stop() == 0


async def test_what_ended_in_time_is_not_reported_whenever_its_next_poll_would_be(tmp_path: Path) -> None:
    """It is polled once more before it would be reported."""
    async with (
        Simulator(SimulatorConfig(population=AT_ONCE)) as simulator,
        Deployment(tmp_path, simulator, backoff=SELDOM, account='overdue_after = "4s"') as deployment,
    ):
        await deployment.start()
        ended = [simulator.truth.add(steps=[*ENROUTE, Step(2.5, "DELIVERED")]) for _ in range(10)]
        silent = simulator.truth.add(steps=ENROUTE)
        deployment.insert([*ended, silent])
        await until(lambda: overdue(deployment), "the silent one is told")
        assert set(overdue(deployment)) == {silent}
        await until(lambda: all("message.completed" in types(deployment, n) for n in ended), "the others have ended")
        assert set(overdue(deployment)) == {silent}
        planned = deployment.query("SELECT next_poll_at FROM messages WHERE id = ?", silent)[0][0]
        assert planned > time.time() + 60, "its schedule stays as it was"
        assert await deployment.stop() == 0


async def test_it_is_reported_while_the_account_is_held(tmp_path: Path) -> None:
    async with (
        Simulator(SimulatorConfig(population=AT_ONCE)) as simulator,
        Deployment(tmp_path, simulator, backoff=SELDOM, account=SOON) as deployment,
    ):
        await deployment.start()
        numbers = [simulator.truth.add(steps=ENROUTE) for _ in range(5)]
        simulator.faults.set("403")
        deployment.insert(numbers)
        await until(lambda: any(e["type"] == "account.held" for e in deployment.events()), "it is held")
        await until(lambda: len(overdue(deployment)) == 5, "they are told")
        assert not any(e["type"] == "account.recovered" for e in deployment.events())
        assert {(e["pending"], len(e["recipients"])) for e in overdue(deployment).values()} == {(None, 0)}
        assert await deployment.stop() == 0


async def test_imported_history_is_reported_only_once_it_was_asked_about(tmp_path: Path) -> None:
    day_old = time.time() - 86400
    async with (
        Simulator(SimulatorConfig(population=AT_ONCE)) as simulator,
        Deployment(tmp_path, simulator, backoff=SELDOM, account='overdue_after = "10m"') as deployment,
    ):
        ended = [simulator.truth.add(sent_at=day_old, steps=[*ENROUTE, Step(30.0, "EXPIRED")]) for _ in range(200)]
        silent = [simulator.truth.add(sent_at=day_old, steps=ENROUTE) for _ in range(5)]
        ids = " ".join(map(str, [*ended, *silent]))
        text = ids.replace(" ", "\n").encode()
        assert (await deployment.command("track", "-", "--sent-at", str(day_old), stdin=text))[0] == 0
        await deployment.start()
        await until(lambda: len(overdue(deployment)) == 5, "those that have no end are told")
        await until(lambda: deployment.pending() == 5, "the others have ended")
        assert set(overdue(deployment)) == set(silent)
        for number in silent:
            assert types(deployment, number) == ["message.status", "message.overdue"]
            assert simulator.truth.polls(number) == 1
        assert await deployment.stop() == 0


async def test_a_scheduled_message_counts_from_its_time(tmp_path: Path) -> None:
    """The gateway says it is sent later than it was handed over: at the first answer its time is calculated again."""
    async with (
        Simulator(SimulatorConfig(population=AT_ONCE, answers=AnswerStyle(scheduled="shown"))) as simulator,
        Deployment(tmp_path, simulator, backoff=SELDOM, account=SOON) as deployment,
    ):
        await deployment.start()
        sendtime = time.time() + 4.0
        later = simulator.truth.add(sendtime=sendtime, steps=ENROUTE)
        far = simulator.truth.add(sendtime=sendtime + 3600, steps=ENROUTE)
        now = simulator.truth.add(steps=ENROUTE)
        deployment.insert([later, far, now])
        await until(lambda: later in overdue(deployment), "it is told")
        assert set(overdue(deployment)) == {later, now}
        assert told_at(overdue(deployment)[later]) >= sendtime + 2.0
        assert await deployment.stop() == 0


async def test_a_message_s_own_time_goes_before_its_account_s(tmp_path: Path) -> None:
    """As plain SQL gives it: seconds, 0 for never. What is no duration counts as not given."""
    async with (
        Simulator(SimulatorConfig(population=AT_ONCE)) as simulator,
        Deployment(tmp_path, simulator, backoff=SELDOM, account='overdue_after = "1h"') as deployment,
    ):
        await deployment.start()
        given: dict[int, Any] = {}
        for after in (1, "1.2", 0, None, "soon", -1, 1e300):
            given[simulator.truth.add(steps=ENROUTE)] = after
        with transaction(deployment.database) as connection:
            connection.executemany("INSERT INTO messages (id, overdue_after) VALUES (?, ?)", list(given.items()))
            connection.execute("INSERT INTO messages (id, account, overdue_after) VALUES (7, 'nobody', 1)")
        early = {number for number, after in given.items() if after in (1, "1.2")}
        # An account that is not configured cannot be asked: it is reported as well.
        await until(lambda: set(overdue(deployment)) == early | {7}, "the early ones are told")
        due = dict(deployment.query("SELECT id, round(overdue_at - sent_at) FROM messages"))
        assert [due[number] for number in given] == [1, 1, None, 3600, 3600, 3600, 3600]
        assert await deployment.stop() == 0


async def test_taken_up_again_it_is_reported_again_only_if_it_never_was(
    tmp_path: Path, engine: StoreDatabase | None
) -> None:
    async with (
        Simulator(SimulatorConfig(population=AT_ONCE)) as simulator,
        Deployment(tmp_path, simulator, engine, backoff=SELDOM, account=SOON) as deployment,
    ):
        await deployment.start()
        told, untold = (simulator.truth.add(steps=ENROUTE) for _ in range(2))
        deployment.insert([told])
        await until(lambda: told in overdue(deployment), "the first is told")
        deployment.insert([untold])
        await until(lambda: simulator.truth.polls(untold) > 0, "the second is asked about")
        assert (await deployment.command("untrack", str(told), str(untold)))[0] == 0
        assert (await deployment.command("retry", str(told), str(untold)))[0] == 0
        await until(lambda: untold in overdue(deployment), "the second is told")
        assert types(deployment, told).count("message.overdue") == 1
        # Nor by a restart, nor by another setting.
        assert await deployment.stop() == 0
        deployment.config.write_text(deployment.config.read_text().replace('"2s"', '"1s"'))
        await deployment.start()
        late = simulator.truth.add(steps=ENROUTE)
        deployment.insert([late])
        await until(lambda: late in overdue(deployment), "a third is told")
        assert set(overdue(deployment)) == {told, untold, late}
        assert await deployment.stop() == 0


async def test_ten_thousand_recipients_are_counted_and_a_hundred_named(tmp_path: Path) -> None:
    async with (
        Simulator(SimulatorConfig(population=AT_ONCE)) as simulator,
        Deployment(tmp_path, simulator, backoff=SELDOM, account=SOON) as deployment,
    ):
        await deployment.start()
        number = simulator.truth.add(recipients=10_000, steps=ENROUTE)
        deployment.insert([number])
        await until(lambda: overdue(deployment), "it is told")
        event = overdue(deployment)[number]
        assert (event["pending"], len(event["recipients"])) == (10_000, 100)
        assert await deployment.stop() == 0


async def test_a_new_setting_holds_for_what_is_pending_and_each_is_asked_about_first(
    tmp_path: Path, engine: StoreDatabase | None
) -> None:
    async with (
        Simulator(SimulatorConfig(population=AT_ONCE)) as simulator,
        Deployment(tmp_path, simulator, engine, backoff=SELDOM) as deployment,
    ):
        await deployment.start()
        numbers = [simulator.truth.add(steps=ENROUTE) for _ in range(40)]
        deployment.insert(numbers)
        await until(lambda: all(simulator.truth.polls(n) for n in numbers), "all are asked about")
        assert await deployment.stop() == 0
        ended = numbers[::2]
        for number in ended:
            simulator.truth.get(number).steps = (Step(0.0, "DELIVERED"),)
        await asyncio.sleep(max(0.0, 1.0 - (time.time() - simulator.truth.get(numbers[-1]).sent_at)))
        text = deployment.config.read_text().replace("token_file", 'overdue_after = "1s"\ntoken_file')
        deployment.config.write_text(text)
        await deployment.start()
        await until(lambda: len(overdue(deployment)) == 20, "the silent ones are told")
        await until(lambda: deployment.pending() == 20, "the others have ended")
        assert set(overdue(deployment)) == set(numbers) - set(ended)
        assert await deployment.stop() == 0


@pytest.mark.long_on_postgresql
@pytest.mark.parametrize("kills", [10])
async def test_once_each_over_kills_and_none_for_what_had_ended(
    kills: int, tmp_path: Path, engine: StoreDatabase | None
) -> None:
    rng = random.Random(7)
    async with (
        Simulator(SimulatorConfig(population=AT_ONCE)) as simulator,
        Deployment(tmp_path, simulator, engine, backoff=SELDOM, account='overdue_after = "3s"') as deployment,
    ):
        await deployment.start()
        silent: list[int] = []
        ended: list[int] = []
        for _ in range(kills):
            for _ in range(20):
                silent.append(simulator.truth.add(steps=ENROUTE))
                ended.append(simulator.truth.add(steps=[*ENROUTE, Step(rng.uniform(0.0, 2.5), "DELIVERED")]))
            deployment.insert(silent[-20:] + ended[-20:])
            await asyncio.sleep(rng.uniform(0.0, 1.5))
            await deployment.kill()
            # Some become overdue, and some end, while nobody watches.
            await asyncio.sleep(rng.uniform(0.0, 1.5))
            await deployment.start()
        await until(lambda: deployment.pending() == len(silent), "what has an end is known to have it")
        await until(lambda: len(overdue(deployment)) >= len(silent), "all silent ones are told")
        assert await deployment.stop() == 0
        assert set(overdue(deployment)) == set(silent)
        seqs = [event["seq"] for event in deployment.events()]
        assert seqs == list(range(1, len(seqs) + 1))


async def test_every_form_of_hand_over_gives_both(tmp_path: Path, engine: StoreDatabase | None) -> None:
    """Command, control socket, Python, a source and plain SQL; and every place where they are to be seen."""
    orders = tmp_path / "orders.db"
    with transaction(orders) as database:
        database.execute("CREATE TABLE orders (id INTEGER, priority TEXT, overdue_after TEXT)")
    query = "SELECT id, priority, overdue_after FROM orders"
    source = f"[[sources.sqlite]]\npath = '{orders}'\nquery = '{query}'\nevery = '200ms'"
    async with (
        Simulator(SimulatorConfig(population=AT_ONCE)) as simulator,
        Deployment(tmp_path, simulator, engine, backoff=SELDOM, more=source) as deployment,
    ):
        ids = [simulator.truth.add(steps=ENROUTE) for _ in range(5)]
        await deployment.start()
        given = ("--priority", "urgent", "--overdue-after", "2s")
        assert (await deployment.command("track", str(ids[0]), *given))[0] == 0
        body = {"ids": [ids[1]], "priority": "URGENT", "overdue_after": "2s"}
        control = aiohttp.UnixConnector(str(tmp_path / "control.sock"))
        async with (
            aiohttp.ClientSession(connector=control) as session,
            session.post("http://localhost/messages", json=body) as answer,
        ):
            assert answer.status == 200
        async with AsyncClient(deployment.config) as client:
            await client.track(ids[2], priority="URGENT", overdue_after=timedelta(seconds=2))
        with transaction(orders) as database:
            database.execute("INSERT INTO orders VALUES (?, 'URGENT', '2s')", (ids[3],))
        plain = "INSERT INTO messages (id, priority, overdue_after) VALUES (?, 'URGENT', 2)"
        deployment.store.execute(plain, ids[4])
        await until(lambda: set(overdue(deployment)) == set(ids), "all are told")
        assert deployment.query("SELECT DISTINCT priority, overdue_after FROM messages") == [("URGENT", 2.0)]

        # -- where it is to be seen
        listed = (await deployment.command("list", "--state", "overdue", "--json"))[1].splitlines()
        found = [json.loads(line) for line in listed]
        assert {message["id"] for message in found} == set(ids)
        assert found == sorted(found, key=lambda message: message["overdue_at"]), "the longest first"
        assert {(message["priority"], message["overdue"], message["state"]) for message in found} == {
            ("URGENT", True, "pending")
        }
        shown = (await deployment.command("show", str(ids[0])))[1]
        assert "priority      URGENT" in shown
        assert "overdue       since " in shown
        assert "overdue: 1 recipient without a final state" in shown
        assert " overdue " in (await deployment.command("list"))[1]
        status = json.loads((await deployment.command("status", "--json"))[1])
        assert status["messages"]["overdue"] == 5
        assert "5 messages are overdue" in (await deployment.command("status"))[1]
        async with AsyncClient(deployment.config) as client:
            told = [event async for event in client.events() if isinstance(event, OverdueEvent)]
        assert {event.id for event in told} == set(ids)
        assert {event.recipients[0].status for event in told} == {"ENROUTE"}
        assert await deployment.stop() == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--priority", "HIGH"), "priority 'HIGH' is unknown; give BULK, NORMAL, URGENT or VERY_URGENT"),
        (("--overdue-after", "soon"), 'give seconds or a duration such as "10m"'),
        (("--overdue-after", "-1"), "overdue_after '-1' is no such time"),
    ],
)
async def test_what_cannot_be_meant_is_refused_by_name(arguments: tuple[str, ...], said: str, cli: Cli) -> None:
    done = cli("track", "1", *arguments)
    assert (done.code, said in " ".join(done.err.split())) == (2, True), done.err
    assert not cli.database.exists()
