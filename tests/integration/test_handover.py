"""Handing over: schema, ownership, ids and requests, on real files."""

import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from pollerd.base.errors import DatabaseBusyError, StoreError
from pollerd.core.model import Recipient, State
from pollerd.core.particulars import Particulars
from pollerd.core.ports import OtherAccount, RequestKind, TrackResult
from pollerd.store import rows
from pollerd.store.migrations import Migration
from pollerd.store.sqlite import schema
from pollerd.store.sqlite.lock import FileOwnership, owner_pid
from tests.sqlite_kit import autocommit
from tests.store_place import Place


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_database_is_ready_and_has_its_rights_whatever_the_umask(tmp_path: Path) -> None:
    database = tmp_path / "a" / "b" / "odd ?#%.db"
    before = os.umask(0o077)
    try:
        connection = schema.prepare(database)
    finally:
        os.umask(before)
    connection.execute("INSERT INTO messages (id) VALUES (1)")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert connection.execute("PRAGMA user_version").fetchone() == (schema.migrations()[-1].version,)
    assert connection.execute("PRAGMA application_id").fetchone() == (schema.APPLICATION_ID,)
    assert len(connection.execute("SELECT value FROM meta WHERE name = 'store_id'").fetchone()[0]) == 36
    assert {mode(database), mode(Path(f"{database}-wal")), mode(Path(f"{database}-shm"))} == {0o640}
    assert {mode(database.parent), mode(database.parent.parent)} == {0o750}
    connection.close()


def test_two_stores_have_two_identities(tmp_path: Path) -> None:
    ids = set()
    for name in ("a.db", "b.db"):
        connection = schema.prepare(tmp_path / name)
        ids |= set(connection.execute("SELECT value FROM meta WHERE name = 'store_id'"))
        connection.close()
    assert len(ids) == 2


def test_many_processes_may_create_it_at_once(tmp_path: Path) -> None:
    database = tmp_path / "p.db"
    code = "import sys; from tests.store_kit import handover_of; handover_of(sys.argv[1]).track([int(sys.argv[2])])"
    processes = [subprocess.Popen([sys.executable, "-c", code, str(database), str(i)]) for i in range(1, 7)]
    assert [process.wait(60) for process in processes] == [0] * 6
    connection = schema.prepare(database)
    assert connection.execute("SELECT count(*) FROM messages").fetchone() == (6,)
    connection.close()


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("CREATE TABLE customers (id)", "another program"),
        ("PRAGMA application_id = 1", "another program"),
        (f"PRAGMA application_id = {schema.APPLICATION_ID}; PRAGMA user_version = 9999", "Install the newer"),
    ],
)
def test_a_foreign_or_newer_database_is_left_alone(tmp_path: Path, statement: str, says: str) -> None:
    database = tmp_path / "x.db"
    with autocommit(database) as connection:
        connection.executescript(statement)
    before = database.read_bytes()
    with pytest.raises(StoreError, match=says):
        schema.prepare(database)
    assert database.read_bytes() == before


def test_what_is_no_database_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("a shopping list, and a long one at that\n" * 50)
    with pytest.raises(StoreError, match="something else"):
        schema.prepare(tmp_path / "text")
    with pytest.raises(StoreError, match="not a file"):
        schema.prepare(tmp_path)
    with pytest.raises(StoreError, match="cannot be created"):
        schema.prepare(tmp_path / "text" / "under.db")


def test_a_migration_that_fails_leaves_the_schema_as_it_was(tmp_path: Path) -> None:
    connection = schema.prepare(tmp_path / "p.db")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    step = tmp_path / "9999_bad.sql"
    step.write_text("CREATE TABLE extra (a); -- one; two\nINSERT INTO nowhere VALUES (1);\n")
    with pytest.raises(sqlite3.OperationalError):
        schema.migrate(connection, [*schema.migrations(), Migration(9999, step)])
    assert connection.execute("PRAGMA user_version").fetchone()[0] == version
    assert not connection.execute("SELECT * FROM sqlite_master WHERE name = 'extra'").fetchall()
    step.write_text(
        "CREATE TABLE extra (a); -- one; two\nCREATE TRIGGER t AFTER INSERT ON extra BEGIN SELECT 1; END;\n"
    )
    schema.migrate(connection, [*schema.migrations(), Migration(9999, step)])
    assert connection.execute("PRAGMA user_version").fetchone()[0] == 9999
    connection.close()


def test_one_owner_at_a_time_by_whatever_name(tmp_path: Path) -> None:
    database = tmp_path / "p.db"
    (tmp_path / "link.db").symlink_to(database)
    assert owner_pid(database) is None
    with FileOwnership.acquire(database):
        assert owner_pid(tmp_path / "link.db") == os.getpid()
        with pytest.raises(DatabaseBusyError, match=str(os.getpid())):
            FileOwnership.acquire(tmp_path / "link.db")
    assert owner_pid(database) is None
    FileOwnership.acquire(database).release()


def test_ownership_comes_before_the_tables_and_makes_the_folder(tmp_path: Path) -> None:
    database = tmp_path / "new" / "p.db"
    with FileOwnership.acquire(database):
        assert mode(database.parent) == 0o750
        assert mode(tmp_path / "new" / "p.db.lock") == 0o640
        assert database.stat().st_size == 0
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be created"):
        FileOwnership.acquire(tmp_path / "file" / "p.db")


