"""The committed events in order, for every engine: the latest in memory, all others read back."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from pollerd.core.event import Event
from pollerd.core.ports import Cursor
from pollerd.store import rows
from pollerd.store.session import Session, Transactions
from pollerd.store.states import cursor_from_row

T = TypeVar("T")
TAIL: Final = 4096
"""Events kept in memory after their commit, so that outputs that keep up never read them back from disk."""


class CommittedEvents(Transactions):
    """Fulfils `ports.EventLog` but for `save_cursor`."""

    def __init__(self) -> None:
        self._sql = self.sql("store")
        self._tail: deque[Event] = deque(maxlen=TAIL)
        self._last = 0
        self._newest = 0
        """The highest `seq` that an event has; below `_last` after numbers were lifted."""
        self._pruned = 0
        self._prunings = 0
        self._whole = asyncio.Event()
        """Cleared while events are being deleted."""
        self._whole.set()
        self._committed = asyncio.Event()

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
            found = await self._read("events_after", (after, limit))
        return [Event(row[0], row[1], row[2], rows.blob(row[3])) for row in found]

    async def wait(self, after: int) -> None:
        """Return once an event with `seq > after` is committed, at once where some were and are deleted by now."""
        while max(self._newest, self._pruned) <= after:
            await self._committed.wait()

    async def cursor(self, name: str) -> Cursor | None:
        """Where the output `name` stood when it last said so."""
        found = await self._read("cursor", (name,))
        return cursor_from_row(found[0]) if found else None

    async def prune(self, delete: Callable[[Session], tuple[int, T]]) -> T:
        self._prunings += 1
        self._whole.clear()
        try:
            seq, result = await self.write(delete)
            self._pruned = max(self._pruned, seq)
        finally:
            self._whole.set()
        return result

    def _append(self, events: Sequence[Event]) -> None:
        """These are on disk."""
        if events:
            self._last = self._newest = events[-1].seq
            self._tail.extend(events)
            self._committed.set()
            self._committed = asyncio.Event()

    def _blank(self, events: Sequence[Event]) -> None:
        """These have another body on disk by now."""
        changed = {event.seq: event for event in events}
        if changed:
            self._tail = deque((changed.get(event.seq, event) for event in self._tail), TAIL)

    def _lifted(self, seq: int) -> None:
        """The next event's number will be larger than `seq`."""
        if self._pruned == self._last:
            self._pruned = seq
        self._last = seq

    async def _restore(self) -> None:
        """Take up what the database says; once after opening."""
        self._last = rows.whole((await self._read("last_seq"))[0][0])
        first, newest = (await self._read("kept_seqs"))[0]
        self._newest = newest or 0
        self._pruned = self._last if first is None else int(first) - 1
        # Where another daemon commits, it may have done so between the two.
        self._last = max(self._last, self._newest)

    async def _read(self, name: str, values: Sequence[Any] = ()) -> list[Any]:
        return await self.query(self._sql[name], values)
