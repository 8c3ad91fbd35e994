"""The event file is known by what it is and by who made it: other disks, links put elsewhere, other users' files."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pollerd.simulator import Simulator, SimulatorConfig
from tests.acceptance.crash_kit import FAST, LIVELY, QUICK, Load, balance, settled
from tests.acceptance.deployment import COMMAND, Deployment
from tests.acceptance.doctor_kit import doctor
from tests.acceptance.waiting import PATIENCE, until
from tests.sqlite_kit import transaction

LIFE = SimulatorConfig(speed=1000, population=LIVELY)
NOBODY = 65534
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount, or to give files to another user")


@contextmanager
def mounted(folder: Path) -> Iterator[None]:
    """A file system of its own at `folder`, over what is there."""
    if shutil.which("mount") is None:
        pytest.skip("needs mount")
    done = subprocess.run(["mount", "-t", "tmpfs", "none", folder], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.decode()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def deployed(folder: Path, simulator: Simulator, file: Path) -> Deployment:
    deployment = Deployment(folder, simulator)
    deployment.file = file
    deployment.configure(simulator.url, "simulator-demo", limits=FAST, backoff=QUICK)
    return deployment


def complaints(deployment: Deployment, word: str) -> list[str]:
    """What the log says at warning or above."""
    loud = [e for e in deployment.log() if e["level"].lower() in ("warning", "error")]
    return [entry["message"] for entry in loud if word in entry["message"]]


# -- which file it is


@AS_ROOT
@pytest.mark.parametrize("running", [True, False])
async def test_two_file_systems_that_give_the_same_number(tmp_path: Path, running: bool) -> None:
    """Each tmpfs gives its first file the number 2: the new file is another one all the same."""
    disk = tmp_path / "disk"
    disk.mkdir()
    async with Simulator(LIFE) as simulator:
        with mounted(disk):
            async with deployed(tmp_path, simulator, disk / "events.ndjson") as deployment:
                load = Load(deployment, simulator)
                process = await deployment.start()
                load.more(20)
                await settled(deployment)
                first, number = deployment.events(), deployment.file.stat().st_ino
                if not running:
                    assert await deployment.stop() == 0
                with mounted(disk):
                    deployment.file.touch()
                    assert deployment.file.stat().st_ino == number
                    if running:
                        process.send_signal(signal.SIGHUP)
                    else:
                        await deployment.start()
                    load.more(20)
                    await settled(deployment)
                    assert await deployment.stop() == 0
                    told = first + deployment.events()
                assert deployment.events() == first
                assert balance(told, simulator, load.ids).differences == 0
                assert len(complaints(deployment, "is gone: a new one begins")) == (0 if running else 1)


async def test_a_link_that_is_put_elsewhere_is_followed(tmp_path: Path) -> None:
    """Without a signal: within a second the events go where the link leads."""
    targets = [tmp_path / "one.ndjson", tmp_path / "two.ndjson"]
    async with (
        Simulator(LIFE) as simulator,
        deployed(tmp_path, simulator, tmp_path / "events.ndjson") as deployment,
    ):
        deployment.file.symlink_to(targets[0])
        load = Load(deployment, simulator)
        await deployment.start()
        load.more(20)
        await settled(deployment)
        first = deployment.events()
        (tmp_path / "link").symlink_to(targets[1])
        (tmp_path / "link").replace(deployment.file)
        await until(targets[1].exists, "the new file begins")
        load.more(20)
        await settled(deployment)
        assert await deployment.stop() == 0
        assert targets[0].read_bytes().count(b"\n") == len(first)
        assert balance(first + deployment.events(), simulator, load.ids).differences == 0


# -- who made it


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A folder that everybody may write."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o777)
    return folder


def plant(path: Path, kind: str, target: Path) -> Path:
    """Put something of another user's at `path`; where its content would be."""
    if kind == "file":
        path.touch()
        path.chmod(0o666)
    elif kind == "link":
        path.symlink_to(target)
    else:
        path.mkdir(mode=0o777)
    os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    return target if kind == "link" else path / "events.ndjson" if kind == "folder" else path


