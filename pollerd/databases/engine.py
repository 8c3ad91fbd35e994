"""A database of an application, opened when it is first needed: SQLAlchemy's engine, with an end to every wait.

All of it blocks and belongs in a thread of its own; SQLAlchemy and the driver are imported there, too.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from pollerd.config import ConfigError, SecretSource
from pollerd.config.databases import DatabaseUrl, missing
from pollerd.config.secret import Fingerprint
from pollerd.databases.trouble import DatabaseError, Trouble

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine
    from sqlalchemy.exc import SQLAlchemyError

CONNECT: Final = 5
"""Seconds for a server to take a connection, as most drivers have it by default or less."""
LOCK: Final = 2
"""Seconds to wait for another program's lock: it is tried again later, and nothing else waits meanwhile."""
STATEMENT: Final = 30
"""Seconds that a statement may take: a thousand times what one with an index takes."""
SILENCE: Final = STATEMENT + CONNECT
"""Seconds without an answer after which a server that should have ended the statement itself counts as gone."""
IDLE: Final = 300
"""Seconds after which a connection is not used again: firewalls forget it from then on."""


class Database:
    """The database at `url`. `sql` is how its user calls what is run on it; `reads`: nothing is ever written.

    `protect` gets the password before it is used, and another one that takes its place. `silence`: seconds without an
    answer after which the server counts as gone.
    """

    def __init__(
        self,
        url: DatabaseUrl,
        password: SecretSource | None,
        *,
        reads: bool = False,
        sql: str = "statement",
        protect: Callable[[str], None] = lambda _: None,
        silence: float = SILENCE,
    ) -> None:
        self.url = url
        self._password = password
        self._reads = reads
        self._sql = sql
        self._protect = protect
        self._silence = silence
        self._engine: Engine | None = None
        self._read_at: Fingerprint | None = None
        self._raw: Any = None
        """The driver's connection that was opened last."""

    @contextlib.contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection in a transaction, which is rolled back at the end unless it is committed.

        Every error of SQLAlchemy, of the driver, and of the password leaves as a DatabaseError.
        """
        with self._watched():
            connection = self._connected()
            # SQLAlchemy is there from here on.
            from sqlalchemy.exc import SQLAlchemyError

            try:
                with connection:
                    yield connection
            except SQLAlchemyError as error:
                raise self._explained(error) from error
            except (ValueError, ArithmeticError) as error:
                # A driver that cannot decode a row, or encode a value.
                trouble = Trouble.OTHER if self._reads else Trouble.REFUSED
                raise DatabaseError(trouble, f"{type(error).__name__} in the driver", self._sql) from error

    def _connected(self) -> Connection:
        """Raises DatabaseError."""
        if self._engine is None and (lacking := missing(self.url)):
            raise DatabaseError(Trouble.SETUP, f"it {lacking}")
        from sqlalchemy.exc import SQLAlchemyError

        try:
            return self._opened().connect()
        except ConfigError as error:
            raise DatabaseError(Trouble.SETUP, ", ".join(found.expected for found in error.problems)) from error
        except SQLAlchemyError as error:
            found = self._explained(error)
            # Nothing was run yet.
            raise (_wrong_setup(found.said) if found.trouble is Trouble.STATEMENT else found) from error
        except Exception as error:
            # An option that the driver does not know, a file of one that is not there, a library of the driver's own.
            raise _wrong_setup(f"{type(error).__name__}: {error}") from error

    def _explained(self, error: SQLAlchemyError) -> DatabaseError:
        from pollerd.databases.errors import explained

        found = explained(error, self.url.kind, self._sql)
        if self._reads and found.trouble is Trouble.READ_ONLY:
            # The transaction is, by our own wish: the query wants to write, or to lock.
            return DatabaseError(Trouble.STATEMENT, found.said, self._sql)
        # Of several servers that the url may name, another one may take changes by now.
        if found.trouble in (Trouble.PASSWORD, Trouble.AWAY, Trouble.READ_ONLY):
            self.close()
        return found

    def close(self) -> None:
        """Let go of the server; the next connection opens it anew, and reads the password again."""
        engine, self._engine, self._raw = self._engine, None, None
        if engine is not None:
            engine.dispose()

    def hurry(self) -> None:
        """End what is under way, from another thread: a server that does not answer must not delay the daemon's end."""
        if self._raw is not None:
            _cut(self._raw)

    def _opened(self) -> Engine:
        """Raises ConfigError for the password."""
        fingerprint = None if self._password is None else self._password.fingerprint()
        if self._engine is not None and fingerprint != self._read_at:
            self.close()
        if self._engine is None:
            from pollerd.databases.dialects import engine_of

            password = None if self._password is None else self._password.read().reveal()
            if password is not None:
                self._protect(password)
            self._engine, self._read_at = (
                engine_of(self.url, password, reads=self._reads, opened=self._note),
                fingerprint,
            )
        return self._engine

    def _note(self, raw: Any) -> None:
        self._raw = raw

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """psycopg waits for an answer without end: a server that stands still would never be given up."""
        timer = threading.Timer(self._silence, self.hurry)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


def _wrong_setup(said: str) -> DatabaseError:
    return DatabaseError(Trouble.SETUP, f"{said}; see the options of the url, and the driver")


def _cut(raw: Any) -> None:
    """End the connection below the driver, which then raises what it raises for a server that is gone."""
    if hasattr(raw, "interrupt"):
        raw.interrupt()
        return
    with contextlib.suppress(Exception):
        number = raw.fileno() if hasattr(raw, "fileno") else raw._sock.fileno()  # noqa: SLF001 - PyMySQL has no name for it
        with socket.socket(fileno=os.dup(number)) as same:
            same.shutdown(socket.SHUT_RDWR)
