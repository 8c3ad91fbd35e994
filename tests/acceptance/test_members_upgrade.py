"""An upgrade one member at a time: the newest release migrates, the one before goes on, an older one is turned away."""

from __future__ import annotations

import json
from pathlib import Path

from pollerd.simulator import Simulator, SimulatorConfig, Step
from tests.acceptance.bad_days_kit import AT_ONCE
from tests.acceptance.conftest import Row
from tests.acceptance.members_kit import check_files, members
from tests.acceptance.waiting import until
from tests.releases import AFTER_NEXT, NEWEST, NEXT, release
from tests.store_database import StoreDatabase

BACKOFF = 'policy = "exponential"\nfirst_poll_after = "0s"\nmin_interval = "1s"\nmax_interval = "2s"'


async def test_members_are_upgraded_one_at_a_time(tmp_path: Path, store_database: StoreDatabase, row: Row) -> None:
    """The standby first, then the active one, with messages under way all the time; then the same with a release that
    shuts the first one out."""
    following = release(tmp_path / "0.2", "0.2.0", [NEXT])
    newest = release(tmp_path / "0.3", "0.3.0", [NEXT, AFTER_NEXT])
    ids: list[int] = []
    async with (
        Simulator(SimulatorConfig(population=AT_ONCE)) as simulator,
        members(tmp_path, simulator, store_database, ["db1", "db2"], backoff=BACKOFF) as (one, two),
    ):

        async def polled() -> None:
            """Messages are under way, and somebody polls them."""
            fresh = [simulator.truth.add(steps=[Step(0.0, "ENROUTE"), Step(3.0, "DELIVERED")]) for _ in range(40)]
            one.insert(fresh)
            ids.extend(fresh)
            await until(lambda: {line["id"] for line in one.told() + two.told()} & {*fresh}, "polls go on")

        def schema() -> int:
            return int(store_database.query("SELECT schema_version FROM cluster")[0][0])

        def newer_groups() -> int:
            return int(store_database.query("SELECT count(*) FROM newer_groups")[0][0])

        await polled()
        assert await two.stop() == 0
        # Two releases at once: the one that runs could not go on.
        two.install(newest)
        process = await two.launch()
        assert await process.wait() == 1
        said = two.text_log().splitlines()[-1]
        assert f"the member 'db1' runs pollerd 0.1.0, which cannot use schema {NEWEST + 2}: upgrade it" in said
        assert schema() == NEWEST

        two.install(following)
        await two.join("standing_by")
        assert schema() == NEWEST + 1
        await polled()
        assert newer_groups() == 0
        _, text, _ = await one.command("status", "--json")
        releases = {each["name"]: each["version"] for each in json.loads(text)["cluster"]["members"]}
        assert releases == {"db1": "0.1.0", "db2": "0.2.0"}
        assert await one.stop() == 0
        await until(lambda: two.count("took_over"), "the newer one takes over")
        await polled()
        await until(newer_groups, "it commits in its own way")
        # The older one stands by beside it, and takes over from it.
        await one.join("standing_by")
        assert await two.stop() == 0
        await until(lambda: one.count("took_over"), "the older one takes over")
        before = newer_groups()
        await polled()
        await until(lambda: {*ids} <= {line["id"] for line in one.told()}, "it polls all")
        assert newer_groups() == before

        two.install(newest)
        assert await (await two.launch()).wait() == 1
        two.install(following)
        await two.join("standing_by")
        assert await one.stop() == 0
        one.install(newest)
        await one.join("standing_by")
        assert schema() == NEWEST + 2
        await polled()
        one.install(None)
        code, _, told = await one.command("list")
        assert code == 1
        assert (
            f"schema {NEWEST + 2}, this version of pollerd knows up to {NEWEST}. Install the newer pollerd here" in told
        )

        def done() -> bool:
            return [len([line for line in member.told() if line.get("final")]) for member in (one, two)] == [
                len(ids)
            ] * 2

        await until(done, "all messages end")
        assert await two.stop() == 0
        assert await one.stop() == 0
    row(f"{check_files([one, two], len(ids))} lines in both files, {len(ids)} messages")
