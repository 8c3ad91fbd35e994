"""The main job through the installed command: from an id to its final state, reported once."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path

import pytest

from pollerd.simulator import AnswerStyle, Population, Simulator, SimulatorConfig, Step
from tests.acceptance.deployment import COMMAND, Deployment, finals, truth
from tests.acceptance.waiting import until, until_past
from tests.sqlite_kit import autocommit, readme_insert
from tests.store_database import StoreDatabase

pytestmark = pytest.mark.usefixtures("cold")

QUICK = 'policy = "exponential"\nfirst_poll_after = "100ms"\nmin_interval = "100ms"\nmax_interval = "2s"'


async def test_two_thousand_messages_of_mixed_fate(tmp_path: Path, engine: StoreDatabase | None, long: bool) -> None:
    """Every final state equals the truth, no poll after it, `seq` without gap, one completion a message."""
    # The second engine has its own crash tests; here it shows that nothing depends on the first.
    count = 2000 if engine is None or long else 500
    style = AnswerStyle(shape="alternating", error_codes="mixed", shuffle=True, late_transient=0.1)
    population = Population(validity=12 * 3600.0)
    async with (
        Simulator(SimulatorConfig(speed=3000, answers=style, population=population)) as simulator,
        Deployment(tmp_path, simulator, engine, backoff=QUICK) as deployment,
    ):
        await deployment.start()
        ids = [simulator.truth.add(recipients=3 if n % 10 == 0 else 1) for n in range(count)]
        deployment.insert(ids)
        await until(lambda: deployment.pending() == 0, "all messages are done with")
        await until(lambda: len(finals(deployment.events())) >= count * 6 // 5, "everything is in the file")
        assert await deployment.stop() == 0
        events = deployment.events()
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        assert finals(events) == truth(simulator, ids)
        completed = Counter(event["id"] for event in events if event["type"] == "message.completed")
        assert completed == Counter(ids)
        assert simulator.statistics().polls_after_final == 0


async def test_pace_and_connections_stay_within_the_limits(tmp_path: Path) -> None:
    """50 a second and 5 connections, as the gateway counts them: at most 55 in any second, at most 5."""
    async with (
        Simulator(SimulatorConfig(speed=20, population=Population(any_id=True))) as simulator,
        Deployment(
            tmp_path, simulator, limits="requests_per_second = 50\nmax_connections = 5", backoff=QUICK
        ) as deployment,
    ):
        await deployment.start()
        deployment.insert(range(1, 2001))
        await until(lambda: simulator.statistics().requests >= 300, "300 requests")
        counted = simulator.statistics()
        assert counted.max_requests_per_second <= 55
        assert counted.max_connections <= 5
        assert await deployment.stop() == 0


async def test_a_row_inserted_by_sqlite3_is_polled_at_once(tmp_path: Path) -> None:
    async with (
        Simulator(SimulatorConfig(population=Population(any_id=True))) as simulator,
        Deployment(tmp_path, simulator, backoff='first_poll_after = "0s"') as deployment,
    ):
        await deployment.start()
        shell = await asyncio.create_subprocess_exec(*readme_insert(deployment.database, 421332671))
        assert await shell.wait() == 0
        await until(lambda: simulator.truth.polls(421332671) >= 1, "the first request for it")


async def test_stopping_under_load_is_clean_and_reports_nothing_twice(
    tmp_path: Path, engine: StoreDatabase | None
) -> None:
    async with (
        Simulator(SimulatorConfig(speed=3000, population=Population(validity=6 * 3600.0))) as simulator,
        Deployment(tmp_path, simulator, engine, backoff=QUICK) as deployment,
    ):
        ids = [simulator.truth.add() for _ in range(1500)]
        await deployment.start()
        deployment.insert(ids)
        for wanted in (100, 600, 1200):
            await until_past(lambda: len(deployment.file.read_bytes()), 300 * wanted, "events flow")
            assert await deployment.stop(patience=10) == 0
            await deployment.start()
        await until(lambda: deployment.pending() == 0, "all messages are done with")
        assert await deployment.stop() == 0
        events = deployment.events()
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        assert finals(events) == truth(simulator, ids)


async def test_a_second_daemon_on_one_store_is_turned_away(tmp_path: Path, engine: StoreDatabase | None) -> None:
    async with Simulator() as simulator, Deployment(tmp_path, simulator, engine) as deployment:
        process = await deployment.start()
        code, _, said = await deployment.command("run")
        assert code == 75
        assert str(process.pid) in said
        assert "Traceback" not in said
        assert await deployment.stop() == 0


async def test_ten_mistakes_are_named_at_once(tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text(
        """
