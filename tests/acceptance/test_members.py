"""Several daemons on one store in PostgreSQL: one polls, and another goes on when it dies, ends or is cut off."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

from pollerd.base import failpoints
from pollerd.client.unixhttp import UnixConnection
from pollerd.simulator import Simulator, SimulatorConfig, Step
from tests.acceptance.bad_days_kit import AT_ONCE, Shim
from tests.acceptance.conftest import Row
from tests.acceptance.members_kit import MemberDeployment, check_files, members
from tests.acceptance.waiting import until
from tests.integration.test_systemd_notify import Listener
from tests.servers.program import state_of
from tests.store_database import StoreDatabase

BACKOFF = 'policy = "exponential"\nfirst_poll_after = "0s"\nmin_interval = "1s"\nmax_interval = "2s"'
LIMITS = "requests_per_second = 100"


def metrics(member: MemberDeployment) -> set[tuple[str, str, float]]:
    """What a member shows without labels: its name, that of the metric without the prefix, and the value."""
    connection = UnixConnection(member.folder / "control.sock", 60.0)
    connection.request("GET", "/metrics", headers={"Host": "localhost"})
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    found = [line.removeprefix("pollerd_").split() for line in lines if line.startswith("pollerd_") and "{" not in line]
    return {(member.name, name, float(value)) for name, value in found}


async def test_another_goes_on_when_the_active_one_dies(
    tmp_path: Path, store_database: StoreDatabase, row: Row
) -> None:
    """kill -9, seen from another machine; then SIGTERM to the new one. Nothing is lost, doubled or torn, and every
    member's file is the same."""
    async with (
        Simulator(SimulatorConfig(population=AT_ONCE)) as simulator,
        members(tmp_path, simulator, store_database, ["db1", "db2"], backoff=BACKOFF, limits=LIMITS) as (one, two),
    ):
        one.elsewhere()
        ids = [simulator.truth.add(steps=[Step(0.0, "ENROUTE"), Step(1.0, "DELIVERED")]) for _ in range(200)]
        one.insert(ids[:100])
        await until(lambda: len(one.told()) > 20, "the first polls")
        await one.kill()
        await until(lambda: two.count("took_over"), "the other takes over")
        assert "db2 took over from db1: its lease ended" in two.logged("took_over")[0]["message"]
        two.insert(ids[100:])
        systemd = Listener(str(tmp_path / "notify"))
        await one.join("standing_by", {"NOTIFY_SOCKET": systemd.address})
        assert await systemd.hear_later() == "STATUS=standby: another machine polls"
        assert await systemd.hear_later() == "READY=1"
        assert await two.stop() == 0
        await until(lambda: one.count("took_over"), "it is handed over")
        while not (await systemd.hear_later()).startswith("STATUS=active: "):
            pass
        systemd.socket.close()
        assert one.logged("took_over")[0]["message"] == "db1 took over from db2: it ended in order"
        await two.join("standing_by")

        def done() -> bool:
            return [len([line for line in member.told() if line.get("final")]) for member in (one, two)] == [200, 200]

        await until(done, "all messages end")
        _, text, _ = await two.command("status", "--json")
        _, shown, _ = await two.command("status")
        assert "db1 took over from db2: it ended in order" in shown
        assert metrics(one) | metrics(two) >= {("db1", "active", 1.0), ("db2", "active", 0.0)}
        assert {value for _, name, value in metrics(two) if name == "takeovers_total"} == {2.0}
        assert await two.stop() == 0
        assert await one.stop() == 0
    lines = check_files([one, two], len(ids))
    row(f"{lines} lines in both files, {json.loads(text)['daemon']}")


