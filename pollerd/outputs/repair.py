"""Puts back what a power cut took out of an event file: the same bytes at the same places, since readers hold places.

What was synced stays. Behind it any sector may be missing: it reads as NUL bytes, or the file ends before it. The lines
that belong there follow from the database, so they are compared and, where they differ, written again.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, Protocol, TypeVar

import msgspec

from pollerd.core.event import Event
from pollerd.core.ports import Cursor, EventLog
from pollerd.outputs.filepath import identity_of
from pollerd.outputs.synced import Synced
from pollerd.outputs.tail import LONGEST_LINE, Line, begins_event, event_before, find, read, same_event, solid_size

T = TypeVar("T")

_BATCH: Final = 32
"""Events compared at a time."""
_NOT_NUL: Final = re.compile(rb"[^\0]+")


class Run(Protocol):
    """Runs blocking work in a thread, so that the loop goes on."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]: ...


class Ground(msgspec.Struct, frozen=True):
    """All before `offset` is sound, and what stands behind it is what follows the event `seq`.

    `proven`: by what the file holds; else everything behind it has to agree with the log.
    """

    offset: int
    seq: int
    proven: bool = True


class Extent(msgspec.Struct, frozen=True):
    """How far a file goes on as the log has it: to `end`, where the line of event `seq` ends.

    `damaged`: the first and the last event of which `lost` bytes are missing. `whole`: nothing else stands behind.
    """

    end: int
    seq: int
    damaged: tuple[int, int] | None
    lost: int
    whole: bool


async def find_ground(log: EventLog, cursor: Cursor | None, fd: int, run: Run) -> Ground | None:
    """Up to where the file is sound; None when it is not the one that the place is about. Raises OSError."""
    reported = cursor.seq if cursor else 0
    synced = Synced.of(cursor)
    if synced is not None and synced.offset:
        offset = synced.offset
        last = await run(partial(event_before, fd, offset))
        if last is not None and last.seq >= reported and await agrees(log, last) is not False:
            return Ground(offset, last.seq)
        # Behind lines of another program, or where an older file was put back.
        if synced.about(identity_of(os.fstat(fd))) and await run(partial(read, fd, offset - 1, offset)) == b"\n":
            return Ground(offset, reported)
    if reported and (synced is None or synced.offset != 0):
        found = await run(lambda: find(fd, solid_size(fd), reported))
        if found is not None and found.seq == reported and await agrees(log, found) is not False:
            return Ground(found.end, reported)
    begun = Ground(0, reported, proven=False)
    if not await run(lambda: solid_size(fd)):
        return None
    extent = await measure(log, fd, begun, run)
    return begun if extent.whole else None


async def measure(log: EventLog, fd: int, ground: Ground, run: Run, *, until: int = 0) -> Extent:
    """Compare what is behind the ground with the log. What begins before `until` is missing, not never written."""
    return await _walk(log, _Walk(fd, ground, until), run)


async def mend(log: EventLog, fd: int, ground: Ground, extent: Extent, run: Run) -> None:
    """Write what is missing of an extent, and sync it. Raises OSError."""
    await _walk(log, _Walk(fd, ground, extent.end, write=True, last=extent.seq), run)
    await run(lambda: os.fsync(fd))


async def agrees(log: EventLog, line: Line) -> bool | None:
    """Whether the log has this very event; None when it has none of that number (any more)."""
    stored = await log.read(line.seq - 1, 1)
    if not stored or stored[0].seq != line.seq:
        return None
    return same_event(stored[0].line, line.raw)


async def _walk(log: EventLog, walk: _Walk, run: Run) -> Extent:
    while not walk.ended:
        events = await log.read(walk.seq, _BATCH)
        if not events:
            break
        await run(partial(walk.over, events))
    return await run(walk.extent)


class _Walk:
    """Goes through a file from the ground on, beside the events that should stand there."""

    def __init__(self, fd: int, ground: Ground, until: int, *, write: bool = False, last: int | None = None) -> None:
        self.seq = ground.seq
        self.ended = False
        self._fd = fd
        self._offset = ground.offset
        self._solid = solid_size(fd)
        self._until = until
        self._write = write
        self._last = last
        self._torn = False
        self._damaged: tuple[int, int] | None = None
        self._lost = 0

    def over(self, events: Sequence[Event]) -> None:
        """Compare, and write where that is wanted, what belongs to `events`."""
        for event in events:
            if self._offset >= max(self._solid, self._until) or (self._last is not None and event.seq > self._last):
                self.ended = True
                return
            self._line(event.seq, event.line)
            if self.ended:
                return

    def _line(self, seq: int, line: bytes) -> None:
        found = read(self._fd, self._offset, self._offset + len(line))
        if found != line:
            held = sum(part.end() - part.start() for part in _NOT_NUL.finditer(found))
            if any(line[part.start() : part.end()] != part[0] for part in _NOT_NUL.finditer(found)):
                self.ended = True
                return
            solid = found[: max(0, self._solid - self._offset)]
            if self._offset >= self._until and self._solid < self._offset + len(line) and line.startswith(solid):
                # Only its beginning was written, as after a kill: it is not there yet.
                self._torn = self.ended = True
                return
            self._damaged = (self._damaged or (seq, seq))[0], seq
            self._lost += len(line) - held
            if self._write:
                _put(self._fd, line, self._offset)
        self._offset += len(line)
        self.seq = seq

    def extent(self) -> Extent:
        """What was found so far."""
        whole = self._torn or self._offset >= self._solid
        if not whole and not self.ended:
            # The log may not go on yet, or never: an older copy of the database.
            rest = read(self._fd, self._offset, min(self._solid, self._offset + LONGEST_LINE))
            whole = begins_event(rest) and b"\n" not in rest
        return Extent(self._offset, self.seq, self._damaged, self._lost, whole)


def _put(fd: int, data: bytes, offset: int) -> None:
    # On Linux a file that is open for appending takes every write at its end, pwrite() included.
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    fcntl.fcntl(fd, fcntl.F_SETFL, flags & ~os.O_APPEND)
    try:
        done = 0
        while done < len(data):
            done += os.pwrite(fd, memoryview(data)[done:], offset + done)
    finally:
        fcntl.fcntl(fd, fcntl.F_SETFL, flags)
