"""The database is known by its file, not by its name: other names for it, and a lock that others meddle with."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from pathlib import Path

import pytest
from aiohttp import ClientSession, UnixConnector

from pollerd.simulator import Population, Simulator, SimulatorConfig, Step
from pollerd.store.sqlite.lock import lock_path, owner_pid
from tests.acceptance.crash_kit import QUICK
from tests.acceptance.deployment import Deployment, finals, truth
from tests.acceptance.doctor_kit import doctor
from tests.acceptance.waiting import PATIENCE, until
from tests.sqlite_kit import autocommit, rows

SOON = [Step(0.0, "ENROUTE"), Step(600.0, "DELIVERED")]
COMMAND = (
    "import sys; from pollerd.store.sqlite.lock import FileOwnership;"
    " owned = FileOwnership.acquire(sys.argv[1]); sys.stdin.read()"
)


def second_name(database: Path, way: str) -> Iterator[Path]:
    """The database under another name, as long as the iterator lives."""
    if way == "lock file removed":
        lock_path(database).unlink()
        yield database
        return
    folder = database.parent / "elsewhere"
    folder.mkdir()
    other = folder / "pollerd.db"
    if way == "hard link":
        other.hardlink_to(database)
        yield other
        return
    other.touch()
    if shutil.which("mount") is None or subprocess.run(["mount", "--bind", database, other], check=False).returncode:
        pytest.skip("needs the right to mount")
    try:
        yield other
    finally:
        subprocess.run(["umount", other], check=True)


@pytest.mark.parametrize("way", ["hard link", "bind mount", "lock file removed"])
async def test_a_second_daemon_under_another_name(tmp_path: Path, way: str) -> None:
    async with (
        Simulator(SimulatorConfig(speed=3000)) as gateway,
        Deployment(tmp_path, gateway, backoff=QUICK) as deployment,
    ):
        process = await deployment.start()
        with contextmanager(second_name)(deployment.database, way) as other:
            (tmp_path / "second").mkdir()
            second = Deployment(tmp_path / "second", gateway)
            second.database = other
            second.configure(gateway.url, "simulator-demo")
            code, _, err = await second.command("run")
            assert (code, "already runs on the database" in err) == (75, True), err
            await until(lambda: owner_pid(deployment.database) == process.pid, "its lock names it")
            ids = [gateway.truth.add(steps=SOON) for _ in range(5)]
            assert (await deployment.command("track", *map(str, ids)))[0] == 0
            await until(lambda: finals(deployment.events()) == truth(gateway, ids), "all are told once")
        assert await deployment.stop() == 0
        assert deployment.query("PRAGMA integrity_check") == [("ok",)]


@asynccontextmanager
async def a_command_that_holds(database: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A command at work without a daemon, until its standard input ends."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", COMMAND, database, stdin=PIPE)
    try:
        await until(lambda: owner_pid(database) == process.pid, "it has the database")
        yield process
    finally:
        await process.communicate(b"")


class Systemd:
    """systemd's end of the notification socket."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(str(self.path))
        self.heard: list[str] = []

    def hear(self) -> list[str]:
        while True:
            try:
                self.heard += self._socket.recv(4096).decode().splitlines()
            except BlockingIOError:
                return self.heard

    def close(self) -> None:
        self._socket.close()


@pytest.mark.parametrize("by_systemd", [False, True])
async def test_a_start_waits_for_a_command(tmp_path: Path, gateway: Simulator, by_systemd: bool) -> None:
    """A unit that is turned away with 75 stays down for good: a command's moment must not do that."""
    systemd = Systemd(tmp_path)
    environment = {"NOTIFY_SOCKET": str(systemd.path)} if by_systemd else {}
    async with Deployment(tmp_path, gateway) as deployment:
        async with a_command_that_holds(deployment.database) as command:
            process = await deployment.launch(environment=environment)
            named = f"process {command.pid}, a command"
            await until(lambda: named in deployment.text_log(), "it says for whom it waits")
            if by_systemd:
                await until(lambda: any(named in line for line in systemd.hear()), "and in the status line")
                await until(lambda: any("EXTEND_TIMEOUT_USEC" in line for line in systemd.hear()), "with more time")
                assert "READY=1" not in systemd.hear()
            assert process.returncode is None
        await until(lambda: '"started"' in deployment.text_log(), "it starts")
        assert deployment.text_log().count(named) == 1
        assert await deployment.stop() == 0
        # A stop is heard while it waits.
        async with a_command_that_holds(deployment.database):
            await deployment.launch(environment=environment)
            await until(lambda: deployment.text_log().count("a command") == 2, "it waits again")
            assert await deployment.stop() == 0
    systemd.close()


async def test_a_service_waits_for_a_daemon_started_by_hand(tmp_path: Path, gateway: Simulator) -> None:
    systemd = Systemd(tmp_path)
    async with Deployment(tmp_path, gateway) as by_hand, Deployment(tmp_path, gateway) as service:
        first = await by_hand.start()
        await service.launch(environment={"NOTIFY_SOCKET": str(systemd.path)})
        await until(lambda: any(f"process {first.pid} already runs" in line for line in systemd.hear()), "it says so")
        assert await by_hand.stop() == 0
        await until(lambda: "READY=1" in systemd.hear(), "the service starts")
        assert await service.stop() == 0
    systemd.close()


