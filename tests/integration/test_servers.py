"""The servers that tests run: what other tests take for granted."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pymysql
import pytest

from tests.servers import fixtures
from tests.servers.database import PASSWORD, Database, DatabaseServer
from tests.servers.mariadb import MariaDb
from tests.servers.pgbouncer import PgBouncer
from tests.servers.postgresql import PostgreSql
from tests.servers.program import children, lives, state_of, wait_until
from tests.servers.proxy import Proxy

ROOT = Path(__file__).parents[2]
LOST = (psycopg.OperationalError, pymysql.MySQLError)
USER = "reader"


@pytest.fixture(params=["postgresql", "mariadb"])
def database(request: pytest.FixtureRequest) -> Database:
    """With a table, and a user who may read it."""
    found: Database = request.getfixturevalue(f"{request.param}_database")
    return filled(found)


@pytest.fixture(params=[PostgreSql, MariaDb])
def server(request: pytest.FixtureRequest) -> type[DatabaseServer]:
    """A kind of server."""
    request.getfixturevalue(f"has_{request.param.__name__.lower()}")
    kind: type[DatabaseServer] = request.param
    return kind


def filled(database: Database) -> Database:
    how = "PASSWORD" if isinstance(database.server, PostgreSql) else "IDENTIFIED BY"
    login = " LOGIN" if isinstance(database.server, PostgreSql) else ""
    database.script("CREATE TABLE t (n INTEGER);\nINSERT INTO t VALUES (1);\n")
    database.script(f"DROP USER IF EXISTS {USER};\nCREATE USER {USER}{login} {how} '{PASSWORD}';\n")
    database.script(f"GRANT SELECT ON t TO {USER};\n")
    return database


@pytest.fixture(autouse=True)
def nobody_left(request: pytest.FixtureRequest) -> Any:
    """A role with rights on a table of a database that is dropped."""
    yield
    for name in {"postgresql", "mariadb"} & set(request.fixturenames):
        request.getfixturevalue(name).execute(f"DROP USER IF EXISTS {USER}")


def over_tcp(database: Database, *, port: int | None = None, password: str = PASSWORD, tls: bool = False) -> Any:
    """A connection as a program makes it."""
    server = database.server
    where: dict[str, Any] = {"host": "127.0.0.1", "port": port or server.port, "user": USER, "password": password}
    if isinstance(server, PostgreSql):
        more = {"sslmode": "verify-full", "sslrootcert": server.authority} if tls else {"sslmode": "disable"}
        return psycopg.connect(dbname=database.name, autocommit=True, **where, **more)
    return pymysql.connect(
        database=database.name,
        autocommit=True,
        ssl_ca=str(server.authority) if tls else None,
        ssl_verify_cert=tls,
        **where,
    )


def read(connection: Any) -> list[tuple[int]]:
    with closing(connection.cursor()) as cursor:
        cursor.execute("SELECT n FROM t ORDER BY n")
        return list(cursor.fetchall())


@pytest.mark.parametrize("tls", [False, True])
def test_a_user_has_a_password_and_his_rights_only(database: Database, tls: bool) -> None:
    with closing(over_tcp(database, tls=tls)) as connection:
        assert read(connection) == [(1,)]
        with closing(connection.cursor()) as cursor, pytest.raises((psycopg.Error, pymysql.MySQLError)):
            cursor.execute("DELETE FROM t")
    with pytest.raises(LOST):
        over_tcp(database, password="another", tls=tls)


def test_a_server_survives_kills_stops_and_a_pause(server: type[DatabaseServer]) -> None:
    with server(durable=True, tls=False) as own, own.database() as database:
        filled(database)
        with closing(database.connect()) as connection:
            own.break_connection(own.connections(database.name)[0])
            with pytest.raises(LOST):
                read(connection)
            wait_until(own.is_ready, "it has recovered")
        with closing(database.connect()) as connection:
            answers: list[Any] = []
            own.pause()
            try:
                asking = threading.Thread(target=lambda: answers.append(read(connection)))
                asking.start()
                # One that ended just before is not asked for while the first one stands still.
                assert state_of(own.pid) == "T"
                assert {state_of(each) for each in children(own.pid)} <= {"T", "Z"}
                assert not answers
            finally:
                own.resume()
            asking.join()
            assert answers == [[(1,)]]
        for n, end in enumerate((own.kill, own.stop)):
            database.execute(f"INSERT INTO t VALUES ({n + 2})")
            end()
            assert not own.is_ready()
            own.start()
        assert database.execute("SELECT n FROM t ORDER BY n") == [(1,), (2,), (3,)]


def test_it_ends_with_the_run_that_started_it(server: type[DatabaseServer]) -> None:
    """A run that is killed leaves nothing running."""
    code = (
        f"import time; from {server.__module__} import {server.__name__} as Server\n"
        "with Server() as own:\n print(own.pid, own.folder, flush=True)\n time.sleep(600)"
    )
    run = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    with run.stdout:
        pid, folder = run.stdout.readline().split()
    try:
        assert lives(int(pid))
        run.kill()
        run.wait()
        wait_until(lambda: not lives(int(pid)), "the server ends")
    finally:
        shutil.rmtree(folder)


def test_a_request_that_was_taken_for_lost_arrives_at_last(postgresql_database: Database) -> None:
    database = filled(postgresql_database)
    database.execute(f"GRANT INSERT ON t TO {USER}")
    with Proxy(database.server.port) as proxy:
        connection = over_tcp(database, port=proxy.port)
        proxy.freeze(new=False)
        connection.pgconn.send_query(b"INSERT INTO t VALUES (2)")
        connection.pgconn.flush()
        connection.close()
        wait_until(lambda: proxy.held()[0] > 0, "it is held")
        with closing(over_tcp(database, port=proxy.port)) as another:
            assert read(another) == [(1,)]
            proxy.thaw()
            wait_until(lambda: read(another) == [(1,), (2,)], "it is done")


def test_an_answer_is_cut_off_after_the_server_has_done_it(postgresql_database: Database) -> None:
    database = filled(postgresql_database)
    database.execute(f"GRANT INSERT ON t TO {USER}")
    with Proxy(database.server.port) as proxy:
        with closing(over_tcp(database, port=proxy.port)) as connection:
            proxy.freeze(to_server=False)
            connection.pgconn.send_query(b"INSERT INTO t VALUES (2)")
            connection.pgconn.flush()
            wait_until(lambda: proxy.held()[1] > 0, "the server has answered")
            proxy.reset()
            with pytest.raises(psycopg.OperationalError):
                read(connection)
        assert database.execute("SELECT count(*) FROM t") == [(2,)]
        wait_until(lambda: proxy.connections == 0, "it is gone")
        proxy.refuse()
        with pytest.raises(psycopg.OperationalError, match="refused"):
            over_tcp(database, port=proxy.port)
        proxy.accept()
        proxy.thaw()
        with closing(over_tcp(database, port=proxy.port)) as another:
            assert len(read(another)) == 2


def test_pgbouncer_serves_transactions(postgresql_database: Database, has_pgbouncer: None) -> None:
    database = filled(postgresql_database)
    server = database.server
    assert isinstance(server, PostgreSql)
    with PgBouncer(server, [USER], connections=1) as pooler:
        with closing(over_tcp(database, port=pooler.port)) as one, closing(over_tcp(database, port=pooler.port)) as two:
            assert read(one) == read(two) == [(1,)]
        assert len(server.connections(database.name)) == 1


def test_a_test_without_its_server_is_skipped_and_in_ci_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def programs() -> None:
        raise FileNotFoundError("initdb")

    monkeypatch.setattr(fixtures, "REQUIRED", False)
    with pytest.raises(pytest.skip.Exception, match="needs PostgreSQL: apt-get install postgresql"):
        fixtures.need("PostgreSQL", "postgresql", programs)
    monkeypatch.setattr(fixtures, "REQUIRED", True)
    with pytest.raises(pytest.fail.Exception, match="needs PostgreSQL: apt-get install postgresql"):
        fixtures.need("PostgreSQL", "postgresql", programs)
