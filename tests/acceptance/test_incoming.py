"""Incoming messages by the installed command: each reported once and in order, whatever happens meanwhile."""

from __future__ import annotations

import json
import os
import random
import subprocess
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pollerd.simulator import InboxStyle, Simulator, SimulatorConfig, Step
from tests.acceptance.conftest import Row
from tests.acceptance.deployment import Deployment
from tests.acceptance.waiting import until
from tests.integration.webhook_kit import receiving
from tests.sqlite_kit import rows, transaction
from tests.store_database import StoreDatabase

QUICK = 'policy = "exponential"\nfirst_poll_after = "50ms"\nmin_interval = "50ms"'
QUIET = '[accounts.default.incoming]\nevery = "150ms"'
FAULTS = ["500:0.5", "truncated:0.5", "429:0.2:retry_after=1"]
if os.environ.get("POLLERD_LONG", "") not in ("", "0"):
    FAULTS += ["gzip_bomb:0.3", "drop:0.5", "wrong_json:0.5", "html:0.5", "503:0.2", "cut:0.5"]
EAGER = '[accounts.default.incoming]\nevery = "100ms"'


def deployed(
    folder: Path, simulator: Simulator, incoming: str = EAGER, engine: StoreDatabase | None = None, **more: str
) -> Deployment:
    return Deployment(folder, simulator, engine, account=incoming, **more)


def received(deployment: Deployment) -> list[dict[str, Any]]:
    """What is in the file by now; a line that is just being written, or was torn by a kill, does not count yet."""
    content = deployment.file.read_bytes() if deployment.file.exists() else b""
    found = [json.loads(line) for line in content[: content.rfind(b"\n") + 1].splitlines()]
    return [event for event in found if event["type"] == "message.received"]


def asked(simulator: Simulator) -> int:
    """Requests for incoming messages so far."""
    return simulator.stats.by_action["incoming"]


async def looked(simulator: Simulator) -> None:
    """The daemon has asked once more, from beginning to end."""
    before = asked(simulator)
    await until(lambda: asked(simulator) > before + 1, "it asks again")


def status(deployment: Deployment) -> dict[str, Any]:
    """What the running daemon says of its reading."""
    command = ["curl", "-s", "--unix-socket", str(deployment.folder / "control.sock"), "http://localhost/status"]
    done = subprocess.run(command, capture_output=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)["accounts"][0]["incoming"]
    return found


async def more_than(count: int, deployment: Deployment) -> None:
    await until(lambda: len(received(deployment)) > count, "some more are reported")


def to_midnight(simulator: Simulator) -> float:
    """Seconds to the next midnight of the simulator's clock, in UTC."""
    now = datetime.fromtimestamp(simulator.now(), UTC)
    return ((now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0) - now).total_seconds()


