"""An application with its messages in a table of a real database server, set up as the page of recipes says."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import re
import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

import psycopg
import pymysql

from pollerd.simulator import Simulator, Step
from tests.acceptance.deployment import Deployment
from tests.servers.database import PASSWORD, Database
from tests.servers.postgresql import PostgreSql

PAGE: Final = Path(__file__).parents[2] / "docs" / "database-recipes.md"
HEADINGS: Final = {"postgresql": "PostgreSQL", "mariadb": "MariaDB and MySQL"}
STEPS: Final = (Step(0, "BUFFERED"), Step(8, "ENROUTE"), Step(24, "DELIVERED"))
LATE: Final = 2.0
"""Seconds after the last recipient's end at which a slow application writes its row."""
_BATCH: Final = 200
"""Rows that the application writes in one transaction."""
_AWAY: Final = (psycopg.OperationalError, pymysql.OperationalError, pymysql.InterfaceError)
"""What a server answers with that is being restarted."""

_AUDIT: Final = {
    "postgresql": """
CREATE TABLE audit (n bigint GENERATED ALWAYS AS IDENTITY, gateway_id bigint, msisdn bigint, status text, seq bigint);
CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
$$ BEGIN INSERT INTO public.audit (gateway_id, msisdn, status, seq)
VALUES (NEW.gateway_id, NEW.msisdn, NEW.status, NEW.status_seq); RETURN NEW; END $$;
CREATE TRIGGER audit AFTER UPDATE ON sms FOR EACH ROW EXECUTE FUNCTION audit();
""",
    "mariadb": """
CREATE TABLE audit (n BIGINT AUTO_INCREMENT PRIMARY KEY, gateway_id BIGINT, msisdn BIGINT, status TEXT, seq BIGINT);
CREATE TRIGGER audit AFTER UPDATE ON sms FOR EACH ROW INSERT INTO audit (gateway_id, msisdn, status, seq)
VALUES (NEW.gateway_id, NEW.msisdn, NEW.status, NEW.status_seq);
""",
}
"""Every update of a row, in the order in which they were made. Both run with the rights of who made them."""


class Recipe(NamedTuple):
    """What the page says about one kind of server."""

    sql: str
    toml: str


def recipe(kind: str) -> Recipe:
    """The blocks of code below the heading of that kind."""
    section = PAGE.read_text().partition(f"## {HEADINGS[kind]}\n")[2].partition("\n## ")[0]
    blocks = dict(re.findall(r"^```(\w+)\n(.*?)^```$", section, re.DOTALL | re.MULTILINE))
    return Recipe(blocks["sql"], blocks["toml"])


class Shop:
    """The application's table `sms`."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.kind = "postgresql" if isinstance(database.server, PostgreSql) else "mariadb"

    def set_up(self, *, audited: bool = True) -> None:
        """Run the recipe's SQL."""
        self.database.script("DROP USER IF EXISTS pollerd;\n")
        self.database.script(self._here(recipe(self.kind).sql))
        if audited:
            self.database.script(_AUDIT[self.kind])

    def settings(self, folder: Path, *, port: int | None = None, every: str = "200ms") -> str:
        """The recipe's configuration; `port` in place of the server's."""
        secret = folder / "db-password"
        secret.write_text(PASSWORD + "\n")
        secret.chmod(0o600)
        return self._here(recipe(self.kind).toml, port, every).replace("/etc/pollerd/db-password", str(secret))

    def _here(self, text: str, port: int | None = None, every: str = "") -> str:
        """The page's names as they are in this test."""
        server = self.database.server
        for there, here in (
            ("db.example/shop", f"127.0.0.1:{port or server.port}/{self.database.name}"),
            ("/etc/pollerd/db-ca.pem", str(server.authority)),
            ("choose-your-own", PASSWORD),
            ("DATABASE shop", f"DATABASE {self.database.name}"),
            ("shop.sms", f"{self.database.name}.sms"),
            ('every = "5s"', f'every = "{every}"'),
        ):
            text = text.replace(there, here)
        return text

    def insert(self, rows: list[tuple[int, int]]) -> None:
        """Write rows of (id, recipient), those that are there already left alone."""
        ignore = ("", " ON CONFLICT DO NOTHING") if self.kind == "postgresql" else (" IGNORE", "")
        marks = ", ".join(["(%s, %s, 'secret text of an SMS')"] * len(rows))
        self.database.execute(
            f"INSERT{ignore[0]} INTO sms (gateway_id, msisdn, body) VALUES {marks}{ignore[1]}",
            *(value for row in rows for value in row),
        )

    def states(self) -> dict[tuple[int, int], tuple[str | None, bool]]:
        """The state of each row, and whether it is marked as final."""
        found = self.database.execute("SELECT gateway_id, msisdn, status, final FROM sms")
        return {(message, msisdn): (status, bool(final)) for message, msisdn, status, final in found}

    def audit(self) -> list[tuple[int, int, str, int]]:
        """Every update of a row: message, recipient, state, number of the event."""
        return self.database.execute("SELECT gateway_id, msisdn, status, seq FROM audit ORDER BY n")


