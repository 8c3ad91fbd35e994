"""Members, a PostgreSQL of their own, a gateway and every kind of reader; and the balance of the books at the end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

from pollerd.simulator import Population, Simulator, SimulatorConfig, Step
from tests.acceptance.bad_days_kit import build
from tests.acceptance.waiting import until
from tests.cluster.foreign import Foreign
from tests.cluster.member import Member
from tests.integration.webhook_kit import SECRET, Receiver, receiving
from tests.servers.database import PASSWORD, new_name
from tests.servers.postgresql import PostgreSql
from tests.servers.proxy import Proxy
from tests.store_database import StoreDatabase

PATIENCE: Final = 240.0
"""Seconds for what takes a lease, the longest batch, a recovery of PostgreSQL and a start on a busy machine."""
READING: Final = 900.0
"""Seconds for an hour's worth of posts after many takeovers in a row, before each of which none was begun."""
LOOK: Final = 0.5
"""Seconds between two looks at what is long: the receiver of the webhook works in this process, too."""
WATCHED: Final = """
CREATE FUNCTION elsewhere() RETURNS trigger LANGUAGE plpgsql AS
'BEGIN NEW.process := NEW.process || ''{"boot": "of another machine"}''; RETURN NEW; END';
CREATE TRIGGER elsewhere BEFORE INSERT ON members FOR EACH ROW EXECUTE FUNCTION elsewhere();
CREATE TABLE writes (n bigserial, who text, what text, process integer, at timestamptz);
CREATE FUNCTION watched() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
'BEGIN INSERT INTO writes (who, what, process, at)
VALUES (current_setting(''application_name''), TG_TABLE_NAME, pg_backend_pid(), clock_timestamp()); RETURN NULL; END';
CREATE TRIGGER watched AFTER INSERT ON events EXECUTE FUNCTION watched();
CREATE TRIGGER watched AFTER UPDATE ON messages EXECUTE FUNCTION watched();
CREATE TRIGGER watched AFTER INSERT OR UPDATE OR DELETE ON deliveries EXECUTE FUNCTION watched();
"""
"""No member can see that the process of another has ended; and who writes what, when."""


