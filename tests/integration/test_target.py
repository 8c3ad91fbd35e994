"""The rules of outputs into databases: what changes no row, what waits for it, what is parked, superseded, taken up."""

from __future__ import annotations

import asyncio
import logging
import random
import sqlite3
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest

from pollerd.core import event as events
from pollerd.core.ports import DeliveryState
from pollerd.store.retention import Retention
from tests.integration.output_kit import running, until
from tests.integration.target_kit import GUARDED, NAME, parked, settled, states, target, undelivered
from tests.integration.webhook_kit import change, tell
from tests.sqlite_kit import autocommit
from tests.store_place import AnyStore, Place, place_of

STATES = ("BUFFERED", "ENROUTE", "DELIVERED")
ONE, TWO = 4587654321, 4587654322
EACH = "UPDATE sms SET status = :status WHERE id = :id AND msisdn = :msisdn"
NEVER = (1000.0,)


@pytest.fixture
async def store(place: Place) -> AsyncIterator[AnyStore]:
    """Of this daemon, in either engine."""
    async with place.opened() as opened:
        yield opened


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with autocommit(tmp_path / "shop.db") as database:
        database.executescript("""
            CREATE TABLE sms (id, msisdn, status TEXT, seq INTEGER);
            CREATE TABLE told (id, msisdn, status);
            CREATE TRIGGER journal AFTER UPDATE ON sms
            BEGIN INSERT INTO told VALUES (new.id, new.msisdn, new.status); END;
        """)
        yield database


def told(shop: sqlite3.Connection) -> list[tuple[int, str]]:
    """Every state that a row was given, in order."""
    return shop.execute("SELECT id, status FROM told ORDER BY rowid").fetchall()


async def test_a_row_that_comes_later_gets_its_states_in_order_and_others_do_not_wait(
    store: AnyStore, shop: sqlite3.Connection, tmp_path: Path
) -> None:
    path = tmp_path / "shop.db"
    shop.execute("INSERT INTO sms (id) VALUES (2)")
    await tell(store, change(1, "ENROUTE"), change(2, "ENROUTE"))
    async with running(target(store, path), store):
        await until(lambda: told(shop) == [(2, "ENROUTE")], "the row that is there")
        await until(lambda: states(store) == {1: "waiting"}, "the other one waits")
        await tell(store, change(1, "DELIVERED"), change(2, "DELIVERED"))
        await until(lambda: len(told(shop)) == 2, "the row that is there")
        await until(lambda: states(store) == {1: "waiting", 3: "waiting"}, "two wait")
        assert [(kept.next_at is None, kept.output) for kept in undelivered(store)] == [(False, NAME), (True, NAME)]
    # A restart forgets none of it.
    async with running(target(store, path), store):
        shop.execute("INSERT INTO sms (id) VALUES (1)")
        await settled(store)
    assert told(shop)[2:] == [(1, "ENROUTE"), (1, "DELIVERED")]
    assert states(store) == {}


async def test_the_schedule_is_followed_then_it_is_parked_and_can_be_taken_up(
    store: AnyStore, shop: sqlite3.Connection, tmp_path: Path
) -> None:
    await tell(store, change(1, "ENROUTE"))
    path, tried = tmp_path / "shop.db", []
    for attempt in range(1, 4):
        async with running(target(store, path, retry_after=(100.0, 1000.0, 10_000.0)), store):
            await until(lambda: [kept.attempts for kept in undelivered(store)] == [attempt], "an attempt")  # noqa: B023
        (kept,) = undelivered(store)
        assert kept.next_at is not None
        with place_of(store).connected() as database:
            changed = database.execute("SELECT changed_at FROM unwritten").fetchone()[0]
            tried.append(kept.next_at - changed)
            database.execute("UPDATE unwritten SET next_at = changed_at")
    assert tried == pytest.approx([100.0, 1000.0, 10_000.0])
    async with running(output := target(store, path, retry_after=(100.0, 1000.0, 10_000.0)), store):
        await parked(store, [1])
        (kept,) = undelivered(store)
        assert (kept.attempts, kept.next_at, kept.error) == (4, None, "no row was changed")
        shop.execute("INSERT INTO sms (id) VALUES (1)")
        assert await asyncio.to_thread(place_of(store).retry_parked) == 1
        await until(lambda: told(shop) == [(1, "ENROUTE")], "it is written")
        await until(lambda: states(store) == {}, "and kept no longer")
        assert output.health.keeps


