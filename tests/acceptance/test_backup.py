"""`pollerd backup`: whole copies of a database that never rests, and nothing but whole copies."""

from __future__ import annotations

import os
import shutil
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pollerd.simulator import Population, Simulator, SimulatorConfig
from tests.acceptance.cli_kit import Cli
from tests.acceptance.conftest import Row
from tests.acceptance.crash_kit import FAST, QUICK
from tests.acceptance.deployment import Deployment
from tests.acceptance.offline_kit import damage
from tests.acceptance.test_crash_disk import fill, small_disk
from tests.acceptance.waiting import until
from tests.sqlite_kit import autocommit, rows

FIRST = 1_000_000


@contextmanager
def restless(database: Path) -> Iterator[list[int]]:
    """Another program that commits without a pause; the number of its commits. Each leaves two rows that agree."""
    commits = [0]
    ended = threading.Event()

    def write() -> None:
        with autocommit(database) as connection:
            while not ended.is_set():
                number = FIRST + commits[0]
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("INSERT INTO messages (id, state, finished_at) VALUES (?, 2, 0)", (number,))
                connection.execute("INSERT OR REPLACE INTO meta VALUES ('pair', ?)", (number,))
                connection.execute("COMMIT")
                commits[0] += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield commits
    finally:
        ended.set()
        thread.join()


async def test_a_copy_of_one_moment_under_load(tmp_path: Path, row: Row) -> None:
    """A larger database, a daemon that polls, a neighbour that commits all the time: it ends, and is whole."""
    copy = tmp_path / "copy.db"
    async with (
        Simulator(SimulatorConfig(population=Population(any_id=True, visibility_median=0.0))) as simulator,
        Deployment(tmp_path, simulator, limits=FAST, backoff=QUICK) as deployment,
    ):
        await deployment.start()
        deployment.insert(range(1, 501))
        with autocommit(deployment.database) as connection:
            for number in range(32):
                connection.execute("INSERT INTO meta VALUES (?, zeroblob(1048576))", (f"filler {number}",))
        await until(lambda: len(deployment.events()) >= 500, "the daemon is at work")
        with restless(deployment.database) as commits:
            await until(lambda: commits[0] > 10, "the neighbour is at work")
            before = commits[0]
            code, out, err = await deployment.command("backup", "--json", str(copy))
            after = commits[0]
        assert (code, err) == (0, "")
        assert await deployment.stop() == 0
        assert after > before + 1
        assert rows(copy, "PRAGMA integrity_check") == [("ok",)]
        ((newest,),) = rows(copy, "SELECT max(id) FROM messages")
        assert FIRST + before - 1 <= newest < FIRST + after
        assert rows(copy, "SELECT value FROM meta WHERE name = 'pair'") == [(newest,)]
        assert rows(copy, "SELECT count(*) FROM messages WHERE id <= 500") == [(500,)]
        last = rows(copy, "SELECT max(seq) FROM events")[0][0]
        assert f'"last_seq":{last}' in out
        row(f"{copy.stat().st_size >> 20} MiB beside {after - before} commits of a neighbour: {out.strip()}")


def test_the_copy_takes_the_databases_place(cli: Cli) -> None:
    assert cli("track", "1", "2", "3").code == 0
    before = os.umask(0)
    try:
        done = cli("backup", "copy.db")
    finally:
        os.umask(before)
    copy = cli.folder / "copy.db"
    assert (done.code, done.err) == (0, "")
    assert "3 pending messages" in done.text
    assert stat.S_IMODE(copy.stat().st_mode) == 0o640
    assert sorted(path.name for path in cli.folder.iterdir()) == ["copy.db", "db", "pollerd.toml"]
    shutil.rmtree(cli.database.parent)
    cli.database.parent.mkdir()
    shutil.move(copy, cli.database)
    assert [line["id"] for line in cli("list", "--json").lines] == [3, 2, 1]
    cli.database.chmod(0o600)
    assert cli("backup", str(copy), "--json").json["messages"] == {"pending": 3, "finished": 0, "gave_up": 0}
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600


def test_nothing_is_replaced_and_nothing_half_is_left(cli: Cli, tmp_path: Path) -> None:
    none = cli("backup", "copy.db")
    assert (none.code, none.out) == (69, b"")
    assert cli("track", "1").code == 0
    (tmp_path / "there").write_text("mine")
    (tmp_path / "link").symlink_to("nowhere")
    for name, said in (
        ("there", "replaces nothing"),
        ("link", "replaces nothing"),
        ("db", "is a folder"),
        ("db/pollerd.db", "replaces nothing"),
        ("no/copy.db", "No such file or directory"),
    ):
        done = cli("backup", name)
        assert (done.code, done.out) == (1, b""), name
        assert said in done.err
    assert (tmp_path / "there").read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()
    damage(cli.database, "messages_new")
    done = cli("backup", "copy.db")
    assert done.code == 1
    assert "damaged" in done.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["db", "link", "pollerd.toml", "there"]


def test_a_full_disk_leaves_nothing_of_the_copy(cli: Cli, tmp_path: Path) -> None:
    assert cli("track", "1").code == 0
    with small_disk(tmp_path / "small", "1m") as disk:
        fill(disk)
        done = cli("backup", str(disk / "copy.db"))
        assert done.code == 1
        assert "room" in done.err
        assert [path.name for path in disk.iterdir()] == ["filler"]


def test_a_stranger_gets_none(cli: Cli) -> None:
    assert cli("track", "1").code == 0
    cli.database.chmod(0)
    done = cli("backup", "copy.db", without_rights=True)
    assert (done.code, done.out) == (1, b"")
    assert not (cli.folder / "copy.db").exists()


@pytest.mark.parametrize("version", [1, 4])
def test_an_older_database_is_copied_too(cli: Cli, version: int) -> None:
    """It is the first step of an upgrade, and may be taken with the new version."""
    assert cli("track", "1").code == 0
    with autocommit(cli.database) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    assert cli("backup", "copy.db", "--json").json["schema"] == version