class Stage:
    """All of it."""

    def __init__(
        self,
        server: PostgreSql,
        store: StoreDatabase,
        foreign: Foreign,
        simulator: Simulator,
        members: Sequence[Member],
        hook: Receiver,
    ) -> None:
        self.server = server
        self.store = store
        self.foreign = foreign
        self.simulator = simulator
        self.members = members
        self.hook = hook
        self.ids: list[int] = []

    def send(self, count: int, over: float = 6.0) -> list[int]:
        """So many messages, handed over by plain SQL, that end within `over` seconds."""
        ids = [
            self.simulator.truth.add(steps=[Step(0.0, "ENROUTE"), Step(over * n / count, "DELIVERED")])
            for n in range(count)
        ]
        self.store.insert(ids)
        self.ids += ids
        return ids

    # -- who is who

    def ask(self, sql: str, *values: object, otherwise: Any = None) -> Any:
        """The one value of a statement; `otherwise` while nobody can say, or there is none."""
        with contextlib.suppress(Exception):
            return self.store.query(sql, *values)[0][0]
        return otherwise

    def holder(self) -> str:
        """The name of the member with the duty; empty for none, or while nobody can say."""
        return self.ask("SELECT members.name FROM duties LEFT JOIN members USING (token)") or ""

    def token(self) -> str:
        """Its process, as the store knows it; empty for none, or while nobody can say."""
        return str(self.ask("SELECT token FROM duties") or "")

    def active(self) -> Member:
        """The member with the duty."""
        return next(member for member in self.members if member.name == self.holder())

    def standby(self) -> Member:
        """One without it."""
        return next(member for member in self.members if member.name != self.holder())

    def takeovers(self) -> int:
        """How often the duty went over so far."""
        return int(self.ask("SELECT takeovers FROM duties", otherwise=-1))

    def requests(self) -> int:
        """That the gateway has got."""
        return self.simulator.statistics().requests

    # -- coming to rest

    async def together(self) -> None:
        """Until all members run, stand in the store, and one polls."""
        for member in self.members:
            member.wanted.set()
            member.proxy.thaw()
        there = (
            "SELECT count(DISTINCT name) FROM members JOIN leases USING (token) WHERE lease_until > clock_timestamp()"
        )
        await until(lambda: self.ask(there) == len(self.members), "all members are there", patience=PATIENCE)
        await until(self.holder, "one polls", patience=PATIENCE)

    async def settle(self) -> None:
        """And until all messages have ended, and everybody has read everything."""
        await self.together()
        try:
            await until(lambda: self._finals() == len(self.ids), "all messages end", patience=PATIENCE, look=LOOK)
            await until(self._all_read, "everybody has read everything", patience=READING, look=LOOK)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self._standing()}") from None

    def _standing(self) -> str:
        """Who has read how much, and what members say."""
        ended = f"messages {self._finals()}, webhook {len(self._posted())}, foreign table {len(self.foreign.finals())}"
        said = [f"final states of {len(self.ids)}: {ended}; last seq {self.last()}, active {self.holder()}"]
        said += [
            f"{member.name}: file {member.newest()}, socket {member.reader.numbers[-1:]}, {member.text_log()[-1500:]}"
            for member in self.members
        ]
        return "\n".join(said)

    def _finals(self) -> int:
        return int(self.ask("SELECT count(*) FROM messages WHERE state = 2", otherwise=-1))

    def _posted(self) -> set[int]:
        return {body["id"] for body in self.hook.got if body["status"] == "DELIVERED"}

    def last(self) -> int:
        """The highest number given; -1 while nobody can say."""
        return int(self.ask("SELECT last_seq FROM cluster", otherwise=-1))

    def _all_read(self) -> bool:
        last, ids = self.last(), set(self.ids)
        return (
            all(member.reader.numbers[-1:] == [last] and member.newest() == last for member in self.members)
            and self._posted() >= ids
            and self.foreign.finals() >= ids
        )

    # -- the books

    def balance(self) -> dict[str, int]:
        """Counts of what is wrong with what everybody got: zeros, where all is well."""
        found: dict[str, int] = defaultdict(int, lost=0, doubled=0, torn=0, gaps=0, differ=0, older=0)
        first = self.members[0].file.read_bytes()
        for member in self.members:
            text = member.file.read_bytes()
            found["differ"] += text != first
            found["torn"] += not text.endswith(b"\n")
            for numbers in ([line["seq"] for line in member.told()], member.reader.numbers):
                found["gaps"] += numbers != list(range(1, len(numbers) + 1))
        told = self.members[0].told()
        ended = [line["id"] for line in told if line.get("final")]
        found["lost"] += len(set(self.ids) - set(ended))
        states = [(line["id"], line["msisdn"], line["status"]) for line in told if line["type"] == "message.status"]
        found["doubled"] += len(states) - len(set(states))
        seen: dict[int, str] = {}
        for body in self.hook.got:
            found["older"] += seen.get(body["id"]) == "DELIVERED" and body["status"] != "DELIVERED"
            seen[body["id"]] = body["status"]
        found["lost"] += len(set(self.ids) - {number for number, status in seen.items() if status == "DELIVERED"})
        found["lost"] += len(set(self.ids) - self.foreign.finals())
        found["older"] += self.foreign.older()
        return dict(found)

    def lost_polls(self) -> int:
        """Answers of the gateway about messages that the store knows nothing of; negative while it counts more."""
        answered = sum(self.simulator.record(number).polls for number in self.ids)
        return answered - int(self.ask("SELECT coalesce(sum(polls), 0) FROM messages", otherwise=0))

    def late(self) -> int:
        """Batches that came after the one with the next number, and were refused."""
        return self.server.log().count(" comes after ")

    def counts(self) -> dict[str, Any]:
        """What there was of everything."""
        posted = [(body["id"], body["status"]) for body in self.hook.got]
        return {
            "messages": len(self.ids),
            "events": self.last(),
            "takeovers": self.takeovers(),
            "posts": len(posted),
            "posted twice": len(posted) - len(set(posted)),
            "foreign changes": self.foreign.changes(),
            "refused by the fence": self.server.log().count("ERROR:  another member has taken over"),
            "refused as late": self.late(),
        }


@asynccontextmanager
async def stage(folder: Path, count: int) -> AsyncIterator[Stage]:
    """With `count` members, as if each were on a machine of its own."""
    async with AsyncExitStack() as stack:
        server = stack.enter_context(PostgreSql(durable=True))
        database = stack.enter_context(server.database())
        other = stack.enter_context(server.database())
        user = new_name()
        database.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{PASSWORD}'")
        database.execute(f"ALTER DATABASE {database.name} OWNER TO {user}")
        store, foreign = StoreDatabase(database, user), Foreign(other, user)
        with store.engine().handover():
            pass
        # Statements with a semicolon inside end at the end of a line only.
        database.script(WATCHED)
        simulator = await stack.enter_async_context(
            Simulator(SimulatorConfig(population=Population(visibility_median=0.0)))
        )
        hook = await stack.enter_async_context(receiving())
        outputs = f'[outputs.webhook]\nurl = "{hook.url}"\nsecret = "{SECRET}"\n{foreign.toml}'
        library = build(folder)
        members = []
        for number in range(1, count + 1):
            proxy = stack.enter_context(Proxy(server.port))
            way = stack.enter_context(Proxy(simulator.port))
            made = Member(folder / f"db{number}", simulator, store, f"db{number}", proxy, way, library, outputs)
            members.append(await stack.enter_async_context(made))
        tasks = [asyncio.ensure_future(work()) for member in members for work in (member.live, member.reader.run)]
        try:
            for number, member in enumerate(members):
                member.wanted.set()
                event = "standing_by" if number else "started"
                await until(lambda m=member, e=event: m.count(e), f"{member.name} runs", patience=PATIENCE)  # type: ignore[misc]
            yield Stage(server, store, foreign, simulator, members, hook)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def since(began: float) -> float:
    """Seconds since an instant of the monotonic clock."""
    return time.monotonic() - began
