"""Several daemons on one store in PostgreSQL: one polls, and another goes on when it dies, ends or is cut off."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

from pollerd.simulator import Simulator, SimulatorConfig, Step
from tests.acceptance.bad_days_kit import AT_ONCE
from tests.acceptance.conftest import Row
from tests.acceptance.members_kit import MemberDeployment, check_files, members
from tests.acceptance.waiting import until
from tests.integration.test_systemd_notify import Listener
from tests.store_database import StoreDatabase

BACKOFF = 'policy = "exponential"\nfirst_poll_after = "0s"\nmin_interval = "1s"\nmax_interval = "2s"'
LIMITS = "requests_per_second = 100"


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
