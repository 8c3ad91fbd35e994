"""`pollerd forget`: what is known of a number or of a message is gone, and everything else goes on."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from pollerd.client.unixhttp import UnixConnection
from pollerd.simulator import Simulator, SimulatorConfig, Step
from tests.acceptance.deployment import COMMAND, Deployment
from tests.acceptance.waiting import until
from tests.store_database import StoreDatabase, engine_of

PERSON: Final = 4587654321
OTHER: Final = 4512345678
QUICK: Final = 'policy = "exponential"\nfirst_poll_after = "0s"\nmin_interval = "50ms"\nmax_interval = "200ms"'
DONE: Final = [Step(0.0, "DELIVERED")]
OPEN: Final = [Step(0.0, "ENROUTE")]


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(SimulatorConfig()) as made:
        yield made


@pytest.fixture
async def deployment(tmp_path: Path, simulator: Simulator, request: pytest.FixtureRequest) -> AsyncIterator[Deployment]:
    async with Deployment(tmp_path, simulator, engine_of(request), backoff=QUICK) as made:
        yield made


def stored(deployment: Deployment, number: int) -> bool:
    """Whether the number stands anywhere in the database's files, as text or as MessagePack; in PostgreSQL in any
    table: when it leaves the files is the server's to say.
    """
    if deployment.engine is not None:
        forms = (str(number), msgspec.msgpack.encode(number).hex())
        return any(form in row for row in everything(deployment.engine) for form in forms)
    files = [path for path in deployment.folder.glob("pollerd.db*") if not path.name.endswith(".lock")]
    wanted = (str(number).encode(), msgspec.msgpack.encode(number))
    return any(form in path.read_bytes() for path in files for form in wanted)


def everything(store: StoreDatabase) -> list[str]:
    """All rows of all tables, as text."""
    tables = store.query("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return [row for (table,) in tables for (row,) in store.query(f"SELECT kept::text FROM {table} AS kept")]


def events(deployment: Deployment) -> list[tuple[int, str, bytes]]:
    found = deployment.query("SELECT seq, type, CAST(body AS TEXT) FROM events ORDER BY seq")
    return [(seq, kind, body.encode()) for seq, kind, body in found]


async def said(deployment: Deployment, *words: str, code: int = 0) -> Any:
    got, out, err = await deployment.command("forget", *words, "--json")
    assert got == code, (got, out, err)
    return json.loads(out)


async def counters(deployment: Deployment) -> dict[str, int]:
    status = json.loads((await deployment.command("status", "--json"))[1])
    return {name: status["messages"][name] for name in ("pending", "finished", "gave_up")}


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("running", [True, False], ids=["daemon", "no daemon"])
async def test_a_number_is_gone_and_all_else_goes_on(
    simulator: Simulator, deployment: Deployment, *, running: bool
) -> None:
    alone = simulator.truth.add(recipients=[PERSON], steps=DONE)
    both = simulator.truth.add(recipients=[PERSON, OTHER], steps=DONE)
    other = simulator.truth.add(recipients=[OTHER], steps=DONE)
    following = simulator.truth.add(recipients=[PERSON], steps=OPEN)
    shared = simulator.truth.add(recipients=[PERSON, OTHER], steps=OPEN)
    await deployment.start()
    deployment.insert([alone, both, other, following, shared])
    await until(lambda: len(deployment.lines()) == 10, "all is reported")
    if not running:
        assert await deployment.stop() == 0
    before = events(deployment)
    found = await said(deployment, f"+{PERSON}", code=1)
    assert (found["what"], found["messages"], found["still_polled"]) == ("msisdn", 3, [shared])
    assert any("events.ndjson" in place for place in found["stays_in"])
    assert {row[0] for row in deployment.query("SELECT id FROM messages")} == {both, other, shared}
    shown = json.loads((await deployment.command("show", str(both), "--json"))[1])
    assert [each["msisdn"] for each in shown["recipients"]] == [OTHER]
    after = events(deployment)
    assert [seq for seq, *_ in after[: len(before)]] == [seq for seq, *_ in before]
    assert not any(str(PERSON).encode() in body for _, _, body in after)
    assert found["events"] == sum(kind == "event.forgotten" for _, kind, _ in after)
    assert await counters(deployment) == {"pending": 1, "finished": 2, "gave_up": 0}

    # It is not polled any more; the shared one is, and can be forgotten once it has ended.
    polls = simulator.truth.polls(following)
    if not running:
        await deployment.start()
    before_more = simulator.truth.polls(shared)
    await until(lambda: simulator.truth.polls(shared) > before_more + 5, "the others are polled")
    assert simulator.truth.polls(following) <= polls + 1
    assert (await deployment.command("untrack", str(shared)))[0] == 0
    await said(deployment, str(PERSON))
    await until(lambda: not stored(deployment, PERSON), "no copy is left")
    assert stored(deployment, OTHER)
    again = await said(deployment, f"+{PERSON}")
    assert (again["messages"], again["events"]) == (0, 0)
    later = simulator.truth.add(recipients=[OTHER], steps=DONE)
    deployment.insert([later])
    await until(lambda: any(event.get("id") == later for event in deployment.events()), "news goes on")
    seqs = [event["seq"] for event in deployment.events()]
    assert seqs == list(range(1, len(seqs) + 1))


@pytest.mark.usefixtures("engine")
async def test_a_message_is_gone_and_an_output_behind_goes_on(simulator: Simulator, deployment: Deployment) -> None:
    """What was not delivered is not delivered any more; the place of the output passes it."""
    number = simulator.truth.add(recipients=[PERSON], steps=DONE)
    more = simulator.truth.add(recipients=[OTHER], steps=DONE)
    deployment.file.mkdir()
    await deployment.start()
    deployment.insert([number, more])
    await until(lambda: len(events(deployment)) == 4, "all has happened")
    deployment.store.execute(
        "INSERT INTO deliveries VALUES (99, 'message.status', ?, ?, 'default', 1, 7, NULL, '', 1)",
        number, json.dumps({"id": number, "msisdn": PERSON}).encode(),
    )  # fmt: skip
    found = await said(deployment, str(number))
    assert found == {**found, "what": "id", "messages": 1, "events": 2, "undelivered": 1, "still_polled": []}
    await until(lambda: not stored(deployment, PERSON), "no copy is left")
    deployment.file.rmdir()
    await until(lambda: len(deployment.lines()) == 4, "the file catches up")
    kinds = [event["type"] for event in deployment.events()]
    assert (kinds.count("event.forgotten"), [event["seq"] for event in deployment.events()]) == (2, [1, 2, 3, 4])
    assert all(
        set(e) == {"seq", "type", "account", "observed_at"} for e in deployment.events() if "forgotten" in e["type"]
    )
    assert (await deployment.command("show", str(number)))[0] == 1


async def test_what_may_be_either_is_asked_back_and_nonsense_refused(
    simulator: Simulator, deployment: Deployment
) -> None:
    number = simulator.truth.add(message_id=PERSON, recipients=[PERSON], steps=DONE)
    await deployment.start()
    deployment.insert([number])
    await until(lambda: len(deployment.lines()) == 2, "it has ended")
    code, _, err = await deployment.command("forget", str(PERSON))
    assert (code, "--as id, or --as msisdn" in err) == (2, True)
    for nonsense in ("x", "0", "-5", "+", "+45 abc", "12345678901234567890"):
        assert (await deployment.command("forget", "--", nonsense))[0] == 2, nonsense
    assert (await said(deployment, "--as", "id", str(PERSON)))["messages"] == 1


async def test_a_person_is_asked_on_a_terminal(simulator: Simulator, deployment: Deployment) -> None:
    number = simulator.truth.add(recipients=[PERSON], steps=DONE)
    await deployment.start()
    deployment.insert([number])
    await until(lambda: len(deployment.lines()) == 2, "it has ended")
    assert "Known of" in on_terminal(deployment, "n\n", str(number))
    assert (await deployment.command("show", str(number)))[0] == 0
    assert "Removed." in on_terminal(deployment, "y\n", f"+{PERSON}")
    assert (await deployment.command("show", str(number)))[0] == 1


def on_terminal(deployment: Deployment, answer: str, *words: str) -> str:
    """The command with a terminal as its standard input; what it wrote."""
    ours, theirs = pty.openpty()
    try:
        os.write(ours, answer.encode())
        done = subprocess.run(
            [COMMAND, "forget", *words, "-c", deployment.config],
            stdin=theirs, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == (0 if answer.startswith("y") else 1), done.stderr
    return done.stdout


@pytest.mark.usefixtures("engine")
async def test_the_control_socket_does_the_same(simulator: Simulator, deployment: Deployment) -> None:
    number = simulator.truth.add(recipients=[PERSON], steps=DONE)
    await deployment.start()
    deployment.insert([number])
    await until(lambda: len(deployment.lines()) == 2, "it has ended")
    known = ask(deployment, "GET", f"/personal-data?msisdn={PERSON}")
    assert known == (200, {"messages": 1, "events": 2, "undelivered": 0, "still_polled": []})
    assert ask(deployment, "DELETE", f"/personal-data?msisdn={PERSON}") == known
    assert ask(deployment, "GET", f"/personal-data?id={number}")[1]["messages"] == 0
    assert ask(deployment, "GET", "/personal-data")[0] == 400
    assert ask(deployment, "DELETE", "/personal-data?id=1&msisdn=2")[0] == 400
    await until(lambda: not stored(deployment, PERSON), "no copy is left")


def ask(deployment: Deployment, method: str, path: str) -> tuple[int, Any]:
    connection = UnixConnection(deployment.folder / "control.sock", 30.0)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()
