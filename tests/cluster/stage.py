"""Members, a PostgreSQL of their own, a gateway and every kind of reader; and the balance of the books at the end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from pollerd.simulator import Population, Simulator, SimulatorConfig, Step
from tests.acceptance.members_kit import MemberDeployment
from tests.acceptance.waiting import until
from tests.integration.webhook_kit import SECRET, Receiver, receiving
from tests.servers.database import PASSWORD, new_name
from tests.servers.postgresql import PostgreSql
from tests.servers.proxy import Proxy
from tests.store_database import StoreDatabase

PATIENCE = 180.0
"""Seconds for what takes a lease, a recovery of PostgreSQL and a start of Python on a busy machine."""
BACKOFF = 'policy = "exponential"\nfirst_poll_after = "0s"\nmin_interval = "1s"\nmax_interval = "2s"'


class Reader:
    """Reads one member's event socket, and comes back with `after N` when it was cut off."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.numbers: list[int] = []

    async def run(self) -> None:
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_unix_connection(self._path, limit=1 << 20)
                try:
                    writer.write(f"after {self.numbers[-1] if self.numbers else 0}\n".encode())
                    while line := await reader.readuntil(b"\n"):
                        self.numbers.append(json.loads(line)["seq"])
                finally:
                    writer.close()
            await asyncio.sleep(0.05)


class Member(MemberDeployment):
    """A member that is started again whenever it ends, as systemd does. It reaches PostgreSQL through `proxy`, and the
    gateway through the other one.
    """

    def __init__(
        self,
        folder: Path,
        simulator: Simulator,
        store: StoreDatabase,
        name: str,
        proxy: Proxy,
        gateway: Proxy,
        hook: str,
    ) -> None:
        through = StoreDatabase(store.database, store.user, proxy.port)
        super().__init__(
            folder,
            simulator,
            through,
            name,
            backoff=BACKOFF,
            limits="requests_per_second = 200",
            more=f'[outputs.webhook]\nurl = "{hook}"\nsecret = "{SECRET}"',
        )
        self.proxy = proxy
        self.gateway = gateway
        text = self.config.read_text()
        self.config.write_text(text.replace(simulator.url, f"http://127.0.0.1:{gateway.port}"))
        self.ends: list[int] = []
        self.reader = Reader(self.socket)
        self.wanted = asyncio.Event()

    async def live(self) -> None:
        """Run it, again and again."""
        while True:
            await self.wanted.wait()
            process = await self.launch()
            self.ends.append(await process.wait())
            await asyncio.sleep(0.2)

    @property
    def up(self) -> bool:
        return self.process is not None and self.process.returncode is None