@AS_ROOT
@pytest.mark.parametrize("kind", ["file", "link", "folder"])
async def test_what_a_stranger_has_put_there_beforehand_is_not_written_to(
    tmp_path: Path, shared: Path, kind: str
) -> None:
    planted = shared / "events.ndjson" if kind != "folder" else shared / "mine"
    trap = plant(planted, kind, tmp_path / "treasure")
    async with Simulator(LIFE) as simulator:
        file = planted / "events.ndjson" if kind == "folder" else planted
        async with deployed(tmp_path, simulator, file) as deployment:
            load = Load(deployment, simulator)
            process = await deployment.start()
            load.more(20)
            await until(lambda: complaints(deployment, "has put where everybody may"), "it is said")
            said = complaints(deployment, "has put where everybody may")[0]
            assert f"{planted} is a {kind} that nobody has put" in said
            assert "chown" in said
            seen = await doctor(deployment)
            assert "output file" in seen.failures
            assert f"is a {kind} that nobody has put" in seen.evidence("output file")
            code, _, _ = await deployment.command("health")
            assert code != 0
            assert not trap.exists() or trap.read_bytes() == b""
            # What the advice says: away with it.
            shutil.rmtree(planted) if kind == "folder" else planted.unlink()
            process.send_signal(signal.SIGHUP)
            await settled(deployment)
            assert await deployment.stop() == 0
            assert balance(deployment.events(), simulator, load.ids).differences == 0
            assert not (tmp_path / "treasure").exists()


@AS_ROOT
async def test_a_stranger_who_is_faster_than_the_daemon_at_a_rotation_gets_nothing(
    tmp_path: Path, shared: Path
) -> None:
    async with (
        Simulator(LIFE) as simulator,
        deployed(tmp_path, simulator, shared / "events.ndjson") as deployment,
    ):
        load = Load(deployment, simulator)
        process = await deployment.start()
        load.more(20)
        await settled(deployment)
        first = deployment.events()
        plant(shared / "trap", "file", tmp_path)
        deployment.file.rename(shared / "events.ndjson.1")
        (shared / "trap").rename(deployment.file)
        load.more(20)
        await until(lambda: complaints(deployment, "is a file that nobody has put"), "it is said")
        assert deployment.file.read_bytes() == b""
        deployment.file.unlink()
        process.send_signal(signal.SIGHUP)
        await settled(deployment)
        assert await deployment.stop() == 0
        assert balance(first + deployment.events(), simulator, load.ids).differences == 0


