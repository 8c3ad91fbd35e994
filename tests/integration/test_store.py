"""The store on a real file: whole transactions, numbers that never repeat, other writers."""

from __future__ import annotations

import asyncio
import math
import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from itertools import product
from pathlib import Path

import msgspec
import pytest

from pollerd.backoff import Exponential, Settings
from pollerd.base.errors import StoreError, StoreUnavailableError
from pollerd.core.diff import Result
from pollerd.core.event import JUMP, Held, Recovered, Status, instant
from pollerd.core.model import (
    Answer,
    HoldReason,
    Message,
    NotFound,
    Outcome,
    Priority,
    Recipient,
    Rejected,
    State,
    Trouble,
)
from pollerd.core.outcome import OutcomeRules
from pollerd.core.ports import AccountState, Batch, Cursor
from pollerd.daemon.clock import SystemClock
from pollerd.polling.committer import Committer
from pollerd.store.batch import planned
from pollerd.store.eventlog import TAIL
from pollerd.store.rows import PLANNED
from pollerd.store.session import Session
from pollerd.store.sqlite import writer
from pollerd.store.sqlite.store import SqliteStore
from tests.sqlite_kit import autocommit
from tests.store_place import AnyStore, FilePlace, Place, place_of


def status(message_id: int, state: str = "ENROUTE") -> Status:
    return Status(
        id=message_id, account="default", msisdn=4512345678, status=state, previous=None, final=False, time=1,
        error=None, code=None, userref=None, country_code=None, country_prefix=None, mcc=None, mnc=None,
        observed_at=instant(0.0), polls=1,
    )  # fmt: skip


def recovered() -> Recovered:
    return Recovered(account="default", reason="unreachable", detail="", until=None, observed_at=instant(0.0))


def row(message_id: int, due: float = 50.0, **more: object) -> Message:
    return Message(message_id, "default", 10.0, due, base=10.0, **more)  # type: ignore[arg-type]


@pytest.fixture
async def store(place: Place) -> AsyncIterator[AnyStore]:
    async with place.opened() as opened:
        yield opened


@pytest.fixture
async def in_file(database: Path) -> AsyncIterator[SqliteStore]:
    """For what SQLite alone can meet."""
    async with FilePlace(database).opened() as opened:
        assert isinstance(opened, SqliteStore)
        yield opened


def insert(store: AnyStore, *ids: int) -> None:
    place_of(store).insert(*ids)


async def test_a_row_by_plain_sql_is_new_and_due_from_now(store: AnyStore) -> None:
    assert await store.foreign_change()
    assert not await store.foreign_change()
    insert(store, 421332671)
    assert await store.foreign_change()
    (found,) = await store.new(10)
    assert (found.id, found.account, found.userref, found.state) == (421332671, "default", None, State.NEW)
    assert abs(found.sent_at - time.time()) < 60


async def test_a_first_plan_writes_all_that_planning_decides(in_file: SqliteStore) -> None:
    store = in_file
    place_of(store).execute(
        "INSERT INTO messages (id, account, userref, sent_at, sendtime, priority, overdue_after) "
        "VALUES (1, 'other', 'order', '2026-11-26T12:00:00Z', '2026-11-26T13:00:00Z', 'Very urgent', '600')"
    )
    (found,) = await store.new(10)
    settings = Settings()
    rules = OutcomeRules(Exponential(settings, 1), settings, random.Random(1), overdue_after=60.0)
    planned = rules.first(found, found.sending - 100.0, 33.0)
    await store.commit(Batch(results=(Result(planned, was=State.NEW, first=True),)))
    assert await store.message(1) == planned
    assert place_of(store).execute("SELECT priority, typeof(sent_at), frozen_at FROM messages") == [
        ("VERY_URGENT", "real", 33.0)
    ]
    default = Message(1, "default", 0.0, 0.0)
    decided = {name for name in Message.__struct_fields__ if getattr(planned, name) != getattr(default, name)}
    assert decided == {*PLANNED} - {"state"}


