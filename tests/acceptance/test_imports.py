"""What a command must not import: a command that is called for each SMS starts fast, or it is not called."""

from __future__ import annotations

import asyncio
import re
import sys
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path
from typing import Final

import pytest

from pollerd.simulator import Simulator, SimulatorConfig, Step
from tests.acceptance.deployment import COMMAND, Deployment
from tests.acceptance.waiting import until
from tests.sqlite_kit import autocommit

pytestmark = pytest.mark.usefixtures("cold")

ENDED: Final = 421332671
NEVER: Final = frozenset(
    {"asyncio", "aiohttp", "yarl", "uvloop", "aiosqlite", "apscheduler", "prometheus_client", "jwt", "oauthlib",
     "phonenumbers", "sqlalchemy", "logging", "hmac", "subprocess", "pollerd.daemon", "pollerd.server",
     "pollerd.polling", "pollerd.simulator", "pollerd.outputs", "pollerd.gateway.client", "pollerd.backoff",
     "pollerd.core.outcome"}
)  # fmt: skip
"""Nothing that is only asked or handed over needs the daemon's libraries, nor the rooms that use them."""
HTTP: Final = frozenset({"http.client", "ssl"})
SCREEN: Final = frozenset({"rich"})
SQL: Final = frozenset({"sqlite3"})
VERSION: Final = frozenset({"importlib.metadata"})

ALONE: Final = {
    ("status",): HTTP,
    ("show", str(ENDED)): HTTP | VERSION,
    ("list",): HTTP | VERSION,
    ("list", "--json"): HTTP | VERSION | SCREEN,
    ("track", "421332672"): HTTP | VERSION | SCREEN,
    ("check",): HTTP | VERSION | SCREEN | SQL,
    ("wait", str(ENDED), "--timeout", "0"): HTTP | VERSION | SCREEN,
    ("health",): HTTP | SCREEN,
}
"""While no daemon runs."""
DAEMON: Final = {
    **{command: spared for command, spared in ALONE.items() if command[0] not in ("status", "health")},
    ("status",): SQL | VERSION,
    ("health",): SQL | VERSION | SCREEN,
}
"""The status comes from the daemon then, over HTTP, which has it from the database."""


async def imported(here: Deployment, command: tuple[str, ...]) -> set[str]:
    """The modules that the installed command imports, and the packages that they are in."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-X", "importtime", COMMAND, *command, "-c", here.config, stdout=DEVNULL, stderr=PIPE
    )
    _, err = await process.communicate()
    assert process.returncode in (0, 2, 69), err.decode()[-1000:]
    return modules(err.decode())


def modules(said: str) -> set[str]:
    """What Python says that it has imported."""
    return set(re.findall(r"^import time: +\d+ \| +\d+ \| +(\S+)$", said, re.MULTILINE))


@pytest.mark.parametrize("running", [False, True], ids=["no daemon", "daemon"])
async def test_no_command_imports_what_it_can_do_without(tmp_path: Path, running: bool) -> None:
    async with Simulator(SimulatorConfig(speed=1000)) as simulator, Deployment(tmp_path, simulator) as here:
        simulator.truth.add(ENDED, steps=[Step(0.0, "DELIVERED")])
        await here.start()
        here.insert([ENDED])
        await until(lambda: here.pending() == 0, "it ends")
        if not running:
            assert await here.stop() == 0
        for command, spared in (DAEMON if running else ALONE).items():
            found = await imported(here, command)
            assert {"click", "msgspec", "pollerd.cli"} <= found, command
            assert sorted(found & (NEVER | spared)) == [], command
        if running:
            assert await here.stop() == 0


@pytest.mark.usefixtures("cold")
async def test_a_daemon_without_a_database_server_imports_nothing_for_one(tmp_path: Path) -> None:
    """Nor when its tables in the configuration name an SQLite file."""
    more = f"""
[[sources.sqlite]]
path = "{tmp_path / "shop.db"}"
query = "SELECT id FROM sms"
[[outputs.sqlite]]
path = "{tmp_path / "shop.db"}"
statement = "UPDATE sms SET status = :status WHERE id = :id"
"""
    with autocommit(tmp_path / "shop.db") as shop:
        shop.execute("CREATE TABLE sms (id INTEGER, status TEXT)")
        shop.execute(f"INSERT INTO sms (id) VALUES ({ENDED})")
        async with (
            Simulator(SimulatorConfig(speed=1000)) as simulator,
            Deployment(tmp_path, simulator, more=more) as here,
        ):
            simulator.truth.add(ENDED, steps=[Step(0.0, "DELIVERED")])
            await here.start(environment={"PYTHONPROFILEIMPORTTIME": "1"})
            await until(
                lambda: shop.execute("SELECT status FROM sms").fetchone() == ("DELIVERED",), "it is written back"
            )
            assert await here.stop() == 0
            found = modules(here.text_log())
    assert "pollerd.outputs.sqlite" in found
    assert sorted(found & {"sqlalchemy", "psycopg", "pymysql"}) == []


@pytest.mark.usefixtures("cold")
async def test_a_daemon_without_foreign_databases_imports_nothing_of_them(tmp_path: Path) -> None:
    async with Simulator() as simulator, Deployment(tmp_path, simulator) as here:
        await here.start(environment={"PYTHONPROFILEIMPORTTIME": "1"})
        assert await here.stop() == 0
        found = modules(here.text_log())
    assert "pollerd.daemon.wiring" in found
    unwanted = {"pollerd.databases", "pollerd.config.sql", "pollerd.daemon.sources", "pollerd.daemon.targets"}
    assert sorted(found & {*unwanted, "sqlalchemy", "psycopg", "pymysql"}) == []
