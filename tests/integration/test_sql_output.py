"""States into another program's PostgreSQL or MariaDB, which may be away, locked or closed, or refuse events."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pymysql
import pytest
import trustme

from pollerd.core.event import instant
from pollerd.core.incoming import IncomingMessage, reported
from pollerd.store.sqlite.store import SqliteStore
from tests.integration.output_kit import running, until
from tests.integration.sql_kit import GUARDED, NAME, PLAIN, Shop, shop_in
from tests.integration.target_kit import parked, settled, states, undelivered
from tests.integration.webhook_kit import change, tell
from tests.servers.database import Database
from tests.servers.mariadb import MariaDb
from tests.servers.pgbouncer import PgBouncer
from tests.servers.postgresql import PostgreSql
from tests.servers.proxy import Proxy
from tests.sqlite_kit import autocommit

ONE, TWO = 4587654321, 4587654322
STATES = ("BUFFERED", "ENROUTE", "DELIVERED")
NEVER = (1000.0,)


@pytest.fixture(params=["postgresql", "mariadb"])
def shop(request: pytest.FixtureRequest) -> Iterator[Shop]:
    with shop_in(request.getfixturevalue(f"{request.param}_database")) as made:
        yield made


async def test_every_row_has_its_state_and_the_place_is_kept(store: SqliteStore, shop: Shop) -> None:
    shop.execute(f"INSERT INTO sms (id) VALUES {', '.join(f'({n})' for n in range(1, 501))}")
    statement = "UPDATE sms SET status = :status, final = :final WHERE id = :id"
    await tell(store, *(change(n, "ENROUTE", final=False) for n in range(1, 501)))
    async with running(first := shop.target(store, statement), store):
        await until(lambda: first.health.seq == store.last, "all")
    shop.execute("UPDATE sms SET status = 'seen'")
    await tell(store, *(change(n, "DELIVERED") for n in range(1, 11)))
    async with running(second := shop.target(store, statement), store):
        await until(lambda: second.health.seq == store.last, "the rest")
    found = shop.execute("SELECT status, final, count(*) FROM sms GROUP BY 1, 2")
    assert sorted(found) == [("DELIVERED", True, 10), ("seen", False, 490)]


async def test_a_row_that_has_its_state_already_is_found_all_the_same(store: SqliteStore, shop: Shop) -> None:
    """MySQL and MariaDB count what was changed, unless they are asked for what was found."""
    shop.execute("INSERT INTO sms (id, status) VALUES (1, 'DELIVERED')")
    await tell(store, change(1, "DELIVERED"))
    async with running(shop.target(store, retry_after=NEVER), store):
        await settled(store, NAME)
        assert states(store) == {}


FORMS = [
    ("a text for numbers and texts", "gateway_id = '4602', body = :id", "gateway_id = :source_id", "4602"),
    ("a number for either", "body = :seq", "id = :source_id AND msisdn = :msisdn AND seq <= :seq", "1"),
    ("a truth for a boolean", "final = :final, body = concat('x', seq)", "id = :id AND NOT final", "x0"),
    ("a truth for a number", "seq = :final, body = :status", "id = :id", "DELIVERED"),
    ("an instant for a text", "body = :observed_at", "id = :id", "2025-11-24"),
    ("nothing", "body = coalesce(:error, :code, 'none')", "id = :id", "none"),
    ("a colon and a per cent sign", "body = ':id 10:30 100%'", "id = :id AND 'a' LIKE 'a%'", ":id 10:30 100%"),
]


async def test_values_are_bound_in_a_form_that_the_column_takes(store: SqliteStore, shop: Shop) -> None:
    shop.execute("INSERT INTO sms (id, gateway_id) VALUES (4602, '4602')")
    await tell(store, change(4602, "DELIVERED"))
    for sentence, values, where, body in FORMS:
        shop.execute("UPDATE sms SET final = FALSE, seq = 0, body = NULL")
        statement = f"UPDATE sms SET {values} WHERE {where}"
        async with running(shop.target(store, statement, name=sentence, no_row="retry"), store):
            await settled(store, sentence)
        assert [row[0].startswith(body) for row in shop.execute("SELECT body FROM sms")] == [True], sentence


async def test_times_are_taken_by_columns_of_times(store: SqliteStore, shop: Shop) -> None:
    shop.execute("ALTER TABLE sms ADD COLUMN at_utc TIMESTAMP(3) NULL, ADD COLUMN of_gateway TIMESTAMP NULL")
    shop.execute("INSERT INTO sms (id) VALUES (1)")
    await tell(store, change(1, "DELIVERED", time=1764000042, observed_at="2026-11-22T10:30:43.512Z"))
    seconds = "to_timestamp(:time)" if shop.postgresql else "from_unixtime(:time)"
    statement = f"UPDATE sms SET at_utc = :observed_at, of_gateway = {seconds} WHERE id = :id"
    async with running(shop.target(store, statement), store):
        await settled(store, NAME)
    ((instant, gateway),) = shop.execute("SELECT at_utc, of_gateway FROM sms")
    assert instant.isoformat() == "2026-11-22T10:30:43.512000"
    assert gateway.isoformat() == "2025-11-24T16:00:42"


REFUSING = [
    ("a unique key", "INSERT INTO log (id) VALUES (:id)", "duplicate"),
    ("a check", "UPDATE log SET checked = :id WHERE id = 1", "check|constraint"),
    ("a foreign key", "UPDATE log SET known = :id WHERE id = 1", "foreign key"),
    ("a text that is too long", "UPDATE log SET short = :status WHERE id = 1", "too long"),
    ("a number that is too large", "UPDATE log SET small = :msisdn WHERE id = 1", "range"),
    ("a value of another type", "UPDATE log SET small = :status WHERE id = 1", "integer"),
    ("nothing where something must be", "UPDATE log SET must = CASE WHEN :id <> 3 THEN 1 END", "null"),
    ("a trigger", "UPDATE log SET triggered = :id WHERE id = 1", "not the third"),
]
DEFERRED = ("a key that is looked for at the end", "INSERT INTO log (id, later) VALUES (100 + :id, :id)", "foreign key")
_LOG = """
CREATE TABLE known (id BIGINT PRIMARY KEY);
INSERT INTO known VALUES (1), (2), (4);
CREATE TABLE log (id BIGINT PRIMARY KEY, checked BIGINT CHECK (checked <> 3), known BIGINT, short VARCHAR(3),
    small INTEGER, must INTEGER NOT NULL DEFAULT 0, triggered BIGINT, later BIGINT,
    FOREIGN KEY (known) REFERENCES known (id));
