"""The daemon's store, for every engine: batches in, committed events and messages out.

An engine derives from `SqlStore` and adds how it connects, how it runs one transaction, and what is its own upkeep.
"""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

from pollerd.base.errors import DurabilityError
from pollerd.core.event import Event
from pollerd.core.ports import (
    AccountState,
    Batch,
    Cursor,
    DeliveryBook,
    IncomingBook,
    Request,
    RequestKind,
    Retaining,
    SourceBook,
    TrackRequest,
    TrackResult,
    UnwrittenBook,
)
from pollerd.core.ports.erasure import About
from pollerd.store import rows, track, undelivered
from pollerd.store.deliveries import Deliveries
from pollerd.store.erasure import Eraser
from pollerd.store.eventlog import CommittedEvents
from pollerd.store.incoming import Incoming, RemovedTexts
from pollerd.store.messages import StoredMessages
from pollerd.store.retention import Retention
from pollerd.store.session import Session
from pollerd.store.source_rows import GivenRows, SourceRows
from pollerd.store.states import account_from_row
from pollerd.store.unwritten import UnwrittenEvents

log = logging.getLogger(__name__)

T = TypeVar("T")
_KINDS = frozenset(RequestKind)


class SqlStore(StoredMessages, CommittedEvents):
    """Fulfils `ports.Store`. Every transaction runs to its end, also when its caller is cancelled."""

    def __init__(self, wall: Callable[[], float]) -> None:
        StoredMessages.__init__(self, wall)
        CommittedEvents.__init__(self)
        self._writing = asyncio.Lock()
        self._forgotten: set[int] = set()
        self._removed_texts = RemovedTexts()

    # -- what an engine does in its own way

    @abstractmethod
    async def _put(self, batch: Batch) -> tuple[Event, ...]:
        """Put a batch on disk, and append its events."""

    @abstractmethod
    async def _transact(self, change: Callable[[Session], T]) -> T:
        """Run `change` in a transaction of its own."""

    @asynccontextmanager
    async def overwriting(self) -> AsyncIterator[None]:
        """Within, what is deleted is overwritten on disk, too, as far as the engine can."""
        yield

    # -- writing

    async def commit(self, batch: Batch) -> tuple[Event, ...]:
        return await self._shielded(self._commit(batch))

    async def _commit(self, batch: Batch) -> tuple[Event, ...]:
        async with self._writing:
            return await self._put(batch)

    async def _shielded(self, work: Awaitable[T]) -> T:
        task = asyncio.ensure_future(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait([task])
            # A cancelled task must end. Only a DurabilityError outweighs the cancellation.
            if not task.cancelled() and isinstance(error := task.exception(), DurabilityError):
                raise error from None
            raise

    async def write(self, change: Callable[[Session], T]) -> T:
        return await self._shielded(self._write(change))

    async def _write(self, change: Callable[[Session], T]) -> T:
        async with self._writing:
            return await self._transact(change)

    async def prune(self, delete: Callable[[Session], tuple[int, T]]) -> T:
        return await self._shielded(super().prune(delete))

    async def save_cursor(self, cursor: Cursor) -> None:
        await self.commit(Batch(cursors=(cursor,)))

    async def advance_seq(self, seq: int) -> None:
        await self._shielded(self._advance_seq(seq))

    async def _advance_seq(self, seq: int) -> None:
        def lift(session: Session) -> None:
            if session.execute(self._sql["set_last_seq"], (seq,)) == 0:
                session.execute(self._sql["create_last_seq"], (seq,))

        async with self._writing:
            if seq > self._last:
                await self._transact(lift)
                self._lifted(seq)

    # -- what is to be forgotten

    async def find_known(self, about: About) -> list[int]:
        return [each.id for each in await Eraser(self, about, self._blank).find() if each.others is None]

    async def erase(self, about: About, now: float) -> None:
        eraser = Eraser(self, about, self._blank)
        async with self.overwriting():
            self._forgotten |= await eraser.run(await eraser.find(), now)

    async def scrub(self) -> None:
        """See `Store`: an engine that keeps old copies for a while does more."""

    # -- what others put into the store

    async def track(self, messages: Sequence[TrackRequest]) -> TrackResult:
        return await track.track(self, messages)

    def sources(
        self, databases: Mapping[str, str], now: Callable[[], float], poke: Callable[[], None]
    ) -> Mapping[str, SourceBook]:
        given = GivenRows(databases)
        return {
            name: SourceRows(name, given, self, now, poke, database=database) for name, database in databases.items()
        }

    async def requests(self, limit: int = 1000) -> list[Request]:
        found = await self._in_order("requests", (limit,))
        read = [(int(row[0]), *(rows.text(row[1]) or "").partition(" ")[::2], row[2]) for row in found]
        strange = [(number,) for number, kind, _, _ in read if kind not in _KINDS]
        if strange:
            log.warning(
                "%d requests of another version of pollerd are dropped",
                len(strange),
                extra={"event": "request_dropped"},
            )
            await self.write(lambda session: session.executemany(self._sql["request_done"], strange))
        return [
            Request(number, RequestKind(kind), message_id, argument or None)
            for number, kind, argument, message_id in read
            if kind in _KINDS
        ]

    # -- what outputs keep beside their cursors

    def deliveries(self) -> DeliveryBook:
        return Deliveries(self, self._forgotten, self._removed_texts)

    def incoming(self) -> IncomingBook:
        return Incoming(self, self._removed_texts, self._blank)

    def unwritten(self, output: str, database: str | None) -> UnwrittenBook:
        return UnwrittenEvents(self, output, database, self._forgotten, self._removed_texts)

    async def retry_parked(self, now: float) -> int:
        return await self.write(partial(undelivered.retry_parked, now=now))

    # -- the whole

    def retention(self, outputs: frozenset[str], keep: float, keep_events: float) -> Retaining:
        return Retention(self, outputs, keep, keep_events)

    async def accounts(self) -> dict[str, AccountState]:
        return {row[0]: account_from_row(row) for row in await self._read("accounts")}

    async def note(self, name: str) -> bytes | None:
        found = await self._read("get_meta", (name,))
        return None if not found or found[0][0] is None else rows.blob(found[0][0])

    async def counters(self) -> dict[str, int]:
        return {str(name): rows.whole(value) for name, value in await self._read("counters")}

    async def unknown(self, account: str, most: int) -> int:
        return int((await self._read("unknown", (account, most)))[0][0])