@AS_ROOT
async def test_a_members_file_in_a_folder_of_the_group_is_said_and_written(tmp_path: Path) -> None:
    """The rights of the group may be meant, so the events go there, with a warning."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o770)
    async with (
        Simulator(LIFE) as simulator,
        deployed(tmp_path, simulator, folder / "events.ndjson") as deployment,
    ):
        plant(deployment.file, "file", tmp_path)
        load = Load(deployment, simulator)
        await deployment.start()
        load.more(5)
        await settled(deployment)
        assert await deployment.stop() == 0
        assert len(complaints(deployment, "belongs to nobody, who may read and change it")) == 1
        assert len(complaints(deployment, "every user of this machine may write to")) == 1
        seen = await doctor(deployment)
        assert "belongs to nobody" in seen.evidence("output file")
        assert "chmod o-w" in seen.next_step("output file")


async def test_a_folder_that_everybody_may_write_is_said_by_the_doctor(
    tmp_path: Path, healthy: Deployment, shared: Path
) -> None:
    healthy.config.write_text(healthy.config.read_text().replace(str(healthy.file), str(shared / "events.ndjson")))
    seen = await doctor(healthy)
    assert seen.level("output file") == "warning"
    assert f"every user of this machine may put files into {shared}" in seen.evidence("output file")


# -- what cannot be a way


@pytest.mark.parametrize("where", ["file", "folder"])
async def test_a_loop_of_links_is_one_sentence(tmp_path: Path, healthy: Deployment, where: str) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "pool")
    (tmp_path / "pool").symlink_to(tmp_path / "loop")
    path = tmp_path / "loop" if where == "file" else tmp_path / "loop" / "events.ndjson"
    healthy.config.write_text(healthy.config.read_text().replace(str(healthy.file), str(path)))
    async with healthy:
        process = await healthy.start()
        await until(lambda: complaints(healthy, "loop of symbolic links"), "it is said")
        assert complaints(healthy, "loop of symbolic links") == [
            f"output file: {path} is a loop of symbolic links: let it lead to a file, or name another path"
        ]
        seen = await doctor(healthy)
        assert f"{path} is a loop of symbolic links" in seen.evidence("output file").splitlines()
        (tmp_path / "pool").unlink()
        if where == "folder":
            (tmp_path / "pool").mkdir()
        process.send_signal(signal.SIGHUP)
        await until(path.exists, "the file is made once the loop is gone")
        assert await healthy.stop() == 0
    assert "Traceback" not in healthy.text_log()


# -- what stands in it


async def test_what_ends_a_line_elsewhere_is_escaped_in_file_and_socket(tmp_path: Path) -> None:
    """As `events --json` does: U+2028, U+2029 and U+0085 end a line for readers in some languages."""
    nasty = "a\u2028b\u2029c"
    async with (
        Simulator(LIFE) as simulator,
        deployed(tmp_path, simulator, tmp_path / "events.ndjson") as deployment,
    ):
        await deployment.start()
        number = simulator.truth.add()
        assert (await deployment.command("track", str(number), "--userref", nasty))[0] == 0
        await settled(deployment)
        heard = subprocess.run(
            [COMMAND, "events", "--json", "-c", deployment.config],
            capture_output=True,
            timeout=PATIENCE,
            check=True,
        ).stdout
        socket = await read_socket(deployment, len(heard))
        assert await deployment.stop() == 0
    content = deployment.file.read_bytes()
    assert content == heard == socket
    assert b"a\\u2028b\\u2029c" in content
    assert [event["userref"] for event in deployment.events()] == [nasty] * len(deployment.events())
    assert len(content.decode().splitlines()) == len(deployment.events())


async def read_socket(deployment: Deployment, size: int) -> bytes:
    reader, writer = await asyncio.open_unix_connection(deployment.socket)
    writer.write(b"after 0\n")
    async with asyncio.timeout(PATIENCE):
        content = await reader.readexactly(size)
    writer.close()
    return content


async def test_an_event_above_a_mebibyte_is_one_line_and_gone_on_from(tmp_path: Path) -> None:
    """Whatever its length: written, found again after a kill in the middle of it, and after a stop."""
    async with (
        Simulator(LIFE) as simulator,
        deployed(tmp_path, simulator, tmp_path / "events.ndjson") as deployment,
    ):
        load = Load(deployment, simulator)
        await deployment.start()
        load.more(3)
        await settled(deployment)
        assert await deployment.stop() == 0
        insert_large(deployment, 3 << 20)
        for armed in ("file.mid_write=kill", "file.after_write=kill", ""):
            environment = {"POLLERD_FAILPOINTS": armed}
            if armed:
                await (await deployment.launch(environment=environment)).wait()
            else:
                await deployment.start(environment=environment)
                await in_file_whole(deployment)
                assert await deployment.stop() == 0
        await deployment.start()
        load.more(3)
        await settled(deployment)
        assert await deployment.stop() == 0
    told = deployment.events()
    assert [event["seq"] for event in told] == list(range(1, told[-1]["seq"] + 1))
    assert max(len(line) for line in deployment.lines()) > 3 << 20


def insert_large(deployment: Deployment, size: int) -> None:
    """An event as large as one of a message with very many recipients."""
    (kind, number, at, body), *_ = deployment.query("SELECT type, message_id, at, body FROM events")
    large = json.dumps({**json.loads(body), "error": "x" * size}).encode()
    with transaction(deployment.database) as connection:
        connection.execute(
            "INSERT INTO events (type, message_id, at, body) VALUES (?, ?, ?, ?)", (kind, number, at, large)
        )


async def in_file_whole(deployment: Deployment) -> None:
    last = deployment.query("SELECT max(seq) FROM events")[0][0]
    await until(
        lambda: deployment.file.read_bytes().endswith(b"\n") and deployment.events()[-1]["seq"] == last, "all is told"
    )