colour = "blue"
[accounts.default]
base_url = "gatewayapi.com"
tokn = "x"
auth = "magic"
[limits]
requests_per_second = -1
max_connections = 400
timeout = "soon"
[backoff]
policy = "adaptiv"
min_interval = true
[store]
path = 17
[log]
level = "loud"
"""
    )
    process = await asyncio.create_subprocess_exec(
        COMMAND, "run", "-c", bad, stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    _, err = await process.communicate()
    assert process.returncode == 78
    said = err.decode()
    for key in (
        "colour", "accounts.default.base_url", "accounts.default.tokn", "accounts.default.auth",
        "limits.requests_per_second", "limits.max_connections", "limits.timeout", "backoff.policy",
        "backoff.min_interval", "store.path", "log.level",
    ):  # fmt: skip
        assert key in said
    assert "Traceback" not in said


async def test_giving_up_says_why(tmp_path: Path, engine: StoreDatabase | None) -> None:
    """A message that does not exist, one that never ends, one that is refused, one that is no longer wanted."""
    backoff = QUICK + '\nnot_found_grace = "1s"\ngive_up_after = "4s"\nscheduled_horizon = "4s"'
    async with (
        Simulator(SimulatorConfig(population=Population(visibility_median=0.0))) as simulator,
        Deployment(tmp_path, simulator, engine, backoff=backoff) as deployment,
    ):
        forever = simulator.truth.add(steps=[Step(0.0, "ENROUTE")])
        # Valid for so long, it has not ended by itself before the command has run.
        unwanted = simulator.truth.add(steps=[Step(0.0, "BUFFERED")], validity=3600.0)
        await deployment.start()
        deployment.insert([999, forever])
        code, out, _ = await deployment.command("track", str(unwanted), "--userref", "order-17", "--json")
        assert code == 0
        assert json.loads(out)["tracked"] == 1
        await until(
            lambda: any(e["type"] == "message.status" and e["id"] == unwanted for e in deployment.events()), "seen"
        )
        assert (await deployment.command("untrack", str(unwanted)))[0] == 0
        await until(lambda: deployment.pending() == 0, "all are given up")
        polls = simulator.statistics().requests
        assert await deployment.stop() == 0
        gave_up = {e["id"]: (e["reason"], e["pending"], e["userref"]) for e in deployment.events()
                   if e["type"] == "message.gave_up"}  # fmt: skip
        assert gave_up == {
            999: ("not_found", 0, None),
            forever: ("deadline", 1, None),
            unwanted: ("untracked", 1, "order-17"),
        }
        assert simulator.statistics().requests == polls


async def test_retry_takes_up_what_was_given_up(tmp_path: Path, engine: StoreDatabase | None) -> None:
    async with (
        Simulator() as simulator,
        Deployment(
            tmp_path, simulator, engine, backoff=QUICK + '\nnot_found_grace = "500ms"\nscheduled_horizon = "1s"'
        ) as deployment,
    ):
        await deployment.start()
        deployment.insert([5001])
        await until(lambda: deployment.pending() == 0 and deployment.events(), "given up")
        simulator.truth.add(5001, steps=[Step(0.0, "DELIVERED")])
        assert (await deployment.command("retry", "5001"))[0] == 0
        await until(lambda: finals(deployment.events()), "its final state")
        assert [e["type"] for e in deployment.events()] == ["message.gave_up", "message.status", "message.completed"]
        assert await deployment.stop() == 0


async def test_commands_work_with_and_without_a_daemon(tmp_path: Path, engine: StoreDatabase | None) -> None:
    async with (
        Simulator(SimulatorConfig(population=Population(any_id=True), speed=1000)) as simulator,
        Deployment(tmp_path, simulator, engine, backoff=QUICK) as deployment,
    ):
        assert (await deployment.command("track", "11", "12", "13"))[0] == 0
        assert (await deployment.command("untrack", "12"))[0] == 0
        (ended,) = (json.loads(line) for line in (await deployment.command("events", "--json"))[1].split("\n")[:-1])
        assert (ended["type"], ended["id"], ended["reason"]) == ("message.gave_up", 12, "untracked")
        await deployment.start()
        await until(lambda: deployment.pending() == 0, "all are done with")
        for command in (["list", "--json"], ["show", "11", "--json"], ["status", "--json"], ["events", "--json"]):
            code, out, err = await deployment.command(*command)
            assert code == 0, err
            assert [json.loads(line) for line in out.split("\n")[:-1]]
        assert await deployment.stop() == 0
        for command in (["list", "--json"], ["show", "11", "--json"], ["status", "--json"], ["events", "--json"]):
            code, out, err = await deployment.command(*command)
            assert code == (69 if command[0] == "status" else 0), err
            assert [json.loads(line) for line in out.split("\n")[:-1]]


async def test_the_text_of_a_message_and_the_token_are_nowhere(tmp_path: Path) -> None:
    """Neither in the database, the events, the log at its most talkative, nor in what commands print."""
    text = "a very private text 8152"
    async with (
        Simulator() as simulator,
        Deployment(tmp_path, simulator, backoff=QUICK) as deployment,
    ):
        deployment.config.write_text(deployment.config.read_text() + '\nlevel = "debug"\n')
        message = simulator.truth.add(text=text, steps=[Step(0.0, "ENROUTE"), Step(1.0, "DELIVERED")])
        simulator.faults.set("500:0.3", "html:0.1")
        process = await deployment.start()
        deployment.insert([message])
        await until(lambda: finals(deployment.events()), "its final state")
        shown = (await deployment.command("show", str(message)))[1] + (await deployment.command("config", "show"))[1]
        cmdline = Path(f"/proc/{process.pid}/cmdline").read_text()
        assert await deployment.stop() == 0
        token = (tmp_path / "token").read_text().strip()
        with autocommit(deployment.database) as connection:
            dump = "\n".join(connection.iterdump())
        everything = [shown, cmdline, dump, deployment.text_log(), deployment.file.read_text()]
        raw = [path.read_bytes() for path in tmp_path.iterdir() if path.is_file() and path.name != "token"]
        for secret in (text, token):
            assert all(secret not in place for place in everything)
            assert all(secret.encode() not in place for place in raw)
