"""MariaDB for a test."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pymysql

from tests.servers.database import PASSWORD, DatabaseServer


class MariaDb(DatabaseServer):
    """A server with one administrator, `root`."""

    user = "mysql"
    dialect = "mysql+pymysql"
    administrator = "root"
    start_database = "mysql"

    @property
    def socket(self) -> Path:
        return self.folder / "socket"

    def __init__(self, *, durable: bool = False, tls: bool = True, settings: Sequence[str] = ()) -> None:
        """`settings`: more options of mariadbd."""
        super().__init__(durable=durable, tls=tls)
        self.settings = settings

    def prepare(self) -> None:
        command = [
            "mariadb-install-db", "--no-defaults", f"--datadir={self.folder / 'data'}", f"--user={self._runs_as()}",
            "--auth-root-authentication-method=normal", "--skip-test-db", "--innodb-log-file-size=8M",
            self._temporary(),
        ]  # fmt: skip
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        if self.tls:
            self.make_certificates()

    def _temporary(self) -> str:
        # A server that starts deletes what it finds of another one's temporary tables in a folder that they share.
        return f"--tmpdir={self.folder}"

    def _runs_as(self) -> str:
        return self.user if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name

    def command(self) -> Sequence[str | Path]:
        quick = ["--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0", "--innodb-flush-method=nosync"]
        folder = self.folder
        files = [
            f"--ssl-ca={self.authority}",
            f"--ssl-cert={folder / 'server.pem'}",
            f"--ssl-key={folder / 'server.key'}",
        ]
        return [
            programs() / "mariadbd", "--no-defaults", f"--datadir={folder / 'data'}", f"--socket={self.socket}",
            f"--port={self.port}", "--bind-address=127.0.0.1", f"--pid-file={folder / 'pid'}", "--skip-log-bin",
            "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=8M", "--skip-name-resolve",
            self._temporary(), "--performance-schema=off", "--character-set-server=utf8mb4",
            *([] if self.durable else quick), *(files if self.tls else []), *self.settings,
        ]  # fmt: skip

    def is_ready(self) -> bool:
        try:
            self.connect().close()
        except pymysql.MySQLError:
            return False
        return True

    def connect(self, database: str | None = None, user: str | None = None) -> pymysql.Connection[Any]:
        # Over the socket root needs no password.
        made = pymysql.connect(
            user=user or self.administrator, password=PASSWORD if user else "", autocommit=True, charset="utf8mb4",
            database=database or self.start_database, connect_timeout=60, defer_connect=True,
        )  # fmt: skip
        # PyMySQL leaves a socket open that it cannot connect.
        opened = socket.socket(socket.AF_UNIX)
        try:
            opened.connect(str(self.socket))
        except OSError as error:
            opened.close()
            raise pymysql.OperationalError(2002, str(error)) from error
        made.connect(opened)
        return made

    def connections(self, database: str) -> list[int]:
        found = self.execute("SELECT id FROM information_schema.processlist WHERE db = %s", database)
        return [number for (number,) in found]

    def break_connection(self, number: int) -> None:
        self.execute(f"KILL {number}")


def programs() -> Path:
    """The folder of mariadbd, which is often not on a user's PATH. FileNotFoundError without it."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
    if not (found := shutil.which("mariadbd", path=path)) or not shutil.which("mariadb-install-db"):
        raise FileNotFoundError("mariadbd")
    return Path(found).parent