async def test_many_alike_are_planned_as_each_would_be_alone(in_file: SqliteStore) -> None:
    store, settings, count = in_file, Settings(), 40
    for number in range(1, count + 1):
        # Two that are handed over together, and one each that is like no other.
        place_of(store).execute(
            "INSERT INTO messages (id, userref, sent_at, priority, overdue_after) "
            f"VALUES ({number}, {repr(f'order-{number}') if number % 10 == 0 else repr('campaign')}, "
            f"1764000000.25, {'NULL' if number % 2 else repr('urgent')}, {'NULL' if number % 2 else '600'})"
        )
    found = await store.new(100)
    rules = OutcomeRules(Exponential(settings, 1), settings, random.Random(1))
    planned = [rules.first(message, 1764000001.5, 33.0) for message in found]
    assert len({message.next_poll_at for message in planned}) == count
    place_of(store).execute("DELETE FROM messages WHERE id = 7")
    await store.commit(Batch(results=tuple(Result(message, was=State.NEW, first=True) for message in planned)))
    assert [await store.message(message.id) for message in planned if message.id != 7] == [
        message for message in planned if message.id != 7
    ]
    assert await store.message(7) is None, "what was deleted meanwhile does not come back"


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"account": "'other'", "userref": "'order'", "sent_at": "1764000000.5", "priority": "'urgent'"},
        {"sent_at": "1764000000", "overdue_after": "90", "userref": "12"},
        {"overdue_after": "-1", "priority": "'soon'", "userref": "x'00ff'"},
        {"sent_at": "'2026-11-26T12:00:00Z'"},
        {"sent_at": "1764000000.5", "sendtime": "1764000900"},
        {"account": "''", "sent_at": "1764000000.5"},
        {"account": "x'61'"},
        {"sent_at": "1764000000.5", "polls": "3", "last_answer": "'404'", "next_poll_at": "1764000700.0"},
        {"sent_at": "1764000000.5", "recipients": "x'90'", "validity": "60.0"},
        {"sent_at": "12.0"},
        {"polls": "-1"},
        {"base": "'soon'"},
    ],
    ids=str,
)
async def test_a_new_row_is_read_alike_by_itself_and_among_others(
    in_file: SqliteStore, columns: dict[str, str]
) -> None:
    """Rows that hold nothing unusual are read by their few columns; what comes of it is the same."""
    store = in_file
    place_of(store).execute(
        f"INSERT INTO messages ({', '.join(('id', *columns))}) VALUES ({', '.join(('5', *columns.values()))})"
    )
    alone = await store.new(10)
    # One of a previous life makes the store look at whole rows.
    place_of(store).execute("INSERT INTO messages (id, polls) VALUES (9, 1)")
    together = await store.new(10)
    assert together[-1].id == 9
    assert alone == together[:-1]


async def test_what_messages_have_in_common_is_in_memory_once(store: AnyStore) -> None:
    insert(store, 1, 2)
    results = [
        Result(row(number, 99.0, last_answer="200", recipients=(Recipient(45, "ENROUTE", mcc="238"),)), was=State.NEW)
        for number in (1, 2)
    ]
    await store.commit(Batch(results=tuple(results)))
    one, other = await store.due("default", (-1.0, 0), 100.0, 10)
    assert one.account is other.account
    assert one.last_answer is other.last_answer
    assert one.recipients[0].status is other.recipients[0].status
    assert one.recipients[0].mcc is other.recipients[0].mcc


async def test_state_time_and_events_are_one_transaction(store: AnyStore) -> None:
    insert(store, 1)
    recipients = (Recipient(4512345678, "ENROUTE"),)
    result = Result(row(1, 99.0, recipients=recipients, polls=1), (status(1),), was=State.NEW, polls=1)
    (event,) = await store.commit(Batch(results=(result,), at=12.0))
    assert event.seq == 1
    found = await store.message(1)
    assert found is not None
    assert (found.next_poll_at, found.recipients, found.state) == (99.0, recipients, State.PENDING)
    assert [e.line for e in await store.read(0, 10)] == [event.line]


async def test_a_transaction_that_fails_leaves_nothing_and_uses_no_number(store: AnyStore) -> None:
    insert(store, 1)
    with place_of(store).refusing("INSERT ON events"), pytest.raises(Exception, match="refused by a test"):
        await store.commit(Batch(results=(Result(row(1, 99.0), (status(1),)),)))
    found = await store.message(1)
    assert found is not None
    assert found.state is State.NEW
    (event,) = await store.commit(Batch(results=(Result(row(1, 99.0), (status(1),)),)))
    assert event.seq == 1


