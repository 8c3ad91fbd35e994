"""PostgreSQL for a test."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg

from tests.servers.database import PASSWORD, DatabaseServer
from tests.servers.program import as_user

HBA = """\
local all postgres trust
local all all scram-sha-256
host all all 127.0.0.1/32 scram-sha-256
local replication postgres trust
host replication all 127.0.0.1/32 scram-sha-256
"""
"""The administrator needs no password over the socket; all others do, and everybody over TCP."""


class PostgreSql(DatabaseServer):
    """A cluster with one administrator, `postgres`."""

    user = "postgres"
    dialect = "postgresql+psycopg"
    administrator = "postgres"
    start_database = "postgres"
    dies = "QUIT"
    # Its fast shutdown.
    ends = signal.SIGINT

    def __init__(self, *, durable: bool = False, tls: bool = True, settings: Sequence[str] = ()) -> None:
        """`settings`: more lines of postgresql.conf."""
        super().__init__(durable=durable, tls=tls)
        self.data = self.folder / "data"
        self.settings = settings

    def prepare(self) -> None:
        self._run("initdb", "-D", self.data, "--no-sync", "-A", "trust", "-E", "UTF8", "--no-locale", "-U", "postgres")
        (self.data / "pg_hba.conf").write_text(HBA)
        if self.tls:
            self.make_certificates()
        self.configure(*self.settings)

    def configure(self, *settings: str) -> None:
        """Add lines to postgresql.conf; a start reads them."""
        quick = [] if self.durable else ["fsync = off", "full_page_writes = off", "synchronous_commit = off"]
        files = [
            "ssl = on",
            *(f"ssl_{kind}_file = '{self.folder}/server.{end}'" for kind, end in (("cert", "pem"), ("key", "key"))),
        ]
        lines = [
            "listen_addresses = '127.0.0.1'", f"unix_socket_directories = '{self.folder}'",
            "shared_buffers = 32MB", "max_connections = 100", "timezone = 'UTC'", "dynamic_shared_memory_type = posix",
            *quick, *(files if self.tls else []), *settings,
        ]  # fmt: skip
        with (self.data / "postgresql.conf").open("a") as file:
            file.writelines(f"{line}\n" for line in lines)

    def command(self) -> Sequence[str | Path]:
        return [programs() / "postgres", "-D", self.data, "-p", str(self.port)]

    def is_ready(self) -> bool:
        # What pg_ctl waits for: https://www.postgresql.org/docs/15/storage-file-layout.html, postmaster.pid.
        try:
            lines = (self.data / "postmaster.pid").read_text().split("\n")
        except OSError:
            return False
        if len(lines) < 8 or lines[0] != str(self.pid) or lines[7].strip() != "ready":
            return False
        try:
            # While it recovers from the death of a backend the file still says that it is ready.
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def start(self) -> None:
        first = self.process is None
        super().start()
        if first:
            self.execute(f"ALTER ROLE postgres PASSWORD '{PASSWORD}'")

    def connect(self, database: str | None = None, user: str | None = None) -> psycopg.Connection[Any]:
        return psycopg.connect(
            host=str(self.folder), port=self.port, dbname=database or self.start_database,
            user=user or self.administrator, password=PASSWORD, autocommit=True, connect_timeout=60,
        )  # fmt: skip

    def drop(self, database: str) -> None:
        self.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")

    def connections(self, database: str) -> list[int]:
        found = self.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = %s AND backend_type = 'client backend'", database
        )
        return [pid for (pid,) in found]

    def break_connection(self, number: int) -> None:
        # The server ends all others as well then, and recovers by itself.
        os.kill(number, signal.SIGKILL)

    def _run(self, program: str, *arguments: str | Path) -> None:
        """Run one of PostgreSQL's own programs to its end."""
        command = as_user(self.user, programs() / program, *arguments)
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def programs() -> Path:
    """The folder of PostgreSQL's server programs: on PATH, or the newest of Debian's. FileNotFoundError without any."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    if not versions:
        raise FileNotFoundError("initdb")
    return versions[-1].parent
