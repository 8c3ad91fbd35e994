"""One connection to PostgreSQL that comes back after it was lost, and on which nothing waits longer than the deadline.

What takes longer is never cancelled: a cancelled commit may count as done where it was not replicated. The socket is
shut instead, and the outcome is asked for by the next connection.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import psycopg
from psycopg import RawCursor
from psycopg.adapt import Dumper
from psycopg.pq import TransactionStatus
from psycopg.types.json import set_json_loads
from psycopg.types.string import StrDumper, TextLoader

from pollerd.base.errors import StoreError
from pollerd.store.postgresql.errors import translated, unreachable

T = TypeVar("T")
DEADLINE: Final = 10.0
"""Seconds that one piece of work may take before its connection is given up."""
CONNECTING: Final = 5
"""Seconds for one attempt to connect to one of the hosts."""
OLDEST: Final = 14
"""Major version of PostgreSQL."""

_WAKE: Final = 0.1
"""Seconds between two checks of the deadline."""
_DEFAULTS: Final = {
    "application_name": "pollerd",
    "client_encoding": "utf8",
    "connect_timeout": str(CONNECTING),
    "target_session_attrs": "read-write",
    # A peer whose machine is gone says nothing: milliseconds until what was sent counts as lost.
    "tcp_user_timeout": str(int(DEADLINE * 1000)),
}
_AUTHORITIES: Final = Path("~/.postgresql/root.crt")
"""Where libpq finds the certificates of authorities by itself."""

Connection = psycopg.Connection[tuple[Any, ...]]


class Target(NamedTuple):
    """Where to connect: libpq's parameters without the password, how people call it, and what gives the password.

    `lossless`: no failover of the server loses a commit, by the operator's word.
    """

    parameters: Mapping[str, str]
    where: str
    password: Callable[[], str | None] = lambda: None
    lossless: bool = False


class Link:
    """Used by one thread at a time. Everything raises what `errors.translated` makes of PostgreSQL's errors."""

    def __init__(self, target: Target, *, deadline: float = DEADLINE) -> None:
        self.target = target
        self._deadline = deadline
        self._open: _Bounded | None = None

    def run(self, work: Callable[[Connection], T]) -> T:
        """Run `work`, which may be run a second time where the connection turns out to be lost: for reads."""
        kept = self._open is not None
        try:
            return self.once(work)
        except StoreError:
            if not kept or self._open is not None:
                raise
        return self.once(work)

    def once(self, work: Callable[[Connection], T]) -> T:
        """Run `work` once. After an error of the connection nothing is known of what was under way."""
        with self.connected() as connection:
            return work(connection)

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        """The connection, for what is done within the deadline."""
        connection = self._connected()
        connection.until = time.monotonic() + self._deadline
        try:
            yield connection
        except psycopg.Error as error:
            raise translated(error, self.target.where) from error
        finally:
            if connection.closed or connection.pgconn.transaction_status != TransactionStatus.IDLE:
                self.close()

    @property
    def broken(self) -> bool:
        """Whether the last piece of work has cost the connection."""
        return self._open is None

    def close(self) -> None:
        """Let go of the connection; the next piece of work opens another one."""
        if (connection := self._open) is not None:
            self._open = None
            with contextlib.suppress(psycopg.Error):
                connection.close()

    def _connected(self) -> _Bounded:
        if self._open is None:
            self._open = _connect(self.target)
        return self._open


class _Bounded(psycopg.Connection[tuple[Any, ...]]):
    """Gives up at `until` (monotonic)."""

    until = 0.0

    def wait(self, gen: Any, interval: float = _WAKE, timeout: float | None = None) -> Any:
        """Consume a generator of psycopg's."""
        return super().wait(self._bounded(gen), interval)

    def _bounded(self, gen: Any) -> Generator[Any, Any, Any]:
        try:
            ready = yield next(gen)
            while True:
                if time.monotonic() > self.until:
                    self.pgconn.finish()
                    raise psycopg.OperationalError("no answer in time")
                ready = yield gen.send(ready)
        except StopIteration as done:
            return done.value


class _Flag(Dumper):
    """A truth value for a column that is a boolean here or a number in SQLite."""

    def dump(self, obj: bool) -> bytes:  # psycopg calls it so
        return b"1" if obj else b"0"


class _Text(StrDumper):
    """A text. PostgreSQL has no NUL in one, and would refuse the whole statement."""

    def dump(self, obj: str) -> Any:  # psycopg calls it so
        return super().dump(obj.replace("\0", "\ufffd"))


def _connect(target: Target) -> _Bounded:
    parameters: dict[str, Any] = {**_tls(target.parameters), **_DEFAULTS, **target.parameters}
    if (password := target.password()) is not None:
        parameters["password"] = password
    try:
        connection = _Bounded.connect(**parameters, autocommit=True, prepare_threshold=None, cursor_factory=RawCursor)
    except psycopg.Error as error:
        raise unreachable(error, target.where) from error
    try:
        _check(connection, target.where)
    except StoreError:
        connection.close()
        raise
    connection.adapters.register_dumper(bool, _Flag)
    connection.adapters.register_dumper(str, _Text)
    # A number that a source gave is stored where it was no whole one: 7.0 stays one.
    set_json_loads(partial(json.loads, parse_int=float), connection)
    connection.adapters.register_loader("json", TextLoader)
    return connection


def _tls(parameters: Mapping[str, str]) -> dict[str, str]:
    """What the URL leaves open: a server that is not behind a socket of this machine has to prove who it is."""
    hosts = parameters.get("host", os.environ.get("PGHOST", "")).split(",")
    local = all(not host or host.startswith("/") for host in hosts) and "hostaddr" not in parameters
    if local or "sslmode" in parameters or "PGSSLMODE" in os.environ:
        return {}
    named = "sslrootcert" in parameters or "PGSSLROOTCERT" in os.environ or _AUTHORITIES.expanduser().exists()
    return {"sslmode": "verify-full"} if named else {"sslmode": "verify-full", "sslrootcert": "system"}


def _check(connection: Connection, where: str) -> None:
    if connection.info.server_version < OLDEST * 10_000:
        found = connection.info.server_version // 10_000
        raise StoreError(f"PostgreSQL at {where} is of version {found}: pollerd needs {OLDEST} or later.")
    if (encoding := connection.info.parameter_status("server_encoding")) != "UTF8":
        raise StoreError(f"the database at {where} has the encoding {encoding}: make one with ENCODING 'UTF8'.")