async def test_cancelling_a_commit_does_not_tear_it(store: AnyStore) -> None:
    insert(store, 1)
    for cancelled_after in range(12):
        task = asyncio.create_task(store.commit(Batch(results=(Result(row(1), (status(1),)),))))
        for _ in range(cancelled_after):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    told = [e.seq for e in await store.read(0, 100)]
    assert told == list(range(1, len(told) + 1))
    assert told[-1] == store.last


async def test_an_open_that_fails_closes_what_it_opened(database: Path) -> None:
    await (await SqliteStore.open(database, time.time)).close()
    with autocommit(database) as connection:
        connection.execute("DROP TABLE events")
    with pytest.raises(StoreError, match="no such table: events"):
        await SqliteStore.open(database, time.time)
    # SQLite removes its side files when the last connection is closed.
    assert [path.name for path in database.parent.iterdir()] == ["pollerd.db"]


async def test_numbers_go_on_upward_after_everything_was_pruned(place: Place) -> None:
    async with place.opened() as store:
        await store.commit(Batch(bodies=[recovered() for _ in range(5)]))
    place.execute("DELETE FROM events")
    async with place.opened() as store:
        assert (store.last, store.pruned) == (5, 5)
        (event,) = await store.commit(Batch(bodies=[recovered()]))
        assert event.seq == 6


async def test_numbers_can_be_lifted_above_what_an_output_has_seen(store: AnyStore) -> None:
    await store.advance_seq(41)
    # Where several machines share a store, the file of another one may be further.
    lifted = store.last
    assert lifted in (41, 41 + JUMP)
    (event,) = await store.commit(Batch(bodies=[recovered()]))
    assert event.seq == lifted + 1
    assert [e.seq for e in await store.read(0, 10)] == [lifted + 1]
    assert store.pruned == lifted
    await store.advance_seq(7)
    (event,) = await store.commit(Batch(bodies=[recovered()]))
    assert event.seq == lifted + 2


@pytest.mark.parametrize("after", [0, 1, 57, TAIL, TAIL + 200, TAIL + 299, TAIL + 300, TAIL + 900])
async def test_reading_is_the_same_from_memory_and_from_disk(store: AnyStore, after: int) -> None:
    total = TAIL + 300
    await store.commit(Batch(bodies=[recovered() for _ in range(total)]))
    expected = list(range(after + 1, total + 1))[:50]
    assert [e.seq for e in await store.read(after, 50)] == expected


async def test_lifting_the_numbers_hides_no_event_and_wakes_nobody(place: Place) -> None:
    """Just after opening, before anything is in memory: what is stored stays readable, and there is nothing new."""
    async with place.opened() as store:
        await store.commit(Batch(bodies=[recovered(), recovered()]))
    async with place.opened() as store:
        await store.advance_seq(41)
        assert store.pruned == 0
        assert [e.seq for e in await store.read(0, 10)] == [1, 2]
        waiter = asyncio.create_task(store.wait(2))
        await asyncio.sleep(0)
        assert not waiter.done()
        lifted = store.last
        await store.commit(Batch(bodies=[recovered()]))
        await waiter
        assert [e.seq for e in await store.read(2, 10)] == [lifted + 1]


async def test_waiting_ends_with_the_commit(store: AnyStore) -> None:
    waiter = asyncio.create_task(store.wait(0))
    await asyncio.sleep(0)
    assert not waiter.done()
    await store.commit(Batch(bodies=[recovered()]))
    await waiter


async def test_the_schedule_is_read_by_account_and_place(store: AnyStore) -> None:
    insert(store, *range(1, 8))
    results = [Result(row(i, 100.0 if i < 5 else 200.0), was=State.NEW) for i in range(1, 8)]
    await store.commit(Batch(results=results))
    assert [m.id for m in await store.due("default", (float("-inf"), 0), 150.0, 3)] == [1, 2, 3]
    assert [m.id for m in await store.due("default", (100.0, 3), 250.0, 10)] == [4, 5, 6, 7]
    assert [m.id for m in await store.due("other", (0.0, 0), 250.0, 10)] == []
    assert await store.due_latest("default", 150.0, 1)


