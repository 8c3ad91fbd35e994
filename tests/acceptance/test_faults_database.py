"""Other programs in the database: writers, readers that stay for long, and what retention takes away."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path

from pollerd.simulator import Population, Simulator, SimulatorConfig
from pollerd.store.retention import Retention
from pollerd.store.sqlite.store import SqliteStore
from tests.acceptance.conftest import Row
from tests.acceptance.crash_kit import FAST, LIVELY, QUICK, Load, connected, settled, steady
from tests.acceptance.deployment import Deployment
from tests.acceptance.waiting import until
from tests.sqlite_kit import autocommit, readme_insert, transaction

WRITER = Path(__file__).with_name("foreign_writer.py")
ROWS = 1000


async def python_writer(database: Path, first: int, timeout: float) -> int:
    """Python's sqlite3; how many inserts failed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, WRITER, str(first), str(ROWS), database, str(timeout), stdout=PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return int(out)


async def shell_writer(database: Path, first: int, timeout: int) -> int:
    """The command sqlite3, which does not wait unless asked to; how many inserts failed."""
    lines = "".join(f"INSERT OR IGNORE INTO messages (id) VALUES ({n});\n" for n in range(first, first + ROWS))
    process = await asyncio.create_subprocess_exec("sqlite3", database, stdin=PIPE, stdout=DEVNULL, stderr=PIPE)
    _, err = await process.communicate(f".timeout {timeout}\n{lines}".encode())
    return err.decode().count("locked")


async def test_three_foreign_writers_while_polling(tmp_path: Path, row: Row) -> None:
    """A thousand rows each, one transaction a row, with the drivers' own timeout: none is refused."""
    async with (
        Simulator(SimulatorConfig(speed=150, population=Population(any_id=True, visibility_median=0.0))) as simulator,
        Deployment(tmp_path, simulator, limits=FAST, backoff=QUICK) as deployment,
    ):
        await deployment.start()
        writers = [python_writer(deployment.database, 1, 5.0), python_writer(deployment.database, 10_001, 5.0)]
        names = ["python", "python"]
        if shutil.which("sqlite3"):
            writers.append(shell_writer(deployment.database, 20_001, 5000))
            names.append("sqlite3")
        else:
            writers.append(python_writer(deployment.database, 20_001, 5.0))
            names.append("python")
        locked = await asyncio.gather(*writers)
        ids = [first + n for first in (1, 10_001, 20_001) for n in range(ROWS)]
        await until(lambda: all(simulator.truth.polls(n) for n in ids), "every row is polled")
        assert await deployment.stop() == 0
        assert locked == [0, 0, 0]
        assert "locked" not in deployment.text_log()
        polled = sum(simulator.truth.polls(n) > 0 for n in ids)
        row(f"writers {', '.join(names)}: {polled} of {len(ids)} rows polled, 0 'database is locked'")


async def test_the_readmes_line_waits_for_a_lock(tmp_path: Path) -> None:
    """Whoever types it while the daemon commits: here another program holds the lock until the line waits for it."""
    async with (
        Simulator(SimulatorConfig(population=Population(any_id=True, visibility_median=0.0))) as simulator,
        Deployment(tmp_path, simulator, backoff=QUICK) as deployment,
    ):
        await deployment.start()
        line = readme_insert(deployment.database, 421332671)
        with transaction(deployment.database) as holder:
            holder.execute("BEGIN IMMEDIATE")
            process = await asyncio.create_subprocess_exec(*line, stderr=PIPE)
            await until(lambda: process.returncode is not None or waits(process.pid), "it waits")
        _, err = await process.communicate()
        assert (process.returncode, err) == (0, b"")
        await until(lambda: simulator.truth.polls(421332671), "it is polled")
        assert await deployment.stop() == 0


def waits(pid: int) -> bool:
    """Whether a process has the database open, and sleeps."""
    try:
        is_open = any(file.readlink().name.endswith("-shm") for file in Path(f"/proc/{pid}/fd").iterdir())
        return is_open and Path(f"/proc/{pid}/stat").read_text().split()[2] == "S"
    except OSError:
        return False  # It ends.


