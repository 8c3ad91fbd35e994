"""`pollerd health`: the line and the exit code that a monitoring system sees, in every state it must tell apart."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pollerd.simulator import Simulator, SimulatorConfig, Step
from tests.acceptance.deployment import Deployment
from tests.acceptance.waiting import until
from tests.sqlite_kit import transaction

SLOW = 'policy = "exponential"\nfirst_poll_after = "0s"\nmin_interval = "1h"\nmax_interval = "1h"'
NUMBER = r"'[a-z_ ]+'=[0-9.]+(?:s|%)?;[0-9.]*;[0-9.]*;0"
LINE = re.compile(rf"POLLERD (OK|WARNING|CRITICAL|UNKNOWN) - [^|\n]+(?: \| {NUMBER}(?: {NUMBER})*)?\n")
CODES = {"OK": 0, "WARNING": 1, "CRITICAL": 2, "UNKNOWN": 3}


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(SimulatorConfig()) as made:
        yield made


@pytest.fixture
async def deployment(tmp_path: Path, simulator: Simulator) -> AsyncIterator[Deployment]:
    async with Deployment(tmp_path, simulator, backoff=SLOW) as made:
        yield made


async def health(deployment: Deployment, *options: str) -> tuple[str, str]:
    """The level and the line; the exit code must say the same."""
    code, out, err = await deployment.command("health", *options)
    match = LINE.fullmatch(out)
    assert match is not None, (out, err)
    assert (CODES[match[1]], err) == (code, "")
    return match[1], out


async def test_the_line_follows_the_daemon_from_its_start_to_its_end(
    simulator: Simulator, deployment: Deployment
) -> None:
    level, line = await health(deployment)
    assert level == "CRITICAL"
    assert "no database" in line
    await deployment.start()
    level, line = await health(deployment)
    assert level == "OK"
    assert "'pending'=0;;;0" in line
    assert "'since_last_id'=" in line, "since the start, as no id came in yet"

    number = simulator.truth.add(steps=[Step(0.0, "ENROUTE")])
    deployment.insert([number])
    await until(lambda: simulator.truth.polls(number), "it is polled")
    level, line = await health(deployment, "--silence", "1h,2h")
    assert level == "OK"
    assert re.search(r"'since_last_id'=\d+s;3600;7200;0", line)
    assert (await health(deployment, "--silence", "0,"))[0] == "WARNING"
    level, line = await health(deployment, "--silence", ",0")
    assert level == "CRITICAL"
    assert "no id has come in for" in line
    assert (await health(deployment, "--disk", "0,"))[0] == "WARNING"

    await deployment.stop()
    level, line = await health(deployment)
    assert level == "CRITICAL"
    assert "no daemon runs: pollerd run" in line
    document = json.loads((await deployment.command("health", "--json"))[1])
    assert (document["level"], document["findings"][0]["level"]) == ("CRITICAL", "CRITICAL")


async def test_a_held_account_is_critical_when_only_a_person_ends_it(
    simulator: Simulator, deployment: Deployment
) -> None:
    numbers = [simulator.truth.add(steps=[Step(0.0, "ENROUTE")]) for _ in range(3)]
    simulator.faults.set("401")
    await deployment.start()
    deployment.insert(numbers)
    await until(lambda: '"account_held"' in deployment.text_log(), "it is held")
    level, line = await health(deployment)
    assert level == "CRITICAL"
    assert "account default is held: unauthorized" in line
    assert "'held'=1;;;0" in line


async def test_a_hold_that_ends_by_itself_is_a_warning_first(simulator: Simulator, deployment: Deployment) -> None:
    numbers = [simulator.truth.add(steps=[Step(0.0, "ENROUTE")]) for _ in range(3)]
    simulator.faults.set("429:retry_after=60")
    await deployment.start()
    deployment.insert(numbers)
    await until(lambda: '"account_held"' in deployment.text_log(), "it is held")
    assert (await health(deployment))[0] == "WARNING"
    assert (await health(deployment, "--held", ",0"))[0] == "CRITICAL"


async def test_what_nobody_asked_for_is_named(simulator: Simulator, deployment: Deployment) -> None:
    await deployment.start()
    with transaction(deployment.database) as database:
        database.execute("INSERT INTO messages (id, account) VALUES (1, 'elsewhere')")
    query = "SELECT count(*) FROM messages WHERE state = 1"
    await until(lambda: deployment.query(query)[0][0] == 1, "it is taken in")
    level, line = await health(deployment)
    assert level == "WARNING"
    assert "elsewhere" in line


async def test_what_keeps_it_from_a_verdict_is_unknown(deployment: Deployment) -> None:
    level, line = await health(deployment, "--late", "soon")
    assert level == "UNKNOWN"
    assert "'soon' cannot be used" in line
    assert (await health(deployment, "--nonsense"))[0] == "UNKNOWN"
    deployment.config.write_text("[limits]\nmax_connections = 4000\n")
    level, line = await health(deployment)
    assert level == "UNKNOWN"
    assert "max_connections" in line
    for wrong in ("nan,1", "-1,5", "15,1"):
        assert (await health(deployment, "--parked", wrong))[0] == "UNKNOWN"
    code, out, _ = await deployment.command("health", "--json", "--nonsense")
    assert (code, json.loads(out)["level"]) == (3, "UNKNOWN")


async def test_a_daemon_that_does_not_answer_is_critical(deployment: Deployment) -> None:
    process = await deployment.start()
    assert (await deployment.command("health", "--alive"))[0] == 0
    process.send_signal(signal.SIGSTOP)
    try:
        level, line = await health(deployment, "--alive")
        assert level == "CRITICAL"
        assert "does not answer" in line
    finally:
        process.send_signal(signal.SIGCONT)


async def test_only_a_restart_that_helps_is_asked_for(simulator: Simulator, deployment: Deployment) -> None:
    simulator.faults.set("401")
    await deployment.start()
    deployment.insert([simulator.truth.add(steps=[Step(0.0, "ENROUTE")])])
    await until(lambda: '"account_held"' in deployment.text_log(), "it is held")
    assert (await health(deployment))[0] == "CRITICAL"
    assert (await health(deployment, "--alive"))[0] == "OK"
