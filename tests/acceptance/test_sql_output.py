"""What a user sees of an output into PostgreSQL or MariaDB when something is wrong: a sentence with what to do."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from pollerd.simulator import Simulator, SimulatorConfig, Step
from tests.acceptance.crash_kit import LIVELY
from tests.acceptance.deployment import Deployment
from tests.acceptance.doctor_kit import doctor
from tests.acceptance.waiting import until
from tests.integration.sql_kit import Shop, shop_in
from tests.servers.database import PASSWORD
from tests.servers.program import free_port
from tests.servers.proxy import Proxy

TOLD: Final = "UPDATE sms SET status = :status WHERE id = :id"


@pytest.fixture(params=["postgresql", "mariadb"])
def shop(request: pytest.FixtureRequest) -> Iterator[Shop]:
    with shop_in(request.getfixturevalue(f"{request.param}_database")) as made:
        yield made


class Bad(NamedTuple):
    """What is wrong with an output, what its user reads of it, and what the doctor says, first of all what to do."""

    table: dict[str, str]
    trouble: str
    found: str
    step: str
    level: str = "failure"


def bad_cases(shop: Shop) -> dict[str, Bad]:
    """Each an output of its own, by what is wrong."""
    url = shop.database.url(shop.user)
    role, name = shop.user, shop.database.name
    table = "relation" if shop.postgresql else "Table"
    return {
        "a wrong password": Bad(
            {"password": "another-one"},
            "refuses the user or the password (",
            "refuses the user or the password (",
            "correct the user in the url, or password_file",
        ),
        "no such table": Bad(
            {"statement": "UPDATE other SET status = :status WHERE id = :id"},
            f"does not have what the statement names ({table}",
            "other",
            "correct the statement, or the table",
        ),
        "a wrong column": Bad(
            {"statement": "UPDATE sms SET state = :status WHERE id = :id"},
            "does not have what the statement names (",
            "state",
            "correct the statement, or the table",
        ),
        "no right": Bad(
            {"statement": "DELETE FROM told WHERE id = :id"},
            "gives this user no right (",
            "it lacks SELECT and DELETE on told" if shop.postgresql else "DELETE command denied to user",
            f"run there: GRANT SELECT, DELETE ON told TO {role}",
        ),
        "no such database": Bad(
            {"url": url.replace(name, "nowhere")},
            "has no such database for this user (",
            "nowhere",
            "correct its name in the url, create it, or grant the right to it",
        ),
        "no server": Bad(
            {"url": url.replace(f":{shop.database.server.port}/", f":{free_port()}/")},
            "cannot be reached (",
            "efused",
            "see that the server runs, and that host and port in the url are right",
        ),
        "no index": Bad(
            {"statement": "UPDATE sms SET body = body WHERE gateway_id = :source_id", "no_row": "ignore"},
            "",
            "no index serves the statement, each event reads every row of sms",
            "create an index on the columns of sms",
            "warning",
        ),
        "a lock": Bad(
            {"statement": "UPDATE locked SET status = :status", "no_row": "ignore"},
            "is locked (",
            "is locked (" if shop.postgresql else "every row of locked",
            "run the doctor again later" if shop.postgresql else "create an index",
            "warning",
        ),
        "a refused row": Bad(
            {"statement": "INSERT INTO refusing (id) VALUES (:id)", "retry_after": '["50ms"]'},
            "",
            "takes the statement; an event that changes no row counts as reported",
            "",
            "ok",
        ),
    }


def tables(shop: Shop, cases: dict[str, Bad]) -> str:
    standing = {"url": shop.database.url(shop.user), "password": PASSWORD, "statement": TOLD}
    found = []
    for case in ({}, *(each.table for each in cases.values())):
        values = {**standing, **case}
        lines = (f"{key} = {value if value.startswith('[') else json.dumps(value)}" for key, value in values.items())
        found.append("\n".join(["[[outputs.sql]]", *lines]))
    return "\n".join(found)


async def test_each_bad_case_says_what_to_do_holds_nobody_else_and_passes(tmp_path: Path, shop: Shop) -> None:
    """One daemon with an output for each, and one that nothing is wrong with."""
    shop.database.script("""
        CREATE TABLE locked (status VARCHAR(12));
        CREATE TABLE refusing (id BIGINT CHECK (id < 0));
        INSERT INTO locked VALUES ('new');
    """)
    shop.grant("SELECT, UPDATE", "sms" if shop.postgresql else f"{shop.database.name}.*")
    shop.grant("SELECT, UPDATE", "locked")
    shop.grant("INSERT", "refusing")
    cases = bad_cases(shop)
    lock = "LOCK TABLE locked IN EXCLUSIVE MODE" if shop.postgresql else "SELECT * FROM locked FOR UPDATE"
    async with (
        Simulator(SimulatorConfig(population=LIVELY)) as simulator,
        Deployment(tmp_path, simulator, more=tables(shop, cases)) as deployment,
    ):
        message = simulator.truth.add(steps=[Step(0, "DELIVERED")])
        shop.execute(f"INSERT INTO sms (id, gateway_id) VALUES ({message}, '{message}')")
        with closing(shop.database.connect()) as other, closing(other.cursor()) as cursor:
            cursor.execute("BEGIN")
            cursor.execute(lock)
            await deployment.start()
            deployment.insert([message])
            await until(lambda: (message, "DELIVERED") in shop.told(), "what is well goes on")
            held = {case: bad for case, bad in cases.items() if bad.trouble}
            await until(lambda: len(said(deployment, "output_trouble")) == len(held), "each is named")
            shown = await outputs(deployment, shop, cases)
            for case, bad in held.items():
                assert shown[case]["trouble"].startswith(bad.trouble), case
                assert shown[case]["seq"] == 0, case
                assert shown[case]["name"].startswith("sql ")
            await until(lambda: parked(deployment), "the refused row is parked")
            seen = await doctor(deployment)
            checks = [each for each in seen.document["checks"] if each["name"] == "output sql"]
            assert len(checks) == len(cases) + 1
            for case, bad in cases.items():
                found = [
                    each for each in checks if bad.found in each["evidence"] and bad.step in str(each["next_step"])
                ]
                assert [each["level"] for each in found][:1] == [bad.level], (case, checks)
            assert PASSWORD not in json.dumps(seen.document)
            cursor.execute("ROLLBACK")
        await until(lambda: shop.execute("SELECT status FROM locked") == [("DELIVERED",)], "the lock is over")
        # All the time, each was named once.
        assert sorted(said(deployment, "output_trouble")) == sorted(set(said(deployment, "output_trouble")))
        shop.execute("CREATE TABLE other (id BIGINT, status VARCHAR(12))")
        shop.execute(f"INSERT INTO other (id) VALUES ({message})")
        shop.execute("ALTER TABLE sms ADD COLUMN state VARCHAR(12)")
        shop.grant("SELECT, UPDATE", "other")
        shop.grant("SELECT, DELETE", "told")
        await until(lambda: shop.execute("SELECT status FROM other") == [("DELIVERED",)], "the table is there")
        await until(lambda: shop.execute("SELECT state FROM sms") == [("DELIVERED",)], "the column is there")
        await until(lambda: len(said(deployment, "output_works")) == 4, "so is the right, and that is said")
        assert await deployment.stop() == 0
    assert PASSWORD not in deployment.text_log()


async def test_a_hanging_server_delays_no_stop_and_a_reload_takes_up_statement_and_password(
    tmp_path: Path, shop: Shop
) -> None:
    """The server hangs while the daemon stops; the daemon starts, and then gets another statement and password."""
    password = tmp_path / "db-password"
    password.write_text(PASSWORD)
    password.chmod(0o600)
    with Proxy(shop.database.server.port) as proxy:
        more = f"""