INSERT INTO log (id) VALUES (1);
INSERT INTO log (id) VALUES (3);
"""
_POSTGRESQL_TRIGGER = """
CREATE FUNCTION rule() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN IF NEW.triggered = 3 THEN RAISE EXCEPTION 'not the third'; END IF; RETURN NEW; END $$;
CREATE TRIGGER rule BEFORE UPDATE ON log FOR EACH ROW EXECUTE FUNCTION rule();
ALTER TABLE log ADD FOREIGN KEY (later) REFERENCES known (id) DEFERRABLE INITIALLY DEFERRED;
"""
_MARIADB_TRIGGER = """
CREATE TRIGGER rule BEFORE UPDATE ON log FOR EACH ROW
IF NEW.triggered = 3 THEN SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 31000, MESSAGE_TEXT = 'not the third'; END IF;
"""


@pytest.mark.parametrize("case", [*REFUSING, DEFERRED], ids=lambda case: case[0])
async def test_an_event_that_is_refused_is_parked_by_name_and_the_rest_goes_on(
    store: SqliteStore, shop: Shop, caplog: pytest.LogCaptureFixture, case: tuple[str, str, str]
) -> None:
    _, statement, said = case
    if case is DEFERRED and not shop.postgresql:
        pytest.skip("MariaDB has no deferred constraints")
    shop.database.script(_LOG + (_POSTGRESQL_TRIGGER if shop.postgresql else _MARIADB_TRIGGER))
    shop.grant("SELECT, INSERT, UPDATE", "log")
    await tell(store, change(2, "12", msisdn=2), change(3, "DELIVERED"), change(4, "14", msisdn=4))
    async with running(output := shop.target(store, statement, retry_after=(0.01,) * 9), store):
        await parked(store, [2])
        await until(lambda: any(record.levelno == logging.ERROR for record in caplog.records), "it is said")
        assert output.health.trouble == ""
        assert output.health.seq == 3
    (line,) = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert "event 2 (message 3, DELIVERED): not written in 4 attempts, parked: " in line
    assert any(words in line.lower() for words in said.split("|")), line
    assert "Failing row" not in line


async def test_what_is_refused_says_nothing_of_what_else_is_in_its_row(
    store: SqliteStore, shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    """The text of the SMS, above all."""
    shop.execute("ALTER TABLE sms ADD CHECK (status <> 'DELIVERED')")
    shop.execute("INSERT INTO sms (id, body) VALUES (1, 'Your code is 7')")
    await tell(store, change(1, "DELIVERED"))
    async with running(shop.target(store, retry_after=()), store):
        await parked(store, [1])
    assert "Your code" not in undelivered(store)[0].error + caplog.text


async def test_a_text_that_is_refused_is_quoted_nowhere(
    store: SqliteStore, shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    """Both databases name the value that is no number."""
    caplog.set_level(logging.DEBUG)
    shop.database.script("CREATE TABLE votes (id bigint PRIMARY KEY, vote integer)")
    shop.grant("SELECT, INSERT, UPDATE", "votes")
    statement = "INSERT INTO votes (id, vote) VALUES (:incoming_id, :text)"
    await tell(store, reported("default", IncomingMessage(1, text="three'ish"), instant(0.0)))
    async with running(shop.target(store, statement, retry_after=()), store):
        await parked(store, [1])
        await until(lambda: any(record.levelno == logging.ERROR for record in caplog.records), "it is said")
    error = undelivered(store)[0].error
    assert "not shown" in error
    assert "three" not in error + caplog.text


async def test_mariadb_cuts_nothing_off_in_silence(store: SqliteStore, mariadb: MariaDb) -> None:
    """Whatever mode the server has: a status that is too long for its column is refused."""
    with mariadb.database() as database, shop_in(database) as shop:
        mode = mariadb.execute("SELECT @@GLOBAL.sql_mode")[0][0]
        shop.execute("SET GLOBAL sql_mode = ''")
        try:
            shop.execute("ALTER TABLE sms MODIFY status VARCHAR(3)")
            shop.execute("INSERT INTO sms (id) VALUES (1)")
            await tell(store, change(1, "DELIVERED"))
            async with running(shop.target(store, retry_after=()), store):
                await parked(store, [1])
        finally:
            shop.execute("SET GLOBAL sql_mode = %s", mode)
        assert shop.execute("SELECT status FROM sms") == [(None,)]


async def test_a_row_that_is_not_there_yet_is_not_locked_against_its_application(
    store: SqliteStore, shop: Shop
) -> None:
    """MariaDB locks the gap where it would be, unless it is asked not to."""
    shop.execute("INSERT INTO sms (id) VALUES (1), (9)")

    def insert() -> None:
        with closing(shop.database.connect()) as other, closing(other.cursor()) as cursor:
            cursor.execute("SET lock_timeout = '1s'" if shop.postgresql else "SET innodb_lock_wait_timeout = 1")
            cursor.execute("INSERT INTO sms (id) VALUES (5)")

    with closing(shop.opened()) as database, database.connection() as connection:
        assert connection.exec_driver_sql("UPDATE sms SET status = 'ENROUTE' WHERE id = 5").rowcount == 0
        insert()
    assert shop.execute("SELECT count(*) FROM sms") == [(3,)]


async def test_a_server_must_have_a_certificate_that_is_trusted_where_that_is_asked_for(
    store: SqliteStore, shop: Shop, authority: trustme.CA, tmp_path: Path
) -> None:
    shop.execute("INSERT INTO sms (id) VALUES (1)")
    await tell(store, change(1, "DELIVERED"))
    authority.cert_pem.write_to_path(tmp_path / "another.pem")
    options = "?sslmode=verify-full&sslrootcert={}" if shop.postgresql else "?ssl_ca={}"
    foreign = shop.opened(options=options.format(tmp_path / "another.pem"))
    async with running(output := shop.target(store, opened=foreign), store):
        await until(lambda: "cannot be reached by TLS" in output.health.trouble, "it is not trusted")
        assert "certificate" in output.health.trouble
    assert shop.told() == []
    right = shop.opened(options=options.format(shop.database.server.authority))
    async with running(shop.target(store, opened=right), store):
        await settled(store, NAME)
    assert shop.told() == [(1, "DELIVERED")]


BROKEN: list[tuple[str, str, dict[str, Any], str]] = [
    ("a wrong password", PLAIN, {"password": "another-one"}, "refuses the user or the password"),
    ("no such table", "UPDATE other SET status = :status", {}, "does not have what the statement names"),
    ("no such column", "UPDATE sms SET state = :status WHERE id = :id", {}, "does not have what the statement names"),
    ("no right", "UPDATE told SET status = :status WHERE id = :id", {}, "gives this user no right"),
    ("no statement", "nonsense", {}, "cannot run the statement"),
]


@pytest.mark.parametrize(("sentence", "statement", "how", "said"), BROKEN, ids=[case[0] for case in BROKEN])
async def test_what_no_event_is_guilty_of_holds_them_all_and_is_said_once(
    store: SqliteStore,
    shop: Shop,
    caplog: pytest.LogCaptureFixture,
    sentence: str,
    statement: str,
    how: dict[str, Any],
    said: str,
) -> None:
    await tell(store, change(1, "DELIVERED"))
    if sentence == "no such table" and not shop.postgresql:
        # Who has no right to all of the database learns nothing of its tables.
        shop.grant("UPDATE", f"{shop.database.name}.*")
    tries = Tries(shop.opened(**how))
    async with running(broken := shop.target(store, statement, opened=tries.database), store):
        await until(lambda: said in broken.health.trouble and tries.made > 4, sentence)
        assert broken.health.seq == 0
    assert states(store) == {}
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1


class Tries:
    """Counts the transactions on a database."""

    def __init__(self, database: Any) -> None:
        self.database = database
        self.made = 0
        connection: Callable[[], Any] = database.connection

        def counted() -> Any:
            self.made += 1
            return connection()

        database.connection = counted


@contextmanager
def holding(shop: Shop, *statements: str) -> Iterator[Any]:
    """Another program's transaction that does not end before this context."""
    with closing(shop.database.connect()) as other, closing(other.cursor()) as cursor:
        cursor.execute("BEGIN")
        for statement in statements:
            cursor.execute(statement)
        yield cursor
        cursor.execute("ROLLBACK")


