"""An application's table in PostgreSQL and in MariaDB as source and target: the recipes of the documentation at work.

The long form (POLLERD_LONG=1) follows ten thousand rows through ten kills and three restarts of the server, once with
rows that are there before their message is sent, once with rows that come when it is long delivered.
"""

from __future__ import annotations

import asyncio
import random
import tomllib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pymysql
import pytest

from pollerd.simulator import Simulator, SimulatorConfig
from tests.acceptance.conftest import Row
from tests.acceptance.crash_kit import FAST, LIVELY, QUICK
from tests.acceptance.deployment import Deployment
from tests.acceptance.doctor_kit import doctor
from tests.acceptance.shop_kit import Application, Shop, differences, recipe
from tests.acceptance.waiting import until
from tests.servers.database import PASSWORD, Database, DatabaseServer
from tests.servers.mariadb import MariaDb
from tests.servers.postgresql import PostgreSql

KINDS = {"postgresql": PostgreSql, "mariadb": MariaDb}


@pytest.fixture(params=KINDS)
def own_database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A database in a server that the test may kill, and that keeps what is committed."""
    request.getfixturevalue(f"has_{request.param}")
    with KINDS[request.param](durable=True) as server, server.database() as database:
        yield database


@pytest.fixture(params=KINDS)
def shop(request: pytest.FixtureRequest) -> Shop:
    """The recipe's table in the worker's server."""
    made = Shop(request.getfixturevalue(f"{request.param}_database"))
    made.set_up()
    return made


def test_the_recipes_user_may_do_what_it_needs_and_no_more(shop: Shop) -> None:
    """It reads and writes as the recipe says, by the recipe's index, and never sees the text of an SMS."""
    shop.insert([(n, 4512345678) for n in range(1, 3000)])
    shop.database.execute("UPDATE sms SET final = true WHERE gateway_id > 3")
    shop.database.execute(f"ANALYZE {'' if shop.kind == 'postgresql' else 'TABLE '}sms")
    query = tomllib.loads(recipe(shop.kind).toml)["sources"]["sql"][0]["query"]
    with closing(shop.database.connect("pollerd")) as connection, closing(connection.cursor()) as cursor:
        cursor.execute(query)
        assert {number for number, _ in cursor.fetchall()} == {1, 2, 3}
        cursor.execute(f"EXPLAIN {query}")
        assert "sms_open" in str(cursor.fetchall())
        cursor.execute(
            "UPDATE sms SET status = 'X', final = true, status_seq = 1 WHERE gateway_id = 1 AND status_seq <= 1"
        )
        for forbidden in (
            "SELECT body FROM sms",
            "UPDATE sms SET msisdn = 1",
            "DELETE FROM sms",
            "INSERT INTO sms (gateway_id, msisdn) VALUES (1, 1)",
            "CREATE TABLE another (n INTEGER)",
        ):
            with pytest.raises((psycopg.errors.InsufficientPrivilege, pymysql.OperationalError), match="denied"):
                cursor.execute(forbidden)
    assert shop.states()[1, 4512345678] == ("X", True)


@pytest.mark.parametrize("rows", [0, 3000])
async def test_the_doctor_finds_nothing_wrong_with_the_recipe(shop: Shop, tmp_path: Path, rows: int) -> None:
    if rows:
        shop.insert([(n, 4512345678) for n in range(1, rows)])
        shop.database.execute("UPDATE sms SET final = true WHERE gateway_id > 3")
    async with Simulator() as simulator, Deployment(tmp_path, simulator, more=shop.settings(tmp_path)) as deployment:
        seen = await doctor(deployment)
    for check in ("source sql", "output sql"):
        assert seen.level(check) == "ok", seen.evidence(check)
        assert PASSWORD not in seen.evidence(check)


