"""Fixtures: a server for each worker, a database for each test; without the server a skip, or in CI a failure."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Final

import pytest

from tests.servers import mariadb as mariadb_server
from tests.servers import pgbouncer
from tests.servers import postgresql as postgresql_server
from tests.servers.database import Database
from tests.servers.mariadb import MariaDb
from tests.servers.postgresql import PostgreSql

REQUIRED: Final = any(os.environ.get(name, "") not in ("", "0", "false") for name in ("CI", "POLLERD_SERVERS"))
"""Whether no test may do without its server. `.ci/run` sets the second: the first changes what other programs do."""


def need(name: str, package: str, programs: Callable[[], object]) -> None:
    """Skip the test, or fail it in CI, where a server's programs are not on this machine."""
    try:
        programs()
    except FileNotFoundError:
        why = f"needs {name}: apt-get install {package}"
        if REQUIRED:
            pytest.fail(why)
        pytest.skip(why)


@pytest.fixture(scope="session")
def has_postgresql() -> None:
    """For tests that start a PostgreSQL of their own."""
    need("PostgreSQL", "postgresql", postgresql_server.programs)


@pytest.fixture(scope="session")
def has_mariadb() -> None:
    """For tests that start a MariaDB of their own."""
    need("MariaDB", "mariadb-server", mariadb_server.programs)


@pytest.fixture(scope="session")
def has_pgbouncer() -> None:
    """For tests that start a pgbouncer."""
    need("pgbouncer", "pgbouncer", pgbouncer.program)


@pytest.fixture(scope="session")
def postgresql(has_postgresql: None) -> Iterator[PostgreSql]:
    """The worker's PostgreSQL. Not to be stopped."""
    with PostgreSql() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb(has_mariadb: None) -> Iterator[MariaDb]:
    """The worker's MariaDB. Not to be stopped."""
    with MariaDb() as server:
        yield server


@pytest.fixture
def postgresql_database(postgresql: PostgreSql) -> Iterator[Database]:
    """An empty database in PostgreSQL."""
    with postgresql.database() as database:
        yield database


@pytest.fixture
def mariadb_database(mariadb: MariaDb) -> Iterator[Database]:
    """An empty database in MariaDB."""
    with mariadb.database() as database:
        yield database