async def test_a_frozen_member_wakes_fenced_and_a_standby_serves(
    tmp_path: Path, store_database: StoreDatabase, row: Row
) -> None:
    """The standby takes ids in, has the active one do what is asked of it, and shows who polls. The active one stands
    still for two leases: when it goes on it is refused, ends, and leaves nothing behind."""
    async with (
        Simulator(SimulatorConfig(population=AT_ONCE)) as simulator,
        members(tmp_path, simulator, store_database, ["db1", "db2"], backoff=BACKOFF, limits=LIMITS) as (one, two),
    ):
        one.elsewhere()
        twin = MemberDeployment(tmp_path / "twin", simulator, store_database, "db2")
        assert (await twin.command("run"))[0] == 75

        follow = simulator.truth.add(steps=[Step(0.0, "ENROUTE")])
        assert (await two.command("track", str(follow)))[0] == 0
        await until(lambda: [line for line in two.told() if line["id"] == follow], "the active one has polled it")
        assert (await two.command("untrack", str(follow)))[0] == 0
        assert store_database.query("SELECT state FROM messages WHERE id = ?", follow) == [(3,)]
        _, text, _ = await two.command("status", "--json")
        cluster = json.loads(text)["cluster"]
        assert (cluster["name"], cluster["active"]) == ("db2", "db1")
        assert [(member["name"], member["active"]) for member in cluster["members"]] == [("db1", True), ("db2", False)]
        _, shown, _ = await two.command("status")
        assert "stands by as db2" in shown
        assert "db1 polls" in shown
        _, found, _ = await two.command("doctor", "--json")
        checks = [(check["name"], check["evidence"]) for check in json.loads(found)["checks"]]
        stand = {text.split()[0]: text.rpartition(") ")[2] for name, text in checks if name == "members"}
        assert stand == {"db1": "polls", "db2": "stands by"}
        assert "NOTIFY arrives" in dict(checks)["database notifications"]
        assert "default: token in use" not in dict(checks)
        # The token that it would poll with is not the one that the doctor is given.
        text = two.config.read_text()
        two.config.write_text(re.sub(r'token_file = ".*"', 'token = "another-one"', text))
        _, found, _ = await two.command("doctor", "--json")
        two.config.write_text(text)
        (used,) = [check for check in json.loads(found)["checks"] if check["name"] == "default: token in use"]
        assert used["level"] == "failure"
        assert json.loads((await two.command("status", "--json"))[1])["cluster"]["commit_doubts"] == 0

        ids = [simulator.truth.add(steps=[Step(0.0, "ENROUTE"), Step(1.0, "DELIVERED")]) for _ in range(50)]
        one.insert(ids)
        await until(lambda: len(one.told()) > 10, "the first polls")
        assert one.process is not None
        one.process.send_signal(signal.SIGSTOP)
        await until(lambda: two.count("took_over"), "the other takes over")
        await until(lambda: {line["id"] for line in two.told() if line.get("final")} >= {*ids}, "all messages end")
        one.process.send_signal(signal.SIGCONT)
        assert await one.process.wait() == 1
        assert "'db2'" in one.text_log().splitlines()[-1]
        await one.join("standing_by")
        last = two.told()[-1]["seq"]
        await until(lambda: one.told()[-1]["seq"] == last, "it has read what it missed")
        assert await two.stop() == 0
        assert await one.stop() == 0
    row(f"{check_files([one, two], len(ids))} lines in both files, {two.logged('took_over')[0]['message']}")


async def test_who_stands_still_in_a_takeover_keeps_nobody_from_it(
    tmp_path: Path, store_database: StoreDatabase
) -> None:
    """It has locked the row of the duty: the database lets go of that, and another one polls. Later it stands by."""
    async with (
        Simulator(SimulatorConfig(population=AT_ONCE)) as simulator,
        members(tmp_path, simulator, store_database, ["db1"], backoff=BACKOFF, limits=LIMITS) as (one,),
        MemberDeployment(tmp_path / "db2", simulator, store_database, "db2", backoff=BACKOFF, limits=LIMITS) as two,
    ):
        frozen = await two.launch(environment={failpoints.VARIABLE: "lease.taking=stop:1"})
        await until(lambda: two.count("standing_by"), "it stands by")
        assert await one.stop() == 0
        await until(lambda: state_of(frozen.pid) == "T", "it stands still")
        await one.join("started")
        polled = simulator.truth.add(steps=[Step(0.0, "DELIVERED")])
        one.insert([polled])
        await until(lambda: [line for line in one.told() if line["id"] == polled], "it is polled")
        frozen.send_signal(signal.SIGCONT)
        await until(lambda: two.told() == one.told(), "the other goes on")
        assert not two.count("took_over")
        assert await one.stop() == 0
        await until(lambda: two.count("took_over"), "it takes over")
        assert await two.stop() == 0


async def test_a_member_whose_clock_is_wrong_does_not_poll_and_says_so(
    tmp_path: Path, store_database: StoreDatabase, shim: Shim
) -> None:
    """Also where nobody else does, from its start on; it polls as soon as its clock is set."""
    shim.step(3600.0)
    async with (
        Simulator(SimulatorConfig(population=AT_ONCE)) as simulator,
        MemberDeployment(tmp_path / "db1", simulator, store_database, "db1") as one,
    ):
        one.machine = shim
        await one.join("standing_by")
        await until(lambda: one.count("clock_apart"), "it says so")
        assert "this machine's clock is 3600 s ahead of that of PostgreSQL" in one.logged("clock_apart")[0]["message"]
        _, doctor, _ = await one.command("doctor")
        assert "database clock" in doctor
        assert ") stands by" in doctor
        _, status, _ = await one.command("status")
        assert "nobody polls at this moment" in status
        assert "3600 s ahead" in status
        shim.step(0.0)
        await until(lambda: one.count("started"), "it polls")
        _, doctor, _ = await one.command("doctor")
        assert "database clock" not in doctor
        assert await one.stop() == 0
