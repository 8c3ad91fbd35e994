"""Reading the database, with and without its owner, on real files."""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from pollerd.base.errors import DatabaseMissingError, StoreError
from pollerd.core import diff
from pollerd.core.model import GiveUpReason, Message, State
from pollerd.core.ports.view import CAP, Standing
from pollerd.store.search import SearchView
from pollerd.store.sqlite import schema
from pollerd.store.sqlite.reader import SqliteReader
from tests.sqlite_kit import autocommit
from tests.store_kit import view_of
from tests.store_place import FilePlace, Place

NOW = 1_764_000_000.0


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = schema.prepare(tmp_path / "p?#.db")
    yield connection
    connection.close()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "p?#.db"


@pytest.fixture
def filled(place: Place) -> Place:
    """A store with its tables, in either engine."""
    place.make()
    return place


def tell(place: Place, message_id: int, count: int = 1) -> None:
    message = Message(id=message_id, account="default", sent_at=NOW, next_poll_at=NOW)
    place.tell([diff.gave_up(message, GiveUpReason.DEADLINE, NOW)] * count, NOW)


def message(number: int, state: State = State.PENDING, **values: object) -> Message:
    made = Message(
        id=number, account="default", sent_at=NOW - number, base=NOW - number, next_poll_at=NOW + number, state=state
    )
    return msgspec.structs.replace(made, **values)


def test_there_is_no_database_yet(tmp_path: Path) -> None:
    with pytest.raises(DatabaseMissingError, match="pollerd track"):
        view_of(tmp_path / "none.db")
    (tmp_path / "empty.db").touch()
    with pytest.raises(DatabaseMissingError):
        view_of(tmp_path / "empty.db")


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("CREATE TABLE a (b)", "another program"),
        (f"PRAGMA application_id = {schema.APPLICATION_ID}; PRAGMA user_version = 9999", "Install the newer one"),
    ],
)
def test_what_cannot_be_understood_is_not_guessed_at(tmp_path: Path, statement: str, says: str) -> None:
    with autocommit(tmp_path / "x.db") as connection:
        connection.executescript(statement)
    with pytest.raises(StoreError, match=says):
        view_of(tmp_path / "x.db")


def test_messages_by_state_in_the_order_that_is_wanted(filled: Place) -> None:
    filled.put(
        [
            message(1),
            message(2, account="b", next_poll_at=NOW - 5),
            message(3, State.FINISHED, finished_at=NOW - 1),
            message(4, State.FINISHED, finished_at=NOW - 9),
            message(5, State.GAVE_UP, finished_at=NOW - 2),
            message(6, State.GAVE_UP, finished_at=NOW - 3),
        ]
    )
    filled.execute("INSERT INTO messages (id, sent_at) VALUES (7, ?)", NOW - 1)

    with filled.view() as view:

        def ids(state: State | None, limit: int = 50) -> list[int]:
            return [found.id for found in view.messages(state, limit)]

        assert ids(None) == [7, 6, 5, 4, 3, 2, 1]
        assert ids(None, 2) == [7, 6]
        assert ids(State.PENDING) == [2, 7, 1]
        assert ids(State.PENDING, 1) == [2]
        assert ids(State.FINISHED) == [3, 4]
        assert ids(State.GAVE_UP) == [6, 5]
        assert view.count_gave_up() == 2
        assert view.message(2) == message(2, account="b", next_poll_at=NOW - 5)
        assert view.message(99) is None
        assert view.standing(2) == Standing(State.PENDING, "b")
        assert view.standing(99) is None


def test_events_by_place_message_and_type(filled: Place) -> None:
    tell(filled, 1)
    tell(filled, 2)
    filled.tell_as("account.held", None, 1.0, b"{}")
    tell(filled, 1)
    with filled.view() as view:
        assert [event.seq for event in view.events(0, 10)] == [1, 2, 3, 4]
        assert [event.seq for event in view.events(1, 2)] == [2, 3]
        assert [event.seq for event in view.events(0, 10, 1)] == [1, 4]
        assert [event.seq for event in view.events(0, 10, None, "account.held")] == [3]
        assert [event.seq for event in view.events(1, 10, 1, "message.gave_up")] == [4]
        assert (view.last_seq, view.pruned_seq) == (4, 0)
        filled.execute("DELETE FROM events WHERE seq <= 3")
        assert (view.last_seq, view.pruned_seq) == (4, 3)
        filled.execute("DELETE FROM events")
        assert (view.last_seq, view.pruned_seq) == (4, 4)