@pytest.mark.parametrize("kind", ["symbolic link", "hard link"])
async def test_a_strangers_link_in_the_locks_place(tmp_path: Path, gateway: Simulator, kind: str) -> None:
    async with Deployment(tmp_path, gateway) as deployment:
        victim, lock = tmp_path / "victim", lock_path(deployment.database)
        victim.write_text("what must stay")
        lock.symlink_to(victim) if kind == "symbolic link" else lock.hardlink_to(victim)
        process = await deployment.launch()
        assert await process.wait() == 1
        assert kind in deployment.text_log()
        assert str(lock) in deployment.text_log()
        assert victim.read_text() == "what must stay"
        seen = await doctor(deployment)
        assert "rights" in seen.failures
        assert kind in seen.evidence("rights")
        assert f"rm {lock}" in seen.next_step("rights")
        lock.unlink()
        await deployment.start()
        assert await deployment.stop() == 0
        os.link(deployment.database, tmp_path / "other.db")
        assert "hard links" in (await doctor(deployment)).evidence("database")


def removed(database: Path, backup: Path) -> None:
    database.unlink()


def replaced(database: Path, backup: Path) -> None:
    """As a restore goes that forgets to stop the daemon."""
    shutil.copy(backup, database.parent / "fresh")
    (database.parent / "fresh").rename(database)


def moved_away(database: Path, backup: Path) -> None:
    database.rename(database.parent / "moved.db")


def without_its_log(database: Path, backup: Path) -> None:
    Path(f"{database}-wal").unlink()


@pytest.mark.parametrize(
    ("away", "kept"), [(removed, []), (replaced, [1, 7]), (moved_away, []), (without_its_log, [1, 2, 3])]
)
async def test_a_database_that_is_taken_away(
    tmp_path: Path, away: Callable[[Path, Path], None], kept: list[int]
) -> None:
    """Said, held, nothing acknowledged that would be lost, and a stop that systemd answers with a start."""
    backup = tmp_path / "backup.db"
    async with (
        Simulator(SimulatorConfig(population=Population(any_id=True, visibility_median=0.0))) as gateway,
        Deployment(tmp_path, gateway, backoff=QUICK) as deployment,
    ):
        database = deployment.database
        assert (await deployment.command("track", "1"))[0] == 0
        shutil.copy(database, backup)
        process = await deployment.start()
        assert (await deployment.command("track", "2", "3"))[0] == 0
        await until(lambda: len(deployment.events()) >= 3, "all were polled")
        away(database, backup)
        named = "-wal was removed" if away is without_its_log else "replaced" if away is replaced else "was removed"
        # At once, long before the next check of the files.
        code, _, err = await curl(deployment, "/messages", '{"id": 4}')
        assert (code, named in err) == (503, True), err
        if away is not without_its_log:
            code, out, err = await deployment.command("track", "5")
            assert (code, out) == (1, "")
            assert "removed or replaced while process" in err
        await until(lambda: any(e["event"] == "database_lost" for e in deployment.log()), "the log says so")
        asked = gateway.statistics().requests
        code, out, _ = await deployment.command("status")
        assert (code, named in out) == (0, True), out
        code, _, err = await curl(deployment, "/healthz")
        assert (code, named in err) == (503, True), err
        seen = await doctor(deployment)
        assert named in seen.evidence("daemon")
        with autocommit(database) if away is replaced else nullcontext() as foreign:
            # What the daemon leaves behind must not take along what others write to the new file.
            if foreign is not None:
                foreign.execute("INSERT INTO messages (id) VALUES (7)")
            async with asyncio.timeout(PATIENCE):
                assert await process.wait() == 1
        assert gateway.statistics().requests <= asked + 3
        assert "Traceback" not in deployment.text_log()
        assert not list(tmp_path.glob("*.lost-*"))
        await deployment.start()
        found = [number for (number,) in deployment.query("SELECT id FROM messages ORDER BY id")]
        assert found == kept
        assert deployment.query("PRAGMA integrity_check") == [("ok",)]
        if away is moved_away:
            assert rows(tmp_path / "moved.db", "SELECT id FROM messages") == [(1,), (2,), (3,)]
        assert (await deployment.command("track", "6"))[0] == 0
        await until(lambda: any(e.get("id") == 6 for e in deployment.events()), "it goes on")
        assert await deployment.stop() == 0


async def curl(deployment: Deployment, path: str, body: str | None = None) -> tuple[int, str, str]:
    """What the control socket answers: status, nothing, body."""
    async with (
        ClientSession(connector=UnixConnector(str(deployment.folder / "control.sock"))) as session,
        session.request("GET" if body is None else "POST", f"http://localhost{path}", data=body) as response,
    ):
        return response.status, "", await response.text()
