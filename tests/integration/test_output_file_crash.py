"""kill -9 at every step and at any moment: over all files there is exactly one line for each event."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from asyncio.subprocess import Process
from pathlib import Path

import pytest

from pollerd.base import failpoints
from tests.hypothesis_kit import share
from tests.integration.output_kit import exactly, opened, seqs_in_all, stored_lines

ROOT = Path(__file__).parents[2]
KILLS = share(20 if os.environ.get("POLLERD_LONG", "") not in ("", "0") else 10, least=5)
"""The daemon as a whole dies at the same steps in tests/acceptance/test_crash_kill.py."""
STEPS = {
    "file.before_write": 4,
    "file.mid_write": 4,
    "file.after_write": 4,
    "file.before_fsync": 3,
    "file.after_fsync": 3,
    "file.before_cursor": 3,
    "file.after_cursor": 3,
    "file.rotated": 1,
}


async def start(folder: Path, armed: str = "", events: int = 60) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.integration.output_writer",
        str(folder / "pollerd.db"),
        str(folder / "events.ndjson"),
        str(events),
        env=os.environ | {failpoints.VARIABLE: armed},
        cwd=ROOT,
        stderr=asyncio.subprocess.PIPE,
    )


async def ended(process: Process) -> int:
    _, said = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode in {0, 1, -signal.SIGKILL}, said.decode()
    return process.returncode


async def check_all_told(folder: Path) -> None:
    """One more start without a kill, then every event of the database is in one line of one file, as stored."""
    assert await ended(await start(folder)) == 0
    async with opened(folder / "pollerd.db") as store:
        assert seqs_in_all(folder) == exactly(store.last)
        files = (path.read_bytes() for path in folder.glob("events.ndjson*"))
        assert sorted(line for file in files for line in file.splitlines(keepends=True)) == sorted(
            await stored_lines(store)
        )


@pytest.mark.parametrize("step", STEPS)
async def test_killed_at_a_step(tmp_path: Path, step: str) -> None:
    choice = random.Random(step)
    kills = 0
    for _ in range(3 * KILLS):
        process = await start(tmp_path, f"{step}=kill:{choice.randint(1, STEPS[step])}")
        kills += await ended(process) == -signal.SIGKILL
        if kills == KILLS:
            break
    assert kills == KILLS
    await check_all_told(tmp_path)


async def test_killed_at_any_moment(tmp_path: Path) -> None:
    choice = random.Random(7)
    for _ in range(KILLS):
        process = await start(tmp_path, events=20_000)
        await asyncio.sleep(choice.uniform(0.2, 0.8))
        process.kill()
        assert await ended(process) == -signal.SIGKILL
    await check_all_told(tmp_path)


async def test_killed_then_rotated_by_somebody_else_while_down(tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    choice = random.Random(8)
    for turn in range(KILLS):
        step = choice.choice(["file.mid_write", "file.after_write"])
        assert await ended(await start(tmp_path, f"{step}=kill:{choice.randint(1, 2)}")) == -signal.SIGKILL
        if turn % 4 == 3 and path.exists():
            folder = tmp_path / "old"
            folder.mkdir(exist_ok=True)
            path.rename(folder / f"moved.{turn}")
        elif path.exists():
            path.rename(tmp_path / f"events.ndjson.{turn}")
        if turn % 2:
            path.touch()
    for moved in (tmp_path / "old").iterdir():
        # Repaired where it was found by its inode, so it may come back under a name that the check sees.
        moved.rename(tmp_path / f"events.ndjson.{moved.name}")
    await check_all_told(tmp_path)


@pytest.mark.parametrize("error", ["enospc", "edquot", "eio"])
@pytest.mark.parametrize("step", ["file.before_write", "file.mid_write"])
async def test_a_write_that_fails_and_works_again(tmp_path: Path, step: str, error: str) -> None:
    assert await ended(await start(tmp_path, f"{step}={error}:2-3")) == 0
    await check_all_told(tmp_path)


async def test_killed_while_the_disk_is_full(tmp_path: Path) -> None:
    for hits in (2, 3):
        armed = f"file.mid_write=enospc:{hits}-,file.before_fsync=kill:2"
        assert await ended(await start(tmp_path, armed)) == -signal.SIGKILL
    await check_all_told(tmp_path)


async def test_an_error_from_fsync_ends_the_process_and_a_restart_recovers(tmp_path: Path) -> None:
    for hit in (1, 2):
        process = await start(tmp_path, f"file.before_fsync=eio:{hit}")
        _, said = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 1
        assert b"DurabilityError" in said
        assert b"could not be synced to disk" in said
    await check_all_told(tmp_path)
