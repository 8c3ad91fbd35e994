"""Events into a file, NDJSON: exactly one line for each event, whatever crashes.

The file's own last line says where it goes on after a crash, not the cursor: lines are visible at once, while the sync
to disk and the cursor follow about once a second. The cursor never gets ahead of the sync, so that what retention may
delete is on disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from pollerd import failpoints
from pollerd.errors import DurabilityError, OutputError, StoreError
from pollerd.event import Event
from pollerd.outputs.eventfile import Change, EventFile, inode, sync_directory
from pollerd.outputs.place import ASIDE, Finding, find_place, inode_note, look
from pollerd.ports import Cursor, EventLog, OutputHealth

logger = logging.getLogger(__name__)

_BATCH: Final = 512
"""Events read from the log at a time."""

_SYNC_EVERY: Final = 1.0
_LOOK_EVERY: Final = 1.0
_RETRY_FIRST: Final = 1.0
_RETRY_MAX: Final = 5.0
_STOP_LIMIT: Final = 2.0
_CREATE_GRACE: Final = 0.1
"""Seconds that a program which rotates by rename-and-create has for its second step, before we create the file."""

P = ParamSpec("P")
R = TypeVar("R")


class FileOutput:
    """Appends every event to the file at `path`, whole lines only. Fulfils `ports.Output`.

    `advance` makes the database give no number up to its argument any more; it is needed when the file turns out to
    be ahead of a restored database, see `place`. Without it such a file is renamed aside.
    """

    def __init__(
        self,
        path: Path,
        *,
        mode: int = 0o640,
        name: str = "file",
        advance: Callable[[int], Awaitable[None]] | None = None,
    ) -> None:
        self._path = path
        self._mode = mode
        self._name = name
        self._advance = advance
        self._file: EventFile | None = None
        self._seq = 0
        self._saved = 0
        self._synced_at = 0.0
        self._trouble = ""
        self._look = False
        self._nudged = asyncio.Event()
        self._named: set[Change] = set()
        self._executor: ThreadPoolExecutor | None = None

    @property
    def name(self) -> str:
        return self._name

    @property
    def health(self) -> OutputHealth:
        return OutputHealth(self._name, self._seq, self._trouble)

    def reopen(self) -> None:
        """Look at the path at once, as after a rotation."""
        self._look = True
        self._nudged.set()

    async def inspect(self, log: EventLog) -> Finding:
        """Where the file would go on, with nothing touched. Raises OutputError and OSError."""
        return await look(log, self._name, self._path.resolve())

    async def prepare(self, log: EventLog) -> None:
        """Before the first event of this start is committed: lift the database's numbers above the file's, if need be.

        Does nothing else, and nothing at all when the path cannot be read now; `run` reports that.
        Raises what `advance` raises.
        """
        try:
            finding = await self.inspect(log)
        except (OSError, OutputError):
            return
        if finding.advance_to is not None and self._advance is not None:
            _tell(finding)
            await self._advance(finding.advance_to)

    async def run(self, log: EventLog) -> None:
        """Tell events until cancelled.

        Raises OutputError when only a person can help (no regular file, no event file, another writer), and
        DurabilityError when a sync fails. A full disk or an unreachable path is waited out here.
        """
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=f"pollerd-{self._name}")
        delay = _RETRY_FIRST
        try:
            while True:
                try:
                    await self._turn(log)
                except OSError as error:
                    self._note_trouble(error, log)
                    await self._nap(delay)
                    delay = min(delay * 2, _RETRY_MAX)
                else:
                    delay = _RETRY_FIRST
        except asyncio.CancelledError:
            await self._tell_rest(log)
            raise
        finally:
            try:
                await self._finish(log)
            finally:
                self._executor.shutdown(wait=False)

    async def _turn(self, log: EventLog) -> None:
        """One step: open or follow the path, tell what is there, sync when due, and wait when nothing is."""
        self._nudged.clear()
        if self._file is None:
            self._file = await self._open_first(log)
            # At once, so that the place is known even if nothing comes: lines of a killed process may not be on disk.
            await self._checkpoint(log, self._file)
        elif self._look or not await self._call(self._file.is_current):
            self._look = False
            await self._follow(log, self._file)
        file = self._file
        # Before the write, so that what is written gets its sync even while nothing more can be.
        if file.seq > self._saved and asyncio.get_running_loop().time() - self._synced_at >= _SYNC_EVERY:
            await self._checkpoint(log, file)
        last = log.last
        events = await log.read(file.seq, _BATCH)
        if events:
            await self._append(file, events)
        if self._trouble:
            logger.info(
                "output %s: writing again, %d events behind",
                self._name,
                max(0, log.last - file.seq),
                extra={"event": "output_works"},
            )
            self._trouble = ""
        if not events:
            # Numbers may be left out, so that there can be a higher one and still no event.
            await self._idle(log, file, max(last, file.seq))

    async def _tell_rest(self, log: EventLog) -> None:
        """What was committed before the stop, as far as it can be written in a moment; a restart tells the rest."""
        until = asyncio.get_running_loop().time() + _STOP_LIMIT
        with contextlib.suppress(OSError):
            while self._file is not None and not self._trouble and asyncio.get_running_loop().time() < until:
                events = await log.read(self._file.seq, _BATCH)
                if not events:
                    return
                await self._append(self._file, events)

    async def _append(self, file: EventFile, events: Sequence[Event]) -> None:
        try:
            change = await self._call(file.append, events)
        finally:
            self._seq = file.seq
        if change is None or change in self._named:
            return
        self._named.add(change)
        if change is Change.SHRUNK:
            logger.error(
                "%s was shortened while it was written to (logrotate's copytruncate?): lines may be lost. "
                "This is not supported, use logrotate's create instead",
                file.path,
                extra={"event": "file_shortened"},
            )
        else:
            logger.error(
                "another program writes to %s: give the events a file of their own",
                file.path,
                extra={"event": "file_shared"},
            )

    async def _checkpoint(self, log: EventLog, file: EventFile) -> None:
        """What is written goes to disk, then the cursor follows."""
        self._synced_at = asyncio.get_running_loop().time()
        seq = await self._call(file.sync)
        failpoints.hit("file.before_cursor")
        if await self._save(log, Cursor(self._name, seq, inode_note(file.inode))):
            self._saved = seq
        failpoints.hit("file.after_cursor")

    async def _save(self, log: EventLog, cursor: Cursor) -> bool:
        """Save the place; a database that cannot be written now must not keep events from the file."""
        try:
            await log.save_cursor(cursor)
        except StoreError as error:
            logger.debug("output %s: its place is not saved: %s", self._name, error)
            return False
        return True

    async def _idle(self, log: EventLog, file: EventFile, after: int) -> None:
        """Wait for an event with `seq > after`, a look at the path or a sync that becomes due."""
        pause = _LOOK_EVERY
        if file.seq > self._saved:
            pause = max(0.0, self._synced_at + _SYNC_EVERY - asyncio.get_running_loop().time())
        waits = [asyncio.ensure_future(log.wait(after)), asyncio.ensure_future(self._nudged.wait())]
        try:
            done, _ = await asyncio.wait(waits, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            for wait in done:
                wait.result()
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def _nap(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._nudged.wait()

    async def _open_first(self, log: EventLog) -> EventFile:
        """Open the path, repair what a crash left, and find the place to go on."""
        cursor = await log.cursor(self._name)
        path = await self._call(self._path.resolve)
        file = await self._call(EventFile.open, path, self._mode)
        try:
            tail = await self._call(file.survey, cursor.seq if cursor else 0)
            # The system may give a new file the inode of a deleted one, which must not pass for it.
            finding = await find_place(log, cursor, path, None if file.created else file.fileno(), tail)
            _tell(finding)
            if finding.advance_to is not None and self._advance is not None:
                await self._advance(finding.advance_to)
            elif finding.advance_to is not None or finding.set_aside:
                file = await self._set_aside(file)
                finding = Finding(cursor.seq if cursor else 0)
            elif tail.torn:
                await self._call(file.cut, tail.end)
            if finding.repair is not None:
                await self._call(_repair, *finding.repair)
        except BaseException:
            file.close()
            raise
        self._begin(log, file, finding.seq)
        self._saved = -1
        return file

    def _begin(self, log: EventLog, file: EventFile, seq: int) -> None:
        file.seq = self._seq = seq
        if log.pruned > seq:
            logger.error(
                "output %s: events %d to %d were deleted by retention before they were told to %s",
                self._name,
                seq + 1,
                log.pruned,
                file.path,
                extra={"event": "output_gap"},
            )

    async def _follow(self, log: EventLog, old: EventFile) -> None:
        """The path may lead elsewhere: finish the old file and go on with the one that is there now."""
        path = await self._call(self._path.resolve)
        there = await self._call(inode, path)
        if there is None:
            await asyncio.sleep(_CREATE_GRACE)
        elif there == old.inode:
            return
        await self._checkpoint(log, old)
        new = await self._call(EventFile.open, path, self._mode)
        try:
            new = await self._fit(log, new, old.seq)
            new.seq = old.seq
            saved = await self._save(log, Cursor(self._name, new.seq, inode_note(new.inode)))
        except BaseException:
            new.close()
            raise
        self._file = new
        self._saved = new.seq if saved else -1
        old.close()
        logger.info(
            "output %s: %s was rotated, a new file begins after event %d",
            self._name,
            path,
            new.seq,
            extra={"event": "file_rotated"},
        )
        failpoints.hit("file.rotated")

    async def _fit(self, log: EventLog, new: EventFile, seq: int) -> EventFile:
        """What was put in the rotated file's place may hold lines: ours (a rotation taken back), or foreign ones."""
        tail = await self._call(new.survey, seq)
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
            await self._call(new.cut, tail.end)
        return new

    async def _set_aside(self, file: EventFile) -> EventFile:
        aside = await self._call(_rename_aside, file.path)
        logger.error("%s was renamed to %s and a new file is begun", file.path, aside, extra={"event": "file_foreign"})
        fresh = await self._call(EventFile.open, file.path, self._mode)
        file.close()
        return fresh

    def _note_trouble(self, error: OSError, log: EventLog) -> None:
        trouble = f"{self._path}: {error.strerror or error}"
        if trouble != self._trouble:
            logger.error(
                "output %s: %s; %d events wait and are told as soon as it works again",
                self._name,
                trouble,
                max(0, log.last - self._seq),
                extra={"event": "output_trouble"},
            )
        self._trouble = trouble
        self._look = True

    async def _finish(self, log: EventLog) -> None:
        file, self._file = self._file, None
        if file is None:
            return
        try:
            if file.seq > self._saved:
                await self._checkpoint(log, file)
        finally:
            file.close()

    async def _call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a blocking call in the output's own thread; a cancellation waits for its end, so that no write is
        under way unseen.
        """
        assert self._executor is not None
        future = asyncio.get_running_loop().run_in_executor(self._executor, lambda: function(*args, **kwargs))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait({future})
            if isinstance(error := future.exception(), DurabilityError):
                raise error from None
            if error is None and isinstance(opened := future.result(), EventFile):
                opened.close()
            raise


def _tell(finding: Finding) -> None:
    for level, text in finding.notes:
        logger.log(level, "%s", text, extra={"event": "file_place"})


def _repair(path: Path, end: int) -> None:
    """Cut the unfinished line off a file that was rotated away."""
    before = path.stat().st_size
    os.truncate(path, end)
    logger.warning(
        "%s ended in %d bytes of an unfinished line after a crash: they are cut off",
        path,
        before - end,
        extra={"event": "file_repaired"},
    )


def _rename_aside(path: Path) -> Path:
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    aside = path.with_name(f"{path.name}{ASIDE}{stamp}")
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}{ASIDE}{stamp}-{number}")
    path.rename(aside)
    sync_directory(path.parent)
    return aside
