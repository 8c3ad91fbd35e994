"""Where the event file goes on: from its own last line, else from the files it was rotated to, else from the cursor.

An event file may not belong to the database: the database was lost, or restored from an older copy, or the path was
used by another one. The rules, so that no `seq` ever means two events in one file and nothing is lost:

- The file ends above the database and agrees with it as far as both know the same numbers: the database is new or
  older than the file. Its numbering jumps above the file's and the file is continued. What happened between the copy
  and the restore is observed again and reported again, under new numbers.
- The file holds another event under a number the database has given too: it belongs to another database. It is
  renamed to `NAME.other-TIME` and a new file begins at the cursor. To readers this is one more rotation, which they
  must cope with anyway; appending would put two events under one number, and refusing would report nothing at all.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator
from enum import Enum, auto
from pathlib import Path

import msgspec

from pollerd.base.errors import OutputError
from pollerd.core.ports import Cursor, EventLog
from pollerd.outputs.filepath import check_regular, identity_of
from pollerd.outputs.repair import Run, agrees
from pollerd.outputs.rotated import Rotated, find_rotated
from pollerd.outputs.synced import Synced
from pollerd.outputs.tail import Line, Tail, find, survey

Note = tuple[int, str]
"""A line for the log with its level."""


class ResumePoint(msgspec.Struct, frozen=True):
    """Where the file goes on, and what has to happen before.

    `seq`: events after it are reported. `advance_to`: the database must not give numbers up to this one any more (None:
    it never would). `set_aside`: the file belongs to another database. `rotated`: the file that was written to before.
    """

    seq: int
    advance_to: int | None = None
    set_aside: bool = False
    rotated: Rotated | None = None
    notes: tuple[Note, ...] = ()


class _Kin(Enum):
    OURS = auto()
    AHEAD = auto()
    FOREIGN = auto()


async def locate(log: EventLog, name: str, path: Path) -> ResumePoint:
    """Find the place without touching anything. Raises OutputError for a path that cannot hold events, and OSError."""
    cursor = await log.cursor(name)
    if check_regular(path) is None:
        return await find_place(log, cursor, path, None, None)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        tail = await asyncio.to_thread(survey, fd, cursor.seq if cursor else 0)
        return await find_place(log, cursor, path, fd, tail)
    finally:
        os.close(fd)


async def find_place(
    log: EventLog, cursor: Cursor | None, path: Path, fd: int | None, tail: Tail | None
) -> ResumePoint:
    """Where the file at `path` goes on; `fd` and `tail` are None when there is no file yet."""
    if fd is None or tail is None or tail.end == 0:
        if tail is not None and not tail.ours:
            raise _no_event_file(path)
        return await _without_lines(log, cursor, path, fd)
    if tail.last is None:
        raise _no_event_file(path)
    reported = cursor.seq if cursor else 0
    kin = await _kin(log, tail.last, (fd, tail.end), surely=_is_about(cursor, fd) or reported >= log.last)
    seq = tail.last.seq
    if kin is _Kin.FOREIGN:
        note = (
            f"{path} belongs to another database: its event {seq} is not this database's. It is renamed aside and a "
            f"new file begins after event {reported}; one number may mean two events in the two files"
        )
        return ResumePoint(reported, set_aside=True, notes=((logging.ERROR, note),))
    notes = [*_damage(path, tail)]
    if kin is _Kin.AHEAD:
        notes.append(_ahead(path, seq, log.last))
        return ResumePoint(seq, seq, notes=tuple(notes))
    if seq < reported:
        text = f"{path} ends at event {seq}, though {reported} was reported: the events that it lacks are written again"
        notes.append((logging.WARNING, text))
    return ResumePoint(seq, notes=tuple(notes))


def _is_about(cursor: Cursor | None, fd: int | None) -> bool:
    """Whether the place was saved for this very file."""
    synced = Synced.of(cursor)
    return fd is not None and synced is not None and synced.about(identity_of(os.fstat(fd)))


async def _without_lines(log: EventLog, cursor: Cursor | None, path: Path, fd: int | None) -> ResumePoint:
    """The file is missing or empty: it may have been rotated away since the cursor was saved."""
    reported = cursor.seq if cursor else 0
    run: Run = asyncio.to_thread
    here = _is_about(cursor, fd)
    rotated = await find_rotated(log, cursor, path, run, here=here)
    if rotated is None:
        synced = Synced.of(cursor)
        if reported == 0 or here or (synced is not None and synced.offset == 0):
            return ResumePoint(reported)
        text = f"the event file {path} is gone: a new one begins after event {reported}, the last one reported"
        return ResumePoint(reported, notes=((logging.WARNING, text),))
    if rotated.extent is not None and rotated.extent.whole:
        return ResumePoint(max(reported, rotated.extent.seq), rotated=rotated)
    kin = _Kin.OURS
    if rotated.last is not None:
        kin = await _kin_of(log, rotated, surely=rotated.surely or reported >= log.last)
    if kin is _Kin.FOREIGN:
        return ResumePoint(reported)
    if rotated.last is None or rotated.last.seq <= reported:
        return ResumePoint(reported, rotated=rotated if rotated.surely else None)
    seq = rotated.last.seq
    if kin is _Kin.AHEAD:
        return ResumePoint(seq, seq, rotated=rotated, notes=(_ahead(rotated.path, seq, log.last),))
    return ResumePoint(seq, rotated=rotated)


async def _kin(log: EventLog, last: Line, content: tuple[int, int] | None, *, surely: bool) -> _Kin:
    """Whether a file that ends with `last` holds this database's events.

    `content` is the descriptor and the length of what may be compared; `surely` decides when nothing can be compared.
    """
    if last.seq <= log.pruned:
        return _Kin.OURS
    if last.seq <= log.last:
        return _Kin.OURS if await agrees(log, last) is not False else _Kin.FOREIGN
    if log.last == 0:
        return _Kin.AHEAD
    common = await asyncio.to_thread(find, *content, log.last) if content else None
    verdict = await agrees(log, common) if common is not None else None
    if verdict is None:
        verdict = surely
    return _Kin.AHEAD if verdict else _Kin.FOREIGN


async def _kin_of(log: EventLog, rotated: Rotated, *, surely: bool) -> _Kin:
    assert rotated.last is not None
    if rotated.end is None:
        return await _kin(log, rotated.last, None, surely=surely)
    try:
        fd = os.open(rotated.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        # Deleted or moved on meanwhile.
        return await _kin(log, rotated.last, None, surely=surely)
    try:
        return await _kin(log, rotated.last, (fd, rotated.end), surely=surely)
    finally:
        os.close(fd)


def _ahead(path: Path, seq: int, last: int) -> Note:
    origin = f"the database ends at event {last}: it was restored from an older copy" if last else "the database is new"
    text = (
        f"{path} ends at event {seq} but {origin}. Numbering goes on above it; "
        "what happened since the copy may be reported again under new numbers"
    )
    return logging.ERROR, text


def _damage(path: Path, tail: Tail) -> Iterator[Note]:
    if tail.torn:
        yield (
            logging.WARNING,
            f"{path} ended in {tail.torn} bytes of an unfinished line after a crash: they are cut off",
        )
    if tail.skipped:
        text = f"the last {tail.skipped} lines of {path} are no events: left as they are, events follow behind them"
        yield logging.ERROR, text


def _no_event_file(path: Path) -> OutputError:
    return OutputError(
        f"{path} holds something, but no event in its last 1 MiB: nothing is written to it. "
        "Move it away, or name another path for the events"
    )