class Stage:
    """All of it. `trouble` is what was wrong, in words."""

    def __init__(
        self, server: PostgreSql, store: StoreDatabase, simulator: Simulator, members: Sequence[Member], hook: Receiver
    ) -> None:
        self.server = server
        self.store = store
        self.simulator = simulator
        self.members = members
        self.hook = hook
        self.trouble: list[str] = []
        self._ids: list[int] = []

    def send(self, count: int, over: float = 6.0) -> None:
        """So many messages, handed over by plain SQL, that end within `over` seconds."""
        ids = [
            self.simulator.truth.add(steps=[Step(0.0, "ENROUTE"), Step(over * n / count, "DELIVERED")])
            for n in range(count)
        ]
        self.store.insert(ids)
        self._ids += ids

    def holder(self) -> str:
        """The name of the member with the duty; empty for none, or while nobody can say."""
        try:
            found = self.store.query("SELECT members.name FROM duties LEFT JOIN members USING (token)")
        except Exception:  # noqa: BLE001 - the server may be down, which is what this is about
            return ""
        return str(found[0][0] or "")

    def active(self) -> Member:
        """The member with the duty."""
        return next(member for member in self.members if member.name == self.holder())

    def standby(self) -> Member:
        """One without it."""
        return next(member for member in self.members if member.name != self.holder())

    async def settle(self) -> None:
        """Until all members run, one polls, all messages have ended, and everybody has read everything."""
        for member in self.members:
            member.wanted.set()
            member.proxy.thaw()
        await until(lambda: all(member.up for member in self.members), "all members run", patience=PATIENCE)
        await until(self.holder, "one polls", patience=PATIENCE)
        await until(lambda: self._finals() == len(self._ids), "all messages end", patience=PATIENCE)
        try:
            await until(self._all_read, "everybody has read everything", patience=PATIENCE)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self._standing()}") from None

    def _standing(self) -> str:
        """Who has read how much, and what members say."""
        heard = {body["id"] for body in self.hook.got if body["status"] == "DELIVERED"}
        said = [f"webhook {len(heard)} of {len(self._ids)} final states, last seq {self.last()}"]
        for member in self.members:
            last = member.told()[-1]["seq"] if member.told() else 0
            warned = [record["message"] for record in member.log() if record["level"] in ("warning", "error")]
            said.append(f"{member.name}: file {last}, socket {member.reader.numbers[-1:]}, {warned[-3:]}")
            said.append(member.text_log()[-600:])
        return "\n".join(said)

    def _finals(self) -> int:
        with contextlib.suppress(Exception):
            return int(self.store.query("SELECT count(*) FROM messages WHERE state = 2")[0][0])
        return -1

    def last(self) -> int:
        """The highest number given; -1 while nobody can say."""
        with contextlib.suppress(Exception):
            return int(self.store.query("SELECT last_seq FROM cluster")[0][0])
        return -1

    def _all_read(self) -> bool:
        last = self.last()
        finals = {body["id"] for body in self.hook.got if body["status"] == "DELIVERED"}
        return finals >= set(self._ids) and all(
            member.reader.numbers[-1:] == [last] and member.told()[-1:] and member.told()[-1]["seq"] == last
            for member in self.members
        )

    def balance(self) -> dict[str, int]:
        """Counts of what is wrong with what everybody got: zeros, where all is well."""
        found: dict[str, int] = defaultdict(int, lost=0, doubled=0, torn=0, gaps=0, differ=0, older=0)
        first = self.members[0].file.read_bytes()
        for member in self.members:
            found["differ"] += member.file.read_bytes() != first
            found["torn"] += not first.endswith(b"\n")
            for numbers in ([line["seq"] for line in member.told()], member.reader.numbers):
                found["gaps"] += numbers != list(range(1, len(numbers) + 1))
        ended = [line["id"] for line in self.members[0].told() if line.get("final")]
        found["lost"] += len(set(self._ids) - set(ended))
        found["doubled"] += len(ended) - len(set(ended))
        seen: dict[int, str] = {}
        for body in self.hook.got:
            found["older"] += seen.get(body["id"]) == "DELIVERED" and body["status"] != "DELIVERED"
            seen[body["id"]] = body["status"]
        found["lost"] += len(set(self._ids) - {number for number, status in seen.items() if status == "DELIVERED"})
        return dict(found)

    def counts(self) -> dict[str, Any]:
        """What there was of everything."""
        posted = [(body["id"], body["status"]) for body in self.hook.got]
        return {
            "messages": len(self._ids),
            "events": self.last(),
            "takeovers": self.store.query("SELECT takeovers FROM duties")[0][0],
            "posts": len(posted),
            "posted twice": len(posted) - len(set(posted)),
        }


@asynccontextmanager
async def stage(folder: Path, count: int) -> AsyncIterator[Stage]:
    """With `count` members, none of which can see that the process of another has ended."""
    async with AsyncExitStack() as stack:
        server = stack.enter_context(PostgreSql(durable=True))
        database = stack.enter_context(server.database())
        user = new_name()
        database.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{PASSWORD}'")
        database.execute(f"ALTER DATABASE {database.name} OWNER TO {user}")
        store = StoreDatabase(database, user)
        with store.engine().handover():
            pass
        database.script("""
CREATE FUNCTION elsewhere() RETURNS trigger LANGUAGE plpgsql AS
'BEGIN NEW.process := NEW.process || ''{"boot": "of another machine"}''; RETURN NEW; END';
CREATE TRIGGER elsewhere BEFORE INSERT ON members FOR EACH ROW EXECUTE FUNCTION elsewhere();
""")
        simulator = await stack.enter_async_context(
            Simulator(SimulatorConfig(population=Population(visibility_median=0.0)))
        )
        hook = await stack.enter_async_context(receiving())
        members = []
        for number in range(1, count + 1):
            proxy = stack.enter_context(Proxy(server.port))
            way = stack.enter_context(Proxy(simulator.port))
            made = Member(folder / f"db{number}", simulator, store, f"db{number}", proxy, way, hook.url)
            members.append(await stack.enter_async_context(made))
        tasks = [asyncio.ensure_future(work()) for member in members for work in (member.live, member.reader.run)]
        try:
            for number, member in enumerate(members):
                member.wanted.set()
                event = "standing_by" if number else "started"
                await until(lambda m=member, e=event: m.count(e), f"{member.name} runs", patience=PATIENCE)  # type: ignore[misc]
            yield Stage(server, store, simulator, members, hook)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def since(began: float) -> float:
    """Seconds since an instant of the monotonic clock."""
    return time.monotonic() - began
