"""Events into a file, NDJSON: exactly one line for each event, whatever crashes.

The file's own last line says where it goes on after a crash, not the cursor: lines are visible at once, while the sync
to disk and the cursor follow about once a second, and before more than `UNSYNCED` bytes wait for it. The cursor never
gets ahead of the sync, so that what retention may delete is on disk. A new file gets its first line when the old one
is on disk, its own name is, and the cursor names it: after a power cut the cursor says where damage may begin.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from pollerd.base import failpoints
from pollerd.base.errors import OutputError, StoreError
from pollerd.base.shield import to_end
from pollerd.core.event import Event
from pollerd.core.ports import Cursor, EventLog, OutputHealth
from pollerd.outputs.eventfile import EventFile, ForeignChange
from pollerd.outputs.opening import Advance, Opener
from pollerd.outputs.resume import ResumePoint

logger = logging.getLogger(__name__)

_BATCH: Final = 512
"""Events read from the log at a time, at most."""

_BATCH_FIRST: Final = 16  # Events of the first read, before their size is known.
_BATCH_BYTES: Final = 1 << 20
"""Bytes of events that are read at a time, about: an event may be as large as a message with 10,000 recipients."""

_SYNC_EVERY: Final = 1.0  # Seconds between two syncs.
_CHECK_EVERY: Final = 1.0  # Seconds between two checks of the path.
_RETRY_FIRST: Final = 1.0  # Seconds before the first new try, doubled for each further one, and
_RETRY_MAX: Final = 5.0  # at most.
_STOP_LIMIT: Final = 2.0  # Seconds at a stop to write what was committed.

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
        advance: Advance | None = None,
    ) -> None:
        self._path = path
        self._name = name
        self._opener = Opener(path, mode, name, advance, self._call)
        self._file: EventFile | None = None
        self._seq = 0
        self._saved = 0
        self._known = False
        """The cursor in the database names the file that is open."""
        self._batch = _BATCH_FIRST
        self._synced_at = 0.0
        self._trouble = ""
        self._check_now = False
        self._check_at = 0.0
        self._nudged = asyncio.Event()
        self._named: set[ForeignChange] = set()
        self._executor: ThreadPoolExecutor | None = None

    @property
    def name(self) -> str:
        return self._name

    @property
    def health(self) -> OutputHealth:
        return OutputHealth(self._name, self._seq, self._trouble)

    def reopen(self) -> None:
        """Check the path at once, as after a rotation."""
        self._check_now = True
        self._nudged.set()

    async def inspect(self, log: EventLog) -> ResumePoint:
        """Where the file would go on, with nothing touched. Raises OutputError and OSError."""
        return await self._opener.inspect(log)

    async def prepare(self, log: EventLog) -> None:
        """Before the first event of this start is committed: lift the database's numbers above the file's, if need be.

        Does nothing else, and nothing at all when the path cannot be read now; `run` reports that.
        Raises what `advance` raises.
        """
        with contextlib.suppress(OSError, OutputError):
            await self._opener.prepare(log)

    async def run(self, log: EventLog) -> None:
        """Write events until cancelled.

        Raises OutputError when only a person can help (no regular file, no event file, another writer), and
        DurabilityError when a sync fails. A full disk or an unreachable path is waited out here.
        """
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=f"pollerd-{self._name}")
        delay = _RETRY_FIRST
        try:
            while True:
                try:
                    await self._step(log)
                except OSError as error:
                    self._note_trouble(error, log)
                    await self._nap(delay)
                    delay = min(delay * 2, _RETRY_MAX)
                else:
                    delay = _RETRY_FIRST
        except asyncio.CancelledError:
            await self._write_rest(log)
            raise
        finally:
            try:
                await self._finish(log)
            finally:
                self._executor.shutdown(wait=False)

    async def _step(self, log: EventLog) -> None:
        """One step: open or follow the path, write what is there, sync when due, and wait when nothing is."""
        self._nudged.clear()
        if self._file is None:
            self._file, self._known = await self._opener.first(log)
            self._seq, self._saved = self._file.seq, -1
            # At once, so that the place is known even if nothing comes: lines of a killed process may not be on disk.
            await self._checkpoint(log, self._file)
        elif self._check_now or (
            asyncio.get_running_loop().time() >= self._check_at
            and not await self._call(partial(self._file.is_at, self._path))
        ):
            self._check_now = False
            await self._follow(log, self._file)
        file = self._file
        # Before the write, so that what is written gets its sync even while nothing more can be.
        if file.seq > self._saved and asyncio.get_running_loop().time() - self._synced_at >= _SYNC_EVERY:
            await self._checkpoint(log, file)
        if not self._known:
            raise OSError(errno.EAGAIN, "its place cannot be kept while the database cannot be written")
        last = log.last
        events = await self._read(log, file)
        if events:
            await self._append(log, file, events)
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

    async def _write_rest(self, log: EventLog) -> None:
        """What was committed before the stop, as far as it can be written in a moment; a restart writes the rest."""
        clock = asyncio.get_running_loop().time
        until = clock() + _STOP_LIMIT
        with contextlib.suppress(OSError):
            while self._file is not None and self._known and not self._trouble and clock() < until:
                events = await self._read(log, self._file)
                if not events:
                    return
                await self._append(log, self._file, events)

    async def _read(self, log: EventLog, file: EventFile) -> Sequence[Event]:
        """The next events for the file: fewer at a time when they are large."""
        events = await log.read(file.seq, self._batch)
        size = sum(len(event.body) for event in events)
        self._batch = max(1, self._batch // 2) if size > _BATCH_BYTES else min(_BATCH, self._batch * 2)
        return events

    async def _append(self, log: EventLog, file: EventFile, events: Sequence[Event]) -> None:
        try:
            change = await self._call(partial(file.append, events))
            if change is not None:
                self._log_foreign_change(file, change)
                await self._checkpoint(log, file)
                await self._call(partial(file.append, events, settled=True))
            if file.seq < events[-1].seq:
                # As much waits for a sync as may.
                await self._checkpoint(log, file)
        finally:
            self._seq = file.seq

    def _log_foreign_change(self, file: EventFile, change: ForeignChange) -> None:
        if change in self._named:
            return
        self._named.add(change)
        if change is ForeignChange.SHRUNK:
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

    async def _checkpoint(self, log: EventLog, file: EventFile) -> bool:
        """What is written goes to disk, then the cursor follows; whether it could."""
        self._synced_at = asyncio.get_running_loop().time()
        seq, synced = await self._call(file.sync)
        failpoints.hit("file.before_cursor")
        saved = await self._save(log, Cursor(self._name, seq, synced.note))
        if saved:
            self._saved, self._known = seq, True
        failpoints.hit("file.after_cursor")
        return saved

    async def _save(self, log: EventLog, cursor: Cursor) -> bool:
        """Save the place; a database that cannot be written now must not keep events from the file."""
        try:
            await log.save_cursor(cursor)
        except StoreError as error:
            logger.debug("output %s: its place is not saved: %s", self._name, error)
            return False
        return True

    async def _idle(self, log: EventLog, file: EventFile, after: int) -> None:
        """Wait for an event with `seq > after`, a check of the path or a sync that becomes due."""
        pause = _CHECK_EVERY
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

    async def _follow(self, log: EventLog, old: EventFile) -> None:
        """The path may lead elsewhere: finish the old file and go on with the one that is there now."""
        await self._checkpoint(log, old)
        new = await self._opener.following(log, old)
        if new is None:
            return
        try:
            saved = await self._checkpoint(log, new)
        except BaseException:
            new.close()
            raise
        if not saved:
            # Until the database can say which file is written to, that is the old one.
            new.close()
            self._check_at = asyncio.get_running_loop().time() + _CHECK_EVERY
            return
        self._file, self._seq = new, new.seq
        old.close()
        logger.info(
            "output %s: %s was rotated, a new file begins after event %d",
            self._name,
            new.path,
            new.seq,
            extra={"event": "file_rotated"},
        )
        failpoints.hit("file.rotated")

    def _note_trouble(self, error: OSError, log: EventLog) -> None:
        trouble = f"{self._path}: {error.strerror or error}"
        if trouble != self._trouble:
            logger.error(
                "output %s: %s; %d events wait and are written as soon as it works again",
                self._name,
                trouble,
                max(0, log.last - self._seq),
                extra={"event": "output_trouble"},
            )
        self._trouble = trouble
        self._check_now = True

    async def _finish(self, log: EventLog) -> None:
        file, self._file = self._file, None
        if file is None:
            return
        try:
            if file.seq > self._saved:
                await self._checkpoint(log, file)
        finally:
            file.close()

    async def _call(self, work: Callable[[], R]) -> R:
        """Run a blocking call in the output's own thread, to its end."""
        assert self._executor is not None
        future = asyncio.get_running_loop().run_in_executor(self._executor, work)
        try:
            return await to_end(future)
        except asyncio.CancelledError:
            if future.exception() is None and isinstance(opened := future.result(), EventFile):
                opened.close()
            raise
