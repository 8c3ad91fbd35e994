"""Transactions in PostgreSQL have numbers: whatever breaks on the way, each takes effect once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from itertools import count
from threading import Thread, Timer
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from pollerd.base.errors import StoreBusyError, StoreDoubtError, StoreFencedError, StoreUnavailableError
from pollerd.core.event import Event, Recovered, instant
from pollerd.core.ports import Batch
from pollerd.store.postgresql.command import CommandConnection
from pollerd.store.postgresql.link import Link
from pollerd.store.postgresql.member import Member
from pollerd.store.postgresql.writer import Writer
from pollerd.store.session import Session
from tests.servers.program import wait_until
from tests.servers.proxy import Proxy
from tests.store_database import StoreDatabase

SOON = 0.5
"""Seconds after which a connection without an answer is given up here."""
_CALL = "SELECT commit_group(%s, %s, 1.0, '[]', '[]', %s, '{}')"


def batch(detail: str, count: int = 1) -> Batch:
    body = Recovered(account="default", reason="unreachable", detail=detail, until=None, observed_at=instant(0.0))
    return Batch(bodies=[body] * count)


class Bed:
    """A store with its active member; `writers` are its own, each with a connection of its own."""

    def __init__(self, database: StoreDatabase, member: Member) -> None:
        self.database = database
        self.member = member
        self.committed: list[Event] = []

    @contextmanager
    def writer(self, port: int | None = None) -> Iterator[Writer]:
        link = Link(self.database.target(port), deadline=10.0 if port is None else SOON)
        try:
            yield Writer(link, self.member.token)
        finally:
            link.close()

    def commit(self, writer: Writer, group: Batch) -> list[int]:
        return [event.seq for event in writer.commit(group, self.committed.extend)]

    def told(self) -> list[tuple[int, str]]:
        return self.sql("SELECT seq, body->>'detail' FROM events ORDER BY seq")

    def sql(self, text: str, *values: object) -> list[Any]:
        return self.database.database.execute(text, *values)


@pytest.fixture
def bed(store_database: StoreDatabase) -> Iterator[Bed]:
    with store_database.engine().own(daemon=True) as member:
        yield Bed(store_database, member)


def call(bed: Bed, token: UUID, number: int, detail: str) -> int:
    """The call as it may come by any way at any time."""
    found = bed.sql(_CALL, token, number, f'[["account.recovered", null, "{{\\"detail\\": \\"{detail}\\"}}"]]')
    return int(found[0][0])


def test_a_number_is_carried_out_once_and_in_its_turn(bed: Bed) -> None:
    token = bed.member.token
    assert call(bed, token, 1, "one") == 0
    assert call(bed, token, 2, "two") == 1
    # The answer to the same number is the one that was given before.
    assert call(bed, token, 2, "two") == 1
    for number in (1, 4, 0, -1):
        with pytest.raises(psycopg.Error) as refused:
            call(bed, token, number, "late")
        assert refused.value.sqlstate == "PD002"
    assert bed.told() == [(1, "one"), (2, "two")]


def test_a_member_that_is_gone_is_refused_whatever_it_sends(bed: Bed) -> None:
    with bed.writer() as writer:
        assert bed.commit(writer, batch("mine")) == [1]
        bed.sql("DELETE FROM members")
        with pytest.raises(StoreFencedError):
            bed.commit(writer, batch("late"))
        with pytest.raises(StoreFencedError):
            writer.transact(lambda session: session.execute("DELETE FROM events"), bed.committed.extend)
    with pytest.raises(psycopg.Error) as refused:
        call(bed, uuid4(), 1, "a stranger's")
    assert refused.value.sqlstate == "PD001"
    assert bed.told() == [(1, "mine")]


def test_a_takeover_waits_for_the_transaction_under_way_and_stops_the_next(bed: Bed) -> None:
    def change(session: Session) -> None:
        session.execute("INSERT INTO counters (name, value) VALUES ('in time', 1)")
        taking.start()
        # It waits for this transaction.
        wait_until(lambda: bed.sql("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"), "it waits")

    taking = Thread(target=lambda: bed.sql("DELETE FROM members"))
    with bed.writer() as writer:
        writer.transact(change, bed.committed.extend)
        taking.join()
        with pytest.raises(StoreFencedError):
            writer.transact(lambda session: session.execute("DELETE FROM counters"), bed.committed.extend)
    assert bed.sql("SELECT name FROM counters") == [("in time",)]


def test_an_answer_that_is_lost_is_asked_for_again(bed: Bed) -> None:
    with Proxy(bed.database.database.server.port) as proxy, bed.writer(proxy.port) as writer:
        assert bed.commit(writer, batch("before")) == [1]
        proxy.freeze(to_server=False, new=False)
        # The server commits; its answer stays on the way, and the connection is given up.
        assert bed.commit(writer, batch("doubtful", 3)) == [2, 3, 4]
        assert bed.commit(writer, batch("after")) == [5]
        assert writer.doubts == 1
    assert [detail for _, detail in bed.told()] == ["before", *["doubtful"] * 3, "after"]
    assert [event.seq for event in bed.committed] == [1, 2, 3, 4, 5]


def test_a_group_in_doubt_is_settled_before_any_other(bed: Bed) -> None:
    """Its caller is told that the store is unavailable, and may never ask again: it takes effect all the same."""
    with Proxy(bed.database.database.server.port) as proxy, bed.writer(proxy.port) as writer:
        assert bed.commit(writer, batch("before")) == [1]
        proxy.freeze()
        doubtful = batch("doubtful")
        with pytest.raises(StoreUnavailableError):
            bed.commit(writer, doubtful)
        with pytest.raises(StoreUnavailableError):
            bed.commit(writer, batch("another"))
        assert bed.told() == [(1, "before")]
        assert writer.doubts == 1, "the other one was never sent"
        # What was held up comes late, after the same was sent again and after the next one.
        proxy.freeze(new=False)
        assert bed.commit(writer, doubtful) == [2]
        assert bed.commit(writer, batch("another")) == [3]
        proxy.thaw()
        # The backends that got it see the end of their connections behind it. Two are left: this one, and the lease's.
        backends = "SELECT 1 FROM pg_stat_activity WHERE usename = %s"
        wait_until(lambda: len(bed.sql(backends, bed.database.user)) <= 2, "what was held has come")
        assert bed.commit(writer, batch("last")) == [4]
    assert [detail for _, detail in bed.told()] == ["before", "doubtful", "another", "last"]
    assert [event.seq for event in bed.committed] == [1, 2, 3, 4]


def test_a_group_in_doubt_that_others_have_settled_is_not_carried_out_again(bed: Bed) -> None:
    """Its caller asks again after another transaction, and after another group: it gets the same answer."""
    with Proxy(bed.database.database.server.port) as proxy, bed.writer(proxy.port) as writer:
        assert bed.commit(writer, batch("before")) == [1]
        doubtful = [batch("one"), batch("two")]
        for each in doubtful:
            proxy.freeze()
            with pytest.raises(StoreUnavailableError):
                bed.commit(writer, each)
            proxy.thaw()
            if each is doubtful[0]:
                writer.transact(lambda session: session.execute("DELETE FROM counters"), bed.committed.extend)
            else:
                assert bed.commit(writer, batch("another")) == [4]
        assert [bed.commit(writer, each) for each in doubtful] == [[2], [3]]
        assert bed.commit(writer, batch("after")) == [5]
    assert bed.told() == [(1, "before"), (2, "one"), (3, "two"), (4, "another"), (5, "after")]
    assert [event.seq for event in bed.committed] == [1, 2, 3, 4, 5]


def test_a_transaction_whose_commit_got_no_answer_is_not_run_twice(bed: Bed) -> None:
    runs = []

    def change(session: Session) -> str:
        runs.append(session.execute("UPDATE counters SET value = value + 1"))
        if len(runs) == 1:
            proxy.freeze(to_server=False, new=False)
        return "its result"

    bed.sql("INSERT INTO counters (name, value) VALUES ('runs', 0)")
    with Proxy(bed.database.database.server.port) as proxy, bed.writer(proxy.port) as writer:
        # The answer to the UPDATE is held as well: nothing was committed, and it is run again.
        assert writer.transact(change, bed.committed.extend) == "its result"
    assert bed.sql("SELECT value FROM counters") == [(1,)]


def test_a_group_whose_call_is_late_keeps_its_number_when_the_next_call_is_refused(bed: Bed) -> None:
    """The first call is held on the way, the second waits too long for a lock: the first may still come. No other group
    gets its number, nor its answer."""
    with Proxy(bed.database.database.server.port) as proxy, closing(bed.database.database.connect()) as other:
        # Longer than the server lets a call wait for a lock.
        link = Link(bed.database.target(proxy.port), deadline=3.0)
        writer = Writer(link, bed.member.token)
        assert bed.commit(writer, batch("before")) == [1]
        with other.transaction():
            other.execute("SELECT FROM cluster FOR UPDATE")
            proxy.freeze(new=False)
            with pytest.raises(StoreBusyError):
                bed.commit(writer, batch("doubtful"))
        proxy.thaw()
        wait_until(lambda: len(bed.told()) == 2, "the first call has come")
        assert bed.commit(writer, batch("after")) == [3]
        link.close()
    assert bed.told() == [(1, "before"), (2, "doubtful"), (3, "after")]
    assert [event.seq for event in bed.committed] == [1, 2, 3]


def cut(proxy: Proxy, away: float | None) -> None:
    """From now on no answer comes, and no other connection, for so many seconds, or until `accept`. What was sent
    before arrives."""
    proxy.freeze(to_server=False, new=False)
    proxy.refuse()
    if away is not None:
        Timer(away, proxy.accept).start()


def insert(session: Session) -> None:
    session.execute("INSERT INTO counters (name, value) VALUES ('doubtful', 1)")


def test_a_transaction_in_doubt_is_answered_truly_once_the_server_is_there_again(bed: Bed) -> None:
    runs = 0

    def change(session: Session) -> str:
        nonlocal runs
        runs += 1
        insert(session)
        cut(proxy, SOON + 1.0)
        return "its result"

    with Proxy(bed.database.database.server.port) as proxy, bed.writer(proxy.port) as writer:
        assert writer.transact(change, bed.committed.extend) == "its result"
        assert (runs, writer.doubts) == (1, 1)
        assert bed.commit(writer, batch("after")) == [1]
    assert bed.sql("SELECT value FROM counters WHERE name = 'doubtful'") == [(1,)]


def test_a_transaction_whose_outcome_nobody_tells_is_not_called_undone(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(session: Session) -> None:
        insert(session)
        cut(proxy, None)

    monkeypatch.setattr("pollerd.store.postgresql.writer.DEADLINE", SOON)
    with Proxy(bed.database.database.server.port) as proxy, bed.writer(proxy.port) as writer:
        with pytest.raises(StoreDoubtError, match="may have taken effect"):
            writer.transact(change, bed.committed.extend)
        # What was not sent has certainly not taken effect.
        with pytest.raises(StoreUnavailableError) as refused:
            writer.transact(insert, bed.committed.extend)
        assert not isinstance(refused.value, StoreDoubtError)
        proxy.accept()
        assert bed.commit(writer, batch("after")) == [1]
    assert bed.sql("SELECT value FROM counters WHERE name = 'doubtful'") == [(1,)]


@pytest.mark.parametrize("away", [0.0, SOON + 1.0, None])
def test_a_command_says_truly_what_became_of_its_transaction(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, away: float | None
) -> None:
    """Its commit gets no answer: done where the server is there again in time, or else in doubt."""
    if away is None:
        monkeypatch.setattr("pollerd.store.postgresql.command.DEADLINE", SOON)
    with Proxy(bed.database.database.server.port) as proxy:
        command = CommandConnection(Link(bed.database.target(proxy.port), deadline=SOON))
        with pytest.raises(StoreDoubtError) if away is None else nullcontext(), command.transaction() as session:
            insert(session)
            cut(proxy, away)
        command.close()
    assert bed.sql("SELECT value FROM counters WHERE name = 'doubtful'") == [(1,)]


def test_another_server_does_not_tell_what_became_of_a_command(bed: Bed) -> None:
    """The number of its transaction may be that of another one there."""
    with Proxy(bed.database.database.server.port) as proxy:
        command = CommandConnection(Link(bed.database.target(proxy.port), deadline=SOON))

        def broken() -> None:
            with command.transaction() as session:
                insert(session)
                bed.sql("CREATE OR REPLACE FUNCTION server_timeline() RETURNS integer LANGUAGE sql AS 'SELECT -1'")
                cut(proxy, 0.0)

        with pytest.raises(StoreDoubtError):
            broken()
        command.close()


def test_a_command_whose_connection_broke_before_the_commit_says_that_nothing_was_done(bed: Bed) -> None:
    with Proxy(bed.database.database.server.port) as proxy:
        command = CommandConnection(Link(bed.database.target(proxy.port), deadline=SOON))

        def broken() -> None:
            with command.transaction() as session:
                insert(session)
                proxy.reset()
                insert(session)

        with pytest.raises(StoreUnavailableError, match="nothing was done"):
            broken()
        with command.transaction() as session:
            insert(session)
        command.close()
    assert bed.sql("SELECT value FROM counters WHERE name = 'doubtful'") == [(1,)]


def test_who_waits_too_long_for_a_lock_is_told_and_nothing_is_in_doubt(bed: Bed) -> None:
    with closing(bed.database.database.connect()) as other, bed.writer() as writer:
        assert bed.commit(writer, batch("before")) == [1]
        with other.transaction():
            other.execute("SELECT FROM cluster FOR UPDATE")
            with pytest.raises(StoreBusyError):
                bed.commit(writer, batch("refused"))
        assert bed.commit(writer, batch("after")) == [2]
    assert bed.told() == [(1, "before"), (2, "after")]


def test_a_killed_backend_costs_nothing(bed: Bed) -> None:
    with bed.writer() as writer:
        for number in range(1, 6):
            assert bed.commit(writer, batch(str(number))) == [number]
            bed.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pollerd'")
        assert writer.transact(lambda session: session.query("SELECT 1"), bed.committed.extend) == [(1,)]
    assert [event.seq for event in bed.committed] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("looked_at", [False, True])
def test_a_commit_reads_its_own_rows_alone_once_the_table_has_grown(bed: Bed, looked_at: bool) -> None:
    """The server keeps plans from when it was empty, or has looked at it while nothing was pending."""
    call = "SELECT commit_group(%s, %s, 1.0, %s, %s, '[]', '{}')"
    row = '"polls": 1, "misses": 0, "strikes": 0, "frozen_at": 0, "unknown": false, "next_poll_at": 7.0'
    numbers = count(1)
    bed.sql("ALTER TABLE messages SET (autovacuum_enabled = false)")
    with closing(bed.database.database.connect(bed.database.user)) as connection:

        def commit() -> None:
            values = (f'[{{"id": 1005, {row}}}]', f'[{{"id": 1006, "state": 1, {row}}}]')
            connection.execute(call, (bed.member.token, next(numbers), *values))

        for _ in range(8):
            commit()
        connection.execute("INSERT INTO messages (id) SELECT generate_series(1000, 21000)")
        if looked_at:
            connection.execute("ANALYZE messages")
        connection.execute("UPDATE messages SET state = 1, next_poll_at = id")
        read = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'messages'"
        with connection.transaction():
            ((before,),) = connection.execute(read).fetchall()
            commit()
            assert connection.execute(read).fetchall() == [(before + 2,)]
    assert bed.sql("SELECT id FROM messages WHERE polls = 1 ORDER BY id") == [(1005,), (1006,)]
