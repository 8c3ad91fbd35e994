"""An application's own SQLite database as source and target, through the installed command, as its page says it."""

from __future__ import annotations

import asyncio
import json
import random
import re
import sqlite3
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

from pollerd.simulator import Simulator, SimulatorConfig, Step
from tests.acceptance.conftest import Row
from tests.acceptance.crash_kit import FAST, LIVELY, QUICK
from tests.acceptance.deployment import Deployment
from tests.acceptance.doctor_kit import doctor
from tests.acceptance.waiting import until
from tests.sqlite_kit import autocommit

PAGE = Path(__file__).parents[2] / "docs" / "databases.md"
STEPS = (Step(0, "BUFFERED"), Step(8, "ENROUTE"), Step(24, "DELIVERED"))


def block(language: str) -> str:
    """The page's first block of code in that language."""
    found = re.search(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


def recipe(shop: Path) -> str:
    return block("toml").replace("/srv/shop/shop.db", str(shop)).replace('every = "5s"', 'every = "200ms"')


@asynccontextmanager
async def shop_and_daemon(
    folder: Path, tables: str, more: str, *, speed: float
) -> AsyncIterator[tuple[sqlite3.Connection, Simulator, Deployment]]:
    """The application's database, and a daemon for it that has not started. {shop} in `more` is the database's path."""
    shop = folder / "shop.db"
    with autocommit(shop) as opened:
        opened.executescript(tables)
        async with (
            Simulator(SimulatorConfig(speed=speed, population=LIVELY)) as simulator,
            Deployment(folder, simulator, limits=FAST, backoff=QUICK, more=more.format(shop=shop)) as deployment,
        ):
            yield opened, simulator, deployment


async def undelivered(deployment: Deployment) -> list[dict[str, Any]]:
    code, out, _ = await deployment.command("events", "--undelivered", "--json")
    assert code == 0
    return [json.loads(line) for line in out.splitlines()]


class Application:
    """Writes the row of a message either before it is sent, or two seconds after its last recipient has its end."""

    def __init__(
        self, shop: sqlite3.Connection, deployment: Deployment, simulator: Simulator, late: asyncio.TaskGroup
    ) -> None:
        """`late` ends when the last row is written."""
        self.ids: list[int] = []
        self._shop = shop
        self._deployment = deployment
        self._simulator = simulator
        self._late = late

    def send(self, count: int) -> None:
        for n in range(count):
            new = self._simulator.truth.add(recipients=1 + n % 2, steps=STEPS)
            if n % 3:
                self._late.create_task(self._write_late(new))
                self._deployment.insert([new])
            else:
                self._write(new)
            self.ids.append(new)

    async def _write_late(self, new: int) -> None:
        ends = self._simulator.truth.final(new).values()
        await asyncio.sleep(max(end.at for end in ends if end is not None) + 2.0 - time.time())
        self._write(new)

    def _write(self, new: int) -> None:
        rows = [(str(new), recipient.msisdn) for recipient in self._simulator.record(new).recipients]
        self._shop.executemany("INSERT INTO sms (gateway_id, msisdn) VALUES (?, ?)", rows)


async def test_the_recipe_through_twenty_kills_late_rows_and_refused_events(tmp_path: Path, row: Row) -> None:
    """Every row ends with the gateway's state, none goes back, and what the table refuses is listed by name."""
    rng, shop = random.Random(11), tmp_path / "shop.db"
    with autocommit(shop) as application_database:
        application_database.executescript(block("sql"))
        application_database.executescript("""
            CREATE TRIGGER never_enroute BEFORE UPDATE ON sms
            WHEN new.status = 'ENROUTE' AND new.gateway_id % 7 = 1 BEGIN SELECT RAISE(ABORT, 'never enroute'); END;
            CREATE TRIGGER never_delivered BEFORE UPDATE ON sms
            WHEN new.status = 'DELIVERED' AND new.gateway_id % 7 = 0 BEGIN SELECT RAISE(ROLLBACK, 'never here'); END;
            CREATE TABLE journal (gateway_id, msisdn, status);
            CREATE TRIGGER journal AFTER UPDATE ON sms
            BEGIN INSERT INTO journal VALUES (new.gateway_id, new.msisdn, new.status); END;
        """)
        async with (
            Simulator(SimulatorConfig(speed=20, population=LIVELY)) as simulator,
            Deployment(tmp_path, simulator, limits=FAST, backoff=QUICK, more=recipe(shop)) as deployment,
        ):
            process = await deployment.start(environment={"POLLERD_FAILPOINTS": "target.written=kill:3"})
            async with asyncio.TaskGroup() as late:
                application = Application(application_database, deployment, simulator, late)
                for n in range(20):
                    application.send(12)
                    if n % 4:
                        await asyncio.sleep(rng.uniform(0.05, 0.6))
                        await deployment.kill()
                    else:
                        # Between the two databases: what is written there comes again.
                        await until(lambda: process.returncode is not None, "it is killed")  # noqa: B023 - awaited here
                    armed = {"POLLERD_FAILPOINTS": f"target.written=kill:{rng.randrange(1, 9)}"}
                    process = await deployment.start(environment=armed if n % 4 == 3 and n < 19 else {})
            await until(lambda: deployment.pending() == 0, "all has ended")
            await until(lambda: not waiting(deployment, shop), "nothing waits any more")
            refused = {i for i in application.ids if i % 7 == 0}
            listed = await undelivered(deployment)
            assert {event["id"] for event in listed} == refused
            assert {(e["status"], e["delivery"]["state"], e["delivery"]["error"]) for e in listed} == {
                ("DELIVERED", "parked", "never here")
            }
            named = " ".join(record["message"] for record in deployment.log() if record.get("event") == "output_parked")
            assert any(f"(message {i}, DELIVERED)" in named for i in refused)
            check_rows(application_database, simulator, set(application.ids) - refused, application.ids)
            application_database.execute("DROP TRIGGER never_delivered")
            code, out, _ = await deployment.command("retry", "--undelivered", "--json")
            assert (code, json.loads(out)) == (0, {"taken_up": len(listed)})
            await until(lambda: not deployment.query("SELECT 1 FROM unwritten"), "what was parked is written")
            check_rows(application_database, simulator, set(application.ids), application.ids)
            assert await deployment.stop() == 0
        rows, changes = (
            application_database.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in ("sms", "journal")
        )
    row(f"20 kills, {rows} rows, {changes} changes, {len(listed)} parked")


def waiting(deployment: Deployment, shop: Path) -> bool:
    last = deployment.query("SELECT coalesce(max(seq), 0) FROM events")[0][0]
    place = deployment.query("SELECT seq FROM outputs WHERE name = ?", f"sqlite {shop}")
    return not place or place[0][0] < last or bool(deployment.query("SELECT 1 FROM unwritten WHERE state = 0"))


def check_rows(shop: sqlite3.Connection, simulator: Simulator, final: set[int], every: list[int]) -> None:
    """The rows of `final` messages have the gateway's last state; none of `every` was ever taken back."""
    found = {(int(i), m): (s, f) for i, m, s, f in shop.execute("SELECT gateway_id, msisdn, status, final FROM sms")}
    truth = {(i, r.msisdn): (r.final, 1) for i in every for r in simulator.record(i).recipients}
    assert found.keys() == truth.keys()
    assert {key: found[key] for key in truth if key[0] in final} == {
        key: end for key, end in truth.items() if key[0] in final
    }
    orders: dict[tuple[str, int], list[str]] = defaultdict(list)
    for message, msisdn, state in shop.execute("SELECT * FROM journal ORDER BY rowid"):
        orders[message, msisdn].append(state)
    states = [step.status for step in STEPS]
    for key, order in orders.items():
        once = [state for state, _ in groupby(order)]
        assert once == sorted(once, key=states.index), (key, order)


async def test_a_row_that_is_not_there_yet_is_waited_for_and_said(tmp_path: Path) -> None:
    """A plain UPDATE and nothing else said: listed, counted, and written when the application has its row."""
    shop = tmp_path / "shop.db"
    more = """
[[outputs.sqlite]]
path = "{shop}"
statement = "UPDATE sms SET status = :status WHERE id = :id"
[metrics]
listen = "127.0.0.1:0"
"""
    tables = "CREATE TABLE sms (id INTEGER PRIMARY KEY, status TEXT)"
    async with shop_and_daemon(tmp_path, tables, more, speed=100) as (opened, simulator, deployment):
        await deployment.start()
        message = simulator.truth.add(steps=[Step(0, "DELIVERED")])
        deployment.insert([message])
        await until(lambda: deployment.query("SELECT attempts FROM unwritten WHERE attempts > 1"), "it is tried")
        (listed,) = await undelivered(deployment)
        assert (listed["id"], listed["status"], listed["output"]) == (message, "DELIVERED", f"sqlite {shop}")
        assert listed["delivery"]["state"] == "waiting"
        assert listed["delivery"]["error"] == "no row was changed"
        assert "1 waits to be written" in (await deployment.command("status"))[1]
        status = json.loads((await deployment.command("status", "--json"))[1])
        assert status["undelivered"] == {"waiting": 1, "parked": 0}
        (output,) = [each for each in status["outputs"] if each["name"] == f"sqlite {shop}"]
        assert (output["waiting"], output["parked"], output["trouble"]) == (1, 0, None)
        opened.execute("INSERT INTO sms (id) VALUES (?)", (message,))
        await until(lambda: opened.execute("SELECT status FROM sms").fetchone() == ("DELIVERED",), "it is written")
        await until(lambda: not deployment.query("SELECT 1 FROM unwritten"), "it is not kept any more")
        assert await deployment.stop() == 0


async def test_an_id_in_another_form_than_the_number_is_found_again(tmp_path: Path, row: Row) -> None:
    """The source is lenient; the statement gets what it gave, or the number where no source gave any.

    Also when the query gives the row no longer, and when it is another one by now.
    """
    tmp_path / "shop.db"
    forms: list[Callable[[int], object]] = [
        lambda i: f"{i} ",
        lambda i: f"000{i}",
        lambda i: f"\t{i}\n",
        float,
        str,
        int,
    ]
    more = """
[[sources.sqlite]]
path = "{shop}"
query = "SELECT id FROM sms WHERE status IS NULL AND given = 1"
every = "200ms"
[[outputs.sqlite]]
path = "{shop}"
statement = "UPDATE sms SET status = :status, final = :final WHERE id IS :source_id"
"""
    tables = "CREATE TABLE sms (id, gateway_id INTEGER, given INTEGER, status TEXT, final INTEGER)"
    async with shop_and_daemon(tmp_path, tables, more, speed=20) as (opened, simulator, deployment):
        ids = [simulator.truth.add(steps=STEPS) for _ in range(24)]
        for n, number in enumerate(ids):
            opened.execute("INSERT INTO sms VALUES (?, ?, 1, NULL, NULL)", (forms[n % 6](number), number))
        other = simulator.truth.add(steps=STEPS)
        opened.execute("INSERT INTO sms VALUES (?, ?, 0, NULL, NULL)", (other, other))
        await deployment.start()
        deployment.insert([other])
        await until(lambda: deployment.query("SELECT count(*) FROM source_ids") == [(20,)], "they are taken up")
        assert await deployment.stop() == 0
        deployment.config.write_text(deployment.config.read_text().replace("AND given = 1", "AND given = 2"))
        await deployment.start()
        await until(
            lambda: opened.execute("SELECT count(*) FROM sms WHERE final = 1").fetchone() == (25,), "all are final"
        )
        assert await undelivered(deployment) == []
        assert await deployment.stop() == 0
    row("24 ids in 6 forms, 1 without a source")


async def test_a_refused_event_is_parked_by_name_superseded_and_never_brought_back(tmp_path: Path) -> None:
    shop = tmp_path / "shop.db"
    more = """
[[outputs.sqlite]]
path = "{shop}"
statement = "UPDATE sms SET status = :status WHERE id = :id"
retry_after = ["50ms"]
"""
    tables = "CREATE TABLE sms (id INTEGER PRIMARY KEY, status TEXT CHECK (status NOT IN ('ENROUTE', 'EXPIRED')))"
    async with shop_and_daemon(tmp_path, tables, more, speed=10) as (opened, simulator, deployment):
        await deployment.start()
        gone = simulator.truth.add(steps=[Step(0, "EXPIRED")])
        moving = simulator.truth.add(steps=[Step(0, "ENROUTE"), Step(20, "DELIVERED")])
        opened.executemany("INSERT INTO sms (id) VALUES (?)", [(gone,), (moving,)])
        deployment.insert([gone, moving])
        await until(
            lambda: opened.execute("SELECT status FROM sms WHERE id = ?", (moving,)).fetchone() == ("DELIVERED",),
            "the rest goes on",
        )
        await until(lambda: not waiting(deployment, shop), "all is settled")
        (listed,) = await undelivered(deployment)
        assert (listed["id"], listed["delivery"]["state"], listed["delivery"]["attempts"]) == (gone, "parked", 2)
        assert listed["delivery"]["error"].startswith("CHECK constraint failed: status NOT IN")
        said = [record["message"] for record in deployment.log() if record.get("event") == "output_parked"]
        assert any(f"event {listed['seq']} (message {gone}, EXPIRED)" in text for text in said)
        told = "1 parked, no attempt is left: see pollerd events --undelivered"
        assert told in (await deployment.command("status"))[1]
        seen = await doctor(deployment)
        assert seen.level("undelivered") == "warning"
        assert f"output sqlite {shop}: 1 event is parked" in seen.evidence("undelivered")
        assert 'an event that changes no row is tried again (no_row = "retry")' in seen.evidence("output sqlite")
        # The name of the option before outputs into databases had the same need.
        code, out, _ = await deployment.command("retry", "--webhook", "--json")
        assert (code, json.loads(out)) == (0, {"taken_up": 1})
        await until(lambda: not waiting(deployment, shop), "it is tried and parked again")
        assert [event["id"] for event in await undelivered(deployment)] == [gone]
        assert dict(opened.execute("SELECT id, status FROM sms")) == {gone: None, moving: "DELIVERED"}
        assert await deployment.stop() == 0


async def test_doctor_tries_statement_and_query(tmp_path: Path) -> None:
    shop = tmp_path / "shop.db"
    more = f"""
[[sources.sqlite]]
path = "{shop}"
query = "SELECT gateway_id FROM sms"
[[outputs.sqlite]]
path = "{shop}"
statement = "UPDATE sms SET state = :status WHERE id = :id AND seq < :seq"
"""
    with autocommit(shop) as opened:
        opened.execute("CREATE TABLE sms (id INTEGER PRIMARY KEY, status TEXT)")
    async with (
        Simulator(SimulatorConfig(population=LIVELY)) as simulator,
        Deployment(tmp_path, simulator, more=more) as deployment,
    ):
        seen = await doctor(deployment)
        assert "the query cannot be run: no such column: gateway_id" in seen.evidence("source sqlite")
        assert "the statement cannot be run: no such column: state" in seen.evidence("output sqlite")
        assert "correct the statement in [[outputs.sqlite]], or the table" in seen.next_step("output sqlite")
        with autocommit(shop) as opened:
            opened.executescript("ALTER TABLE sms ADD COLUMN seq; ALTER TABLE sms RENAME COLUMN status TO state;")
        assert 'counts as reported (no_row = "ignore")' in (await doctor(deployment)).evidence("output sqlite")
