"""`pollerd doctor` against broken deployments, each broken for real: what it says, of what, and the exit code."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pollerd.simulator import Simulator
from pollerd.store.sqlite import schema
from tests.acceptance.deployment import COMMAND, Deployment
from tests.acceptance.doctor_kit import doctor, free_port
from tests.acceptance.waiting import PATIENCE
from tests.sqlite_kit import autocommit

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user, or to mount")
NOBODY = 65534


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """All files, with size and time; SQLite's own shared index may be made again by any reader."""
    return {
        str(path): (path.stat().st_size, 0 if path.name.endswith("-shm") else path.stat().st_mtime_ns)
        for path in folder.rglob("*")
    }


async def test_a_healthy_deployment_that_is_not_started(healthy: Deployment) -> None:
    seen = await doctor(healthy)
    assert (seen.code, seen.failures) == (0, set())
    assert seen.level("default: token") == "ok"
    assert "1,234.50 DKK" in seen.evidence("default: balance")
    assert "no daemon runs" in seen.evidence("daemon")
    assert not healthy.database.exists(), "nothing is made"


async def test_beside_a_running_daemon(healthy: Deployment) -> None:
    async with healthy:
        process = await healthy.start()
        healthy.insert([421_332_671])
        seen = await doctor(healthy)
        assert (seen.code, seen.failures) == (0, set())
        assert f"process {process.pid} runs" in seen.evidence("daemon")
        assert "is healthy" in seen.evidence("daemon")
        assert "takes connections" in seen.evidence("output socket")
        assert process.returncode is None
        assert await healthy.stop() == 0


@pytest.mark.parametrize(
    ("files", "level", "says"), [(1000, "warning", "no more connections than"), (130, "failure", "")]
)
async def test_fewer_open_files_than_may_be_needed(healthy: Deployment, files: int, level: str, says: str) -> None:
    """The limit of the daemon that runs counts, not the doctor's own; the number to set is the one that is enough."""
    async with healthy:
        healthy.files = files
        process = await healthy.start()
        seen = await doctor(healthy)
        assert seen.level("open files") == level
        assert seen.evidence("open files").startswith(f"process {process.pid} may have {files} files open; ")
        assert says in seen.evidence("open files")
        enough = re.search(r"LimitNOFILE=(\d+)", seen.next_step("open files"))
        assert await healthy.stop() == 0
        assert enough is not None
        healthy.files = int(enough[1])
        await healthy.start()
        assert (await doctor(healthy)).level("open files") == "ok"
        assert await healthy.stop() == 0
        assert healthy.text_log().count('"few_descriptors"') == 1


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_nothing_is_touched_and_nothing_left_behind(healthy: Deployment, end: str) -> None:
    async with healthy:
        await healthy.start()
        await (healthy.stop() if end == "stop" else healthy.kill())
        before = listing(healthy.folder)
        assert (await doctor(healthy)).code == 0
        assert listing(healthy.folder) == before