@pytest.mark.long_on_postgresql
@pytest.mark.parametrize("order", ["newest", "oldest"])
async def test_each_is_reported_once_over_midnight_and_kills(
    order: Any, tmp_path: Path, engine: StoreDatabase | None, row: Row, long: bool
) -> None:
    """Pages shift while they are read, the gateway's clock passes midnight, and the daemon dies again and again."""
    kills, each = (10, 200) if long else (4, 60)
    rng = random.Random(order)
    config = SimulatorConfig(inbox=InboxStyle(order=order, zone=-7.0))
    async with Simulator(config) as simulator, deployed(tmp_path, simulator, engine=engine) as deployment:
        before = simulator.inbox.add("there before the first look", senttime=simulator.now() - 60)
        await deployment.start()
        await looked(simulator)
        simulator.skip(to_midnight(simulator) - 30)
        for number in range(kills):
            if number == kills // 2:
                simulator.skip(60)
            simulator.inbox.shift(3, "come")
            before_it = len(received(deployment))
            simulator.inbox.burst(each)
            if rng.random() < 0.7:
                await more_than(before_it, deployment)
            await deployment.kill()
            simulator.inbox.burst(each - each // 2)
            await deployment.start()
        simulator.inbox.shift(0)
        await until(lambda: len(received(deployment)) >= len(simulator.inbox) - 1, "all are reported")
        await looked(simulator)
        sent = {record.mosms_id: record for record in simulator.inbox.records if record.mosms_id != before}
        assert await deployment.stop() == 0
        found = received(deployment)
        requests = simulator.stats.by_action["incoming"]
        row(f"{order}: {len(sent)} messages, {kills} kills, {requests} requests, {len(found)} reported")
        assert sorted(event["incoming_id"] for event in found) == sorted(sent)
        for event in found:
            record = sent[event["incoming_id"]]
            assert (event["text"], event["msisdn"], event["receiver"]) == (record.message, record.msisdn, 451204)
        times = [(event["senttime"], event["incoming_id"]) for event in found]
        assert all(earlier < later for earlier, later in pairwise(times))


async def test_while_nothing_comes_a_look_is_one_request_and_looks_grow_rare(tmp_path: Path, row: Row) -> None:
    """More than a page of messages: the number alone is compared, until something comes."""
    async with Simulator() as simulator, deployed(tmp_path, simulator, QUIET) as deployment:
        simulator.inbox.burst(450)
        await deployment.start()
        await until(lambda: asked(simulator) >= 4, "the first look reads three pages, the next one the first again")
        await until(lambda: status(deployment)["interval"] >= 0.7, "looks grow rare")
        looks = asked(simulator)
        assert 4 <= looks <= 12
        assert received(deployment) == []
        await until(lambda: asked(simulator) > looks, "it goes on")
        simulator.inbox.add("STOP")
        await more_than(0, deployment)
        assert [event["text"] for event in received(deployment)] == ["STOP"]
        row(f"{asked(simulator)} requests")
        assert await deployment.stop() == 0


async def test_the_first_look_may_begin_at_a_day(tmp_path: Path) -> None:
    async with Simulator() as simulator:
        day = 86400.0
        today = to_midnight(simulator) + simulator.now() - day
        texts = {f"{days} days ago": today - days * day + 3600 for days in (5, 4, 3, 0)}
        since = datetime.fromtimestamp(today - 4 * day, UTC).date()
        for text, at in texts.items():
            simulator.inbox.add(text, senttime=at)
        simulator.skip(3700)
        async with deployed(tmp_path, simulator, f'{EAGER}\nsince = "{since}"') as deployment:
            await deployment.start()
            await more_than(2, deployment)
            await looked(simulator)
            assert [event["text"] for event in received(deployment)] == ["4 days ago", "3 days ago", "0 days ago"]


@pytest.mark.parametrize("refusal", ["403", "404"])
async def test_an_account_that_may_not_is_named_once_and_polled_as_before(refusal: str, tmp_path: Path) -> None:
    async with Simulator() as simulator, deployed(tmp_path, simulator, backoff=QUICK) as deployment:
        simulator.faults.set(f"{refusal}:on=incoming")
        await deployment.start()
        await until(lambda: status(deployment)["state"] == "denied", "the account may not")
        number = simulator.truth.add(steps=[Step(0.0, "DELIVERED")])
        deployment.insert([number])
        await until(lambda: deployment.pending() == 0, "the message is polled")
        assert asked(simulator) == 1
        said = [entry for entry in deployment.log() if entry.get("event") == "incoming_denied"]
        assert len(said) == 1
        assert "may not read incoming messages" in said[0]["message"]
        assert not [event for event in deployment.events() if event["type"] == "account.held"]
        # Another token is tried at once, and then whoever may reads what came meanwhile.
        simulator.faults.set()
        simulator.inbox.add("yes")
        (tmp_path / "token").write_text("another-token\n")
        await until(lambda: asked(simulator) > 1, "another token is tried")


async def test_what_a_proxy_writes_is_not_the_gateways_word(tmp_path: Path) -> None:
    async with Simulator() as simulator, deployed(tmp_path, simulator) as deployment:
        simulator.faults.set("404:on=incoming:form=html")
        await deployment.start()
        await until(lambda: asked(simulator) >= 3, "it is tried again soon")
        found = status(deployment)
        assert found["state"] == "reading"
        assert "proxy" in found["trouble"]
        simulator.faults.set()
        simulator.inbox.add("3", senttime=simulator.now() + 0.5)
        await more_than(0, deployment)
        assert status(deployment)["trouble"] is None
        events = [event["type"] for event in deployment.events()]
        assert events == ["message.received"]


async def test_a_hold_is_shared_and_ends_by_a_look_where_nothing_else_is_due(tmp_path: Path) -> None:
    async with Simulator() as simulator, deployed(tmp_path, simulator) as deployment:
        simulator.faults.set("429:retry_after=1:next=1")
        await deployment.start()
        simulator.inbox.add("yes", senttime=simulator.now() + 2)
        await more_than(0, deployment)
        told = [event["type"] for event in deployment.events()]
        assert told == ["account.held", "account.recovered", "message.received"]


async def test_a_hold_does_not_outlive_the_gateways_word_that_the_account_may_not(tmp_path: Path) -> None:
    """With nothing to poll, this refusal is the only answer for an hour."""
    async with Simulator() as simulator, deployed(tmp_path, simulator) as deployment:
        simulator.faults.set("429:retry_after=1:next=1", "403:on=incoming")
        await deployment.start()
        await until(lambda: len(deployment.events()) == 2, "the hold is over")
        assert [event["type"] for event in deployment.events()] == ["account.held", "account.recovered"]
        assert status(deployment)["state"] == "denied"


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_gateway_in_trouble_costs_time_alone(fault: str, tmp_path: Path, row: Row) -> None:
    async with Simulator() as simulator, deployed(tmp_path, simulator) as deployment:
        await deployment.start()
        await looked(simulator)
        simulator.faults.set(f"{fault}:on=incoming")
        simulator.inbox.burst(450)
        await until(lambda: len(received(deployment)) >= 450, "all are reported")
        ids = [event["incoming_id"] for event in received(deployment)]
        assert len(set(ids)) == len(ids) == 450
        row(f"{fault}: {asked(simulator)} requests")


async def test_the_webhook_gets_the_vendors_form_and_each_database_its_own(tmp_path: Path) -> None:
    """What a receiver reads out of the token is the vendor's payload, and a statement for states meets no answer."""
    shop = tmp_path / "shop.db"
    with transaction(shop) as connection:
        connection.execute("CREATE TABLE sms (id INTEGER, phone INTEGER, status TEXT DEFAULT 'sent', kind TEXT)")
        connection.execute("INSERT INTO sms (id, phone) VALUES (1, 4587654321)")
        connection.execute("CREATE TABLE inbox (id INTEGER PRIMARY KEY, phone INTEGER, text TEXT, at REAL)")
    async with Simulator() as simulator, receiving() as receiver:
        more = (
            f'[outputs.webhook]\nurl = "{receiver.url}"\nsecret = "{receiver.secret}"\n'
            f'[[outputs.sqlite]]\npath = "{shop}"\n'
            'statement = "UPDATE sms SET status = :status, kind = :type WHERE phone = :msisdn"\n'
            f'[[outputs.sqlite]]\npath = "{shop}"\n'
            'statement = "INSERT OR IGNORE INTO inbox VALUES (:incoming_id, :msisdn, :text, :senttime)"\n'
        )
        async with deployed(tmp_path, simulator, more=more, backoff=QUICK) as deployment:
            deployment.config.chmod(0o600)
            await deployment.start()
            await looked(simulator)
            at = simulator.now()
            mine = simulator.inbox.add("ja \U0001f44d\n2. linje", msisdn=4587654321, senttime=at, label="svar")
            await until(lambda: receiver.got, "the receiver has it")
            assert receiver.got == [
                {
                    "id": mine,
                    "msisdn": 4587654321,
                    "receiver": 451204,
                    "message": "ja \U0001f44d\n2. linje",
                    "senttime": int(at),
                    "webhook_label": "svar",
                }
            ]
            number = simulator.truth.add(recipients=[4587654321], steps=[Step(0.0, "DELIVERED")])
            deployment.insert([number])
            await until(lambda: rows(shop, "SELECT status FROM sms") == [("DELIVERED",)], "its state is written")
            await until(lambda: len(receiver.got) == 2, "its state is posted")
            assert receiver.got[1]["status"] == "DELIVERED"
            assert rows(shop, "SELECT kind FROM sms") != [("message.received",)]
            assert rows(shop, "SELECT * FROM inbox") == [(mine, 4587654321, "ja \U0001f44d\n2. linje", at)]


async def test_the_text_is_nowhere_but_in_its_event_and_goes_after_keep(tmp_path: Path, row: Row) -> None:
    """A webhook that takes nothing keeps events of its own: they lose the text as well."""
    secret = "a text that somebody wrote"
    more = '[outputs.webhook]\nurl = "http://127.0.0.1:9/"\n'
    incoming = f'{EAGER}\nkeep = "1m"'
    async with Simulator() as simulator, deployed(tmp_path, simulator, incoming, more=more) as deployment:
        await deployment.start()
        await looked(simulator)
        simulator.inbox.add(secret)
        simulator.inbox.add(secret * 400)
        await more_than(1, deployment)
        await until(lambda: deployment.query("SELECT count(*) FROM deliveries")[0][0] == 2, "the webhook keeps both")
        for command in (("status", "--json"), ("status",), ("list", "--json"), ("doctor", "--json")):
            _, out, err = await deployment.command(*command)
            assert secret not in out + err, command
        assert secret in (await deployment.command("events", "--json"))[1]
        # So that the test need not wait for a minute: they were found long ago.
        assert await deployment.stop() == 0
        with transaction(deployment.database) as connection:
            connection.execute("UPDATE incoming SET found_at = found_at - 3600")
        await deployment.start()
        await until(
            lambda: deployment.query("SELECT count(*) FROM incoming WHERE text_seq IS NOT NULL")[0][0] == 0,
            "the texts are removed",
            patience=120.0,
        )
        await until(lambda: secret.encode() not in on_disk(deployment), "nothing is left on disk", patience=120.0)
        assert secret not in deployment.text_log()
        _, out, _ = await deployment.command("events", "--json")
        left = [json.loads(line) for line in out.splitlines()]
        assert [(event["text"], event["text_removed"]) for event in left] == [(None, True)] * 2
        assert await deployment.stop() == 0
        places = [path for path in tmp_path.iterdir() if path.is_file() and path != deployment.file]
        assert [path.name for path in places if secret.encode() in path.read_bytes()] == []
        row(f"searched {len(places)} files")


def on_disk(deployment: Deployment) -> bytes:
    """The database as any other program could read it, with its write-ahead log."""
    wal = deployment.database.with_name(deployment.database.name + "-wal")
    return deployment.database.read_bytes() + (wal.read_bytes() if wal.exists() else b"")


async def test_what_is_forgotten_does_not_come_back(tmp_path: Path, engine: StoreDatabase | None) -> None:
    async with Simulator() as simulator, deployed(tmp_path, simulator, engine=engine) as deployment:
        await deployment.start()
        await looked(simulator)
        simulator.inbox.add("STOP", msisdn=4587654321)
        await more_than(0, deployment)
        code, out, _ = await deployment.command("forget", "+4587654321", "--yes")
        assert code == 0, out
        await looked(simulator)
        simulator.inbox.add("yes", msisdn=4587654322)
        await more_than(1, deployment)
        _, out, _ = await deployment.command("events", "--json")
        found = [json.loads(line) for line in out.splitlines()]
        assert [event["type"] for event in found] == ["event.forgotten", "message.received"]


async def test_doctor_tries_the_right(tmp_path: Path) -> None:
    async with Simulator() as simulator, deployed(tmp_path, simulator) as deployment:
        for fault, state in ((None, "ok"), ("403:on=incoming", "failure"), ("500:on=incoming", "warning")):
            simulator.faults.set(*([] if fault is None else [fault]))
            _, out, _ = await deployment.command("doctor", "--json")
            (check,) = [each for each in json.loads(out)["checks"] if each["name"] == "default: incoming messages"]
            assert check["level"] == state, check
        simulator.inbox.add("a text")
        _, out, err = await deployment.command("doctor")
        assert "a text" not in out + err
