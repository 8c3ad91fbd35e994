"""Deletes what is not needed any more: old messages that are done with, and old events that every output has delivered.

A pending message is never deleted, nor an event that a configured output has still to deliver, however old it is. The
pages that become free are used again; the file does not shrink by itself.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, NamedTuple

from pollerd.core.model import State
from pollerd.store import rows, unwritten
from pollerd.store.session import Session, Transactions
from pollerd.store.source_ids import drop_unused

log = logging.getLogger(__name__)

CHUNK: Final = 1000
"""Rows deleted in one transaction at most."""
LEAST_ROWS: Final = 20  # Rows: smaller transactions would cost more than they spare.
HOLD: Final = 0.05
"""Seconds for which one transaction should delay the others: chunks shrink until they take no longer."""
LATE: Final = 3600.0
"""Seconds that an output may be behind before it is named, however short `keep` is."""
_NAMES: Final = {State.FINISHED: "finished", State.GAVE_UP: "gave_up"}


_Drop = Callable[[int], Awaitable[tuple[int, bool]]]
"""Deletes at most so many rows; returns how many, and whether there may be more."""


class StoredCursor(NamedTuple):
    """Where an output stood at `updated_at` (the daemon's time)."""

    name: str
    seq: int
    updated_at: float


class Pruned(NamedTuple):
    """How much one run deleted."""

    messages: int
    events: int


class Retention:
    """`outputs` are the names of the configured outputs that keep a cursor; `keep` and `keep_events` (None: as long)
    are in seconds.

    An output that has never saved its cursor has delivered nothing yet. The cursor of one that is no longer configured
    is dropped when it has been still for `keep`: until then a table that was commented out by mistake costs nothing.
    """

    def __init__(
        self, store: Transactions, outputs: frozenset[str], keep: float, keep_events: float | None = None
    ) -> None:
        self._store = store
        self._outputs = outputs
        self._keep = keep
        self._keep_events = keep if keep_events is None else keep_events
        self._sql = store.sql("retention")
        self._behind: frozenset[str] = frozenset()

    async def run(self, now: float) -> Pruned:
        """Delete all that may go at `now` (the daemon's time), a little at a time. Raises as `Store.commit`."""
        before, before_events = now - self._keep, now - self._keep_events
        for cursor in await self._store.write(lambda session: self._drop_outputs(session, before)):
            log.warning(
                "output %s is not configured any more: its place (event %d) is forgotten",
                cursor.name,
                cursor.seq,
                extra={"event": "output_forgotten", "output": cursor.name, "seq": cursor.seq},
            )
        await self._store.write(lambda session: session.execute(self._sql["drop_ages"]))
        write, prune = self._store.write, self._store.prune
        messages = await self._in_chunks(lambda size: write(partial(self._drop_messages, before=before, size=size)))
        events = await self._in_chunks(lambda size: prune(partial(self._drop_events, before=before_events, size=size)))
        await self._forget_unwritten(before_events)
        self._name_behind(await self._store.write(lambda session: self._late(session, now)))
        if messages or events:
            log.debug("deleted %d messages and %d events", messages, events, extra={"event": "pruned"})
        return Pruned(messages, events)

    async def _forget_unwritten(self, before: float) -> None:
        forgotten: Counter[str] = Counter()

        async def drop(size: int) -> tuple[int, bool]:
            found = await self._store.write(lambda session: unwritten.forget(session, before, self._outputs, size))
            forgotten.update(found)
            return len(found), len(found) == size

        await self._in_chunks(drop)
        for output, count in forgotten.items():
            log.error(
                "output %s: %d events that could not be written were kept for long enough and are forgotten",
                output,
                count,
                extra={"event": "unwritten_forgotten", "output": output, "count": count},
            )

    async def _in_chunks(self, drop: _Drop) -> int:
        """Repeat `drop` until it says that no more may go."""
        size, total, more = LEAST_ROWS * 5, 0, True
        while more:
            began = time.monotonic()
            count, more = await drop(size)
            total += count
            held = time.monotonic() - began
            size = min(CHUNK, 2 * size) if held < HOLD / 2 else max(LEAST_ROWS, size // 2) if held > HOLD else size
            # Polls come first: the writer is theirs for at least as long as it was ours.
            await asyncio.sleep(held)
        return total

    # -- inside the transaction

    def _drop_messages(self, session: Session, *, before: float, size: int) -> tuple[int, bool]:
        found = session.query(self._sql["ended"], (before, size))
        if found:
            session.executemany(self._sql["drop_message"], [(row[0],) for row in found])
            drop_unused(session, {row[0] for row in found})
            gone = Counter(_NAMES[State(row[1])] for row in found)
            session.executemany(self._sql["uncount"], [(count, name) for name, count in gone.items()])
        return len(found), len(found) == size

    def _drop_events(self, session: Session, *, before: float, size: int) -> tuple[int, tuple[int, bool]]:
        delivered = min((cursor.seq for cursor in self._needed(session)), default=2**63 - 1)
        found = session.query(self._sql["oldest_events"], (delivered, size))
        # An event is older than those that follow it, whatever a clock that was wrong for a while wrote on it.
        old = next((n for n in range(len(found), 0, -1) if (rows.real(found[n - 1][1]) or 0.0) < before), 0)
        seq = int(found[old - 1][0]) if old else 0
        session.execute(self._sql["drop_events"], (seq,))
        drop_unused(session, {message for _, _, message in found[:old] if message is not None})
        return seq, (old, old == size)

    def _drop_outputs(self, session: Session, before: float) -> list[StoredCursor]:
        gone = [p for p in self._cursors(session) if p.name not in self._outputs and p.updated_at < before]
        session.executemany(self._sql["drop_output"], [(cursor.name,) for cursor in gone])
        return gone

    def _late(self, session: Session, now: float) -> list[tuple[StoredCursor, int]]:
        """Outputs for whose sake events are kept twice as long as wanted, with the number of events they lack."""
        found = session.query(self._sql["span"])
        if not found:
            return []
        first, at, last = found[0]
        if (rows.real(at) or 0.0) >= now - max(2 * self._keep_events, LATE):
            return []
        return [(cursor, last - cursor.seq) for cursor in self._needed(session) if cursor.seq < first]

    def _needed(self, session: Session) -> list[StoredCursor]:
        """The places of all configured outputs."""
        known = {cursor.name: cursor for cursor in self._cursors(session)}
        return [known.get(name, StoredCursor(name, 0, 0.0)) for name in sorted(self._outputs)]

    def _cursors(self, session: Session) -> list[StoredCursor]:
        found = session.query(self._sql["places"])
        return [StoredCursor(str(name), rows.whole(seq), rows.real(at) or 0.0) for name, seq, at in found]

    # -- what is said

    def _name_behind(self, late: list[tuple[StoredCursor, int]]) -> None:
        for cursor, lacking in late:
            if cursor.name not in self._behind:
                log.warning(
                    "output %s stands still at event %d: %d events are kept for it, longer than keep_events, and the "
                    "database grows. See its trouble in `pollerd status`, or take it out of the configuration",
                    cursor.name,
                    cursor.seq,
                    lacking,
                    extra={"event": "output_behind", "output": cursor.name, "seq": cursor.seq, "lacking": lacking},
                )
        behind = frozenset(cursor.name for cursor, _ in late)
        for name in sorted(self._behind - behind):
            log.info("output %s goes on", name, extra={"event": "output_caught_up", "output": name})
        self._behind = behind