@pytest.mark.timeout(3600)
async def test_every_row_has_the_gateways_state_after_kills_and_restarts(
    own_database: Database, tmp_path: Path, row: Row, long: bool
) -> None:
    rounds = [(10_000, 10, 3, 0.0), (10_000, 10, 3, 1.0)] if long else [(300, 3, 1, 0.4)]
    for n, (rows, kills, restarts, late) in enumerate(rounds):
        folder = tmp_path / str(n)
        folder.mkdir()
        with own_database.server.database() as database:
            shop = Shop(database)
            shop.set_up()
            async with (
                Simulator(SimulatorConfig(speed=20, population=LIVELY)) as simulator,
                Deployment(folder, simulator, limits=FAST, backoff=QUICK, more=shop.settings(folder)) as deployment,
            ):
                row(await followed(shop, simulator, deployment, rows, kills, restarts, late))


async def followed(
    shop: Shop, simulator: Simulator, deployment: Deployment, rows: int, kills: int, restarts: int, late: float
) -> str:
    """Follow so many rows, `late` the share of those that come late; what was counted."""
    rng = random.Random(15)
    await deployment.start()
    application = Application(shop, deployment, simulator)
    ends = [restart_server] * restarts + [kill_daemon] * kills
    rng.shuffle(ends)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(application.run())
        for end in ends:
            share = rows // len(ends)
            while application.rows < rows and share > 0:
                before = application.rows
                application.send(min(20, share), late=rng.random() < late)
                share -= application.rows - before
                await asyncio.sleep(rng.uniform(0.0, 0.2))
            await end(shop.database.server, deployment, application, rng)
        while application.rows < rows:
            application.send(10, late=rng.random() < late)
        application.close()
    await until(lambda: written(deployment, len(application.ids)), "all has ended, and is written", patience=600)
    assert differences(shop, simulator, application.ids) == []
    assert deployment.query("SELECT 1 FROM unwritten") == []
    assert "secret text" not in deployment.text_log()
    assert await deployment.stop() == 0
    return (
        f"{application.rows} rows of {len(application.ids)} messages, {kills} kills, {restarts} restarts of the server "
        f"({application.away} times away), late {late:.0%}: {len(shop.audit())} updates, 0 differences"
    )


def written(deployment: Deployment, messages: int) -> bool:
    """Every message is known and has ended, and every event of it has arrived in the table."""
    if deployment.query("SELECT count(*) FROM messages WHERE state = 2") != [(messages,)]:
        return False
    last = deployment.query("SELECT max(seq) FROM events")
    place = deployment.query("SELECT seq FROM outputs WHERE name LIKE 'sql %'")
    return place == last and not deployment.query("SELECT 1 FROM unwritten WHERE state = 0")


async def kill_daemon(
    server: DatabaseServer, deployment: Deployment, application: Application, rng: random.Random
) -> None:
    """Anywhere."""
    await asyncio.sleep(rng.uniform(0.0, 0.3))
    await deployment.kill()
    await deployment.start()


async def restart_server(
    server: DatabaseServer, deployment: Deployment, application: Application, rng: random.Random
) -> None:
    """By its administrator, or by a crash; and a kill of the daemon at the worst moment.

    While the server is away the rows of some messages pass several states. All of them are committed there together,
    and the daemon dies before it knows: they come again, the oldest first.
    """
    application.send(20, late=False)
    known = "SELECT count(*) FROM messages WHERE id >= ?"
    await until(lambda: deployment.query(known, application.ids[-20]) == [(20,)], "the source has given them")
    await asyncio.to_thread(server.kill if rng.random() < 0.5 else server.stop)
    await deployment.kill()
    process = await deployment.start(environment={"POLLERD_FAILPOINTS": "target.written=kill:1"})
    place = "coalesce((SELECT seq FROM outputs WHERE name LIKE 'sql %'), 0)"
    waiting = f"SELECT 1 FROM events WHERE seq > {place} GROUP BY message_id HAVING count(*) > 2"
    await until(lambda: deployment.query(waiting), "a row has passed two states")
    await asyncio.to_thread(server.start)
    await until(lambda: process.returncode is not None, "it is killed")
    await deployment.start()
