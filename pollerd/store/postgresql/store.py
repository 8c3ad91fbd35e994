"""The daemon's side of PostgreSQL: one thread that writes, one that reads."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import inf
from typing import Any, Self, TypeVar

import msgspec

from pollerd.base.errors import StoreFencedError, StoreUnavailableError, StoreWentBackError
from pollerd.core.event import JUMP, Event
from pollerd.core.ports import Batch, Chore, Cursor, Retaining
from pollerd.store import rows
from pollerd.store.eventlog import TAIL
from pollerd.store.postgresql.link import Link, Target
from pollerd.store.postgresql.member import Member
from pollerd.store.postgresql.news import SLOW, Announcer, Listener
from pollerd.store.postgresql.places import owned
from pollerd.store.postgresql.session import PostgresSession
from pollerd.store.postgresql.statements import POSTGRESQL
from pollerd.store.postgresql.writer import Writer
from pollerd.store.session import Session
from pollerd.store.store import SqlStore

log = logging.getLogger(__name__)

T = TypeVar("T")


class PostgresStore(SqlStore):
    """The open store of a member."""

    sql = POSTGRESQL

    def __init__(self, target: Target, member: Member, wall: Callable[[], float]) -> None:
        super().__init__(wall)
        self._target = target
        self._member = member
        self._announcer = Announcer(target)
        self._looked = False
        self._writing_link, self._reading_link = Link(target), Link(target)
        self._writer = Writer(self._writing_link, member.token, active=member.active)
        self._active = member.active
        self._writes = ThreadPoolExecutor(1, thread_name_prefix="writing")
        self._reads = ThreadPoolExecutor(1, thread_name_prefix="reading")

    @classmethod
    async def open(cls, target: Target, member: Member, wall: Callable[[], float]) -> Self:
        """Open the store that `member` may write. Raises StoreError."""
        store = cls(target, member, wall)
        try:
            await store._restore()
            member.seen = lambda: store.last
        except BaseException:
            await store.close()
            raise
        return store

    async def close(self) -> None:
        """Close both connections."""
        loop = asyncio.get_running_loop()
        for threads, link in ((self._writes, self._writing_link), (self._reads, self._reading_link)):
            await loop.run_in_executor(threads, link.close)
            threads.shutdown()

    @property
    def lost(self) -> str:
        """Who has taken over; empty while this member may write."""
        return self._member.lost

    @property
    def doubts(self) -> int:
        """See `Store`."""
        return self._writer.doubts

    async def advance_seq(self, seq: int) -> None:
        """See `Store`. A number that this store does not know was lost, and files of other members may be further."""
        if seq > self._last:
            await super().advance_seq(seq + JUMP)

    # -- what is each member's own

    async def cursor(self, name: str) -> Cursor | None:
        found = await super().cursor(self._owned(name))
        return found and msgspec.structs.replace(found, name=name)

    async def save_cursor(self, cursor: Cursor) -> None:
        own = msgspec.structs.replace(cursor, name=self._owned(cursor.name))
        if self._active:
            # With its instant, by which retention tells the place of another member from one that is given up.
            await self.commit(Batch(cursors=(own,), at=self._wall()))
            return
        row = (own.name, own.seq, own.detail, self._wall())
        await self.write(lambda session: session.execute(session.sql("deliveries")["save_cursor"], row))

    def retention(self, outputs: frozenset[str], keep: float, keep_events: float) -> Retaining:
        return super().retention(frozenset(map(self._owned, outputs)), keep, keep_events)

    def _owned(self, output: str) -> str:
        """The name of an output's place: that of a file or a socket is its member's own."""
        return owned(output, self._member.name)

    async def follow(self) -> None:
        """See `Store`."""
        if self._active:
            await self._announcer.run()
            return
        looked = -inf
        async with Listener(self._target) as listener:
            while True:
                try:
                    found = await self._read("events_after", (self._newest, TAIL))
                    self._append([Event(row[0], row[1], row[2], rows.blob(row[3])) for row in found])
                    if len(found) == TAIL:
                        continue
                    if time.monotonic() - looked >= SLOW:
                        first, _ = (await self._read("kept_seqs"))[0]
                        if first is not None:
                            self._pruned = max(self._pruned, int(first) - 1)
                        looked = time.monotonic()
                except StoreUnavailableError as error:
                    log.debug("what is committed cannot be read now: %s", error)
                await listener.wait()

    async def rescue(self) -> str:
        """Nothing is left to do: what was not committed belongs to whoever has taken over."""
        return ""

    async def foreign_change(self) -> bool:
        """See `Store`: whether somebody has left what nobody has dealt with yet."""
        found = bool((await self._in_order("left_by_others"))[0][0]) or not self._looked
        self._looked = True
        return found

    def chores(self) -> tuple[Chore, ...]:
        """See `Store`: the server keeps its own house."""
        return ()

    # -- the connections

    async def query(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        return await _on(self._reads, lambda: _query(self._reading_link, sql, values))

    async def query_in_order(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        return await _on(self._writes, lambda: _query(self._writing_link, sql, values))

    async def _put(self, batch: Batch) -> tuple[Event, ...]:
        return await self._write_on(lambda committed: self._writer.commit(batch, committed))

    async def _transact(self, change: Callable[[Session], T]) -> T:
        return await self._write_on(lambda committed: self._writer.transact(change, committed))

    async def _write_on(self, work: Callable[[Callable[[Sequence[Event]], None]], T]) -> T:
        """Run `work` on the writing thread, and append what it commits: also what an earlier call has left in doubt."""
        committed: list[Sequence[Event]] = []

        def attempt() -> T:
            try:
                return work(committed.append)
            except StoreWentBackError:
                self._member.settle(self._writing_link)
            try:
                return work(committed.append)
            except StoreWentBackError as error:
                self._member.end(str(error))
                raise

        try:
            return await _on(self._writes, attempt)
        except StoreFencedError as error:
            # This is heard before the lease's thread has looked.
            who = await _on(self._writes, lambda: self._member.successor(self._writing_link))
            raise StoreFencedError(f"stopped: {who}") from error
        finally:
            for events in committed:
                self._append(events)
                self._announcer.tell()


async def _on(threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(threads, work)


def _query(link: Link, sql: str, values: Sequence[Any]) -> list[Any]:
    return link.run(lambda connection: PostgresSession(connection).query(sql, values))