async def test_counters_follow_the_states(store: AnyStore) -> None:
    insert(store, 1, 2)
    await store.commit(Batch(results=[Result(row(i), was=State.NEW, polls=2) for i in (1, 2)]))
    await store.commit(Batch(results=[Result(row(1, state=State.FINISHED), polls=1)]))
    counters = dict(place_of(store).execute("SELECT name, value FROM counters"))
    assert counters == {"pending": 1, "finished": 1, "polls": 5, "handed_over_at": 0}, "the batches name no time"


async def test_accounts_and_cursors_outlive_a_restart(place: Place) -> None:
    held = AccountState("default", held_detail="x", held_total=12.5, credit=3.0, currency="DKK", credit_low=True)
    async with place.opened() as store:
        await store.commit(Batch(accounts=[held], cursors=[Cursor("exec", 9, "place")], notes=[("model", b"\x01")]))
    async with place.opened() as store:
        assert await store.accounts() == {"default": held}
        assert await store.cursor("exec") == Cursor("exec", 9, "place")
        assert await store.note("model") == b"\x01"


async def test_a_hold_for_refusing_is_one_that_an_older_version_knows(store: AnyStore) -> None:
    held = AccountState("default", HoldReason.REFUSING, "410", 1.0, 2.0, refusal="http_410")
    trusting = AccountState("other", trusting=True)
    await store.commit(Batch(accounts=[held, trusting]))
    assert await store.accounts() == {"default": held, "other": trusting}
    written = "SELECT held_reason FROM accounts WHERE name = 'default'"
    assert place_of(store).execute(written) == [("server_errors",)]
    # What an older version leaves behind when it ends the hold.
    await store.write(lambda db: db.execute("UPDATE accounts SET held_reason = NULL"))
    assert (await store.accounts())["default"].held_reason is None


async def test_unknown_ids_are_counted_by_account_until_they_are_seen_or_end(store: AnyStore) -> None:
    insert(store, *range(1, 8))
    known = [Result(row(i), was=State.NEW) for i in (1, 2)]
    unknown = [Result(row(i, unknown=True), was=State.NEW) for i in range(3, 8)]
    await store.commit(Batch(results=known + unknown))
    assert [await store.unknown("default", 100), await store.unknown("default", 3)] == [5, 3]
    assert await store.unknown("other", 100) == 0
    seen, ended = row(3, seen_at=9.0), row(4, unknown=True, state=State.GAVE_UP)
    await store.commit(Batch(results=[Result(seen, full=False), Result(ended)]))
    assert await store.unknown("default", 100) == 3


def lives() -> list[Outcome]:
    """Outcomes of all kinds; most of them answers, most of which repeat the last one."""
    shown = [Recipient(4512345678, state, 1.0, country="DK", mcc="238", mnc="1") for state in ("ENROUTE", "BUFFERED")]
    answers = [Answer((each,)) for each in shown for _ in range(4)]
    frames = [
        Answer((shown[0],), userref="order", sendtime=90.0, validity=7200.0, priority=Priority.BULK),
        Answer((Recipient(4512345678, "ENROUTE", 1.0, country="DK", mcc="238", mnc="1", sent=95.0),)),
        Answer((*shown, Recipient(4587654321, "DELIVERED", 2.0))),
        Answer((Recipient(4512345678, "DELIVERED", 9.0),)),
    ]
    refusals: list[Outcome] = [
        NotFound(),
        Rejected("bad", "http_400"),
        Trouble(HoldReason.UNREACHABLE, "timeout", "no answer"),
    ]
    return [*answers, *frames, *refusals]


async def test_whatever_a_poll_writes_the_row_is_the_message(store: AnyStore) -> None:
    settings = Settings(give_up_after=3000.0)
    rng = random.Random(18)
    rules = OutcomeRules(Exponential(settings, 1), settings, rng, overdue_after=900.0)
    insert(store, *range(1, 41))
    planned = [Result(rules.first(each, 100.0, 0.0), was=State.NEW, first=True) for each in await store.new(100)]
    await store.commit(Batch(results=planned))
    pending = {result.message.id: msgspec.structs.replace(result.message, sent_at=100.0) for result in planned}
    await store.write(lambda session: session.execute("UPDATE messages SET sent_at = 100.0"))
    written: Counter[tuple[bool, bool]] = Counter()
    for now in range(110, 3600, 60):
        found = [rules.settle(each, rng.choice(lives()), float(now), 0.0) for each in pending.values()]
        await store.commit(Batch(results=found, at=float(now)))
        written.update((result.full, result.steady) for result in found)
        pending = {r.message.id: r.message for r in found if r.message.state is State.PENDING}
        for result in found:
            stored = await store.message(result.message.id)
            assert stored is not None
            if result.message.state is not State.PENDING:
                stored = msgspec.structs.replace(stored, next_poll_at=result.message.next_poll_at)
            assert stored == result.message
    assert all(written[full, steady] for full in (False, True) for steady in (False, True)), written