async def test_a_clock_that_was_wrong_puts_nothing_off(
    store: AnyStore, shop: sqlite3.Connection, tmp_path: Path
) -> None:
    """Planned by a clock that was five hours ahead."""
    await tell(store, change(1, "ENROUTE"))
    async with running(target(store, tmp_path / "shop.db", retry_after=NEVER), store):
        await until(lambda: states(store) == {1: "waiting"}, "it waits")
    with place_of(store).connected() as database:
        database.execute("UPDATE unwritten SET next_at = next_at + 18000, changed_at = changed_at + 18000")
    shop.execute("INSERT INTO sms (id) VALUES (1)")
    async with running(target(store, tmp_path / "shop.db", retry_after=NEVER), store):
        await until(lambda: told(shop) == [(1, "ENROUTE")], "it is written")


async def test_what_is_parked_is_superseded_by_a_later_state_and_never_written_again(
    store: AnyStore, shop: sqlite3.Connection, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = tmp_path / "shop.db"
    await tell(store, change(1, "ENROUTE"), change(2, "ENROUTE"))
    async with running(target(store, path, retry_after=()), store):
        await parked(store, [1, 2])
        shop.execute("INSERT INTO sms (id) VALUES (1)")
        await tell(store, change(1, "DELIVERED"))
        await until(lambda: told(shop) == [(1, "DELIVERED")], "the later one")
        await until(lambda: "superseded" in caplog.text, "it is said")
        await parked(store, [2])
        assert await asyncio.to_thread(place_of(store).retry_parked) == 1
        await parked(store, [2])
    assert told(shop) == [(1, "DELIVERED")]
    said = [record.getMessage() for record in caplog.records if "superseded" in record.getMessage()]
    assert said == ["output sqlite: superseded by a later state and dropped: event 1 (message 1, ENROUTE)"]


async def test_what_is_taken_up_while_a_later_one_waits_goes_first(
    store: AnyStore, shop: sqlite3.Connection, tmp_path: Path
) -> None:
    path = tmp_path / "shop.db"
    await tell(store, change(1, "ENROUTE"))
    async with running(target(store, path, retry_after=()), store):
        await parked(store, [1])
    await tell(store, change(1, "DELIVERED"))
    async with running(target(store, path, retry_after=NEVER), store):
        await until(lambda: states(store) == {1: "parked", 2: "waiting"}, "the second waits")
        shop.execute("INSERT INTO sms (id) VALUES (1)")
        assert await asyncio.to_thread(place_of(store).retry_parked) == 1
        await until(lambda: len(told(shop)) == 2 and states(store) == {}, "both")
    assert told(shop) == [(1, "ENROUTE"), (1, "DELIVERED")]


async def test_later_events_wait_for_one_that_is_refused_until_it_is_parked(
    store: AnyStore, shop: sqlite3.Connection, tmp_path: Path
) -> None:
    shop.execute("""
        CREATE TRIGGER rule BEFORE UPDATE ON sms WHEN new.id = 1 AND new.status = 'ENROUTE'
        BEGIN SELECT RAISE(ABORT, 'not enroute'); END
    """)
    shop.execute("INSERT INTO sms (id) VALUES (1), (2)")
    for state in STATES:
        await tell(store, change(1, state), change(2, state))
    async with running(target(store, tmp_path / "shop.db", retry_after=NEVER), store):
        await until(lambda: states(store) == {3: "waiting", 5: "waiting"}, "what may be written is")
        assert len(told(shop)) == 4
        assert [(kept.attempts, kept.error) for kept in undelivered(store)] == [(1, "not enroute"), (0, "")]
    async with running(target(store, tmp_path / "shop.db", retry_after=()), store):
        with place_of(store).connected() as database:
            database.execute("UPDATE unwritten SET next_at = changed_at WHERE next_at IS NOT NULL")
        await until(lambda: len(told(shop)) == 5 and states(store) == {}, "parked, then superseded")
    assert [state for message, state in told(shop) if message == 1] == ["BUFFERED", "DELIVERED"]
    assert [state for message, state in told(shop) if message == 2] == list(STATES)


async def test_a_guard_against_going_back_is_no_missing_row(
    store: AnyStore, shop: sqlite3.Connection, tmp_path: Path
) -> None:
    """A batch that comes again after a crash: its older states change no row, since the newest one is there already."""
    path = tmp_path / "shop.db"
    shop.execute("INSERT INTO sms (id) VALUES (1)")
    await tell(store, *(change(1, state) for state in STATES))
    async with running(target(store, path, GUARDED, no_row="retry", retry_after=NEVER), store):
        await settled(store)
    with place_of(store).connected() as database:
        database.execute("UPDATE outputs SET seq = 0")
    async with running(target(store, path, GUARDED, no_row="retry", retry_after=NEVER), store):
        await settled(store)
        assert states(store) == {}
    assert [state for _, state in told(shop)] == [*STATES, "DELIVERED"]


async def test_a_waiting_state_is_superseded_when_a_later_one_finds_the_row(
    store: AnyStore, shop: sqlite3.Connection, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The row has what it waits for already, and a guard that is too strict."""
    caplog.set_level(logging.INFO)
    shop.execute("INSERT INTO sms (id, status, seq) VALUES (1, 'BUFFERED', 1)")
    strict = GUARDED.replace("<=", "<")
    await tell(store, change(1, "BUFFERED"))
    async with running(target(store, tmp_path / "shop.db", strict, no_row="retry", retry_after=NEVER), store):
        await until(lambda: states(store) == {1: "waiting"}, "it waits for long")
        await tell(store, change(1, "DELIVERED"))
        await until(lambda: "dropped: event 1 (message 1, BUFFERED)" in caplog.text, "it is said")
        assert states(store) == {}
    assert told(shop) == [(1, "DELIVERED")]


async def test_news_of_a_message_is_a_reason_to_try_its_row_and_spends_no_attempt(
    store: AnyStore, shop: sqlite3.Connection, tmp_path: Path
) -> None:
    await tell(store, change(1, "BUFFERED"))
    async with running(target(store, tmp_path / "shop.db", retry_after=NEVER), store):
        await until(lambda: states(store) == {1: "waiting"}, "it waits for long")
        await tell(store, change(1, "ENROUTE"))
        await until(lambda: states(store) == {1: "waiting", 2: "waiting"}, "both do")
        assert undelivered(store)[0].attempts == 1
        shop.execute("INSERT INTO sms (id) VALUES (1)")
        await tell(store, change(1, "DELIVERED"))
        await until(lambda: len(told(shop)) == 3 and states(store) == {}, "all are written")
    assert [state for _, state in told(shop)] == list(STATES)


async def test_a_recipient_without_a_row_holds_up_no_other_one(
    store: AnyStore, shop: sqlite3.Connection, tmp_path: Path
) -> None:
    """Where the statement names the recipient. What is about the whole message waits for all of them."""
    path = tmp_path / "shop.db"
    shop.execute("INSERT INTO sms (id, msisdn) VALUES (1, ?)", (ONE,))
    statement = "UPDATE sms SET status = coalesce(:status, :type) WHERE id = :id AND msisdn = coalesce(:msisdn, msisdn)"
    completed = events.Completed(
        id=1, account="default", userref=None, counts={"DELIVERED": 2}, polls=1, observed_at=events.instant(0.0)
    )
    for state in ("ENROUTE", "DELIVERED"):
        await tell(store, change(1, state, msisdn=TWO), change(1, state, msisdn=ONE))
    await tell(store, completed)
    async with running(target(store, path, statement), store):
        await until(lambda: states(store) == {1: "waiting", 3: "waiting", 5: "waiting"}, "those of one recipient wait")
        assert told(shop) == [(1, "ENROUTE"), (1, "DELIVERED")]
        shop.execute("INSERT INTO sms (id, msisdn) VALUES (1, ?)", (TWO,))
        await settled(store)
    found = shop.execute("SELECT msisdn, status FROM told ORDER BY rowid").fetchall()
    assert found[2:4] == [(TWO, "ENROUTE"), (TWO, "DELIVERED")]
    assert sorted(found[4:]) == [(ONE, "message.completed"), (TWO, "message.completed")]


async def test_a_message_without_a_row_of_its_own_holds_up_all_its_recipients(
    store: AnyStore, shop: sqlite3.Connection, tmp_path: Path
) -> None:
    """Where the statement does not name the recipient: the row would go back to what was reported before."""
    await tell(store, change(1, "ENROUTE", msisdn=ONE), change(1, "ENROUTE", msisdn=TWO))
    async with running(target(store, tmp_path / "shop.db", retry_after=NEVER), store):
        await until(lambda: states(store) == {1: "waiting", 2: "waiting"}, "both wait")
        assert [kept.attempts for kept in undelivered(store)] == [1, 0]
        shop.execute("INSERT INTO sms (id) VALUES (1)")
        await tell(store, change(1, "DELIVERED", msisdn=ONE))
        await until(lambda: len(told(shop)) == 3 and states(store) == {}, "all are written")
    assert [state for _, state in told(shop)] == ["ENROUTE", "ENROUTE", "DELIVERED"]


@pytest.mark.parametrize(
    ("statement", "rules", "kept"),
    [
        ("UPDATE sms SET status = :status WHERE id = :id", {}, [1, 2]),
        ("UPDATE sms SET status = :status WHERE id = :id", {"no_row": "ignore"}, []),
        ("UPDATE sms SET status = :status WHERE id = :id AND seq < :seq", {}, []),
        ("INSERT OR IGNORE INTO seen VALUES (1)", {}, []),
        ("INSERT OR IGNORE INTO seen VALUES (1)", {"no_row": "retry"}, [1, 2, 3]),
        ("UPDATE sms SET status = :type WHERE id = :id", {}, [1, 2]),
        ("UPDATE sms SET status = :status WHERE userref = :userref", {}, [1]),
        ("UPDATE sms SET status = :status WHERE id = :id", {"account": "two"}, [2]),
        ("UPDATE sms SET status = :status WHERE id = :id", {"userref_prefix": "order-"}, [1]),
        ("UPDATE sms SET status = :status WHERE id = :id", {"userref_prefix": "order-", "account": "two"}, []),
    ],
)
async def test_what_is_kept_for_another_attempt(
    store: AnyStore, shop: sqlite3.Connection, tmp_path: Path, statement: str, rules: dict[str, str], kept: list[int]
) -> None:
    """No event that lacks what the WHERE compares with, such as one about an account."""
    shop.execute("CREATE TABLE seen (one INTEGER PRIMARY KEY)")
    shop.execute("INSERT INTO seen VALUES (1)")
    shop.execute("ALTER TABLE sms ADD COLUMN userref")
    held = events.Held(account="default", reason="throttled", detail="", until=None, observed_at=events.instant(0.0))
    await tell(store, change(1, "ENROUTE"), change(2, "ENROUTE", userref=None, account="two"), held)
    async with running(output := target(store, tmp_path / "shop.db", statement, retry_after=NEVER, **rules), store):
        await until(lambda: output.health.seq == 3, "all events")
        expected = [seq for seq in kept if seq < 3 or "type" in statement]
        await until(lambda: [event.seq for event in undelivered(store)] == expected, "those that wait")


async def remember(store: AnyStore, *forms: tuple[str, int, str, str | float]) -> None:
    """How sources gave ids."""
    given = msgspec.json.encode(forms).decode()
    await store.write(lambda session: session.execute(session.sql("source_ids")["remember"], (given,)))


@pytest.mark.parametrize("form", ["4602 ", "0004602", " 4602", 4602.0, 4602, "4602"], ids=repr)
async def test_the_statement_gets_the_id_as_its_source_gave_it(
    store: AnyStore, shop: sqlite3.Connection, tmp_path: Path, form: str | float
) -> None:
    """Bound as what it was; from the source of this database, where it has one."""
    shop.execute("INSERT INTO sms (id) VALUES (?), (17)", (form,))
    if not isinstance(form, int):
        await remember(store, ("its query as it was", 4602, "mine.db", form))
    await remember(store, ("a", 4602, "other.db", "x"), ("a", 17, "other.db", "x"))
    await tell(store, change(4602, "DELIVERED"), change(17, "DELIVERED"))
    statement = "UPDATE sms SET status = :status, seq = typeof(:source_id) WHERE id IS :source_id"
    async with running(target(store, tmp_path / "shop.db", statement, database="mine.db"), store):
        await until(lambda: len(told(shop)) == 2, "both are found")
    kind = {str: "text", float: "real", int: "integer"}[type(form)]
    assert shop.execute("SELECT seq FROM sms ORDER BY rowid").fetchall() == [(kind,), ("integer",)]


async def test_who_compares_with_the_number_learns_how_the_id_was_given(
    store: AnyStore, shop: sqlite3.Connection, tmp_path: Path
) -> None:
    shop.execute("INSERT INTO sms (id) VALUES ('4602 ')")
    await remember(store, ("any", 4602, "any.db", "4602 "))
    await tell(store, change(4602, "DELIVERED"))
    async with running(target(store, tmp_path / "shop.db"), store):
        said = "no row was changed; the source gave this id as '4602 ': compare with :source_id"
        await until(lambda: [kept.error for kept in undelivered(store)] == [said], "it is said")


async def test_retention_forgets_what_was_parked_for_long_and_what_no_output_wants_any_more(
    store: AnyStore, shop: sqlite3.Connection, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, other = tmp_path / "shop.db", "sqlite other"
    await tell(store, change(1, "ENROUTE"), change(2, "ENROUTE"))
    await remember(store, ("any", 1, "any.db", "1 "))
    place_of(store).execute("DELETE FROM messages WHERE id = 1")
    async with running(target(store, path, retry_after=()), store):
        await parked(store, [1, 2])
    async with running(target(store, path, name=other, retry_after=NEVER), store):
        await until(lambda: len(states(store)) == 2 and len(undelivered(store)) == 4, "both wait")
    now = 1e10
    before = undelivered(store)
    assert [kept.state for kept in before if kept.output == other] == [DeliveryState.WAITING] * 2
    await Retention(store, frozenset({NAME, other}), 1e11).run(now)
    assert undelivered(store) == before
    await Retention(store, frozenset({NAME, other}), 3600.0).run(now)
    assert {kept.output for kept in undelivered(store)} == {other}
    await Retention(store, frozenset({NAME}), 3600.0).run(now)
    assert undelivered(store) == []
    with place_of(store).connected() as database:
        assert database.execute("SELECT count(*) FROM source_ids").fetchone() == (0,)
    said = [record.getMessage() for record in caplog.records if "are forgotten" in record.getMessage()]
    assert said == [
        f"output {name}: 2 events that could not be written were kept for long enough and are forgotten"
        for name in (NAME, other)
    ]


@pytest.mark.parametrize("seed", range(4))
async def test_every_row_ends_with_its_last_state_in_order_whatever_comes_between(
    store: AnyStore, shop: sqlite3.Connection, tmp_path: Path, seed: int
) -> None:
    """Rows come late, some states are refused, the output is restarted and its place is lost."""
    rng, path = random.Random(seed), tmp_path / "shop.db"
    shop.execute("""
        CREATE TRIGGER rule BEFORE UPDATE ON sms WHEN new.id % 3 = 0 AND new.status = 'ENROUTE'
        BEGIN SELECT RAISE(ABORT, 'not enroute'); END
    """)
    statement = f"{GUARDED} AND msisdn = :msisdn"
    rows = [(message, msisdn) for message in range(1, 61) for msisdn in (ONE, TWO)[: 1 + message % 2]]
    for state in STATES:
        batch = [change(message, state, msisdn=msisdn) for message, msisdn in rows]
        rng.shuffle(batch)
        await tell(store, *batch)
    late = rng.sample(rows, len(rows))
    schedule = (0.01, 0.02, *[0.03] * 300)
    while late:
        async with running(target(store, path, statement, no_row="retry", retry_after=schedule), store):
            some, late = late[:12], late[12:]
            shop.executemany("INSERT INTO sms (id, msisdn) VALUES (?, ?)", some)
            enough = len(told(shop)) + rng.randrange(12)
            await until(lambda: len(told(shop)) >= enough or not late, "some are written")  # noqa: B023 - awaited here
        if rng.random() < 0.3:
            # As after a crash between the two databases.
            with place_of(store).connected() as database:
                database.execute("UPDATE outputs SET seq = CASE WHEN seq > 20 THEN seq - 20 ELSE 0 END")
    async with running(target(store, path, statement, no_row="retry", retry_after=schedule), store):
        await settled(store)
    assert states(store) == {}
    assert shop.execute("SELECT count(*) FROM sms WHERE status IS NOT 'DELIVERED'").fetchone() == (0,)
    orders: defaultdict[tuple[int, int], list[str]] = defaultdict(list)
    for message, msisdn, state in shop.execute("SELECT id, msisdn, status FROM told ORDER BY rowid"):
        if orders[message, msisdn][-1:] != [state]:
            orders[message, msisdn].append(state)
    for (message, msisdn), order in orders.items():
        wanted = [state for state in STATES if message % 3 or state != "ENROUTE"]
        assert [state for state in wanted if state in order] == order, (message, msisdn)
