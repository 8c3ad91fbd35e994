"""Events into somebody else's SQLite database: one statement for each event, its named parameters the event's fields.

At least once, in order: a batch is one transaction there, and only then the place moves on here. A database that is
locked, missing or says no holds up this output alone. It is open only while there is something to write.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import msgspec

from pollerd import event as events
from pollerd.event import Event
from pollerd.outputs.batches import BatchOutput
from pollerd.ports import EventLog

_BUSY: Final = 2.0
"""Seconds that a write waits for other programs to finish theirs before it is tried again later."""
_RETRY_FIRST: Final = 0.5
_RETRY_MAX: Final = 30.0
_LONGEST: Final = 400

FIELDS: Final = events.field_names()
"""Every field that an event of any type may have: what a statement may name."""


class _StatementError(Exception):
    """The statement cannot be run as it stands; the text says why."""


class SqliteOutput(BatchOutput):
    """Runs `statement` on the database at `path` for each event. Fulfils `ports.Output`.

    Only `message.status` events, unless the statement names `:type`: then all. A field that the event's type does not
    have is NULL, truth is 1 or 0, what is no plain value is JSON. `name` must stay the same over restarts.
    """

    def __init__(
        self,
        path: Path,
        statement: str,
        *,
        name: str = "sqlite",
        retry_first: float = _RETRY_FIRST,
        retry_max: float = _RETRY_MAX,
    ) -> None:
        super().__init__(name, retry_first, retry_max)
        self._path = path
        self._statement = statement
        self._executor: ThreadPoolExecutor | None = None

    async def run(self, log: EventLog) -> None:
        """Write events until cancelled. Raises StoreError."""
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=f"pollerd-{self._name}")
        try:
            await super().run(log)
        finally:
            self._executor.shutdown(wait=False)

    async def hand_over(self, events: Sequence[Event]) -> str:
        """Write events in one transaction; what went wrong, in words."""
        return await _finished(asyncio.get_running_loop().run_in_executor(self._executor, self._write, events))

    # -- in the thread

    def _write(self, found: Sequence[Event]) -> str:
        if not os.path.exists(self._path):
            return f"{self._path} does not exist (or its folder may not be read by this user)"
        try:
            with _opened(self._path) as database:
                every = "type" in self._names(database)
                self._apply(database, [e for e in found if every or e.type == events.MESSAGE_STATUS])
        except _StatementError as error:
            return str(error)
        except sqlite3.Error as error:
            return f"{self._path} cannot be written: {error}"
        return ""

    def _names(self, database: sqlite3.Connection) -> set[str]:
        """The parameters of the statement, as SQLite itself reads them."""
        names = _Names()
        try:
            database.execute(f"EXPLAIN {self._statement}", names).close()
        except (sqlite3.ProgrammingError, sqlite3.Warning) as error:
            raise _StatementError(
                f"the statement must have named parameters (:id, :status ...) only: {error}"
            ) from error
        unknown = sorted(names.seen - FIELDS)
        if unknown:
            raise _StatementError(f"the statement names :{unknown[0]}, which no event has; fields: {_listed()}")
        return names.seen

    def _apply(self, database: sqlite3.Connection, wanted: Sequence[Event]) -> None:
        if not wanted:
            return
        database.execute("BEGIN IMMEDIATE")
        for event in wanted:
            try:
                database.execute(self._statement, parameters(event))
            except sqlite3.IntegrityError as error:
                raise _StatementError(
                    f"{self._path} refuses event {event.seq} ({error}); change the statement or the table"
                ) from error
        database.execute("COMMIT")


class _Names(dict[str, None]):
    """Stands in for parameters and remembers which ones were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __missing__(self, name: str) -> None:
        self.seen.add(name)


def parameters(event: Event) -> dict[str, Any]:
    """Every field of an event as a value that SQLite takes; those that it does not have are None."""
    told: dict[str, Any] = msgspec.json.decode(event.body)
    values = dict.fromkeys(FIELDS)
    values |= {name: _plain(value) for name, value in told.items() if name in FIELDS}
    values["seq"] = event.seq
    return values


def _plain(value: object) -> object:
    match value:
        case bool():
            return int(value)
        case dict() | list():
            return msgspec.json.encode(value).decode()
        case _:
            return value


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    # mode=rw: a path that is wrong must not become a new, empty database.
    database = sqlite3.connect(f"file:{quote(str(path))}?mode=rw", uri=True, timeout=_BUSY, isolation_level=None)
    try:
        yield database
    finally:
        # An open transaction is rolled back by this.
        database.close()


async def _finished(work: asyncio.Future[str]) -> str:
    """Await a thread's work; a cancellation waits for its end, so that no write is under way unseen."""
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait({work})
        raise


def _listed() -> str:
    return ", ".join(sorted(FIELDS))[:_LONGEST]
