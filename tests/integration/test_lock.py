"""One owner of a database, by whatever name; other users' files in the lock's place; SQLite's own locks left alone."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from pollerd.base import open_databases
from pollerd.base.errors import DatabaseBusyError, StoreError
from pollerd.store.sqlite import inode, schema
from pollerd.store.sqlite.command import CommandConnection
from pollerd.store.sqlite.lock import FileOwnership, check_ownable, lock_path, owner_pid
from tests.sqlite_kit import autocommit
from tests.store_kit import handover_of, view_of

HOLDER = """
import sys
from pollerd.store.sqlite.lock import FileOwnership
owned = FileOwnership.acquire(sys.argv[1], daemon=True)
print("has it", flush=True)
sys.stdin.read()
"""
OUTSIDER = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)
said = []
for statement in sys.argv[2:]:
    try:
        said.append(str(database.execute(statement).fetchone()))
    except sqlite3.OperationalError as error:
        said.append(str(error))
print("; ".join(said))
"""


def outside(database: Path, *statements: str) -> str:
    """What another process sees."""
    command = [sys.executable, "-c", OUTSIDER, str(database), *statements]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def by_hard_link(database: Path) -> Path:
    other = database.parent / "elsewhere" / "other.db"
    other.parent.mkdir()
    other.hardlink_to(database)
    return other


def without_lock_file(database: Path) -> Path:
    lock_path(database).unlink()
    return database


def by_another_lock_file(database: Path) -> Path:
    lock_path(database).rename(f"{database}.old")
    lock_path(database).touch()
    return database


@pytest.mark.parametrize("renamed", [by_hard_link, without_lock_file, by_another_lock_file])
@pytest.mark.parametrize("daemon", [True, False])
def test_one_owner_of_a_file_whatever_leads_to_it(
    tmp_path: Path, renamed: Callable[[Path], Path], daemon: bool
) -> None:
    database = tmp_path / "p.db"
    with (
        FileOwnership.acquire(database, daemon=True),
        pytest.raises(DatabaseBusyError, match="already runs on the database") as refused,
    ):
        FileOwnership.acquire(renamed(database), daemon=daemon)
    assert refused.value.daemon
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"has it\n"
    with pytest.raises(DatabaseBusyError):
        FileOwnership.acquire(database, daemon=daemon)
    process.kill()
    process.communicate()
    FileOwnership.acquire(database, daemon=daemon).release()


def test_a_command_is_distinguished_from_a_daemon(tmp_path: Path) -> None:
    database = tmp_path / "p.db"
    with FileOwnership.acquire(database), pytest.raises(DatabaseBusyError, match="a command") as refused:
        FileOwnership.acquire(database, daemon=True)
    assert not refused.value.daemon
    assert refused.value.holder == f"process {os.getpid()}, a command"


def test_a_removed_lock_file_is_made_again(tmp_path: Path) -> None:
    database = tmp_path / "p.db"
    with FileOwnership.acquire(database, daemon=True) as owned:
        assert not owned.tend()
        lock_path(database).unlink()
        assert owner_pid(database) == 0
        assert owned.tend()
        assert owner_pid(database) == os.getpid()
        assert not owned.tend()
    assert owner_pid(database) is None


VICTIM = "what must stay"


def a_link(lock: Path, victim: Path) -> None:
    lock.symlink_to(victim)


def a_dangling_link(lock: Path, victim: Path) -> None:
    lock.symlink_to(victim.parent / "nobody")


def a_hard_link(lock: Path, victim: Path) -> None:
    lock.hardlink_to(victim)


def a_pipe(lock: Path, _victim: Path) -> None:
    os.mkfifo(lock)


def a_folder(lock: Path, _victim: Path) -> None:
    lock.mkdir()


def a_strangers_file(lock: Path, _victim: Path) -> None:
    lock.write_text(VICTIM)
    try:
        os.chown(lock, 4711, 4711)
    except PermissionError:
        pytest.skip("needs the right to give files away")