[[outputs.sql]]
url = "{shop.database.url(shop.user, port=proxy.port)}"
password_file = "{password}"
statement = "{TOLD}"
"""
        async with (
            Simulator(SimulatorConfig(population=LIVELY)) as simulator,
            Deployment(tmp_path, simulator, more=more) as deployment,
        ):

            def send() -> int:
                message = simulator.truth.add(steps=[Step(0, "DELIVERED")])
                shop.execute(f"INSERT INTO sms (id) VALUES ({message})")
                deployment.insert([message])
                return message

            await deployment.start()
            first = send()
            await until(lambda: shop.told() == [(first, "DELIVERED")], "it works")
            proxy.freeze()
            second = send()
            await until(lambda: proxy.held() != (0, 0), "it waits for an answer")
            assert await deployment.stop() == 0
            proxy.reset()
            proxy.thaw()
            await deployment.start()
            await until(lambda: (second, "DELIVERED") in shop.told(), "what was under way comes again")
            settings = deployment.config.read_text()
            deployment.config.write_text(settings.replace("SET status = :status", "SET status = lower(:status)"))
            other = "another password of the test"
            how = f"ALTER ROLE {shop.user} PASSWORD" if shop.postgresql else f"ALTER USER {shop.user} IDENTIFIED BY"
            shop.execute(f"{how} '{other}'")
            password.write_text(other)
            assert deployment.process is not None
            deployment.process.send_signal(signal.SIGHUP)
            await until(lambda: said(deployment, "reloaded"), "it is taken up")
            assert "outputs.sql[0].statement taken up" in said(deployment, "reloaded")[0]
            third = send()
            await until(lambda: (third, "delivered") in shop.told(), "the new statement, from where the old one was")
            assert (first, "delivered") not in shop.told()
            password.write_text("a wrong one")
            fourth = send()
            refused = "refuses the user or the password"
            await until(lambda: any(refused in words for words in said(deployment, "output_trouble")), "it is said")
            password.write_text(other)
            await until(lambda: (fourth, "delivered") in shop.told(), "the right one is read again")
            assert await deployment.stop() == 0
    assert PASSWORD not in deployment.text_log()
    assert other not in deployment.text_log()


def said(deployment: Deployment, event: str) -> list[str]:
    return [each["message"] for each in deployment.log() if each.get("event") == event]


def parked(deployment: Deployment) -> list[Any]:
    return deployment.query("SELECT 1 FROM unwritten WHERE state = 1")


async def outputs(deployment: Deployment, shop: Shop, cases: dict[str, Bad]) -> dict[str, dict[str, Any]]:
    """What `status` shows of each case: outputs are named by their database, and from the second on by a number."""
    code, out, _ = await deployment.command("status", "--json")
    assert code == 0
    listed = [each for each in json.loads(out)["outputs"] if each["name"].startswith("sql ")]
    assert len(listed) == len(cases) + 1
    return dict(zip(cases, listed[1:], strict=True))
