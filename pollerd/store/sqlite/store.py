"""The daemon's side of the SQLite database: one writer, whole transactions, and its upkeep.

Durability: WAL with `synchronous=FULL`; a transaction that `commit` returned from survives a power cut. Cancelling an
aiosqlite await does not stop its statement, so every transaction runs to its end shielded from cancellation.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

import aiosqlite

from pollerd.core.event import Event
from pollerd.core.ports import Batch, Chore
from pollerd.store.batch import ordered, planned
from pollerd.store.session import Session
from pollerd.store.sqlite import schema
from pollerd.store.sqlite.checkpoint import WalWatch
from pollerd.store.sqlite.errors import translated
from pollerd.store.sqlite.files import Files
from pollerd.store.sqlite.writer import Writer
from pollerd.store.statements import SQLITE
from pollerd.store.store import SqlStore

T = TypeVar("T")


class SqliteStore(SqlStore):
    """The open database. Only the process that holds its `Ownership` may have one."""

    sql = SQLITE
    doubts = 0

    def __init__(
        self,
        path: Path,
        writer: Writer,
        reader: aiosqlite.Connection,
        files: Files,
        wall: Callable[[], float],
    ) -> None:
        super().__init__(wall)
        self.path = path
        self._writer = writer
        self._files = files
        self._reader = reader
        self._data_version = 0
        self._overwriting = asyncio.Lock()

    @classmethod
    async def open(cls, path: Path, wall: Callable[[], float]) -> Self:
        """Open (and create or migrate) the database at `path`; `wall` gives the wall clock's time, which stands in
        where another program wrote no time that can be understood.

        Raises StoreError when it cannot be used.
        """
        async with AsyncExitStack() as connections:
            try:
                await asyncio.to_thread(_prepare, path)
                writer = await Writer.open(path)
                connections.push_async_callback(writer.close)
                for script in SQLITE("writing").values():
                    await writer.executescript(script)
                reader = await Writer.open(path)
                connections.push_async_callback(reader.close)
                await reader.execute("PRAGMA query_only = ON")
                writer.files = Files(path)
                store = cls(path, writer, reader, writer.files, wall)
            except sqlite3.Error as error:
                raise translated(error, path) from error
            await store._restore()
            connections.pop_all()
        return store

    async def close(self) -> None:
        """Close both connections; the last one out checkpoints the WAL."""
        await self._reader.close()
        await self._writer.close()

    @asynccontextmanager
    async def overwriting(self) -> AsyncIterator[None]:
        """See `SqlStore`: pages that become free are overwritten, too."""
        async with self._overwriting:
            await self._pragma("secure_delete = ON")
            try:
                yield
            finally:
                await self._pragma("secure_delete = FAST")

    async def scrub(self) -> None:
        """See `Store`: the file gets what the write-ahead log has, and the log becomes empty."""
        await self._pragma("wal_checkpoint(TRUNCATE)")

    async def _pragma(self, text: str) -> None:
        try:
            await self.run(lambda connection: connection.execute(f"PRAGMA {text}").fetchall())
        except sqlite3.Error as error:
            raise translated(error, self.path) from error

    @property
    def lost(self) -> str:
        """What became of the database's files that are no longer where they were opened; empty while all is well."""
        return self._files.lost

    async def follow(self) -> None:
        """See `Store`: no other machine polls."""

    async def rescue(self) -> str:
        """After the loss: see `Files.rescue`. No transaction succeeds any more."""
        return await self.run(self._files.rescue)

    async def foreign_change(self) -> bool:
        """Whether another process has committed since the last call (true once after opening)."""
        version = int((await self.query_in_order("PRAGMA data_version"))[0][0])
        changed = version != self._data_version
        self._data_version = version
        return changed

    def chores(self) -> tuple[Chore, ...]:
        """See `Store`: the write-ahead log is kept short."""
        return (Chore("checkpoint", 60.0, WalWatch(self).tend),)

    # -- the connections

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on the writer's connection between two transactions. Raises what it raises."""

        async def between() -> T:
            async with self._writing:
                return await self._writer.run(work)

        return await self._shielded(between())

    async def query(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        return await self._fetch(self._reader, sql, values)

    async def query_in_order(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        return await self._fetch(self._writer, sql, values)

    async def _fetch(self, connection: aiosqlite.Connection, sql: str, values: Sequence[Any]) -> list[Any]:
        try:
            return list(await connection.execute_fetchall(sql, values))
        except sqlite3.Error as error:
            raise translated(error, self.path) from error

    async def _put(self, batch: Batch) -> tuple[Event, ...]:
        happened = enumerate(ordered(batch), self._last + 1)
        events = tuple(Event(seq, kind, message_id, body) for seq, (kind, message_id, body) in happened)
        work = [(self._sql[name], rows) for name, rows in planned(batch, events, narrow=True) if rows]
        try:
            await self._writer.execute_all(work)
        except sqlite3.Error as error:
            raise translated(error, self.path) from error
        self._append(events)
        return events

    async def _transact(self, change: Callable[[Session], T]) -> T:
        try:
            return await self._writer.transact(change)
        except sqlite3.Error as error:
            raise translated(error, self.path) from error


def _prepare(path: Path) -> None:
    schema.prepare(path).close()
