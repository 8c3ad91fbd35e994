"""The same id for a second account: refused by name wherever it can be seen, and the first account keeps it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

import pollerd
from pollerd.base.errors import PollerdError
from pollerd.simulator import Population, Simulator, SimulatorConfig, Step
from tests.acceptance.deployment import Deployment
from tests.acceptance.test_faults_identity import curl
from tests.acceptance.waiting import until
from tests.sqlite_kit import autocommit
from tests.store_database import StoreDatabase

NAMED = "is followed for the account 'default'"


async def test_an_account_configured_later_keeps_its_messages_to_their_deadline(
    tmp_path: Path, engine: StoreDatabase | None
) -> None:
    """It was held for ten days in an earlier configuration; a message handed over since then does not wait them out."""
    soon = 'give_up_after = "3s"\nnot_found_grace = "1s"\nmin_interval = "100ms"\nmax_interval = "1s"'
    async with Simulator() as simulator, Deployment(tmp_path, simulator, engine, backoff=soon) as deployment:
        number = simulator.truth.add(steps=[Step(0.0, "ENROUTE")])
        await deployment.start()
        deployment.store.execute("INSERT INTO accounts (name, held_total) VALUES ('late', 864000.0)")
        deployment.store.execute("INSERT INTO messages (id, account) VALUES (?, 'late')", number)
        await until(lambda: deployment.query("SELECT 1 FROM messages WHERE state = 1"), "it is planned")
        assert await deployment.stop() == 0
        late = f'[accounts.late]\nbase_url = "{simulator.url}"\ntoken = "simulator-demo"\n'
        deployment.config.write_text(deployment.config.read_text() + late)
        await deployment.start()
        await until(lambda: any(e["type"] == "message.gave_up" for e in deployment.events()), "it ends")
        assert await deployment.stop() == 0


async def test_every_way_to_hand_over_refuses_it(tmp_path: Path, engine: StoreDatabase | None) -> None:
    async with (
        Simulator(SimulatorConfig(population=Population(any_id=True))) as simulator,
        Deployment(tmp_path, simulator, engine) as deployment,
    ):
        shop = tmp_path / "shop.db"
        with autocommit(shop) as application:
            application.execute("CREATE TABLE sms (id, account)")
            application.execute("INSERT INTO sms VALUES (1, 'second'), (1, 'default'), (7, 'default'), (7, 'second')")
        second = f'[accounts.second]\nbase_url = "{simulator.url}"\ntoken = "simulator-demo"\n'
        source = f'[[sources.sqlite]]\npath = "{shop}"\nquery = "SELECT id, account FROM sms"\nevery = "100ms"\n'
        deployment.config.write_text(deployment.config.read_text() + second)
        assert (await deployment.command("track", "1", "2"))[0] == 0
        assert (await deployment.command("track", "4", "--account", "second"))[0] == 0
        await deployment.start()

        code, out, err = await deployment.command("track", "1", "3", "2", "--account", "second", "--json")
        assert (code, err) == (1, "")
        assert [json.loads(out)[key] for key in ("tracked", "already_followed", "refused")] == [1, 0, 2]
        assert [each["text"] for each in json.loads(out)["refusals"]] == ["1", "2"]
        code, out, err = await deployment.command("track", "-", "--account", "second", stdin=b"2\n3\n")
        assert (code, f"2 {NAMED}" in err, "already followed 1" in out) == (1, True, True)
        # Without a name it is handed over for the default account.
        code, _, err = await deployment.command("track", "4")
        assert (code, "4 is followed for the account 'second'" in err) == (1, True)
        assert (await deployment.command("track", "1"))[0] == 0

        status, _, body = await curl(deployment, "/messages", '{"ids": [1, 2], "account": "second"}')
        answer = json.loads(body)
        assert (status, answer["tracked"], answer["known"], answer["refused_count"]) == (422, 0, 0, 2)
        assert NAMED in answer["refused"][0]["reason"]
        twice = '[{"id": 5, "account": "second"}, {"id": 5, "account": "default"}, {"id": 2}]'
        status, _, body = await curl(deployment, "/messages", twice)
        answer = json.loads(body)
        assert (status, answer["tracked"], answer["known"], answer["refused_count"]) == (200, 1, 1, 1)

        for place in ({"config": deployment.config}, {"socket": tmp_path / "control.sock"}):
            with pytest.raises(PollerdError, match=f"1 {NAMED}"):
                await asyncio.to_thread(pollerd.Client(**place).track, 1, 6, account="second")

        assert await deployment.stop() == 0
        deployment.config.write_text(deployment.config.read_text() + source)
        await deployment.start()
        refused = "source_id_refused"
        await until(lambda: sum(e["event"] == refused for e in deployment.log()) >= 2, "the source's are named")
        told = [e["message"] for e in deployment.log() if e["event"] == refused]
        assert [NAMED in text for text in told] == [True, True]
        assert [f"shop.db: {number} is followed" in text for number, text in zip((1, 7), told, strict=True)] == [
            True
        ] * 2
        assert await deployment.stop() == 0
        found = dict(deployment.query("SELECT id, account FROM messages"))
        assert found == {1: "default", 2: "default", 3: "second", 4: "second", 5: "second", 6: "second", 7: "default"}
