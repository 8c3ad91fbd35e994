"""A source in PostgreSQL and in MariaDB in every kind of trouble: what its user reads, and that it ends by itself."""

from __future__ import annotations

import asyncio
import json
import re
import tomllib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import tomli_w

from pollerd.simulator import Simulator, SimulatorConfig, Step
from tests.acceptance.conftest import Row
from tests.acceptance.crash_kit import FAST, LIVELY, QUICK
from tests.acceptance.deployment import Deployment
from tests.acceptance.shop_kit import Shop
from tests.acceptance.waiting import until
from tests.servers.database import PASSWORD
from tests.servers.program import wait_until
from tests.servers.proxy import Proxy

DELIVERED = [Step(0, "DELIVERED")]


class Broken(NamedTuple):
    """What a case can break."""

    shop: Shop
    proxy: Proxy
    password_file: Path


@pytest.fixture(params=["postgresql", "mariadb"])
def shop(request: pytest.FixtureRequest) -> Shop:
    """The recipe's table in the worker's server."""
    made = Shop(request.getfixturevalue(f"{request.param}_database"))
    made.set_up(audited=False)
    return made


@contextmanager
def wrong_password(it: Broken) -> Iterator[None]:
    right = it.password_file.read_text()
    it.password_file.write_text("another one\n")
    yield
    it.password_file.write_text(right)


@contextmanager
def no_such_table(it: Broken) -> Iterator[None]:
    it.shop.database.execute("ALTER TABLE sms RENAME TO elsewhere")
    yield
    it.shop.database.execute("ALTER TABLE elsewhere RENAME TO sms")


@contextmanager
def wrong_column(it: Broken) -> Iterator[None]:
    it.shop.database.execute("ALTER TABLE sms RENAME COLUMN userref TO reference")
    yield
    it.shop.database.execute("ALTER TABLE sms RENAME COLUMN reference TO userref")


@contextmanager
def no_right(it: Broken) -> Iterator[None]:
    what = "SELECT (gateway_id, msisdn, userref, final, status_seq) ON sms"
    who = "pollerd" if it.shop.kind == "postgresql" else "'pollerd'@'%'"
    it.shop.database.execute(f"REVOKE {what} FROM {who}")
    yield
    it.shop.database.execute(f"GRANT {what} TO {who}")


@contextmanager
def locked(it: Broken) -> Iterator[None]:
    """By a program that changes the table; the long form holds the lock for forty seconds."""
    words = {
        "postgresql": ("BEGIN; LOCK TABLE sms IN ACCESS EXCLUSIVE MODE", "COMMIT"),
        "mariadb": ("LOCK TABLES sms WRITE", "UNLOCK TABLES"),
    }
    with closing(it.shop.database.connect()) as another, closing(another.cursor()) as cursor:
        cursor.execute(words[it.shop.kind][0])
        yield
        cursor.execute(words[it.shop.kind][1])


@contextmanager
def gone_in_the_middle(it: Broken) -> Iterator[None]:
    """The query has arrived at the server, and no answer comes back: the connection breaks."""
    it.proxy.freeze(to_server=False)
    wait_until(lambda: it.proxy.held()[1] > 0, "an answer is under way")
    it.proxy.refuse()
    it.proxy.reset()
    yield
    it.proxy.thaw()
    it.proxy.accept()


@contextmanager
def silent(it: Broken) -> Iterator[None]:
    """The server stands still, or the way to it: nothing is refused, and nothing is answered."""
    it.proxy.freeze()
    yield
    it.proxy.thaw()


class Case(NamedTuple):
    breaks: Callable[[Broken], Any]
    postgresql: str
    mariadb: str