class Application:
    """Hands messages over by its table, or by id and writes their rows when it is much too late."""

    def __init__(self, shop: Shop, deployment: Deployment, simulator: Simulator) -> None:
        self.ids: list[int] = []
        self.rows = 0
        self.away = 0
        """How often the server was not there to write to."""
        self._shop = shop
        self._deployment = deployment
        self._simulator = simulator
        self._unwritten: list[tuple[float, int]] = []
        """Times and messages, a heap."""
        self._closed = False
        self._news = asyncio.Event()

    def send(self, count: int, *, late: bool) -> None:
        """`count` messages, every other one to two recipients."""
        truth = self._simulator.truth
        new = [truth.add(recipients=1 + n % 2, steps=STEPS) for n in range(count)]
        if late:
            self._deployment.insert(new)
        for message in new:
            ends = [end.at for end in truth.final(message).values() if end is not None]
            heapq.heappush(self._unwritten, (max(ends) + LATE if late else 0.0, message))
            self.rows += len(ends)
        self.ids += new
        self._news.set()

    def close(self) -> None:
        """No more is sent: `run` ends when all rows are written."""
        self._closed = True
        self._news.set()

    async def run(self) -> None:
        """Write each row at its time."""
        while self._unwritten or not self._closed:
            if due := list(self._due()):
                await self._write(
                    [(message, r.msisdn) for message in due for r in self._simulator.record(message).recipients]
                )
            else:
                await self._wait()

    async def _wait(self) -> None:
        """For more, or for the time of the next row."""
        self._news.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._unwritten[0][0] - time.time() if self._unwritten else None):
                await self._news.wait()

    def _due(self) -> Iterator[int]:
        for _ in range(_BATCH):
            if not self._unwritten or self._unwritten[0][0] > time.time():
                return
            yield heapq.heappop(self._unwritten)[1]

    async def _write(self, rows: list[tuple[int, int]]) -> None:
        while True:
            try:
                return await asyncio.to_thread(self._shop.insert, rows)
            except _AWAY:
                self.away += 1
                await asyncio.sleep(0.05)


def differences(shop: Shop, simulator: Simulator, ids: list[int]) -> list[str]:
    """Where the table is not what the gateway knows, in words; and what went back, or came in a wrong order."""
    truth = {(i, r.msisdn): (r.final, True) for i in ids for r in simulator.record(i).recipients}
    found = shop.states()
    wrong = [f"{key}: {found.get(key)}, not {end}" for key, end in truth.items() if found.get(key) != end]
    wrong += [f"{key} is nobody's" for key in found.keys() - truth.keys()]
    changes: defaultdict[tuple[int, int], list[tuple[int, str]]] = defaultdict(list)
    for message, msisdn, status, seq in shop.audit():
        changes[message, msisdn].append((seq, status))
    states = ["UNKNOWN", *(step.status for step in STEPS)]
    for key, chain in changes.items():
        # An event may be written again after a crash: the same number twice. Nothing goes back.
        for (before, old), (after, new) in pairwise(chain):
            if after < before or states.index(new) < states.index(old) or (after > before and new == old):
                wrong.append(f"{key}: {old} ({before}), then {new} ({after})")
    return wrong
