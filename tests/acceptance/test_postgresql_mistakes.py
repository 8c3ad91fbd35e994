"""What mistakes about the store in PostgreSQL are answered with: one clear sentence, and what to do."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from pollerd.simulator import Simulator, Step
from pollerd.store.migrations import steps_in
from pollerd.store.postgresql import schema
from pollerd.store.postgresql.link import Link
from tests.acceptance.cli_kit import Cli
from tests.acceptance.deployment import Deployment, finals
from tests.acceptance.waiting import PATIENCE, until, wait_for
from tests.acceptance.warm import Forked
from tests.servers.database import PASSWORD, new_name
from tests.servers.postgresql import PostgreSql
from tests.store_database import StoreDatabase, new_store

CliOn = Callable[..., Cli]
QUICK = 'policy = "exponential"\nfirst_poll_after = "0s"\nmin_interval = "100ms"\nmax_interval = "1s"'


@pytest.fixture
def cli_on(tmp_path: Path) -> CliOn:
    """The command with a store at a URL."""

    def made(url: str, password: str = PASSWORD, more: str = "") -> Cli:
        cli = Cli(tmp_path)
        keys = f'url = "{url}"\npassword = "{password}"\n{more}'
        cli.config.write_text(re.sub(r"^path = .*\n", keys, cli.config.read_text(), flags=re.MULTILINE))
        return cli

    return made


@contextmanager
def running(cli: Cli, **environment: str) -> Iterator[tuple[Forked, Callable[[], str]]]:
    """`pollerd run`, and what it has said so far."""
    assert cli.warm is not None
    said = cli.folder / "said"
    with said.open("wb") as log, Path(os.devnull).open("rb") as nothing:
        process = cli.warm.run(["run"], {**cli.environment, **environment}, (nothing, log, log), cli.folder)
    try:
        yield process, lambda: " ".join(said.read_text().split())
    finally:
        process.kill()
        process.wait_for(PATIENCE)


Breaks = Callable[[StoreDatabase], tuple[str, str]]
"""Breaks something; the URL and the password to use then."""


def wrong_password(database: StoreDatabase) -> tuple[str, str]:
    return database.url(), "another"


def no_such_database(database: StoreDatabase) -> tuple[str, str]:
    return database.url().replace(database.database.name, "nowhere"), PASSWORD


def nobody_there(database: StoreDatabase) -> tuple[str, str]:
    return f"postgresql://{database.user}@127.0.0.1:9/{database.database.name}?sslmode=disable", PASSWORD


def no_tls(database: StoreDatabase) -> tuple[str, str]:
    """The server's certificate is by an authority that nobody knows."""
    server = database.database.server
    return f"postgresql://{database.user}@127.0.0.1:{server.port}/{database.database.name}", PASSWORD


def newer(database: StoreDatabase) -> tuple[str, str]:
    database.database.execute("UPDATE cluster SET schema_version = 9000, readable_from = 9000")
    return database.url(), PASSWORD


def of_others(database: StoreDatabase) -> tuple[str, str]:
    database.database.execute("DROP TABLE cluster")
    return database.url(), PASSWORD


def without_rights(database: StoreDatabase) -> tuple[str, str]:
    database.database.execute(f"REASSIGN OWNED BY {database.user} TO postgres")
    return database.url(), PASSWORD


def not_let_in(database: StoreDatabase) -> tuple[str, str]:
    without_rights(database)
    database.database.execute(f"REVOKE CONNECT ON DATABASE {database.database.name} FROM PUBLIC")
    return database.url(), PASSWORD


def may_not_create(database: StoreDatabase) -> tuple[str, str]:
    without_rights(database)
    database.database.execute("DROP SCHEMA public CASCADE")
    database.database.execute("CREATE SCHEMA public")
    database.database.execute(f"GRANT USAGE ON SCHEMA public TO {database.user}")
    return database.url(), PASSWORD


def of_another_encoding(database: StoreDatabase) -> tuple[str, str]:
    name = database.database.name
    database.database.server.execute(f"DROP DATABASE {name} WITH (FORCE)")
    settings = "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    database.database.server.execute(f"CREATE DATABASE {name} OWNER {database.user} {settings}")
    return database.url(), PASSWORD


