"""PostgreSQL itself fails over to a replica under daemons that share a store there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from pollerd.core.event import left_out
from pollerd.simulator import Simulator, SimulatorConfig, Step
from tests.acceptance.bad_days_kit import AT_ONCE
from tests.acceptance.conftest import Row
from tests.acceptance.members_kit import MemberDeployment, check_files, members
from tests.acceptance.waiting import until
from tests.servers.database import PASSWORD, Database, new_name
from tests.servers.postgresql import PostgreSql
from tests.servers.replica import Replica
from tests.store_database import StoreDatabase

BACKOFF = 'policy = "exponential"\nfirst_poll_after = "0s"\nmin_interval = "1s"\nmax_interval = "1s"'
LIMITS = "requests_per_second = 100"
UNDER_WAY = [Step(0.0, "ENROUTE")]
ENDED = (*UNDER_WAY, Step(0.1, "DELIVERED"))


FINISHED = "SELECT count(*) FROM messages WHERE state = 2"


class Replicated(StoreDatabase):
    """A store on a server with a replica, which daemons are told of."""

    replica: Replica
    lossless = False

    def url(self) -> str:
        hosts = f"127.0.0.1:{self.database.server.port},127.0.0.1:{self.replica.port}"
        options = "sslmode=disable&target_session_attrs=read-write"
        return f"postgresql://{self.user}@{hosts}/{self.database.name}?{options}"

    @property
    def toml(self) -> str:
        return f"{super().toml}\nlossless = {str(self.lossless).lower()}"

    def fail_over(self) -> StoreDatabase:
        """The server dies, and its replica is promoted; the store there."""
        self.database.server.kill()
        self.replica.promote()
        return StoreDatabase(self.replica.copy_of(self.database), self.user)


def end(simulator: Simulator, ids: Sequence[int]) -> None:
    """The next poll of each finds its final state."""
    for number in ids:
        simulator.truth.get(number).steps = ENDED


def ended(member: MemberDeployment) -> int:
    """Messages whose final state is in its file."""
    return len({line["id"] for line in member.told() if line.get("final")})


@contextmanager
def replicated() -> Iterator[Replicated]:
    with PostgreSql(tls=False) as server:
        name, user = new_name(), new_name()
        server.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{PASSWORD}'")
        server.execute(f"CREATE DATABASE {name} OWNER {user}")
        with Replica(server) as replica:
            store = Replicated(Database(server, name), user)
            store.replica = replica
            yield store


async def test_a_synchronous_replica_is_promoted_and_all_goes_on(
    tmp_path: Path, has_postgresql: None, row: Row
) -> None:
    """No failover loses a commit, by the operator's word: numbers go on without a gap, and nobody starts anew. Before
    that commits wait for the replica, and renewals of the lease do not.
    """
    with replicated() as store:
        store.replica.be_waited_for()
        store.lossless = True
        async with (
            Simulator(SimulatorConfig(population=AT_ONCE)) as simulator,
            members(tmp_path, simulator, store, ["db1", "db2"], backoff=BACKOFF, limits=LIMITS) as (one, two),
        ):
            ids = [simulator.truth.add(steps=UNDER_WAY) for _ in range(60)]
            one.insert(ids)
            await until(lambda: len(one.told()) == 60, "the first polls")
            store.replica.way.freeze()
            end(simulator, ids)
            waiting = "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
            await until(lambda: store.query(waiting) == [(True,)], "a commit waits for the replica")
            beat = "SELECT beat FROM leases JOIN duties USING (token)"
            before = store.query(beat)[0][0]
            await until(lambda: store.query(beat)[0][0] >= before + 2, "the lease is renewed all the same")
            store.replica.way.thaw()
            await until(lambda: store.query(waiting) == [(False,)], "commits go on")
            there = store.fail_over()
            await until(lambda: there.query(FINISHED) == [(60,)], "all messages end")
            last = there.query("SELECT last_seq FROM cluster")[0][0]
            for member in (one, two):
                await until(lambda m=member: m.told() and m.told()[-1]["seq"] == last, "it reads all")  # type: ignore[misc]
            assert there.query("SELECT count(*) FROM jumps") == [(0,)]
            assert not one.count("took_over") + two.count("took_over")
            assert await two.stop() == 0
            assert await one.stop() == 0
    row(f"{check_files([one, two], len(ids))} lines in both files")


async def test_an_asynchronous_replica_is_promoted_and_no_number_means_two_events(
    tmp_path: Path, has_postgresql: None, row: Row
) -> None:
    """What was committed last, and reported, is lost: numbers jump once, and what was lost is reported again."""
    with replicated() as store:
        async with (
            Simulator(SimulatorConfig(population=AT_ONCE)) as simulator,
            members(tmp_path, simulator, store, ["db1", "db2"], backoff=BACKOFF, limits=LIMITS) as (one, two),
        ):
            ids = [simulator.truth.add(steps=UNDER_WAY) for _ in range(60)]
            one.insert(ids)
            await until(lambda: [len(member.told()) for member in (one, two)] == [60, 60], "the first polls")
            store.replica.catch_up()
            store.replica.way.freeze()
            end(simulator, ids[:30])
            await until(lambda: [ended(member) for member in (one, two)] == [30, 30], "events that will be lost")
            end(simulator, ids[30:])
            there = store.fail_over()
            for member in (one, two):
                assert member.process is not None
                assert await member.process.wait() == 1
                assert "PostgreSQL has failed over" in member.text_log().splitlines()[-1]
            lost = {line["seq"] for line in one.told()} & {line["seq"] for line in two.told()}
            await one.join("started")
            assert "may lack what was committed last" in one.logged("failed_over")[-1]["message"]
            await two.join("standing_by")
            await until(lambda: there.query(FINISHED) == [(60,)], "all messages end")
            last = there.query("SELECT last_seq FROM cluster")[0][0]
            await until(lambda: [m.told()[-1]["seq"] for m in (one, two)] == [last, last], "both have read all")
            [(after, upto)] = there.query("SELECT after, upto FROM jumps")
            assert max(lost) > after, "nothing was lost"
            for command in ("status", "doctor"):
                _, said, _ = await two.command(command)
                assert f"the event after number {after} has number {upto + 1}" in " ".join(said.split())
            _, said, _ = await one.command("events", "--after", str(after + 1), "--json")
            assert json.loads(said.splitlines()[0])["seq"] == upto + 1
            assert await two.stop() == 0
            assert await one.stop() == 0
    meant: dict[int, object] = {}
    for member in (one, two):
        assert ended(member) == 60
        numbers = [line["seq"] for line in member.told()]
        holes = [(a, b) for a, b in pairwise(numbers) if b != a + 1]
        assert len(holes) == 1
        assert left_out(*holes[0])
        assert holes[0][1] == upto + 1
        for line in member.told():
            assert meant.setdefault(line["seq"], line) == line
    again = len(one.told()) - len({(line["id"], line["type"], line.get("status")) for line in one.told()})
    row(f"{max(lost) - after} numbers lost in both files, {again} events of {len(one.told())} told again")