async def test_a_large_group_is_written_whole_or_not_at_all(in_file: SqliteStore) -> None:
    # More than one statement takes, in no order: the numbers of events follow the results all the same.
    ids = random.Random(18).sample(range(1, 1301), 1300)
    insert(in_file, *ids)
    await in_file.commit(Batch(results=[Result(row(each), was=State.NEW) for each in ids]))
    answered = [Result(row(each, float(each), polls=1), (status(each),), polls=1, steady=True) for each in ids]
    with (
        place_of(in_file).refusing("UPDATE ON messages WHEN NEW.id = 1200"),
        pytest.raises(Exception, match="refused by a test"),
    ):
        await in_file.commit(Batch(results=answered))
    assert place_of(in_file).execute("SELECT sum(polls), (SELECT count(*) FROM events) FROM messages") == [(0, 0)]
    events = await in_file.commit(Batch(results=answered))
    assert [event.message_id for event in events] == ids
    assert place_of(in_file).execute("SELECT message_id FROM events ORDER BY seq") == [(each,) for each in ids]
    wrong = "SELECT count(*) FROM messages WHERE next_poll_at <> id OR polls <> 1"
    assert place_of(in_file).execute(wrong) == [(0,)]
    assert (await in_file.counters())["polls"] == 1300


async def test_triggers_of_others_do_what_they_say(in_file: SqliteStore) -> None:
    ids = range(1, 21)
    insert(in_file, *ids)
    for trigger in (
        "AFTER UPDATE ON messages BEGIN INSERT OR REPLACE INTO newest VALUES (NEW.id, NEW.polls); END",
        "AFTER INSERT ON events BEGIN INSERT OR IGNORE INTO newest VALUES (NEW.message_id, -1); END",
        "BEFORE INSERT ON messages BEGIN SELECT RAISE(ABORT, 'nothing is handed over here'); END",
    ):
        place_of(in_file).execute("CREATE TABLE IF NOT EXISTS newest (id INTEGER PRIMARY KEY, polls INTEGER)")
        place_of(in_file).execute(f"CREATE TRIGGER of_others_{trigger.partition(' ON')[0].replace(' ', '_')} {trigger}")
    await in_file.commit(Batch(results=[Result(row(each), was=State.NEW, first=True) for each in ids]))
    for polls, (full, steady) in enumerate(product((False, True), repeat=2), 1):
        told = [Result(row(each, polls=polls), (status(each),), full=full, steady=steady) for each in ids]
        await in_file.commit(Batch(results=told))
        assert place_of(in_file).execute("SELECT count(*), min(polls), max(polls) FROM newest") == [(20, polls, polls)]


