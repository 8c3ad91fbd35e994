"""The files that the event file was renamed to: which one was written to last, how it ends, what a crash left in it."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from pollerd.base.errors import DurabilityError
from pollerd.base.folders import sync_folder
from pollerd.core.ports import Cursor, EventLog
from pollerd.outputs.eventfile import UNSYNCED
from pollerd.outputs.filepath import identity, identity_of
from pollerd.outputs.repair import Extent, Ground, Run, find_ground, measure, mend
from pollerd.outputs.synced import Synced
from pollerd.outputs.tail import PACKED, Line, last_in_packed, solid_size, survey

logger = logging.getLogger(__name__)

ASIDE: Final = ".other-"
"""Stands in the name of a file that was set aside."""

_DATED: Final = re.compile(r"[.-]\d")
"""How what programs that rotate files add to a name begins: a number or a date."""

_READ: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_WRITE: Final = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class Rotated(msgspec.Struct, frozen=True):
    """A file that the event file was renamed to: its last event, and whether it surely is the one last written.

    `end` is where its last whole line ends, None when it is compressed; `torn` when an unfinished one follows. `extent`
    is what it holds behind `ground`. `open_end`: more may have stood there, of which a power cut has left no trace.
    """

    path: Path
    last: Line | None
    end: int | None
    torn: bool
    surely: bool
    ground: Ground | None = None
    extent: Extent | None = None
    open_end: bool = False


async def find_rotated(log: EventLog, cursor: Cursor | None, path: Path, run: Run, *, here: bool) -> Rotated | None:
    """The file that `path` was renamed to: the one that the place is about, else the newest with such a name.

    `here`: the place is about the file at the path. Compressed ones are read as they are. Raises OSError.
    """
    candidates = await run(partial(_candidates, path, Synced.of(cursor)))
    for candidate in candidates:
        if candidate.path.suffix not in PACKED:
            rotated = await _examine(log, cursor, candidate, run)
            if rotated is not None and rotated.surely:
                return rotated
    newest = next((candidate for candidate in candidates if candidate.named), None)
    if newest is None:
        return None
    if newest.path.suffix in PACKED:
        last = await run(partial(last_in_packed, newest.path))
        return Rotated(newest.path, last, None, torn=False, surely=False)
    return await _examine(log, cursor, newest, run, last_hope=not here and newest.dated)


async def repair(log: EventLog, rotated: Rotated, reported: int, run: Run, *, complete: bool) -> int:
    """Make the file whole and put it on disk; returns the event after which another file goes on, `reported` at first.

    `complete`: nothing was reported behind it yet. What readers may have seen at an open end is put there again: all
    events that can have been in the file, in their places. Nothing is written to a file that is not surely the one.
    """
    try:
        fd = await run(partial(os.open, rotated.path, _WRITE if rotated.surely else _READ))
    except OSError as error:
        return _not_writable(rotated, reported, error)
    try:
        if rotated.surely:
            reported = await _make_whole(log, rotated, fd, reported, run, complete=complete)
        # What it holds is not reported again, whoever wrote it and whatever was synced of it: it has to last.
        await run(partial(_sync, fd, rotated.path))
        return reported
    finally:
        os.close(fd)


async def _make_whole(log: EventLog, rotated: Rotated, fd: int, reported: int, run: Run, *, complete: bool) -> int:
    if rotated.ground is None:
        if rotated.torn and rotated.end is not None:
            await run(partial(_cut, fd, rotated.path, rotated.end))
        return reported
    # Its size at the last sync is not lost, and no more than this was written since.
    until = (await run(partial(os.fstat, fd))).st_size + UNSYNCED if complete and rotated.open_end else 0
    extent = await measure(log, fd, rotated.ground, run, until=until)
    if extent.damaged is not None:
        await mend(log, fd, rotated.ground, extent, run)
        tell_mended(rotated.path, extent)
    if extent.whole:
        await run(partial(_cut, fd, rotated.path, extent.end))
    return max(reported, extent.seq)


def tell_mended(path: Path, extent: Extent) -> None:
    """Say what was written again."""
    assert extent.damaged is not None
    first, last = extent.damaged
    logger.warning(
        "%s lacked %d bytes of the events %d to %d after a power cut: they are written again, in their places",
        path,
        extent.lost,
        first,
        last,
        extra={"event": "file_repaired"},
    )


def last_packed(path: Path) -> tuple[Path, int] | None:
    """The newest compressed file that was made from `path`, with its last event."""
    newest = next((candidate.path for candidate in _candidates(path, None) if candidate.path.suffix in PACKED), None)
    last = None if newest is None else last_in_packed(newest)
    return None if newest is None or last is None else (newest, last.seq)


def being_packed(path: Path, original: tuple[int, int]) -> tuple[Path, int] | None:
    """The compressed file that stands beside the file `original` (device and inode), to which `path` led before a
    rotation, and its size; None when there is none, as soon as the original is deleted.
    """
    for candidate in _candidates(path, None):
        if candidate.path.suffix in PACKED and identity(candidate.path.with_suffix("")) == original:
            try:
                return candidate.path, candidate.path.stat().st_size
            except FileNotFoundError:
                continue
    return None


def _not_writable(rotated: Rotated, reported: int, error: OSError) -> int:
    damaged = rotated.extent.damaged if rotated.extent is not None else None
    if rotated.torn or damaged is not None:
        logger.error(
            "%s was damaged by a crash and cannot be repaired: %s. What it lacks is reported again in the new file",
            rotated.path,
            error.strerror,
            extra={"event": "file_repaired"},
        )
    return reported if damaged is None else damaged[0] - 1


def _cut(fd: int, path: Path, end: int) -> None:
    """Cut the unfinished line off."""
    size = os.fstat(fd).st_size
    if size > end:
        os.ftruncate(fd, end)
        logger.warning(
            "%s ended in %d bytes of an unfinished line after a crash: they are cut off",
            path,
            size - end,
            extra={"event": "file_repaired"},
        )


def _sync(fd: int, path: Path) -> None:
    """Put the file and its name on disk."""
    try:
        os.fsync(fd)
    except OSError as error:
        raise DurabilityError(f"{path} could not be synced to disk: {error.strerror}. Check the disk.") from error
    sync_folder(path.parent)


class _Candidate(msgspec.Struct, frozen=True):
    """A regular file that is named after the event file, or that the place is about by its numbers.

    `dated`: named as programs do that rotate files, not as those that keep notes of their own beside a file.
    """

    path: Path
    named: bool
    dated: bool
    about: bool
    changed: float


def _candidates(path: Path, synced: Synced | None) -> list[_Candidate]:
    """What may be the file that `path` was renamed to: first what the place is about, then the newest."""
    found = []
    for entry in _neighbours(path.parent):
        try:
            stat = entry.stat(follow_symlinks=False)
            if not entry.is_file(follow_symlinks=False) or entry.path == str(path):
                continue
        except OSError:
            continue
        named = entry.name.startswith((f"{path.name}.", f"{path.name}-")) and ASIDE not in entry.name
        about = synced is not None and synced.about(identity_of(stat))
        if named or about:
            dated = named and _DATED.match(entry.name, len(path.name)) is not None
            found.append(_Candidate(Path(entry.path), named, dated, about, stat.st_mtime))
    return sorted(found, key=lambda candidate: (candidate.about, candidate.changed), reverse=True)


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


async def _examine(
    log: EventLog, cursor: Cursor | None, candidate: _Candidate, run: Run, *, last_hope: bool = False
) -> Rotated | None:
    """Examine a candidate. `last_hope`: no other can be the one, so where nothing is in it, all was lost."""
    reported, synced = cursor.seq if cursor else 0, Synced.of(cursor)
    try:
        fd = await run(partial(os.open, candidate.path, _READ))
    except OSError:
        # Deleted or moved on meanwhile.
        return None
    try:
        tail = await run(partial(survey, fd, reported))
        ground = await find_ground(log, cursor, fd, run)
        solid = await run(partial(solid_size, fd))
        begun = synced is not None and synced.offset == 0 and solid == 0
        if ground is None and begun and (candidate.about or last_hope):
            ground = Ground(0, reported, proven=False)
        if ground is not None and not ground.proven and not candidate.named:
            ground = None
        extent = None if ground is None else await measure(log, fd, ground, run)
        unharmed = synced is not None and synced.since_boot(identity_of(os.fstat(fd)))
    except OSError:
        return None
    finally:
        os.close(fd)
    # Whatever the boot says, bytes that are gone have been lost.
    unharmed = unharmed and solid == tail.size and (extent is None or extent.damaged is None)
    # A new file may be given the inode of a deleted one; what was written to reaches the place saved, or has been begun
    # after it and is called so.
    reaches = candidate.named if tail.last is None else tail.last.seq >= reported
    return Rotated(
        candidate.path,
        tail.last,
        tail.end,
        torn=tail.torn > 0 and tail.ours,
        surely=ground is not None or (candidate.about and reaches),
        ground=ground,
        extent=extent,
        open_end=ground is not None and synced is not None and synced.offset == ground.offset and not unharmed,
    )