CASES = {
    "wrong password": Case(
        wrong_password,
        r"refuses the user or the password \(.*password authentication failed for user \"pollerd\"\); correct the user",
        r"refuses the user or the password \(Access denied for user 'pollerd'@.*\); correct the user",
    ),
    "no such table": Case(
        no_such_table,
        r'does not have what the query names \(relation "sms" does not exist\); correct the query, or the table',
        r"does not have what the query names \(Table 't_\w+.sms' doesn't exist\); correct the query, or the table",
    ),
    "wrong column": Case(
        wrong_column,
        r'does not have what the query names \(column "userref" does not exist\); correct the query, or the table',
        r"does not have what the query names \(Unknown column 'userref' in '[\w ]+'\); correct the query",
    ),
    "no right": Case(
        no_right,
        r"gives this user no right \(permission denied for table sms\); grant it",
        r"gives this user no right \(SELECT command denied to user 'pollerd'@.*\); grant it",
    ),
    "locked": Case(
        locked,
        r"is locked \(canceling statement due to lock timeout\); another program holds a lock",
        r"is locked \(Lock wait timeout exceeded; try restarting transaction\); another program holds a lock",
    ),
    "gone in the middle": Case(
        gone_in_the_middle, r"cannot be reached \(.+\); see that", r"cannot be reached \(.+\); see that"
    ),
}

SILENT = Case(silent, r"cannot be reached \(.+\); see that", r"cannot be reached \(.+\); see that")
"""In the long form alone: it takes as long as the longest statement may."""


@pytest.mark.timeout(900)
async def test_each_trouble_is_said_once_and_ends_by_itself(shop: Shop, tmp_path: Path, row: Row, long: bool) -> None:
    with Proxy(shop.database.server.port) as proxy:
        source = {"sources": tomllib.loads(shop.settings(tmp_path, port=proxy.port))["sources"]}
        it = Broken(shop, proxy, tmp_path / "db-password")
        async with (
            Simulator(SimulatorConfig(speed=100, population=LIVELY)) as simulator,
            Deployment(tmp_path, simulator, limits=FAST, backoff=QUICK, more=tomli_w.dumps(source)) as deployment,
        ):
            await deployment.start()
            cases = CASES | {"silent": SILENT} if long else CASES
            for name, case in cases.items():
                sentence = await met(case, it, deployment, simulator, 40.0 if long and name == "locked" else 0.0)
                assert re.search(getattr(case, shop.kind), sentence), sentence
                row(f"{name}: {sentence}")
            assert len(said(deployment, "source_held")) == len(cases), "each is said once"
            assert PASSWORD not in deployment.text_log()
            assert await deployment.stop() == 0


async def met(case: Case, it: Broken, deployment: Deployment, simulator: Simulator, seconds: float) -> str:
    """Break it for so long and mend it; the sentence that the log and `pollerd status` have for it."""
    before = len(said(deployment, "source_held"))
    breaking = case.breaks(it)
    await asyncio.to_thread(breaking.__enter__)
    await until(lambda: len(said(deployment, "source_held")) > before, "it is said", patience=180)
    await asyncio.sleep(seconds)
    sentence = said(deployment, "source_held")[-1]
    status = json.loads((await deployment.command("status", "--json"))[1])
    assert status["sources"][0]["trouble"] in sentence
    # Nothing else is delayed by it.
    other = simulator.truth.add(steps=DELIVERED)
    deployment.insert([other])
    await until(lambda: finished(deployment, other), "others go on")
    await asyncio.to_thread(breaking.__exit__, None, None, None)
    message = simulator.truth.add(recipients=1, steps=DELIVERED)
    it.shop.insert([(message, simulator.record(message).recipients[0].msisdn)])
    await until(lambda: finished(deployment, message), "it reads again")
    await until(lambda: len(said(deployment, "source_recovered")) == before + 1, "that is said, too")
    return sentence


def finished(deployment: Deployment, message: int) -> bool:
    return bool(deployment.query("SELECT 1 FROM messages WHERE id = ? AND state = 2", message))


def said(deployment: Deployment, event: str) -> list[str]:
    """The messages of the log with that name."""
    return [record["message"] for record in deployment.log() if record.get("event") == event]