def test_ownership_dies_with_its_process(tmp_path: Path) -> None:
    database = tmp_path / "p.db"
    code = (
        "import sys; from pollerd.store.sqlite.lock import FileOwnership; owned = FileOwnership.acquire(sys.argv[1]);"
        "print('has it', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"has it\n"
    assert owner_pid(database) == process.pid
    process.kill()
    process.communicate()
    assert owner_pid(database) is None
    FileOwnership.acquire(database).release()


def test_tracking_counts_new_known_and_given_up(place: Place) -> None:
    with place.handover() as handover:
        assert handover.track([1, 2, 2**63 - 1]) == TrackResult(3, 0, 0)
        place.execute("UPDATE messages SET state = 3 WHERE id = 2")
        assert handover.track([2, 3, 3, 2**63 - 1], "other", Particulars(userref="order", sent_at=17.5)) == TrackResult(
            1, 1, 0, (OtherAccount(2, "default"), OtherAccount(2**63 - 1, "default"))
        )
        assert handover.track([1, 2]) == TrackResult(0, 2, 1)
        found = place.execute("SELECT id, account, userref, sent_at, state FROM messages WHERE id = 3")
        assert found == [(3, "other", "order", 17.5, 0)]
        assert place.execute("SELECT max(id) FROM messages") == [(2**63 - 1,)]


def test_requests_wait_until_their_rows_are_gone(place: Place) -> None:
    with place.handover() as handover:
        first = handover.ask(RequestKind.POLL, [1, 2])
        second = handover.ask(RequestKind.RETRY_ALL, [None])
        assert place.execute("SELECT kind, message_id FROM requests ORDER BY id") == [
            ("poll", 1),
            ("poll", 2),
            ("retry_all", None),
        ]
        place.execute("DELETE FROM requests WHERE kind = 'poll'")
        assert not handover.waiting(first)
        assert handover.waiting(second)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("1764000000", 1764000000.0),
        ("1764000000.5", 1764000000.5),
        ("1764000000000", 42.0),
        ("1764000000000000", 42.0),
        ("'1764000000'", 1764000000.0),
        ("'2025-11-24 16:00:00'", 1764000000.0),
        ("'2025-11-24T17:00:00+01:00'", 1764000000.0),
        ("'yesterday'", 42.0),
        ("x'ff'", 42.0),
        ("NULL", 42.0),
        ("-5", 42.0),
        ("9e999", 42.0),
    ],
)
def test_what_users_write_into_sent_at_is_taken_as_meant(tmp_path: Path, written: str, read: float) -> None:
    connection = schema.prepare(tmp_path / "p.db")
    connection.execute(f"INSERT INTO messages (id, sent_at, userref, account) VALUES (1, {written}, 17, NULL)")
    row = connection.execute(f"SELECT {', '.join(rows.COLUMNS)} FROM messages").fetchone()
    message = rows.message_from_row(row, 42.0)
    assert (message.sent_at, message.userref, message.account, message.state) == (read, "17", "default", State.NEW)
    connection.close()


class _Before(msgspec.Struct, frozen=True, array_like=True):
    """A recipient as release 0.1.0 reads it."""

    msisdn: int
    status: str
    time: float | None = None
    error: str | None = None
    code: str | None = None
    country: str | None = None
    mcc: str | None = None
    mnc: str | None = None
    charge_status: str | None = None


def test_recipients_are_read_by_the_release_before_and_after() -> None:
    """One without a number, one that counts as another state and one that was never seen in any, both ways."""
    recipients = (
        Recipient(4512345678, "ENROUTE", 1.5, None, "0x1010", "DK", "238", "01", "CAPTURED"),
        Recipient(0, "DELIVERED"),
        Recipient(4512345679, "ENROUTE", counts_as="EXPIRED", sender="Shop", parts=2),
        Recipient(4512345680, ""),
    )
    before = msgspec.msgpack.decode(rows.blob_from_recipients(recipients) or b"", type=tuple[_Before, ...])
    assert [(one.msisdn, one.status) for one in before] == [(one.msisdn, one.status) for one in recipients]
    assert before[0].charge_status == "CAPTURED"
    again = rows.recipients_from_blob(msgspec.msgpack.encode(before))
    assert again == (*recipients[:2], Recipient(4512345679, "ENROUTE"), recipients[3])


def test_a_row_goes_there_and_back(tmp_path: Path) -> None:
    connection = schema.prepare(tmp_path / "p.db")
    connection.execute("INSERT INTO messages (id, state) VALUES (7, 1)")
    select = f"SELECT {', '.join(rows.COLUMNS)} FROM messages"
    message = rows.message_from_row(connection.execute(select).fetchone(), 1.0)
    recipients = (Recipient(4512345678, "ENROUTE", 1.5, None, "0x1010", "DK", "238", "01", None), Recipient(1, "READ"))
    changed = type(message)(id=7, account="a", sent_at=3.0, next_poll_at=4.0, base=3.0, recipients=recipients)
    marks = ", ".join("?" * len(rows.COLUMNS))
    columns = ", ".join(rows.COLUMNS)
    connection.execute(f"INSERT OR REPLACE INTO messages ({columns}) VALUES ({marks})", rows.row_from_message(changed))
    assert rows.message_from_row(connection.execute(select).fetchone(), 1.0) == changed
    with pytest.raises(rows.DamagedError):
        rows.recipients_from_blob(b"\xc1")
    connection.close()