@pytest.mark.parametrize("put", [a_link, a_dangling_link, a_hard_link, a_pipe, a_folder, a_strangers_file])
def test_what_a_stranger_put_in_the_locks_place_is_left_alone(
    tmp_path: Path, put: Callable[[Path, Path], None]
) -> None:
    database, victim = tmp_path / "p.db", tmp_path / "victim"
    victim.write_text(VICTIM)
    put(lock_path(database), victim)
    with pytest.raises(StoreError, match=r"not what pollerd made.*p\.db\.lock") as refused:
        FileOwnership.acquire(database)
    assert "remove it" in str(refused.value)
    assert victim.read_text() == VICTIM
    assert not (tmp_path / "nobody").exists()
    assert owner_pid(database) is None


def test_a_lock_that_everybody_may_open_is_closed_to_them(tmp_path: Path) -> None:
    database = tmp_path / "p.db"
    lock_path(database).touch(mode=0o666)
    lock_path(database).chmod(0o666)
    with FileOwnership.acquire(database):
        assert stat.S_IMODE(lock_path(database).stat().st_mode) == 0o660


def test_locks_of_sqlite_outlive_every_check_of_ours(tmp_path: Path) -> None:
    """A closed descriptor would drop them all: then another program may take the log away under our feet."""
    database = tmp_path / "p.db"
    with FileOwnership.acquire(database, daemon=True) as owned, closing(schema.prepare(database)) as ours:
        ours.execute("SELECT count(*) FROM messages").fetchone()
        locked_out = outside(database, "PRAGMA journal_mode = DELETE", "BEGIN EXCLUSIVE")
        assert locked_out == "database is locked; None"
        ours.execute("BEGIN IMMEDIATE")
        statements = ("PRAGMA journal_mode = DELETE", "BEGIN IMMEDIATE", "SELECT 1")
        before = outside(database, *statements)
        assert before == "database is locked; database is locked; (1,)"
        owned.tend()
        owner_pid(database)
        check_ownable(database)
        lock_path(database).unlink()
        owner_pid(database)
        owned.tend()
        with pytest.raises(DatabaseBusyError):
            FileOwnership.acquire(database, daemon=True)
        open_databases.descriptor(database)
        open_databases.descriptor(database, writable=True)
        inode.locked(open_databases.descriptor(database), inode.OWNER)
        handover_of(database).close()
        with view_of(database) as view:
            view.overview(0.0)
        assert outside(database, *statements) == before
        ours.execute("ROLLBACK")
        owned.release()
        assert outside(database, "PRAGMA journal_mode = DELETE") == "database is locked"


def test_our_locks_do_not_meet_those_of_sqlite(tmp_path: Path) -> None:
    """Everything that SQLite locks stays free: an owner does not turn away other programs, nor itself."""
    database = tmp_path / "p.db"
    with FileOwnership.acquire(database, daemon=True):
        schema.prepare(database).close()
        assert outside(database, "PRAGMA journal_mode = DELETE", "BEGIN EXCLUSIVE") == "('delete',); None"
        with autocommit(database) as other:
            other.execute("BEGIN EXCLUSIVE")


def test_a_command_leaves_checkpoints_to_the_daemon(tmp_path: Path) -> None:
    database = tmp_path / "p.db"
    with closing(CommandConnection.open(database)) as alone:
        assert alone.query("PRAGMA wal_autocheckpoint") == [(1000,)]
    with FileOwnership.acquire(database, daemon=True), closing(CommandConnection.open(database)) as beside:
        assert beside.query("PRAGMA wal_autocheckpoint") == [(0,)]


def opened() -> set[str]:
    """What this process has open."""
    descriptors = Path("/proc/self/fd").iterdir()
    return {str(each.readlink()) for each in descriptors if each.is_symlink()}


def test_descriptors_of_deleted_databases_are_let_go(tmp_path: Path) -> None:
    first, second = tmp_path / "1.db", tmp_path / "2.db"
    for database in (first, second):
        schema.prepare(database).close()
    assert open_databases.descriptor(first) == open_databases.descriptor(first)
    assert str(first) in opened()
    first.unlink()
    open_databases.descriptor(second)
    assert not [name for name in opened() if name.startswith(str(first))]
