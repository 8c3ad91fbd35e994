"""Disks that are full or do not sync, databases and files that were swapped: loud, exact, and nothing twice."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from pollerd.simulator import Population, Simulator, SimulatorConfig
from tests.acceptance.bad_days_kit import Shim
from tests.acceptance.conftest import Row
from tests.acceptance.crash_kit import (
    FAST,
    LIVELY,
    QUICK,
    Follower,
    Load,
    all_files,
    balance,
    settled,
    steady,
    stored,
)
from tests.acceptance.deployment import Deployment
from tests.acceptance.waiting import LOOK, PATIENCE, Rest, until

LIFE = SimulatorConfig(speed=150, population=LIVELY)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own; skipped where we may not mount one."""
    folder.mkdir()
    mounted = os.geteuid() == 0 and shutil.which("mount") is not None
    if mounted:
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        mounted = subprocess.run(command, check=False, capture_output=True).returncode == 0
    if not mounted:
        pytest.skip("needs the right to mount a small tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill(disk: Path) -> None:
    """Leave not a single block."""
    with (disk / "filler").open("ab", buffering=0) as filler:
        try:
            while True:
                filler.write(bytes(4096))
        except OSError:
            return


def errors(deployment: Deployment, word: str = "") -> list[str]:
    """What the log says at level error."""
    return [e["message"] for e in deployment.log() if e["level"].lower() == "error" and word in e["message"]]


def seq_of(deployment: Deployment) -> int:
    return int(deployment.query("SELECT coalesce(max(seq), 0) FROM events")[0][0])


async def test_full_disk_under_the_event_file(tmp_path: Path, row: Row) -> None:
    """Named once, the socket goes on, no torn line at any time, and the file catches up by itself."""
    with small_disk(tmp_path / "small", "1m") as disk:
        async with Simulator(LIFE) as simulator, Deployment(tmp_path, simulator) as deployment:
            deployment.file = disk / "events.ndjson"
            deployment.configure(simulator.url, "simulator-demo", limits=FAST, backoff=QUICK)
            load, follower = Load(deployment, simulator), Follower(deployment.socket)
            await deployment.start()
            async with follower.following():
                async with steady(load, 10, 0.1):
                    await until(lambda: len(deployment.events()) > 100, "events flow")
                    fill(disk)
                    await until(lambda: errors(deployment), "it is named")
                    full_at = follower.seq
                    await until(lambda: follower.seq > full_at + 100, "the socket goes on")
                    assert deployment.file.read_bytes().endswith(b"\n")
                    behind = seq_of(deployment) - deployment.events()[-1]["seq"]
                    (disk / "filler").unlink()
                    freed, wanted = time.monotonic(), seq_of(deployment)
                    await until(lambda: deployment.events()[-1]["seq"] >= wanted, "it catches up")
                    took = time.monotonic() - freed
                await settled(deployment)
                await until(lambda: follower.seq == seq_of(deployment), "the reader has everything")
            assert await deployment.stop() == 0
            told = deployment.events()
            found = balance(told, simulator, load.ids)
            row(f"{behind} events behind, caught up in {took:.1f} s: {found}")
            assert found.differences == 0
            assert len(errors(deployment)) == 1
            assert [json.loads(line) for line in follower.lines] == told


async def test_full_disk_under_the_database(tmp_path: Path, row: Row) -> None:
    """Named once; polling waits instead of asking for what it could not keep; goes on by itself.

    The disk holds more than what is written until SQLite's first checkpoint, 4 MiB.
    """
    with small_disk(tmp_path / "small", "12m") as disk:
        async with Simulator(LIFE) as simulator, Deployment(tmp_path, simulator) as deployment:
            deployment.database = disk / "pollerd.db"
            deployment.configure(simulator.url, "simulator-demo", limits=FAST, backoff=QUICK)
            load = Load(deployment, simulator)

            def requests() -> int:
                return simulator.statistics().requests

            await deployment.start()
            async with steady(load, 20, 0.05):
                await until(lambda: len(deployment.events()) > 100, "events flow")
            fill(disk)
            await until(lambda: errors(deployment), "it is named")
            asked = requests()
            # Nothing waits longer than `max_interval` for its next poll: after two of them polling has stopped.
            await until(Rest(requests, looks=int(2.0 / LOOK)), "polling comes to rest")
            in_vain = requests() - asked
            assert deployment.pending() > 0
            (disk / "filler").unlink()
            freed, before = time.monotonic(), len(deployment.events())
            await until(
                lambda: len(deployment.events()) > before or not deployment.pending(), "it goes on", patience=10
            )
            took = time.monotonic() - freed
            load.more(50)
            await settled(deployment)
            assert await deployment.stop() == 0
            told = deployment.events()
            found = balance(told, simulator, load.ids)
            row(
                f"{in_vain} requests until polling came to rest, as nothing could be written; "
                f"went on after {took:.1f} s: {found}"
            )
            assert found.differences == 0
            assert told == stored(deployment)
            assert len(errors(deployment)) == 1
            assert in_vain < 100


@pytest.mark.parametrize("there", [False, True])
async def test_a_full_disk_at_the_start_is_waited_out(tmp_path: Path, there: bool) -> None:
    """As while it runs: the file is named, once, and the start goes on as soon as there is room."""
    with small_disk(tmp_path / "small", "3m") as disk:
        async with (
            Simulator(SimulatorConfig(population=Population(any_id=True))) as simulator,
            Deployment(tmp_path, simulator) as deployment,
        ):
            deployment.database = disk / "pollerd.db"
            deployment.configure(simulator.url, "simulator-demo", limits=FAST, backoff=QUICK)
            if there:
                assert (await deployment.command("track", "1"))[0] == 0
            fill(disk)
            process = await deployment.launch()
            await until(lambda: "waiting to start" in deployment.text_log(), "it says that it waits")
            assert process.returncode is None
            (disk / "filler").unlink()
            await until(lambda: any(e["event"] == "started" for e in deployment.log()), "it starts")
            (waits,) = [e for e in deployment.log() if e["event"] == "start_waits"]
            assert str(deployment.database) in waits["message"]
            assert "room on the disk" in waits["message"]
            deployment.insert([2])
            await until(lambda: simulator.statistics().requests >= 1 + there, "it polls")
            assert await deployment.stop() == 0
            fill(disk)
            await deployment.launch()
            await until(lambda: deployment.text_log().count("waiting to start") == 2, "it waits again")
            assert await deployment.stop() == 0


@pytest.mark.parametrize(("part", "named"), [("events.ndjson$", "events.ndjson"), ("pollerd.db-wal$", "pollerd.db")])
async def test_a_failed_sync_ends_the_process(part: str, named: str, tmp_path: Path, shim: Shim, row: Row) -> None:
    """Non-zero at once, never tried again; the restart goes on from what is on disk. Three times each."""
    codes = []
    async with (
        Simulator(LIFE) as simulator,
        Deployment(tmp_path, simulator, limits=FAST, backoff=QUICK) as deployment,
    ):
        load = Load(deployment, simulator)
        for _ in range(3):
            process = await deployment.start(environment=shim.environment())
            before = len(deployment.events())
            load.more(30)
            await until(partial(_more, deployment, before), "events flow")
            said = len(errors(deployment)) + deployment.text_log().count("pollerd: ")
            shim.break_sync(part)
            load.more(30)
            async with asyncio.timeout(PATIENCE):
                codes.append(await process.wait())
            assert deployment.text_log().count("pollerd: ") + len(errors(deployment)) > said
            assert named in deployment.text_log().splitlines()[-1]
            shim.break_sync("")
        # On the same machine: after its restart the daemon would make sure of the time first.
        await deployment.start(environment=shim.environment())
        await settled(deployment)
        assert await deployment.stop() == 0
        found = balance(deployment.events(), simulator, load.ids)
        row(f"3 failed syncs of {named}, exit codes {codes}: {found}")
        assert codes == [1] * 3
        assert found.differences == 0
        assert "Traceback" not in deployment.text_log()


def _more(deployment: Deployment, before: int) -> bool:
    return len(deployment.events()) > before


async def finish(deployment: Deployment, load: Load, count: int) -> None:
    """`count` more messages from start to stop."""
    await deployment.start()
    load.more(count)
    await settled(deployment)
    assert await deployment.stop() == 0


async def test_database_restored_from_an_older_copy(tmp_path: Path, row: Row) -> None:
    """Numbering jumps above the file's: no number twice, one exact message, readers of the socket are not misled."""
    async with (
        Simulator(LIFE) as simulator,
        Deployment(tmp_path, simulator, limits=FAST, backoff=QUICK) as deployment,
    ):
        load = Load(deployment, simulator)
        await finish(deployment, load, 60)
        copied = seq_of(deployment)
        shutil.copy(deployment.database, tmp_path / "copy")
        await finish(deployment, load, 60)
        ahead = seq_of(deployment)
        for name in ("-wal", "-shm"):
            deployment.database.with_name(deployment.database.name + name).unlink(missing_ok=True)
        shutil.copy(tmp_path / "copy", deployment.database)
        follower = Follower(deployment.socket)
        await deployment.start()
        load.more(40)
        async with follower.following():
            await settled(deployment)
            await until(lambda: follower.seq >= copied, "the reader has the copy's events")
        assert await deployment.stop() == 0
        told = [event["seq"] for event in deployment.events()]
        complaints = errors(deployment)
        assert told == list(range(1, len(told) + 1))
        assert len(complaints) == 1
        assert f"ends at event {ahead} but the database ends at event {copied}" in complaints[0]
        assert deployment.query("SELECT min(seq) FROM events WHERE seq > ?", copied) == [(ahead + 1,)]
        await finish(deployment, load, 5)
        assert len(errors(deployment)) == 1
        told = [event["seq"] for event in deployment.events()]
        assert told == list(range(1, len(told) + 1))
        row(f"copy at {copied}, file at {ahead}, went on at {ahead + 1}: {len(told)} numbers, 0 twice, 1 message")


async def test_event_file_deleted(tmp_path: Path, row: Row) -> None:
    """A new one begins after the last event reported; earlier ones are not reported again, and that is logged once."""
    async with (
        Simulator(LIFE) as simulator,
        Deployment(tmp_path, simulator, limits=FAST, backoff=QUICK) as deployment,
    ):
        load = Load(deployment, simulator)
        await finish(deployment, load, 40)
        last = seq_of(deployment)
        deployment.file.unlink()
        await finish(deployment, load, 40)
        told = [event["seq"] for event in deployment.events()]
        assert told == list(range(last + 1, seq_of(deployment) + 1))
        said = [e["message"] for e in deployment.log() if "is gone: a new one begins" in e["message"]]
        assert len(said) == 1
        assert f"after event {last}" in said[0]
        row(f"deleted after {last}: the new one holds {told[0]} to {told[-1]}, 0 twice, 1 message")


async def test_event_file_of_another_database(tmp_path: Path, row: Row) -> None:
    """It is renamed aside, untouched, and that is logged once."""
    other = tmp_path / "other"
    other.mkdir()
    async with (
        Simulator(LIFE) as simulator,
        Deployment(other, simulator, limits=FAST, backoff=QUICK) as stranger,
        Deployment(tmp_path, simulator, limits=FAST, backoff=QUICK) as deployment,
    ):
        await finish(stranger, Load(stranger, simulator), 50)
        foreign = stranger.file.read_bytes()
        load = Load(deployment, simulator)
        await finish(deployment, load, 40)
        last = seq_of(deployment)
        deployment.file.rename(tmp_path / "mine")
        deployment.file.write_bytes(foreign)
        await finish(deployment, load, 40)
        aside = list(tmp_path.glob("events.ndjson.other-*"))
        assert [path.read_bytes() for path in aside] == [foreign]
        told = [event["seq"] for event in deployment.events()]
        assert told == list(range(last + 1, seq_of(deployment) + 1))
        said = [text for text in errors(deployment) if "another database" in text]
        assert len(said) == 1
        (tmp_path / "mine").rename(tmp_path / "events.ndjson.1")
        aside[0].rename(tmp_path / "aside")
        found = balance(all_files(deployment), simulator, load.ids)
        assert found.differences == 0
        row(f"renamed aside untouched, {told[0]} to {told[-1]} in the new one, 1 message: {found}")