async def test_a_lock_holds_this_output_and_is_said_once(
    store: SqliteStore, shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    lock = "LOCK TABLE sms IN EXCLUSIVE MODE" if shop.postgresql else "SELECT * FROM sms FOR UPDATE"
    shop.execute("INSERT INTO sms (id) VALUES (1)")
    await tell(store, change(1, "DELIVERED"))
    tries = Tries(shop.opened())
    with holding(shop, lock):
        output = shop.target(store, opened=tries.database)
        running_output = asyncio.create_task(output.run(store))
        await until(lambda: "is locked" in output.health.trouble and tries.made > 2, "trouble")
        assert output.health.seq == 0
    await settled(store, NAME)
    running_output.cancel()
    await asyncio.wait({running_output})
    assert shop.told() == [(1, "DELIVERED")]
    assert states(store) == {}
    said = [record.getMessage() for record in caplog.records if "output sql" in record.getMessage()]
    assert len(said) == 2
    assert "another program holds a lock: let it end its transaction; events from 1 on wait" in said[0]
    assert said[1] == "output sql: works again"


async def test_a_deadlock_is_tried_again_at_once_and_is_no_trouble(
    store: SqliteStore, shop: Shop, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one holds a row that we want, and wants one that we hold: the database undoes one of the two."""
    caplog.set_level(logging.INFO)
    # On a busy machine the other one may take longer than ours waits for a lock.
    monkeypatch.setattr("pollerd.databases.dialects.LOCK", 25)
    shop.execute("INSERT INTO sms (id) VALUES (1), (2)")
    await tell(store, change(1, "DELIVERED"), change(2, "DELIVERED"))
    tries = Tries(shop.opened())

    def contend(cursor: Any) -> None:
        for _ in range(100):
            cursor.execute("UPDATE sms SET body = 'x' WHERE id = 1")

    with holding(shop, "UPDATE sms SET body = 'x' WHERE id = 2") as cursor:
        async with running(shop.target(store, opened=tries.database), store):
            await until(lambda: waits(shop), "ours has the first row, and waits for the second")
            try:
                await asyncio.to_thread(contend, cursor)
            except Exception:  # noqa: BLE001 - each driver has classes of its own
                assert tries.made == 1, "theirs was undone"
            cursor.execute("ROLLBACK")
            await settled(store, NAME)
    assert sorted(set(shop.told())) == [(1, "DELIVERED"), (2, "DELIVERED")]
    assert "output sql" not in caplog.text


def waits(shop: Shop) -> bool:
    """Whether a statement waits for a row's lock."""
    if shop.postgresql:
        sql = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    else:
        sql = "SELECT 1 FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
    return bool(shop.execute(sql))


async def test_a_server_that_goes_in_the_middle_of_a_statement_comes_back_to_all_of_it(
    store: SqliteStore, shop: Shop
) -> None:
    """Its connection is broken while an UPDATE waits for a lock, behind one that has changed its row already."""
    shop.execute("INSERT INTO sms (id) VALUES (1), (2), (3)")
    await tell(store, *(change(n, "DELIVERED") for n in (1, 2, 3)))
    with Proxy(shop.database.server.port) as proxy:
        output = shop.target(store, opened=shop.opened(port=proxy.port))
        async with running(output, store):
            with holding(shop, "SELECT * FROM sms WHERE id = 2 FOR UPDATE"):
                await until(lambda: waits(shop), "an UPDATE waits")
                proxy.refuse()
                proxy.reset()
                await until(lambda: "cannot be reached" in output.health.trouble, "trouble")
                assert output.health.seq == 0
            assert shop.execute("SELECT count(*) FROM sms WHERE status IS NOT NULL") == [(0,)]
            proxy.accept()
            await settled(store, NAME)
    assert shop.told() == [(1, "DELIVERED"), (2, "DELIVERED"), (3, "DELIVERED")]


async def test_a_commit_whose_answer_is_lost_is_made_again_and_the_guard_makes_that_harmless(
    store: SqliteStore, shop: Shop
) -> None:
    shop.execute("INSERT INTO sms (id) VALUES (1)")
    await tell(store, *(change(1, state) for state in STATES))
    with Proxy(shop.database.server.port) as proxy:
        database = shop.opened(port=proxy.port)
        execute = database.connection
        commits = 0

        @contextmanager
        def committing() -> Iterator[Any]:
            with execute() as connection:
                commit = connection.commit

                def lost() -> None:
                    nonlocal commits
                    commits += 1
                    if commits == 1:
                        proxy.freeze(to_server=False)
                        threading.Thread(target=cut, daemon=True).start()
                    commit()

                connection.commit = lost
                yield connection

        def cut() -> None:
            while not shop.told():
                pass
            proxy.reset()
            proxy.thaw()

        database.connection = committing
        async with running(shop.target(store, GUARDED, opened=database, no_row="retry", retry_after=NEVER), store):
            await settled(store, NAME)
    assert commits == 2
    assert states(store) == {}
    assert [state for _, state in shop.told()] == [*STATES, "DELIVERED"]


async def test_a_server_that_does_not_answer_does_not_hold_up_the_end(store: SqliteStore, shop: Shop) -> None:
    """Nor does it get what comes late: the transaction is undone."""
    shop.execute("INSERT INTO sms (id) VALUES (1)")
    await tell(store, change(1, "DELIVERED"))
    with Proxy(shop.database.server.port) as proxy:
        database = shop.opened(port=proxy.port)
        with closing(shop.database.connect()) as other, closing(other.cursor()) as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT * FROM sms FOR UPDATE")
            async with running(shop.target(store, opened=database), store):
                await until(lambda: waits(shop), "an UPDATE waits")
                proxy.freeze()
            # Its end has come, and it has ended: the server still waits.
            cursor.execute("ROLLBACK")
        await until(lambda: not waits(shop), "nothing waits any more")
    assert shop.told() == []
    async with running(shop.target(store), store):
        await settled(store, NAME)
    assert shop.told() == [(1, "DELIVERED")]


async def test_a_database_that_is_read_only_parks_nothing(store: SqliteStore, shop: Shop) -> None:
    shop.execute("INSERT INTO sms (id) VALUES (1)")
    await tell(store, change(1, "DELIVERED"))
    if shop.postgresql:
        switch = f"ALTER ROLE {shop.user} SET default_transaction_read_only = "
        on, off = switch + "on", switch + "off"
    else:
        on, off = "SET GLOBAL read_only = 1", "SET GLOBAL read_only = 0"
    shop.execute(on)
    try:
        tries = Tries(shop.opened())
        async with running(output := shop.target(store, opened=tries.database), store):
            await until(lambda: "is read-only" in output.health.trouble and tries.made > 5, "trouble")
            assert states(store) == {}
            shop.execute(off)
            await settled(store, NAME)
    finally:
        shop.execute(off)
    assert shop.told() == [(1, "DELIVERED")]


async def test_a_table_without_room_parks_nothing(store: SqliteStore, mariadb: MariaDb) -> None:
    with mariadb.database() as database, shop_in(database) as shop:
        shop.database.script("""
            SET SESSION max_heap_table_size = 16384;
            CREATE TABLE log (seq BIGINT PRIMARY KEY, note CHAR(50) CHARACTER SET latin1) ENGINE = MEMORY;
        """)
        shop.grant("SELECT, INSERT", "log")
        with pytest.raises(pymysql.MySQLError, match="is full"):
            shop.execute("INSERT INTO log SELECT seq, 'x' FROM seq_1000_to_2000")
        await tell(store, *(change(n, "DELIVERED") for n in range(1, 20)))
        async with running(output := shop.target(store, "INSERT IGNORE INTO log VALUES (:seq, 'x')"), store):
            await until(lambda: "has no room" in output.health.trouble, "trouble")
            assert states(store) == {}
            shop.execute("DELETE FROM log WHERE seq >= 1000")
            await settled(store, NAME)
        assert shop.execute("SELECT count(*) FROM log") == [(19,)]


@pytest.mark.parametrize("seed", range(10 if os.environ.get("POLLERD_LONG") else 1))
async def test_every_row_ends_with_its_last_state_in_order_whatever_comes_between(
    store: SqliteStore, shop: Shop, seed: int
) -> None:
    """Rows come late, some states are refused, connections break, the output is restarted and its place is lost."""
    rng = random.Random(seed)
    shop.execute("ALTER TABLE sms ADD CHECK (mod(id, 3) <> 0 OR status <> 'ENROUTE')")
    rows = [(message, msisdn) for message in range(1, 41) for msisdn in (ONE, TWO)[: 1 + message % 2]]
    for state in STATES:
        batch = [change(message, state, msisdn=msisdn) for message, msisdn in rows]
        rng.shuffle(batch)
        await tell(store, *batch)
    late = rng.sample(rows, len(rows))
    schedule = (0.01, 0.02, *[0.03] * 300)
    rules: dict[str, Any] = {"no_row": "retry", "retry_after": schedule}
    while late:
        with Proxy(shop.database.server.port) as proxy:
            async with running(shop.target(store, GUARDED, opened=shop.opened(port=proxy.port), **rules), store):
                some, late = late[:15], late[15:]
                shop.execute(f"INSERT INTO sms (id, msisdn) VALUES {', '.join(map(str, some))}")
                enough = len(shop.told()) + rng.randrange(12)
                proxy.reset()
                await until(lambda: len(shop.told()) >= enough or not late, "some are written")  # noqa: B023
        if rng.random() < 0.4:
            # As after a crash between the two databases.
            with autocommit(store.path) as database:
                database.execute("UPDATE outputs SET seq = max(0, seq - 20)")
    async with running(shop.target(store, GUARDED, **rules), store):
        await settled(store, NAME)
    assert states(store) == {}
    assert shop.execute("SELECT count(*) FROM sms WHERE status = 'DELIVERED'") == [(len(rows),)]
    orders: defaultdict[tuple[int, int], list[str]] = defaultdict(list)
    for message, msisdn, state in shop.execute("SELECT id, msisdn, status FROM told ORDER BY n"):
        if orders[message, msisdn][-1:] != [state]:
            orders[message, msisdn].append(state)
    for (message, msisdn), order in orders.items():
        wanted = [state for state in STATES if message % 3 or state != "ENROUTE"]
        assert [state for state in wanted if state in order] == order, (message, msisdn)


async def test_a_pooler_before_the_server_changes_nothing(
    store: SqliteStore, postgresql_database: Database, has_pgbouncer: None
) -> None:
    """In transaction mode: each transaction may have another connection, and what is set for a session is lost."""
    server = postgresql_database.server
    assert isinstance(server, PostgreSql)
    with shop_in(postgresql_database) as shop, PgBouncer(server, [shop.user], connections=1) as pooler:
        shop.execute("INSERT INTO sms (id) VALUES (1), (3)")
        shop.execute("ALTER TABLE sms ADD CHECK (id <> 3 OR status IS NULL)")
        await tell(store, change(1, "ENROUTE"), change(3, "ENROUTE"), change(1, "DELIVERED"))
        output = shop.target(store, opened=shop.opened(port=pooler.port), retry_after=())
        async with running(output, store):
            await parked(store, [2])
            await settled(store, NAME)
        assert shop.told() == [(1, "ENROUTE"), (1, "DELIVERED")]