@pytest.mark.parametrize(
    ("breaks", "codes", "said"),
    [
        (wrong_password, (69, 1), "(FATAL: password authentication failed for user {user}): correct the password"),
        (no_such_database, (69, 1), '(FATAL: database "nowhere" does not exist): create it, or correct [store] url'),
        (nobody_there, (69, 69), "cannot be reached (Connection refused): start it, or correct [store] url"),
        (no_tls, (69, 1), "verify failed): name the certificate of its authority: sslrootcert=FILE in [store] url"),
        (
            newer,
            (1, 1),
            "this version of pollerd knows up to {newest}. Install the newer pollerd here too, or name",
        ),
        (of_others, (1, 1), "has a table messages that is not pollerd's. Give pollerd its own one"),
        (
            without_rights,
            (69, 1),
            "denied for table cluster): make the user of [store] url the owner of the tables",
        ),
        (not_let_in, (69, 1), "denied for database {name}): give the user the right to connect (GRANT CONNECT ON"),
        # Who only reads it is told that nothing is there.
        (
            may_not_create,
            (69, 69),
            "(permission denied for schema public): let the user of [store] url own the",
        ),
        (of_another_encoding, (1, 1), "has the encoding LATIN1: make one with ENCODING 'UTF8'"),
    ],
)
def test_each_mistake_is_one_clear_sentence(
    cli_on: CliOn, store_database: StoreDatabase, breaks: Breaks, codes: tuple[int, int], said: str
) -> None:
    """By `track`, `status`, `run` and `doctor`; `check` looks at the configuration alone."""
    newest = store_database.query("SELECT schema_version FROM cluster")[0][0]
    said = said.format(user=f'"{store_database.user}"', name=f'"{store_database.database.name}"', newest=newest)
    cli = cli_on(*breaks(store_database))
    assert cli("check").code == 0
    for command, code in zip((["track", "7"], ["status"]), codes, strict=True):
        done = cli(*command)
        silent = breaks is may_not_create and command == ["status"]
        assert ("nothing is tracked yet: the database in [store] url is empty" if silent else said) in done.err
        assert len(done.err.strip().splitlines()) == 1
        assert done.code == code
    with running(cli) as (process, text):
        if breaks is nobody_there:
            # That may pass: it waits.
            wait_for(lambda: said in text())
            process.terminate()
        assert process.wait_for(PATIENCE) == (0 if breaks is nobody_there else 1)
        assert said in text()
        assert PASSWORD not in text()
    found = one_failure(cli)
    if breaks in (without_rights, may_not_create):
        assert found["name"] == ("database tables" if breaks is may_not_create else "database rights")
    else:
        # What is wrong and what to do, apart from each other.
        marks = ("): ", ": ", ". ")
        wrong, _, step = said.partition(next(mark for mark in marks if mark in said))
        assert found["evidence"].rstrip(")").endswith(wrong)
        assert found["next_step"].startswith(step[:1].lower() + step[1:])


def one_failure(cli: Cli) -> dict[str, str]:
    """What the doctor says of the store: once, with what to do."""
    checks = cli("doctor", "--json").json["checks"]
    (found,) = (c for c in checks if c["level"] == "failure" and not c["name"].startswith("default: "))
    assert found["name"].startswith("database")
    assert found["evidence"]
    assert found["next_step"]
    made: dict[str, str] = found
    return made


@pytest.mark.parametrize(
    ("function", "empty"),
    [
        ("pg_walfile_name(pg_lsn)", False),
        ("pg_walfile_name(pg_lsn)", True),
        ("pg_notify(text,text)", False),
        ("settle_failover(bigint,boolean,bigint)", False),
    ],
)
def test_the_doctor_names_a_function_that_the_user_may_not_call(
    cli_on: CliOn, store_database: StoreDatabase, function: str, empty: bool
) -> None:
    """A hardened server keeps its own from users, before and after the tables are made. What to do helps."""
    database, user = store_database.database, store_database.user
    cli = cli_on(store_database.url())
    if empty:
        database.execute("DROP SCHEMA public CASCADE")
        database.execute(f"CREATE SCHEMA public AUTHORIZATION {user}")
    database.execute(f"REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC, {user}")
    found = one_failure(cli)
    assert found["evidence"] == f"the user of [store] url may not call {function}"
    grant = found["next_step"].partition("GRANT ")[2]
    database.execute(f"GRANT {grant.replace('that user', user)}")
    checks = cli("doctor", "--json").json["checks"]
    assert [c for c in checks if c["level"] == "failure" and c["name"].startswith("database")] == []