async def test_the_schedule_is_read_while_a_transaction_waits_for_another_program(
    in_file: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However slow this machine is, the transaction does not give up.
    monkeypatch.setattr(writer, "BUSY_TIMEOUT", 60.0)
    insert(in_file, 2)
    with autocommit(in_file.path) as other:
        other.execute("BEGIN IMMEDIATE")
        writing = asyncio.create_task(in_file.commit(Batch(results=(Result(row(2), was=State.NEW, first=True),))))
        # The first ones may be read before the transaction has begun to wait.
        for _ in range(5):
            await in_file.due("default", (-math.inf, 0), 60.0, 10)
        assert not writing.done()
        other.execute("ROLLBACK")
    await writing
    assert [message.id for message in await in_file.due("default", (-math.inf, 0), 60.0, 10)] == [2]


async def test_old_pages_of_a_statement_lie_in_no_temporary_file(in_file: SqliteStore) -> None:
    ids = range(1, 3001)
    insert(in_file, *ids)
    results = [Result(row(each), was=State.NEW, first=True) for each in ids]
    written = [
        each for each in planned(Batch(results=results), (), narrow=True) if each[0].startswith("plan_") and each[1]
    ]
    assert [name for name, _ in written] == ["plan_dues", "plan_alike", "plan_done"]

    def temporary(session: Session) -> list[str]:
        for name, rows in written:
            session.executemany(session.sql("store")[name], rows)
        opened = [os.path.realpath(each) for each in Path("/proc/self/fd").glob("*")]
        return [name for name in opened if "etilqs" in name]

    assert await in_file.write(temporary) == []


async def test_what_is_not_pending_any_more_is_left_alone_by_an_answer(in_file: SqliteStore) -> None:
    insert(in_file, 1, 2)
    place_of(in_file).execute("UPDATE messages SET state = 4")
    await in_file.commit(Batch(results=[Result(row(1), steady=True), Result(row(2), full=False, steady=True)]))
    assert place_of(in_file).execute("SELECT state, next_poll_at FROM messages") == [(4, None), (4, None)]


# -- the committer


@pytest.fixture
async def committer(store: AnyStore) -> AsyncIterator[Committer]:
    committer = Committer(store, SystemClock())
    task = asyncio.create_task(committer.run())
    yield committer
    task.cancel()
    await asyncio.wait([task])


async def test_results_of_one_message_merge_in_order(store: AnyStore, committer: Committer) -> None:
    insert(store, 1)
    committer.record(Result(row(1, 60.0), (status(1),), was=State.NEW, polls=1))
    committer.record(Result(row(1, 70.0, polls=2), full=False, polls=1))
    done = row(1, 80.0, polls=3, state=State.FINISHED)
    committer.record(Result(done, (status(1, "DELIVERED"),), polls=1))
    assert committer.unsaved(1) == done
    await committer.flush()
    assert committer.unsaved(1) is None
    assert [msgspec.json.decode(e.body)["status"] for e in await store.read(0, 10)] == ["ENROUTE", "DELIVERED"]
    found = await store.message(1)
    assert found is not None
    assert found.state is State.FINISHED


async def test_a_locked_database_holds_polling_back_and_loses_nothing(in_file: SqliteStore) -> None:
    store, committer = in_file, Committer(in_file, SystemClock())
    running = asyncio.create_task(committer.run())
    insert(store, 1)
    await store._writer.execute("PRAGMA busy_timeout = 0")
    with autocommit(store.path) as foreign:
        foreign.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailableError):
            await store.commit(Batch(bodies=[recovered()]))
        committer.record(Result(row(1), (status(1),), was=State.NEW))
        while not committer.trouble:
            await asyncio.sleep(0)
        room = asyncio.create_task(committer.room())
        await asyncio.sleep(0)
        assert not room.done()
        foreign.execute("COMMIT")
    await room
    await committer.flush()
    assert [e.seq for e in await store.read(0, 10)] == [1]
    assert committer.trouble == ""
    running.cancel()
    await asyncio.wait([running])


async def test_a_command_waits_for_a_locked_database_only_so_long(in_file: SqliteStore) -> None:
    """A daemon waits without end; a person before a screen wants an answer."""
    store = in_file
    insert(store, 1)
    await store._writer.execute("PRAGMA busy_timeout = 0")
    with autocommit(store.path) as foreign:
        foreign.execute("BEGIN IMMEDIATE")
        impatient = Committer(store, SystemClock(), give_up_after=0.0)
        impatient.record(Result(row(1), was=State.NEW))
        with pytest.raises(StoreUnavailableError, match="another program holds it"):
            await impatient.run()


async def test_an_account_goes_on_before_what_was_learned_by_that(store: AnyStore) -> None:
    """One transaction holds what ended a hold, what the answers said, and what began the next."""
    insert(store, 1)
    seen = Result(row(1), (status(1),), was=State.NEW)
    on = recovered()
    off, other = (
        Held(account=name, reason="throttled", detail="", until="y", observed_at="x") for name in (on.account, "b")
    )
    cases: list[tuple[list[Held | Recovered], list[str]]] = [
        ([on], ["recovered", "status"]),
        ([off], ["status", "held"]),
        ([on, off], ["recovered", "status", "held"]),
        ([off, on], ["held", "recovered", "status"]),
        ([other, on], ["recovered", "status", "held"]),
    ]
    for bodies, order in cases:
        told = await store.commit(Batch(results=[seen], bodies=bodies))
        assert [event.type.partition(".")[2] for event in told] == order
        assert [event.seq for event in told] == list(range(told[0].seq, told[0].seq + len(order)))
