"""The daemon's side of the database: one writer, whole transactions, committed events in order.

Durability: WAL with `synchronous=FULL`; a transaction that `commit` returned from survives a power cut. Cancelling an
aiosqlite await does not stop its statement, so every transaction runs to its end shielded from cancellation.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from itertools import compress
from operator import not_
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import aiosqlite

from pollerd.base.errors import DurabilityError, StoreBusyError, StoreError, StoreUnavailableError
from pollerd.base.shield import to_end
from pollerd.core import event as events
from pollerd.core.event import Body, Event
from pollerd.core.model import Message, Priority
from pollerd.core.ports import AccountState, Batch, Cursor, Request, RequestKind
from pollerd.store import aside, damage, rows
from pollerd.store.batch import planned
from pollerd.store.sqlite import schema
from pollerd.store.sqlite.files import Files
from pollerd.store.sqlite.writer import Work, Writer
from pollerd.store.statements import statements
from pollerd.store.states import account_from_row, cursor_from_row

log = logging.getLogger(__name__)

T = TypeVar("T")
STRETCH: Final = 5000
"""Rows that one statement over all messages goes through: commits wait behind it for some hundredths of a second."""
TAIL: Final = 4096
"""Events kept in memory after their commit, so that outputs that keep up never read them back from disk."""
_STRANGE: Final = 1000
"""Rows that are set aside at a time."""
_KINDS = frozenset(RequestKind)
_NO_FSYNC = frozenset({sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC})
_PASSING = frozenset(
    {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN},
)


class SqliteStore:
    """The open database. Only the process that holds its `Ownership` may have one."""

    def __init__(
        self,
        path: Path,
        writer: Writer,
        reader: aiosqlite.Connection,
        files: Files,
        wall: Callable[[], float],
    ) -> None:
        self.path = path
        self._wall = wall
        self._writer = writer
        self._files = files
        self._reader = reader
        self._writing = asyncio.Lock()
        self._sql = {name: sql.format(columns=", ".join(rows.COLUMNS)) for name, sql in statements("store").items()}
        self._tail: deque[Event] = deque(maxlen=TAIL)
        self._last = 0
        self._newest = 0
        """The highest `seq` that an event has; below `_last` after numbers were lifted."""
        self._pruned = 0
        self._prunings = 0
        self._whole = asyncio.Event()
        """Cleared while events are being deleted."""
        self._whole.set()
        self._told = asyncio.Event()
        self._data_version = 0
        self.on_set_aside: Callable[[Iterable[int]], None] = lambda ids: None

    @classmethod
    async def open(cls, path: Path, wall: Callable[[], float]) -> Self:
        """Open (and create or migrate) the database at `path`; `wall` gives UNIX seconds, which stand in where another
        program wrote no time that can be understood.

        Raises StoreError when it cannot be used.
        """
        async with AsyncExitStack() as connections:
            try:
                await asyncio.to_thread(_prepare, path)
                writer = await Writer.open(path)
                connections.push_async_callback(writer.close)
                reader = await Writer.open(path)
                connections.push_async_callback(reader.close)
                await reader.execute("PRAGMA query_only = ON")
                writer.files = Files(path)
                store = cls(path, writer, reader, writer.files, wall)
                await store._restore_place()
            except sqlite3.Error as error:
                raise translated(error, path) from error
            connections.pop_all()
        return store

    async def close(self) -> None:
        """Close both connections; the last one out checkpoints the WAL."""
        await self._reader.close()
        await self._writer.close()

    @property
    def lost(self) -> str:
        """What became of the database's files that are no longer where they were opened; empty while all is well."""
        return self._files.lost

    async def rescue(self) -> str:
        """After the loss: see `Files.rescue`. No transaction succeeds any more."""
        return await self.run(self._files.rescue)

    # -- writing

    async def commit(self, batch: Batch) -> tuple[Event, ...]:
        """Put a batch on disk, whole or not at all, and return its events with their `seq`.

        Raises StoreUnavailableError when it may work later (nothing was written), DurabilityError when the disk
        could not promise anything.
        """
        return await to_end(self._commit(batch))

    async def _commit(self, batch: Batch) -> tuple[Event, ...]:
        async with self._writing:
            told = tuple(self._numbered(batch))
            work = planned(batch, told)
            await self._transaction([(self._sql[name], rows_) for name, rows_ in work if rows_])
            committed = tuple(event for event, _ in told)
            if committed:
                self._last = self._newest = committed[-1].seq
                self._tail.extend(committed)
                self._told.set()
                self._told = asyncio.Event()
        return committed

    async def _transaction(self, work: Iterable[Work]) -> None:
        try:
            await self._writer.execute_all(work)
        except sqlite3.Error as error:
            raise translated(error, self.path) from error

    def _numbered(self, batch: Batch) -> Iterable[tuple[Event, float]]:
        # An account that is told to go on comes before what was learned by that; one that is held, after it.
        recovered = {body.account: n for n, body in enumerate(batch.bodies) if isinstance(body, events.Recovered)}
        early = [n <= recovered.get(body.account, -1) for n, body in enumerate(batch.bodies)]
        told: list[tuple[int | None, Body]] = [(None, body) for body in compress(batch.bodies, early)]
        told += [(result.message.id, body) for result in batch.results for body in result.bodies]
        told += [(None, body) for body in compress(batch.bodies, map(not_, early))]
        for seq, (message_id, body) in enumerate(told, self._last + 1):
            yield Event(seq, events.event_type(body), message_id, events.encode(body)), batch.at

    async def advance_seq(self, seq: int) -> None:
        """Make the next event's number larger than `seq` (an output has seen more than this database knows of)."""
        await to_end(self._advance_seq(seq))

    async def _advance_seq(self, seq: int) -> None:
        def lift(connection: sqlite3.Connection) -> None:
            if connection.execute(self._sql["set_last_seq"], (seq,)).rowcount == 0:
                connection.execute(self._sql["create_last_seq"], (seq,))

        async with self._writing:
            if seq <= self._last:
                return
            try:
                await self._writer.transact(lift)
            except sqlite3.Error as error:
                raise translated(error, self.path) from error
            if self._pruned == self._last:
                self._pruned = seq
            self._last = seq

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on the writer's connection between two transactions. Raises what it raises."""

        async def between() -> T:
            async with self._writing:
                return await self._writer.run(work)

        return await to_end(between())

    async def write(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """Run `change` on the writer's thread in a transaction of its own, whole or not at all, even when cancelled.

        Every commit waits for it, so it must be short. Raises as `commit`.
        """
        return await to_end(self._change(change))

    async def _change(self, change: Callable[[sqlite3.Connection], T]) -> T:
        async with self._writing:
            try:
                return await self._writer.transact(change)
            except sqlite3.Error as error:
                raise translated(error, self.path) from error

    async def prune(self, delete: Callable[[sqlite3.Connection], tuple[int, T]]) -> T:
        """Run `delete` as `write` does. It returns up to which `seq` it deletes events, and what this call returns.

        No reader is given what follows the deleted events without being told that they are gone, nor told that they
        are gone when the transaction fails.
        """
        return await to_end(self._prune(delete))

    async def _prune(self, delete: Callable[[sqlite3.Connection], tuple[int, T]]) -> T:
        self._prunings += 1
        self._whole.clear()
        try:
            seq, result = await self._change(delete)
            self._pruned = max(self._pruned, seq)
        finally:
            self._whole.set()
        return result

    # -- reading

    async def due(self, account: str, after: tuple[float, int], until: float, limit: int) -> list[Message]:
        """Pending messages of `account` behind the place `after` (due time, id) and due by `until`, in that order.

        Runs in the writer's order: everything committed before this call is seen, nothing committed after it.
        """
        return await self._messages("due", (account, after[0], after[0], after[1], until, limit))

    async def due_latest(self, account: str, until: float, limit: int) -> list[Message]:
        """Of the pending messages due by `until`, those that became due last."""
        return await self._messages("due_latest", (account, until, limit))

    async def due_urgent(self, account: str, priority: Priority, until: float, limit: int) -> list[Message]:
        """Pending messages of an urgent `priority` due by `until`, longest due first."""
        return await self._messages("due_urgent", (account, priority.name, until, limit))

    async def overdue_accounts(self) -> list[str]:
        """The accounts with messages that are overdue some time, and were not told."""
        return [row[0] for row in await self._fetch(self._writer, "overdue_accounts")]

    async def overdue(
        self, account: str, after: tuple[float, int], until: float, limit: int
    ) -> list[tuple[float, int]]:
        """When messages are overdue (up to `until`) that were not told, and their ids, in that order: those behind the
        place `after`. Runs in the writer's order, as `due`.
        """
        found = await self._fetch(self._writer, "overdue", (account, *after, until, limit))
        return [(row[0], row[1]) for row in found]

    async def set_overdue(self, account: str, after: float | None) -> None:
        """The messages of `account` that have no `overdue_after` of their own, and were not told, get this one."""
        place = 0
        while (end := (await self._fetch(self._writer, "stretch", (place, STRETCH)))[0][0]) is not None:
            values = (after, place, end, account)
            await self.write(lambda db, values=values: db.execute(self._sql["set_overdue"], values))  # type: ignore[misc]
            place = end

    async def new(self, limit: int) -> list[Message]:
        """Rows that nobody has planned yet, in id order."""
        return await self._messages("new", (limit,))

    async def pending(self, after: int, limit: int) -> list[Message]:
        """Pending messages with ids above `after`, in id order."""
        return await self._messages("pending", (after, limit))

    async def message(self, message_id: int) -> Message | None:
        """One message, or None when it is not tracked."""
        found = await self._messages("message", (message_id,))
        return found[0] if found else None

    async def _messages(self, name: str, parameters: Sequence[Any]) -> list[Message]:
        while True:
            read = aside.read(await self._fetch(self._writer, name, parameters), self._wall())
            if not read.damaged:
                return read.messages
            # Read again: whoever asks for so many takes fewer for all that there are.
            await self._set_aside(read.damaged)

    async def set_strange_aside(self) -> None:
        """Set aside what no other reading call comes upon: rows in no state, and where the schedule does not look."""
        while found := await self._fetch(self._writer, "strange", (damage.BEYOND, _STRANGE)):
            await self._set_aside([aside.Damaged(row, damage.reason(row)) for row in found])

    async def _set_aside(self, damaged: Sequence[aside.Damaged]) -> None:
        wall = self._wall()
        await self.write(lambda db: aside.set_aside(db, damaged, wall))
        self.on_set_aside(row[0] for row, _ in damaged)
        aside.tell(damaged)

    async def _fetch(self, connection: aiosqlite.Connection, name: str, parameters: Sequence[Any] = ()) -> list[Any]:
        try:
            return list(await connection.execute_fetchall(self._sql[name], parameters))
        except sqlite3.Error as error:
            raise translated(error, self.path) from error

    async def requests(self, limit: int = 1000) -> list[Request]:
        """What commands asked for, oldest first."""
        found = await self._fetch(self._writer, "requests", (limit,))
        read = [(int(row[0]), *(rows.text(row[1]) or "").partition(" ")[::2], row[2]) for row in found]
        strange = [(number,) for number, kind, _, _ in read if kind not in _KINDS]
        if strange:
            log.warning(
                "%d requests of another version of pollerd are dropped",
                len(strange),
                extra={"event": "request_dropped"},
            )
            await self.write(lambda db: db.executemany(self._sql["request_done"], strange))
        return [
            Request(number, RequestKind(kind), message_id, argument or None)
            for number, kind, argument, message_id in read
            if kind in _KINDS
        ]

    async def counters(self) -> dict[str, int]:
        """How many messages are `pending`, `finished` and `gave_up`, and how many `polls` were made so far."""
        return {str(name): rows.whole(value) for name, value in await self._fetch(self._reader, "counters")}

    async def unknown(self, account: str, most: int) -> int:
        """How many pending messages of `account` were never seen and are past their grace, up to `most`."""
        return int((await self._fetch(self._reader, "unknown", (account, most)))[0][0])

    async def refused(self, account: str, refusal: str, after: tuple[float, int], limit: int) -> list[Message]:
        """Messages of `account` given up because of `refusal` (as in `last_answer`), seen before and not taken up again
        yet, behind the place `after` (when they ended, id), in that order.
        """
        return await self._messages("refused", (account, refusal, after[0], after[0], after[1], limit))

    async def given_up(self, after: int, limit: int = 1000) -> list[int]:
        """Ids of messages whose polling ended without a final state, ascending, greater than `after`."""
        return [row[0] for row in await self._fetch(self._writer, "gave_up", (after, limit))]

    async def accounts(self) -> dict[str, AccountState]:
        """What is known of each account from earlier runs."""
        return {row[0]: account_from_row(row) for row in await self._fetch(self._reader, "accounts")}

    async def note(self, name: str) -> bytes | None:
        """A small named value (what the backoff learned, the store's identity)."""
        found = await self._fetch(self._reader, "get_meta", (name,))
        return None if not found or found[0][0] is None else rows.blob(found[0][0])

    async def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """The rows of a reading statement, as of now. Raises as `commit`."""
        try:
            return list(await self._reader.execute_fetchall(sql, parameters))
        except sqlite3.Error as error:
            raise translated(error, self.path) from error

    async def foreign_change(self) -> bool:
        """Whether another process has committed since the last call (true once after opening)."""
        version = int((await self._fetch(self._writer, "data_version"))[0][0])
        changed = version != self._data_version
        self._data_version = version
        return changed

    # -- the event log

    @property
    def last(self) -> int:
        """The highest `seq` ever given."""
        return self._last

    @property
    def pruned(self) -> int:
        """Everything up to this `seq` has been deleted."""
        return self._pruned

    async def read(self, after: int, limit: int) -> Sequence[Event]:
        """Committed events with `seq > after`, ascending, at most `limit`."""
        after = max(after, self._pruned)
        if after >= self._last:
            return ()
        if self._tail and self._tail[0].seq <= after + 1:
            start = max(0, after + 1 - self._tail[0].seq)
            if self._tail[-1].seq - self._tail[0].seq == len(self._tail) - 1:
                return [self._tail[i] for i in range(start, min(len(self._tail), start + limit))]
        prunings = -1
        while prunings != self._prunings:
            await self._whole.wait()
            prunings, after = self._prunings, max(after, self._pruned)
            found = await self._fetch(self._reader, "events_after", (after, limit))
        return [Event(row[0], row[1], row[2], rows.blob(row[3])) for row in found]

    async def wait(self, after: int) -> None:
        """Return once an event with `seq > after` is committed, at once where some were and are deleted by now."""
        while max(self._newest, self._pruned) <= after:
            await self._told.wait()

    async def cursor(self, name: str) -> Cursor | None:
        """Where the output `name` stood when it last said so."""
        found = await self._fetch(self._reader, "cursor", (name,))
        return cursor_from_row(found[0]) if found else None

    async def save_cursor(self, cursor: Cursor) -> None:
        """Commit an output's place."""
        await self.commit(Batch(cursors=(cursor,)))

    async def _restore_place(self) -> None:
        self._last = rows.whole((await self._fetch(self._reader, "last_seq"))[0][0])
        first, newest = (await self._fetch(self._reader, "kept_seqs"))[0]
        self._newest = newest or 0
        self._pruned = self._last if first is None else int(first) - 1


def _prepare(path: Path) -> None:
    schema.prepare(path).close()


def translated(error: sqlite3.Error, path: Path) -> Exception:
    """SQLite's error as one of ours: may pass, disk not to be trusted, or database unusable."""
    code = getattr(error, "sqlite_errorcode", 0)
    if code in _NO_FSYNC:
        return DurabilityError(f"{path}: the disk refused to confirm a write ({error}); stopping, a restart recovers")
    said = schema.explanation(path, error)
    if code & 0xFF in schema.BUSY:
        return StoreBusyError(said)
    return StoreUnavailableError(said) if code & 0xFF in _PASSING else StoreError(said)
