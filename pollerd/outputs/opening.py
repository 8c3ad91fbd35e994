"""Which file the events go to: the one at the path, repaired, and later the one that was put in its place."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pollerd.base.folders import sync_folder
from pollerd.core.event import left_out
from pollerd.core.ports import Cursor, EventLog
from pollerd.outputs.eventfile import EventFile
from pollerd.outputs.filepath import identity, resolve
from pollerd.outputs.repair import Run, find_ground, measure, mend
from pollerd.outputs.resume import ResumePoint, find_place, locate
from pollerd.outputs.rotated import ASIDE, being_packed, last_packed, repair, tell_mended
from pollerd.outputs.synced import Synced

logger = logging.getLogger(__name__)

_CREATE_GRACE: Final = 0.1
"""Seconds that a program which rotates by rename-and-create has for its second step, before we create the file."""
_PACKED_AT_REST: Final = 3.0
"""Seconds after which a compressed file that does not grow is not about to be finished: it is an old one."""

Advance = Callable[[int], Awaitable[None]]


class Opener:
    """Opens the file at `path` for the output `name`; `run` is where blocking calls go."""

    def __init__(self, path: Path, mode: int, name: str, advance: Advance | None, run: Run) -> None:
        self._path = path
        self._mode = mode
        self._name = name
        self._advance = advance
        self._run = run
        self._doubts: set[str] = set()

    async def inspect(self, log: EventLog) -> ResumePoint:
        """Where the file would go on, with nothing touched. Raises OutputError and OSError."""
        return await locate(log, self._name, resolve(self._path))

    async def prepare(self, log: EventLog) -> None:
        """Lift the database's numbers above the file's, if need be. Raises OutputError, OSError and StoreError."""
        finding = await self.inspect(log)
        if finding.advance_to is not None and self._advance is not None:
            _tell(finding)
            await self._advance(finding.advance_to)

    async def first(self, log: EventLog) -> tuple[EventFile, bool]:
        """Open the path, repair what a crash left, and find the place to go on.

        Also whether the cursor leads back to it: it names the file, or what it says of `seq` begins an empty one.
        """
        cursor = await log.cursor(self._name)
        reported = cursor.seq if cursor else 0
        file = await self._open()
        try:
            await self._mend(log, cursor, file)
            tail = await self._run(lambda: file.survey(reported))
            # The system may give a new file the inode of a deleted one, which must not pass for it.
            finding = await find_place(log, cursor, file.path, None if file.created else file.fileno(), tail)
            _tell(finding)
            if finding.advance_to is not None and self._advance is not None:
                await self._advance(finding.advance_to)
            elif finding.advance_to is not None or finding.set_aside:
                file = await self._set_aside(file)
                finding = ResumePoint(reported)
            elif tail.torn:
                await self._run(lambda: file.cut(tail.end))
            file.seq = finding.seq
            if finding.rotated is not None:
                file.seq = await repair(log, finding.rotated, finding.seq, self._run, complete=tail.size == 0)
        except BaseException:
            file.close()
            raise
        await self._name_gap(log, file)
        synced = Synced.of(cursor)
        named = not file.created and synced is not None and synced.about(file.identity)
        return file, named or file.seq == reported

    async def following(self, log: EventLog, old: EventFile) -> EventFile | None:
        """The file that the path leads to now, to go on after `old`, which is on disk; None when it is still `old`."""
        path = await self._run(lambda: resolve(self._path))
        there = await self._run(lambda: identity(path))
        if there == old.identity:
            return None
        if there is None:
            await asyncio.sleep(_CREATE_GRACE)
        await self._run(old.sync_name)
        await self._until_packed(old)
        new = await self._open()
        try:
            new = await self._fit(log, new, old.seq)
            new.seq = await self._run(lambda: _end_of(old))
        except BaseException:
            new.close()
            raise
        return new

    async def _until_packed(self, old: EventFile) -> None:
        """Wait while a program compresses the renamed file: it may have read less of it than was written."""
        clock, seen = asyncio.get_running_loop().time, None
        since = clock()
        while (packed := await self._run(lambda: being_packed(old.path, old.identity))) is not None:
            if packed != seen:
                seen, since = packed, clock()
            elif clock() - since > _PACKED_AT_REST:
                return
            await asyncio.sleep(_CREATE_GRACE)

    async def _open(self) -> EventFile:
        file = await self._run(lambda: EventFile.open(resolve(self._path), self._mode))
        for doubt in file.doubts:
            if doubt not in self._doubts:
                self._doubts.add(doubt)
                logger.warning("%s", doubt, extra={"event": "file_rights"})
        return file

    async def _mend(self, log: EventLog, cursor: Cursor | None, file: EventFile) -> None:
        """Write again what a power cut took out of the file."""
        ground = None if file.created else await find_ground(log, cursor, file.fileno(), self._run)
        if ground is None:
            return
        extent = await measure(log, file.fileno(), ground, self._run)
        if extent.damaged is not None:
            await mend(log, file.fileno(), ground, extent, self._run)
            file.size = max(file.size, extent.end)
            tell_mended(file.path, extent)

    async def _name_gap(self, log: EventLog, file: EventFile) -> None:
        if log.pruned > file.seq:
            logger.error(
                "output %s: events %d to %d were deleted by retention before they were written to %s",
                self._name,
                file.seq + 1,
                log.pruned,
                file.path,
                extra={"event": "output_gap"},
            )
            return
        events = await log.read(file.seq, 1)
        if file.seq and left_out(file.seq, following := events[0].seq if events else log.last + 1):
            logger.warning(
                "output %s: event %d is followed by %d in %s: numbers were left out, since the store may have lost "
                "some; what had them is reported again",
                self._name,
                file.seq,
                following,
                file.path,
                extra={"event": "file_place"},
            )

    async def _fit(self, log: EventLog, new: EventFile, seq: int) -> EventFile:
        """What was put in the rotated file's place may hold lines: ours (a rotation taken back), or foreign ones."""
        tail = await self._run(lambda: new.survey(seq))
        if tail.size == 0:
            return new
        place = await find_place(log, Cursor(self._name, seq), new.path, new.fileno(), tail)
        if place.set_aside or place.seq > seq:
            logger.error(
                "%s, just put in place, holds events of another database: it is renamed aside",
                new.path,
                extra={"event": "file_foreign"},
            )
            return await self._set_aside(new)
        if tail.torn:
            await self._run(lambda: new.cut(tail.end))
        return new

    async def _set_aside(self, file: EventFile) -> EventFile:
        aside = await self._run(lambda: _rename_aside(file.path))
        logger.error("%s was renamed to %s and a new file is begun", file.path, aside, extra={"event": "file_foreign"})
        fresh = await self._open()
        file.close()
        return fresh


def _tell(finding: ResumePoint) -> None:
    for level, text in finding.notes:
        logger.log(level, "%s", text, extra={"event": "file_place"})


def _end_of(old: EventFile) -> int:
    """The last event of a rotated file; an earlier one when it was compressed before its last lines were written."""
    packed = last_packed(old.path) if old.is_gone else None
    if packed is None or not 0 < old.first_event() <= packed[1] < old.seq:
        return old.seq
    logger.error(
        "%s was made while its original was still written to: the events %d to %d are reported again in the new file. "
        "Give logrotate's rule delaycompress",
        packed[0],
        packed[1] + 1,
        old.seq,
        extra={"event": "file_compressed"},
    )
    return packed[1]


def _rename_aside(path: Path) -> Path:
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    aside = path.with_name(f"{path.name}{ASIDE}{stamp}")
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}{ASIDE}{stamp}-{number}")
    path.rename(aside)
    sync_folder(path.parent)
    return aside
