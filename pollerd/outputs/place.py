"""Where the event file goes on: from its own last line, else from the files it was rotated to, else from the cursor.

An event file may not belong to the database: the database was lost, or restored from an older copy, or the path was
used by another one. The rules, so that no `seq` ever means two events in one file and nothing is lost:

- The file ends above the database and agrees with it as far as both know the same numbers: the database is new or
  older than the file. Its numbering jumps above the file's and the file is continued. What happened between the copy
  and the restore is observed again and told again, under new numbers.
- The file tells another event under a number the database has given too: it belongs to another database. It is
  renamed to `NAME.other-TIME` and a new file begins at the cursor. To readers this is one more rotation, which they
  must cope with anyway; appending would put two events under one number, and refusing would tell nothing at all.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator
from enum import Enum, auto
from pathlib import Path
from typing import Final

import msgspec

from pollerd.errors import OutputError
from pollerd.outputs.eventfile import check_regular
from pollerd.outputs.tail import Line, Tail, find, last_in_gzip, same_event, survey
from pollerd.ports import Cursor, EventLog

ASIDE: Final = ".other-"
"""Stands in the name of a file that was set aside."""

Note = tuple[int, str]
"""A line for the log with its level."""


class Finding(msgspec.Struct, frozen=True):
    """Where the file goes on, and what has to happen before.

    `seq`: events after it are told. `advance_to`: the database must not give numbers up to this one any more (None:
    it never would). `set_aside`: the file belongs to another database. `repair`: a rotated file with a torn line,
    and the length it shall have.
    """

    seq: int
    advance_to: int | None = None
    set_aside: bool = False
    repair: tuple[Path, int] | None = None
    notes: tuple[Note, ...] = ()


class _Kin(Enum):
    OURS = auto()
    AHEAD = auto()
    FOREIGN = auto()


class _Rotated(msgspec.Struct, frozen=True):
    """A file that the event file was renamed to: its last event, and whether it surely is the one last written.

    `end` is where its last whole line ends, None when it is compressed; `torn` when an unfinished one follows.
    """

    path: Path
    last: Line | None
    end: int | None
    torn: bool
    surely: bool


def inode_note(number: int) -> str:
    """What the cursor keeps about the file that was written to."""
    return f"inode:{number}"


async def look(log: EventLog, name: str, path: Path) -> Finding:
    """Find the place without touching anything. Raises OutputError for a path that cannot hold events, and OSError."""
    cursor = await log.cursor(name)
    if check_regular(path) is None:
        return await find_place(log, cursor, path, None, None)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        tail = await asyncio.to_thread(survey, fd, cursor.seq if cursor else 0)
        return await find_place(log, cursor, path, fd, tail)
    finally:
        os.close(fd)


async def find_place(log: EventLog, cursor: Cursor | None, path: Path, fd: int | None, tail: Tail | None) -> Finding:
    """Where the file at `path` goes on; `fd` and `tail` are None when there is no file yet."""
    if fd is None or tail is None or tail.end == 0:
        if tail is not None and not tail.ours:
            raise _no_event_file(path)
        return await _without_lines(log, cursor, path, None if fd is None else os.fstat(fd).st_ino)
    if tail.last is None:
        raise _no_event_file(path)
    told = cursor.seq if cursor else 0
    written_last = cursor is not None and cursor.detail == inode_note(os.fstat(fd).st_ino)
    kin = await _kin(log, tail.last, (fd, tail.end), surely=written_last or told >= log.last)
    seq = tail.last.seq
    if kin is _Kin.FOREIGN:
        note = (
            f"{path} belongs to another database: its event {seq} is not this database's. It is renamed aside and a "
            f"new file begins after event {told}; one number may mean two events in the two files"
        )
        return Finding(told, set_aside=True, notes=((logging.ERROR, note),))
    notes = [*_damage(path, tail)]
    if kin is _Kin.AHEAD:
        notes.append(_ahead(path, seq, log.last))
        return Finding(seq, seq, notes=tuple(notes))
    if seq < told:
        text = f"{path} ends at event {seq}, though events up to {told} were told: what it lacks is told into it again"
        notes.append((logging.WARNING, text))
    return Finding(seq, notes=tuple(notes))


async def _without_lines(log: EventLog, cursor: Cursor | None, path: Path, inode: int | None) -> Finding:
    """The file is missing or empty: it may have been rotated away since the cursor was saved."""
    told = cursor.seq if cursor else 0
    detail = cursor.detail if cursor else ""
    rotated = await asyncio.to_thread(_last_rotated, path, detail, told)
    if rotated is None:
        if told == 0 or (inode is not None and detail == inode_note(inode)):
            return Finding(told)
        text = f"the event file {path} is gone: a new one begins after event {told}; those up to it were told before"
        return Finding(told, notes=((logging.WARNING, text),))
    kin = _Kin.OURS
    if rotated.last is not None:
        kin = await _kin_of(log, rotated, surely=rotated.surely or told >= log.last)
    if kin is _Kin.FOREIGN:
        return Finding(told)
    repair = (rotated.path, rotated.end) if rotated.surely and rotated.torn and rotated.end is not None else None
    if rotated.last is None or rotated.last.seq <= told:
        return Finding(told, repair=repair)
    seq = rotated.last.seq
    if kin is _Kin.AHEAD:
        return Finding(seq, seq, repair=repair, notes=(_ahead(rotated.path, seq, log.last),))
    return Finding(seq, repair=repair)


async def _kin(log: EventLog, last: Line, content: tuple[int, int] | None, *, surely: bool) -> _Kin:
    """Whether a file that ends with `last` tells this database's events.

    `content` is the descriptor and the length of what may be compared; `surely` decides when nothing can be compared.
    """
    if last.seq <= log.pruned:
        return _Kin.OURS
    if last.seq <= log.last:
        return _Kin.OURS if await _agrees(log, last) is not False else _Kin.FOREIGN
    if log.last == 0:
        return _Kin.AHEAD
    common = await asyncio.to_thread(find, *content, log.last) if content else None
    verdict = await _agrees(log, common) if common is not None else None
    if verdict is None:
        verdict = surely
    return _Kin.AHEAD if verdict else _Kin.FOREIGN


async def _kin_of(log: EventLog, rotated: _Rotated, *, surely: bool) -> _Kin:
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


async def _agrees(log: EventLog, line: Line) -> bool | None:
    """Whether the log has this very event; None when it has none of that number (any more)."""
    stored = await log.read(line.seq - 1, 1)
    if not stored or stored[0].seq != line.seq:
        return None
    return same_event(stored[0].line, line.raw)


def _ahead(path: Path, seq: int, last: int) -> Note:
    origin = f"the database ends at event {last}: it was restored from an older copy" if last else "the database is new"
    text = (
        f"{path} ends at event {seq} but {origin}. Numbering goes on at {seq + 1}; "
        "what happened since the copy may be told again under new numbers"
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


def _last_rotated(path: Path, detail: str, synced: int) -> _Rotated | None:
    """The file that `path` was renamed to: by its inode, else the newest with such a name, compressed ones included."""
    newest: tuple[float, Path] | None = None
    for entry in _neighbours(path.parent):
        try:
            found = entry.stat(follow_symlinks=False)
            if not entry.is_file(follow_symlinks=False):
                continue
        except OSError:
            continue
        file = Path(entry.path)
        named_so = file.name.startswith((f"{path.name}.", f"{path.name}-")) and ASIDE not in file.name
        if detail == inode_note(found.st_ino) and file != path:
            ended = _end_of(file, synced, surely=True)
            # A new file may be given the inode of a deleted one; what was written to reaches the place saved, or has
            # been begun after it and is called so.
            if ended is not None and (named_so if ended.last is None else ended.last.seq >= synced):
                return ended
        if named_so and (newest is None or found.st_mtime > newest[0]):
            newest = found.st_mtime, file
    return None if newest is None else _end_of(newest[1], synced, surely=False)


def _neighbours(folder: Path) -> Iterator[os.DirEntry[str]]:
    """The entries of a folder and of the folders in it: logrotate's `olddir` is often one of these."""
    try:
        with os.scandir(folder) as entries:
            here = list(entries)
    except OSError:
        return
    yield from here
    for entry in here:
        if not entry.is_dir(follow_symlinks=False):
            continue
        try:
            with os.scandir(entry) as entries:
                yield from list(entries)
        except OSError:
            continue


def _end_of(file: Path, synced: int, *, surely: bool) -> _Rotated | None:
    if file.suffix == ".gz":
        return _Rotated(file, last_in_gzip(file), None, torn=False, surely=surely)
    try:
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        tail = survey(fd, synced)
    except OSError:
        return None
    finally:
        os.close(fd)
    return _Rotated(file, tail.last, tail.end, torn=tail.torn > 0 and tail.ours, surely=surely)