def test_people_get_one_screen_with_failures_first(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path, f"http://127.0.0.1:{free_port()}")
    done = subprocess.run(
        [COMMAND, "doctor", "-c", deployment.config], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 1
    assert lines[0].startswith("failure")
    assert lines[1].strip().startswith("-> ")
    assert "1 failure and " in lines[-1]
    assert not any(line.endswith(" ") for line in lines)


async def test_a_bad_configuration_is_named_whole_and_the_rest_is_checked(healthy: Deployment) -> None:
    healthy.config.write_text(healthy.config.read_text() + "levle = 'info'\n[limits2]\n[credit]\ncheck_every = '1x'\n")
    seen = await doctor(healthy)
    assert seen.code == 78
    told = seen.evidence("configuration")
    assert "log.levle" in told
    assert "did you mean level" in told
    assert "credit.check_every" in told
    assert "default: token" not in {check["name"] for check in seen.document["checks"]}, "limits2 may mean limits"

    healthy.config.write_text(healthy.config.read_text().replace("[limits2]\n", ""))
    seen = await doctor(healthy)
    assert seen.code == 78
    assert seen.level("database") == "ok"
    assert seen.level("default: token") == "ok"


async def test_a_file_that_is_no_toml_is_all_that_can_be_said(healthy: Deployment) -> None:
    healthy.config.write_text("[store\n")
    seen = await doctor(healthy)
    assert (seen.code, seen.failures) == (78, {"configuration"})
    assert "not valid TOML" in seen.evidence("configuration")


@AS_ROOT
async def test_a_token_file_that_the_user_may_not_read(healthy: Deployment) -> None:
    healthy.config.chmod(0o644)
    for path in (healthy.folder / "token", healthy.folder):
        os.chown(path, NOBODY, NOBODY)
    healthy.folder.chmod(0o755)
    seen = await doctor(healthy, without_rights=True)
    assert seen.code == 78
    assert "may not be read by this user" in seen.evidence("configuration")
    assert seen.level("rights") == "failure", "nor may it write where the database lies"
    assert seen.level("default: connection") == "ok", "the way to the gateway needs no token"
    assert not seen.level("default: token")


async def test_a_token_file_that_everybody_may_read(healthy: Deployment) -> None:
    (healthy.folder / "token").chmod(0o644)
    seen = await doctor(healthy)
    assert (seen.code, seen.level("secrets")) == (0, "warning")
    assert f"chmod o= {healthy.folder / 'token'}" in seen.next_step("secrets")


async def test_a_database_that_is_damaged(healthy: Deployment) -> None:
    connection = schema.prepare(healthy.database)
    connection.executemany("INSERT INTO messages (id) VALUES (?)", [(i,) for i in range(1, 3000)])
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    raw = bytearray(healthy.database.read_bytes())
    raw[4096 * 8 : 4096 * 30] = os.urandom(4096 * 22)
    healthy.database.write_bytes(raw)
    seen = await doctor(healthy)
    assert (seen.code, seen.failures) == (1, {"database"})
    assert "damaged" in seen.evidence("database")
    assert "backup" in seen.next_step("database")


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("CREATE TABLE orders (id)", "another program"),
        (f"PRAGMA application_id = {schema.APPLICATION_ID}; PRAGMA user_version = 9000", "schema 9000"),
    ],
)
async def test_a_database_that_is_not_ours_or_too_new(healthy: Deployment, sql: str, says: str) -> None:
    with autocommit(healthy.database) as connection:
        connection.executescript(sql)
    seen = await doctor(healthy)
    assert (seen.code, seen.failures) == (1, {"database"})
    assert says in seen.evidence("database")


async def test_a_file_that_is_no_database(healthy: Deployment) -> None:
    healthy.database.write_text("this is a letter to my aunt, and no database at all\n" * 40)
    assert "no SQLite database" in (await doctor(healthy)).evidence("database")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", folder], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.decode()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


@AS_ROOT
async def test_a_disk_that_is_nearly_full(small_disk: Path, gateway: Simulator) -> None:
    seen = await doctor(Deployment(small_disk, gateway))
    assert (seen.code, seen.failures) == (1, {"disk"})
    assert "8.0 MiB" in seen.evidence("disk")


async def test_an_event_file_that_cannot_be_written(healthy: Deployment) -> None:
    healthy.file.mkdir()
    seen = await doctor(healthy)
    assert seen.failures == {"output file"}
    assert seen.evidence("output file") == f"{healthy.file} is a folder"
    assert "[outputs.file] path" in seen.next_step("output file")


async def test_a_receiver_that_is_not_there_and_one_that_may_not_be(healthy: Deployment) -> None:
    port = free_port()
    table = f'[outputs.webhook]\nurl = "http://127.0.0.1:{port}/status"\n'
    healthy.config.write_text(healthy.config.read_text() + table)
    seen = await doctor(healthy)
    assert seen.failures == {"output webhook"}
    assert f"http://127.0.0.1:{port}/status cannot be reached" in seen.evidence("output webhook")


async def test_a_socket_that_somebody_else_has(healthy: Deployment) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(healthy.socket))
        other.listen()
        seen = await doctor(healthy)
        assert seen.failures == {"output socket"}
        assert "another process listens" in seen.evidence("output socket")
    seen = await doctor(healthy)
    assert "left behind by the last run" in seen.evidence("output socket")