def test_a_replica_and_settings_that_lose_are_named(cli_on: CliOn, has_postgresql: None) -> None:
    with PostgreSql(settings=["autovacuum = off"]) as server, server.database() as database:
        store = new_store(database)
        cli = cli_on(store.url())
        checks = [check["evidence"] for check in cli("doctor", "--json").json["checks"] if check["level"] == "warning"]
        for setting in ("fsync", "synchronous_commit", "autovacuum"):
            assert any(evidence.startswith(f"{setting} is off") for evidence in checks)
        server.stop()
        (server.data / "standby.signal").touch()
        server.start()
        done = cli("track", "7")
        assert done.code == 69
        assert "is a replica or read-only (session is read-only): name the primary, or all, in" in done.err
        assert one_failure(cli)["next_step"] == "name the primary, or all, in [store] url"
        server.stop()
        (server.data / "standby.signal").unlink()
        server.start()


@asynccontextmanager
async def of_version_13(server: PostgreSql) -> AsyncIterator[int]:
    """The port of a proxy before the server that changes the version which that names to clients."""

    async def carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            sink.write(re.sub(rb"(server_version\x00)\d\d", rb"\g<1>13", data))
        sink.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, onward = await asyncio.open_connection("127.0.0.1", server.port)
        await asyncio.gather(carry(reader, onward), carry(answers, writer), return_exceptions=True)

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listener:
        yield listener.sockets[0].getsockname()[1]


async def test_an_old_server_is_refused(tmp_path: Path, postgresql: PostgreSql, store_database: StoreDatabase) -> None:
    said = "is of version 13: pollerd needs 14 or later."
    async with of_version_13(postgresql) as port:
        pollerd = Deployment(tmp_path, "http://127.0.0.1:9", store_database._replace(port=port))
        for command in ("run", "status", "track"):
            code, _, told = await pollerd.command(command, *(["7"] if command == "track" else []))
            assert code == 1
            assert said in told
        _, out, _ = await pollerd.command("doctor")
        assert "is of version 13" in out
        assert "pollerd needs 14 or later" in out


def test_an_older_schema_is_brought_up_to_date(cli_on: CliOn, store_database: StoreDatabase) -> None:
    """By whoever writes first; until then commands that read, and the doctor, say so."""
    steps = steps_in(schema.MIGRATIONS)
    store_database.database.script("""
DROP SCHEMA public CASCADE;
CREATE SCHEMA public;
GRANT ALL ON SCHEMA public TO PUBLIC;
""")
    link = Link(store_database.target())
    link.run(lambda connection: schema.prepare(connection, steps[:-1]))
    link.close()
    store_database.insert([7])
    cli = cli_on(store_database.url())
    done = cli("status")
    said = f"has schema {steps[-2].version}, this version of pollerd reads {steps[-1].version}. The daemon brings it"
    assert (done.code, said in done.err) == (1, True)
    checks = {check["name"]: check for check in cli("doctor", "--json").json["checks"]}
    assert checks["database schema"]["level"] == "warning"
    assert "daemon" not in checks
    # Who may not change the tables is told what to do.
    store_database.database.execute(f"CREATE ROLE {(other := new_name())}")
    store_database.database.execute(f"REASSIGN OWNED BY {store_database.user} TO {other}")
    store_database.database.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {store_database.user}")
    said = "the tables of the store cannot be brought up to date (must be owner of"
    assert said in cli("track", "8").err
    store_database.database.execute(f"REASSIGN OWNED BY {other} TO {store_database.user}")
    assert cli("track", "8").code == 0
    assert store_database.query("SELECT schema_version FROM cluster") == [(steps[-1].version,)]
    assert {line["id"] for line in cli("list", "--json").lines} == {7, 8}