async def test_a_writer_without_patience(tmp_path: Path, row: Row) -> None:
    """SQLite's own default is to wait not at all: such a writer gets in between our commits, again and again.

    How often it meets a lock is counted; that depends on how fast the disk is and how busy the machine.
    """
    async with (
        Simulator(SimulatorConfig(speed=150, population=LIVELY)) as simulator,
        Deployment(tmp_path, simulator, limits=FAST, backoff=QUICK) as deployment,
    ):
        await deployment.start()
        load = Load(deployment, simulator)
        async with steady(load, 8, 0.1):
            await until(deployment.events, "events flow")
            before, groups = simulator.statistics().requests, len(deployment.events())
            failed = await python_writer(deployment.database, 10**12, 0.0)
            polls, events = simulator.statistics().requests - before, len(deployment.events()) - groups
        assert await deployment.stop() == 0
        row(f"timeout 0 beside {polls} polls with {events} events: {failed} of {failed + ROWS} tries met a lock")
        assert deployment.query("SELECT count(*) FROM messages WHERE id >= ?", 10**12) == [(ROWS,)]


async def test_a_long_foreign_read_transaction(tmp_path: Path, row: Row, long: bool) -> None:
    """The log of the database stays bounded, and it is used from its start again when the reader has gone."""
    seconds = 60.0 if long else 6.0
    wal = tmp_path / "pollerd.db-wal"
    async with (
        Simulator(SimulatorConfig(speed=150, population=LIVELY)) as simulator,
        Deployment(tmp_path, simulator, limits=FAST, backoff=QUICK) as deployment,
    ):
        await deployment.start()
        load = Load(deployment, simulator)
        async with steady(load, 20, 0.1):
            await until(deployment.events, "events flow")
            with autocommit(deployment.database) as reader:
                reader.execute("BEGIN")
                reader.execute("SELECT count(*) FROM messages").fetchone()
                await asyncio.sleep(seconds)
                held = wal.stat().st_size
        if long:
            await until(lambda: wal.stat().st_size <= 16 << 20, "the log shrinks", patience=150)
        await settled(deployment)
        after = wal.stat().st_size
        load.more(200)
        await settled(deployment)
        again = wal.stat().st_size
        assert await deployment.stop() == 0
        told = len(deployment.events())
        row(
            f"{seconds:.0f} s of reading, {told} events: log at most {held >> 10} KiB, then {after >> 10} KiB, "
            f"{again >> 10} KiB after 200 more messages; gone after the stop: {not wal.exists()}"
        )
        assert held < 64 << 20
        assert not wal.exists()


async def test_everything_pruned_then_a_restart(tmp_path: Path, row: Row) -> None:
    """Numbers go on upward, and a reader that asks for deleted events gets a line about the gap."""
    async with (
        Simulator(SimulatorConfig(speed=150, population=LIVELY)) as simulator,
        Deployment(tmp_path, simulator, limits=FAST, backoff=QUICK) as deployment,
    ):
        load = Load(deployment, simulator)
        await deployment.start()
        load.more(40)
        await settled(deployment)
        assert await deployment.stop() == 0
        last = deployment.events()[-1]["seq"]
        store = await SqliteStore.open(deployment.database, simulator.now)
        await Retention(store, frozenset({"file"}), 0.0).run(simulator.now() + 10.0)
        await store.close()
        assert deployment.query("SELECT count(*) FROM events") == [(0,)]
        assert deployment.query("SELECT count(*) FROM messages") == [(0,)]
        await deployment.start()
        reader, writer = await connected(deployment.socket)
        writer.write(b"after 3\n")
        gap = json.loads(await reader.readline())
        load.more(20)
        await settled(deployment)
        first = json.loads(await reader.readline())
        writer.close()
        assert await deployment.stop() == 0
        assert gap["type"] == "gap"
        assert (gap["after"], gap["first"]) == (3, last + 1)
        assert first["seq"] == last + 1
        told = [event["seq"] for event in deployment.events()]
        assert told == list(range(1, len(told) + 1))
        row(f"{last} events and 40 messages deleted, went on at {first['seq']}, reader told: {gap}")