def test_a_commit_of_another_process_is_noticed_once(filled: Place) -> None:
    with filled.view() as view:
        assert view.changed()
        assert not view.changed()
        tell(filled, 1)
        assert view.changed()
        assert not view.changed()


def test_a_restored_database_is_noticed(writer: sqlite3.Connection, database: Path, tmp_path: Path) -> None:
    with view_of(database) as view:
        assert not view.replaced
        schema.prepare(tmp_path / "other.db").close()
        (tmp_path / "other.db").replace(database)
        assert view.replaced


def test_the_overview_reports_the_whole(filled: Place) -> None:
    filled.put([message(1), message(2, next_poll_at=NOW - 5), message(3, account="b", next_poll_at=NOW - 500)])
    filled.execute("INSERT INTO messages (id) VALUES (9)")
    filled.execute("INSERT INTO counters VALUES ('pending', 3), ('finished', 5), ('polls', 12)")
    filled.execute(
        "INSERT INTO accounts (name, held_reason, held_detail, held_until) VALUES ('b', 'throttled', '429', 5)"
    )
    filled.execute("INSERT INTO accounts (name, credit, currency, credit_low) VALUES ('c', 1.5, 'DKK', ?)", True)
    tell(filled, 1, 3)
    filled.execute("INSERT INTO outputs VALUES ('file', 3, '', 0), ('socket', 1, '', 0)")
    with filled.view() as view, filled.owned():
        seen = view.overview(NOW)
    assert seen.daemon == os.getpid()
    assert (seen.new, seen.pending, seen.finished, seen.gave_up, seen.polls) == (1, 3, 5, 0, 12)
    assert seen.oldest_sent_at == NOW - 3
    assert (seen.last_seq, seen.pruned_seq, seen.requests) == (3, 0, 0)
    assert sum(seen.size) > 4096
    held, low, default = seen.accounts
    assert (default.name, default.due, default.late, default.next_poll_at) == ("default", 1, 0, NOW - 5)
    assert (default.pending, held.pending, low.pending) == (2, 1, 0)
    assert (held.name, held.due, held.late, held.held_reason, held.held_until) == ("b", 1, 1, "throttled", 5)
    assert (low.credit, low.currency, low.credit_low) == (1.5, "DKK", True)
    assert [(o.name, o.lag, o.behind_since) for o in seen.outputs] == [("file", 0, None), ("socket", 2, NOW)]


def test_a_message_that_moves_on_meanwhile_is_counted_once(writer: sqlite3.Connection, database: Path) -> None:
    FilePlace(database).put([message(1, State.NEW)])

    def plan(statement: str) -> None:
        if "state = 0" in statement:
            writer.execute("UPDATE messages SET state = 1")
            writer.execute("INSERT INTO counters VALUES ('pending', 1)")

    reader = SqliteReader.open(database)
    with SearchView(reader) as view:
        reader._connection.set_trace_callback(plan)
        found = view.overview(NOW)
        assert (found.new, found.pending) == (1, 0)
        reader._connection.set_trace_callback(None)
        found = view.overview(NOW)
        assert (found.new, found.pending) == (0, 1)


def test_counts_have_a_bound(filled: Place) -> None:
    with filled.handover() as handover:
        handover.track(range(1, CAP + 10))
    with filled.view() as view:
        assert view.overview(NOW).new == CAP


@contextmanager
def nobody() -> Iterator[None]:
    """This process without root's rights to files."""
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_reader_who_may_not_write_the_folder_reads_with_and_without_a_daemon(
    writer: sqlite3.Connection, database: Path
) -> None:
    FilePlace(database).put([message(1)])
    for folder in (database.parent, *list(database.parents)[1:-1]):
        if not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)
    for file in database.parent.iterdir():
        file.chmod(0o644)
    with nobody(), view_of(database) as view:
        assert len(view.messages(None, 5)) == 1
    writer.close()
    assert [file.name for file in database.parent.iterdir()] == [database.name]
    with nobody(), view_of(database) as view:
        assert len(view.messages(None, 5)) == 1
        assert view.overview(NOW).daemon is None
    database.chmod(0o600)
    with nobody(), pytest.raises(StoreError, match="the group of the service"):
        view_of(database)


def test_nothing_is_held_open_between_calls(writer: sqlite3.Connection, database: Path) -> None:
    with view_of(database) as view:
        tell(FilePlace(database), 1, 100)
        view.events(0, 10)
        view.overview(time.time())
        assert writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0)