async def test_rights_that_are_taken_away_end_the_daemon_and_lose_nothing(
    tmp_path: Path, store_database: StoreDatabase
) -> None:
    """A table's while it writes, then the right to connect while its connections break."""
    database, user = store_database.database, store_database.user
    database.execute(f"REASSIGN OWNED BY {user} TO postgres")
    database.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {user}")
    database.execute(f"REVOKE CONNECT ON DATABASE {database.name} FROM PUBLIC")
    database.execute(f"GRANT CONNECT ON DATABASE {database.name} TO {user}")
    async with Simulator() as simulator, Deployment(tmp_path, simulator, store_database, backoff=QUICK) as pollerd:
        ids: list[int] = []

        async def broken_by(change: str, *, connections: bool, said: str) -> None:
            """At work, until `change` ends it."""
            process = await pollerd.start()
            fresh = [simulator.truth.add(steps=[Step(0.0, "ENROUTE"), Step(2.0, "DELIVERED")]) for _ in range(50)]
            pollerd.insert(fresh)
            ids.extend(fresh)
            await until(lambda: {event["id"] for event in pollerd.events()} & {*fresh}, "it reports some")
            database.execute(change)
            if connections:
                database.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", user)
            assert await process.wait() == 1
            assert said in pollerd.text_log().splitlines()[-1]

        denied = "permission denied for table messages): make the user of [store] url the owner of the tables"
        await broken_by(f"REVOKE UPDATE ON messages FROM {user}", connections=False, said=denied)
        database.execute(f"GRANT UPDATE ON messages TO {user}")
        shut = f"REVOKE CONNECT ON DATABASE {database.name} FROM {user}"
        await broken_by(shut, connections=True, said="give the user the right to connect (GRANT CONNECT ON DATABASE")
        database.execute(f"GRANT CONNECT ON DATABASE {database.name} TO {user}")
        await pollerd.start()
        await until(lambda: len(finals(pollerd.events())) == len(ids), "all have ended")
        assert await pollerd.stop() == 0
        assert [event["seq"] for event in pollerd.events()] == list(range(1, len(pollerd.events()) + 1))


def test_a_name_that_is_in_use_is_refused(cli_on: CliOn, store_database: StoreDatabase) -> None:
    """On this machine and on another one; a service waits, and says why."""
    cli = cli_on(store_database.url(), more='[cluster]\nname = "db1"\n')
    with store_database.engine("db1").own(daemon=True):
        for where, said in (
            ("here", "already runs on the store at postgresql://{user}@/{name}"),
            (
                "elsewhere",
                "Give this one another [cluster] name; if that one has crashed, its lease ends within",
            ),
        ):
            if where == "elsewhere":
                database = store_database.database
                database.execute('UPDATE members SET process = process || \'{"boot": "of another machine"}\'')
            done = cli("run")
            assert done.code == 75
            assert f"the member 'db1' (process {os.getpid()} on {socket.gethostname()})" in done.err
            assert said.format(user=store_database.user, name=store_database.database.name) in done.err
            assert len(done.err.strip().splitlines()) == 1
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.bind(str(cli.folder / "notify"))
            with running(cli, NOTIFY_SOCKET=str(cli.folder / "notify")) as (process, text):
                wait_for(lambda: "waiting to start: the member 'db1'" in text())
                assert "Give this one another [cluster] name" in text()
                process.terminate()
                assert process.wait_for(PATIENCE) == 0


def test_the_password_may_be_a_credential_of_the_service(cli_on: CliOn, store_database: StoreDatabase) -> None:
    cli = cli_on(store_database.url())
    cli.config.write_text(cli.config.read_text().replace(f'password = "{PASSWORD}"\n', ""))
    done = cli("track", "7")
    assert done.code == 69
    assert "give the password: [store] password_file" in done.err
    (cli.folder / "database-password").write_text(PASSWORD + "\n")
    cli.environment["CREDENTIALS_DIRECTORY"] = str(cli.folder)
    assert cli("track", "7").code == 0


@pytest.mark.usefixtures("cold")
def test_without_its_driver_every_command_says_how_to_get_it(cli_on: CliOn, store_database: StoreDatabase) -> None:
    """Not installed, and installed without the library that it calls."""
    cli = cli_on(store_database.url())
    absent = "import sys; sys.modules['psycopg'] = None"
    broken = f"import sys; sys.path.insert(0, {str(cli.folder)!r})"
    (cli.folder / "psycopg.py").write_text("raise ImportError('no pq wrapper available.\\nAttempts made: some')")
    for begins, said in (
        (absent, "is not installed here"),
        (broken, "cannot be loaded here (no pq wrapper available)"),
    ):
        program = f"{begins}; from pollerd.cli import main; sys.exit(main(sys.argv[1:]))"
        cli.command = lambda *arguments, program=program: [sys.executable, "-c", program, *arguments]  # type: ignore[method-assign]
        for command in (["check"], ["run"], ["track", "7"], ["doctor"]):
            done = cli(*command)
            shown = " ".join((done.err + done.text).split())
            assert done.code == (78 if command == ["check"] else 1), shown
            assert shown.count("psycopg,") == 1
            assert said in shown
            assert "pip install 'pollerd[postgresql]'" in shown
