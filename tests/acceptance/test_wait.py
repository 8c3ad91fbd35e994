"""`pollerd wait` and `track --wait`: what a shell script learns from the exit code."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pollerd.simulator import Simulator, SimulatorConfig, Step
from tests.acceptance.deployment import COMMAND, Deployment
from tests.acceptance.waiting import until
from tests.sqlite_kit import transaction
from tests.store_database import engine_of

BACKOFF = 'policy = "exponential"\nfirst_poll_after = "0s"\nmin_interval = "100ms"\nmax_interval = "1s"'


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(SimulatorConfig()) as made:
        yield made


@pytest.fixture
async def deployment(tmp_path: Path, simulator: Simulator, request: pytest.FixtureRequest) -> AsyncIterator[Deployment]:
    async with Deployment(tmp_path, simulator, engine_of(request), backoff=BACKOFF) as made:
        yield made


def message(simulator: Simulator, *states: str, error: int | None = None) -> str:
    """A message that is in the last of `states` at once."""
    return str(simulator.truth.add(steps=[Step(0.0, state, error) for state in states]))


@pytest.mark.usefixtures("engine")
async def test_the_exit_code_says_how_messages_ended(simulator: Simulator, deployment: Deployment) -> None:
    delivered = message(simulator, "DELIVERED")
    failed = message(simulator, "UNDELIVERABLE", error=0x1010)
    accepted = message(simulator, "ACCEPTED")
    stuck = message(simulator, "ENROUTE")
    await deployment.start()
    wait = deployment.command

    assert await wait("wait", delivered, "--track") == (0, f"{delivered} DELIVERED\n", "")
    code, out, _ = await wait("wait", "--track", failed, delivered)
    assert (code, sorted(line.split()[1] for line in out.splitlines())) == (3, ["DELIVERED", "UNDELIVERABLE"])
    assert "0x1010: unknown subscriber" in out
    assert (await wait("wait", "--track", accepted))[0] == 3
    assert (await wait("wait", "--accepted", accepted))[0] == 0

    code, out, err = await wait("wait", "--track", stuck, delivered, "--timeout", "1s")
    assert (code, out) == (4, f"{delivered} DELIVERED\n")
    assert f"{stuck} (ENROUTE)" in err
    assert f"pollerd show {stuck}" in err
    assert (await wait("wait", "--any", stuck, delivered))[0] == 0
    assert (await wait("wait", "--any", stuck, failed))[0] == 3
    assert (await wait("wait", stuck, "--timeout", "0"))[0] == 4

    documents = [json.loads(line) for line in (await wait("wait", "--json", delivered, failed))[1].splitlines()]
    assert {(str(each["id"]), each["delivered"]) for each in documents} == {(delivered, True), (failed, False)}
    assert (await wait("untrack", stuck))[0] == 0
    code, out, _ = await wait("wait", stuck)
    assert code == 3
    assert "given up without a final state (ENROUTE)" in out


async def test_what_is_not_followed_is_no_verdict(simulator: Simulator, deployment: Deployment) -> None:
    await deployment.start()
    code, out, err = await deployment.command("wait", message(simulator, "DELIVERED"))
    assert (code, out) == (1, "")
    assert "--track" in err
    assert (await deployment.command("wait", "abc"))[0] == 2
    code, _, err = await deployment.command("wait", "1", "--timeout", "soon")
    assert code == 2
    assert "'soon' is no duration" in err


async def test_without_a_daemon_waiting_is_in_vain_and_a_restart_is_not(
    simulator: Simulator, deployment: Deployment
) -> None:
    number = message(simulator, "ENROUTE")
    await deployment.start()
    await deployment.command("track", number)
    await until(lambda: simulator.truth.polls(int(number)), "it is polled")
    await deployment.stop()
    code, out, err = await deployment.command("wait", number, "--timeout", "1")
    assert (code, out) == (69, "")
    assert "no daemon polls" in err
    assert "pollerd run" in err

    waiting = asyncio.create_task(deployment.command("wait", number, "--timeout", "60"))
    await deployment.start()
    assert (await deployment.command("untrack", number))[0] == 0
    assert (await waiting)[0] == 3


async def test_send_and_wait_in_one_step(simulator: Simulator, deployment: Deployment) -> None:
    numbers = [message(simulator, "DELIVERED"), message(simulator, "DELIVERED")]
    await deployment.start()
    answer = json.dumps({"ids": [int(number) for number in numbers]}).encode()
    code, out, err = await deployment.command("track", "-", "--wait", stdin=answer)
    assert (code, err) == (0, "")
    assert sorted(out.splitlines()) == sorted(["tracked 2.", *(f"{number} DELIVERED" for number in numbers)])


async def test_the_exit_code_counts_when_nobody_reads_the_output(simulator: Simulator, deployment: Deployment) -> None:
    await deployment.start()
    failed = message(simulator, "UNDELIVERABLE")
    line = f'"{COMMAND}" wait --track {failed} -c "{deployment.config}"; echo $? >&2'
    shell = await asyncio.create_subprocess_exec("sh", "-c", f"({line}) | true", stderr=asyncio.subprocess.PIPE)
    _, err = await shell.communicate()
    assert err.decode().split() == ["3"]


async def test_what_needs_a_person_is_no_not_yet(simulator: Simulator, deployment: Deployment) -> None:
    await deployment.start()
    delivered = message(simulator, "DELIVERED")
    assert (await deployment.command("track", delivered, "--wait"))[0] == 0
    with transaction(deployment.database) as database:
        database.execute("INSERT INTO messages (id, account) VALUES (7, 'elsewhere')")
    query = "SELECT count(*) FROM messages WHERE id = 7 AND state = 1"
    await until(lambda: deployment.query(query)[0][0] == 1, "it is taken in")
    code, out, err = await deployment.command("wait", "7", delivered, "--timeout", "30")
    assert (code, out) == (1, f"{delivered} DELIVERED\n")
    assert "[accounts.elsewhere]" in err
    for order in (("999", delivered), (delivered, "999")):
        assert (await deployment.command("wait", "--any", *order))[0] == 0
    for spare in (("wait", delivered, "--account", "default"), ("track", delivered, "--timeout", "3")):
        assert (await deployment.command(*spare))[0] == 2


async def test_what_has_not_ended_is_a_document_too(simulator: Simulator, deployment: Deployment) -> None:
    await deployment.start()
    stuck, delivered = message(simulator, "ENROUTE"), message(simulator, "DELIVERED")
    command = ("track", stuck, delivered, "--wait", "--json", "--timeout", "2")
    code, out, _ = await deployment.command(*command)
    documents = {str(each["id"]): each for each in map(json.loads, out.splitlines())}
    assert code == 4
    assert {name: (each["delivered"], each["state"]) for name, each in documents.items()} == {
        stuck: (False, "pending"),
        delivered: (True, "finished"),
    }
    assert documents[stuck].keys() == documents[delivered].keys()
