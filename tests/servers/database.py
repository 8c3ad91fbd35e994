"""A server that has databases, and a database of a test's own."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, NamedTuple

import trustme

from tests.servers.program import Program, give

PASSWORD = "the-password-of-a-test"
"""Everybody's on these servers, the administrator's included."""


class DatabaseServer(Program):
    """What PostgreSQL and MariaDB have in common: TCP on 127.0.0.1, and a Unix socket in `folder`."""

    dialect = ""
    """The scheme of a URL, as SQLAlchemy names a database and its driver."""
    administrator = ""
    start_database = ""
    """What the administrator connects to before there is another one."""

    def __init__(self, *, durable: bool = False, tls: bool = True) -> None:
        """`durable`: what is committed is on disk, which crash tests want and all others are faster without. `tls`: it
        has a certificate for 127.0.0.1 and localhost by `authority`; clients connect with TLS and without.
        """
        super().__init__()
        self.durable = durable
        self.tls = tls
        self.authority = self.folder / "authority.pem"

    def make_certificates(self) -> None:
        """Write the authority's certificate, and `server.pem` and `server.key` for the server."""
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.authority)
        made = authority.issue_cert("127.0.0.1", "localhost")
        for name, blobs in (("server.pem", made.cert_chain_pems), ("server.key", [made.private_key_pem])):
            path = self.folder / name
            path.touch(mode=0o600)
            path.write_bytes(b"".join(blob.bytes() for blob in blobs))
            give(path, self.user)

    def connect(self, database: str | None = None, user: str | None = None) -> Any:
        """A connection of the driver (DB-API) in autocommit mode, over the socket. `user` None: the administrator."""
        raise NotImplementedError

    def connections(self, database: str) -> list[int]:
        """What clients of a database there are, by the numbers that the server gives them."""
        raise NotImplementedError

    def break_connection(self, number: int) -> None:
        """End one by force: `kill -9` of its process, or what the server has instead."""
        raise NotImplementedError

    def execute(self, sql: str, *parameters: object, database: str | None = None) -> list[Any]:
        """Run one statement as the administrator; the rows that it gives."""
        with closing(self.connect(database)) as connection, closing(connection.cursor()) as cursor:
            cursor.execute(sql, parameters or None)
            return list(cursor.fetchall()) if cursor.description else []

    def script(self, sql: str, *, database: str | None = None) -> None:
        """Run statements, each with a semicolon at the end of its last line, as the administrator."""
        with closing(self.connect(database)) as connection, closing(connection.cursor()) as cursor:
            for statement in f"{sql.strip()}\n".split(";\n"):
                if statement.strip():
                    cursor.execute(statement)

    @contextmanager
    def database(self, template: str | None = None, options: str = "") -> Iterator[Database]:
        """A new database while the context lasts. `template`: one that it starts as a copy of (PostgreSQL alone).
        `options`: the rest of the statement that creates it.
        """
        name = new_name()
        self.execute(f"CREATE DATABASE {name}{f' TEMPLATE {template}' if template else ''} {options}")
        try:
            yield Database(self, name)
        finally:
            self.drop(name)

    def drop(self, database: str) -> None:
        """Drop it, whoever is connected to it."""
        self.execute(f"DROP DATABASE IF EXISTS {database}")


class Database(NamedTuple):
    """A database of a test's own."""

    server: DatabaseServer
    name: str

    def url(self, user: str, password: str | None = None, *, host: str = "127.0.0.1", port: int | None = None) -> str:
        """As SQLAlchemy wants it. `port`: another one than the server's, such as a proxy's."""
        secret = f":{password}" if password else ""
        return f"{self.server.dialect}://{user}{secret}@{host}:{port or self.server.port}/{self.name}"

    def connect(self, user: str | None = None) -> Any:
        """A connection of the driver (DB-API) in autocommit mode. `user` None: the administrator."""
        return self.server.connect(self.name, user)

    def execute(self, sql: str, *parameters: object) -> list[Any]:
        """Run one statement as the administrator; the rows that it gives."""
        return self.server.execute(sql, *parameters, database=self.name)

    def script(self, sql: str) -> None:
        """Run statements, each with a semicolon at the end of its last line, as the administrator."""
        self.server.script(sql, database=self.name)


def new_name() -> str:
    """A name for a database or a user that no other test has."""
    return f"t_{secrets.token_hex(6)}"
