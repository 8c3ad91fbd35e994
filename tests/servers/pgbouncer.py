"""pgbouncer in transaction mode before a PostgreSQL: a client's transactions may each have another connection."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path

from tests.servers.database import PASSWORD
from tests.servers.postgresql import PostgreSql
from tests.servers.program import Program, give


class PgBouncer(Program):
    """Listens on 127.0.0.1, for every database of the server and the users named."""

    user = "postgres"

    def __init__(self, server: PostgreSql, users: Sequence[str], *, connections: int = 10) -> None:
        """`users` have the password of the tests; `connections` are those to one database of the server."""
        super().__init__()
        self._server = server
        self._users = users
        self._connections = connections

    def prepare(self) -> None:
        users, settings = self.folder / "users", self.folder / "pgbouncer.ini"
        users.write_text("".join(f'"{user}" "{PASSWORD}"\n' for user in self._users))
        settings.write_text(f"""
[databases]
* = host={self._server.folder} port={self._server.port}
[pgbouncer]
pool_mode = transaction
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
default_pool_size = {self._connections}
ignore_startup_parameters = extra_float_digits,options
""")
        for path in (users, settings):
            give(path, self.user)

    def command(self) -> Sequence[str | Path]:
        return [program(), self.folder / "pgbouncer.ini"]

    def is_ready(self) -> bool:
        with socket.socket() as knock:
            return knock.connect_ex(("127.0.0.1", self.port)) == 0


def program() -> str:
    """Where it is, often not on a user's PATH. FileNotFoundError without it."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])
    if found := shutil.which("pgbouncer", path=path):
        return found
    raise FileNotFoundError("pgbouncer")
