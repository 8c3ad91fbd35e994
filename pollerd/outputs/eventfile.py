"""The open event file: whole lines are appended, or nothing is. Blocking calls, for one thread at a time."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator, Sequence
from enum import Enum, auto
from pathlib import Path
from typing import Final, Self

from pollerd.base import failpoints
from pollerd.base.anchor import boot
from pollerd.base.errors import DurabilityError, OutputError
from pollerd.base.folders import create_folder, sync_folder
from pollerd.core.event import Event
from pollerd.outputs.filepath import (
    Identity,
    check_regular,
    doubts,
    identity,
    identity_of,
    refuse_strangers,
    require_regular,
)
from pollerd.outputs.synced import Synced
from pollerd.outputs.tail import Tail, first, survey

WRITE_SIZE: Final = 256 * 1024
"""Bytes given to one write, about."""

UNSYNCED: Final = 512 * 1024
"""Bytes that may be written and not yet synced: what a power cut can take. A single larger line is synced alone."""

_FLAGS: Final = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW


class ForeignChange(Enum):
    """What somebody else did to the file under our hands."""

    SHRUNK = auto()
    GROWN = auto()


class EventFile:
    """A file open for appending, locked against a second writer.

    `seq` is the last event reported so far, here or in the file before this one; `size` is where the last whole line
    ends; `created`: there was no file before, `doubts` what a person should know about the one that was there.
    """

    def __init__(self, fd: int, path: Path, *, created: bool) -> None:
        self.path = path
        self.created = created
        found = os.fstat(fd)
        self.identity: Identity = identity_of(found)
        self.doubts = tuple(f"{evidence}: {advice}" for evidence, advice in doubts(path, found))
        self.seq = 0
        self.size = found.st_size
        self._fd = fd
        self._synced = 0
        self._torn = False
        self._failed: DurabilityError | None = None

    @classmethod
    def open(cls, path: Path, mode: int) -> Self:
        """Open the resolved `path`, or create it with exactly `mode`. Raises OutputError and OSError."""
        check_regular(path)
        create_folder(path.parent)
        fd, created = _open(path, mode)
        try:
            found = os.fstat(fd)
            require_regular(found, path)
            # Once more, of what was opened: it may have been put there since the path was checked.
            refuse_strangers(path, found)
            _lock(fd, path)
            # The name itself must outlast a power cut before anything in the file counts as reported.
            sync_folder(path.parent)
            return cls(fd, path, created=created)
        except BaseException:
            os.close(fd)
            raise

    def survey(self, synced: int) -> Tail:
        """Read the end of the file, see `tail.survey`."""
        return survey(self._fd, synced)

    def fileno(self) -> int:
        """The descriptor, for reading."""
        return self._fd

    def cut(self, end: int) -> None:
        """Remove what lies behind `end`."""
        os.ftruncate(self._fd, end)
        self.size = end
        self._synced = min(self._synced, end)

    def is_at(self, path: Path) -> bool:
        """Whether the path leads to this file (rotation renames it away, links are put elsewhere)."""
        return identity(path) == self.identity

    @property
    def is_gone(self) -> bool:
        """Whether it has no name any more: it was deleted, as a program does that compresses it."""
        return os.fstat(self._fd).st_nlink == 0

    def append(self, events: Sequence[Event], *, settled: bool = False) -> ForeignChange | None:
        """Write the lines of as many events as may wait for a sync; `seq` and `size` follow each whole line written.

        Raises OSError when the system refuses; then no part of a line stays behind what was written whole, and the
        next call goes on there. When others did something to the file since the last call, that is returned and
        nothing is written: what they did is to be synced before lines of ours stand behind it. `settled`: it is.
        """
        change = None if settled else self._settle()
        if change is not None:
            return change
        for lines in _portions(events):
            waiting = self.size - self._synced
            if waiting and waiting + sum(len(line) for _, line in lines) > UNSYNCED:
                break
            self._write(lines)
        return None

    def sync(self) -> tuple[int, Synced]:
        """Put all that is written on disk; returns its last `seq` and what is synced. Raises DurabilityError, and then
        always.
        """
        if self._failed is not None:
            raise self._failed
        seq, size = self.seq, self.size
        try:
            failpoints.hit("file.before_fsync")
            os.fsync(self._fd)
        except OSError as error:
            self._failed = DurabilityError(
                f"{self.path} could not be synced to disk: {error.strerror}. The process ends; "
                "after a restart the file goes on from what is really in it. Check the disk."
            )
            raise self._failed from error
        failpoints.hit("file.after_fsync")
        self._synced = size
        device, inode = self.identity
        return seq, Synced(inode, device, size, boot())

    def sync_name(self) -> None:
        """Put the name that a rotation gave the file on disk, in whatever folder."""
        with contextlib.suppress(OSError):
            folder = Path(f"/proc/self/fd/{self._fd}").readlink().parent
            if folder != self.path.parent:
                sync_folder(folder)

    def first_event(self) -> int:
        """The number of the first event in the file; 0 when it begins with none."""
        line = first(self._fd)
        return line.seq if line is not None else 0

    def close(self) -> None:
        """Give the file back; nothing is synced here."""
        os.close(self._fd)

    def _settle(self) -> ForeignChange | None:
        size = os.fstat(self._fd).st_size
        if size == self.size:
            return None
        if self._torn:
            self._cut_torn()
            return None
        self._synced = min(self._synced, size)
        change = ForeignChange.SHRUNK if size < self.size else ForeignChange.GROWN
        tail = survey(self._fd, 0)
        if change is ForeignChange.SHRUNK and tail.torn:
            self.cut(tail.end)
        elif tail.torn:
            # Another program's unfinished line is not ours to cut; a newline keeps our next line whole.
            self._put(b"\n")
        self.size = os.fstat(self._fd).st_size
        return change

    def _write(self, lines: Sequence[tuple[int, bytes]]) -> None:
        data = b"".join(line for _, line in lines)
        done = 0
        try:
            failpoints.hit("file.before_write")
            while done < len(data):
                done += self._put(memoryview(data)[done:])
        except OSError:
            self._keep_whole(lines, done)
            raise
        self._keep_whole(lines, done)
        failpoints.hit("file.after_write")

    def _put(self, data: bytes | memoryview) -> int:
        if not failpoints.armed("file.mid_write") or len(data) < 2:
            return os.write(self._fd, data)
        written = os.write(self._fd, data[: len(data) // 2])
        self._torn = True
        failpoints.hit("file.mid_write")
        written += os.write(self._fd, data[written:])
        self._torn = False
        return written

    def _keep_whole(self, lines: Sequence[tuple[int, bytes]], done: int) -> None:
        for seq, line in lines:
            if len(line) > done:
                break
            done -= len(line)
            self.size += len(line)
            self.seq = seq
        if done:
            self._torn = True
        if self._torn:
            self._cut_torn()

    def _cut_torn(self) -> None:
        # Never longer than it is: ftruncate would fill up with NUL bytes if somebody shortened the file meanwhile.
        if os.fstat(self._fd).st_size > self.size:
            os.ftruncate(self._fd, self.size)
        self._torn = False


def _portions(events: Sequence[Event]) -> Iterator[list[tuple[int, bytes]]]:
    portion: list[tuple[int, bytes]] = []
    length = 0
    for event in events:
        line = event.line
        if portion and length + len(line) > WRITE_SIZE:
            yield portion
            portion, length = [], 0
        portion.append((event.seq, line))
        length += len(line)
    if portion:
        yield portion


def _open(path: Path, mode: int) -> tuple[int, bool]:
    """A descriptor of `path`, and whether it was created."""
    while True:
        try:
            fd = os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600 & mode)
        except FileExistsError:
            pass
        else:
            os.fchmod(fd, mode)
            return fd, True
        try:
            return os.open(path, _FLAGS), False
        except FileNotFoundError:
            # Rotated away between the two calls.
            continue


def _lock(fd: int, path: Path) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno == errno.EWOULDBLOCK:
            raise OutputError(
                f"another process writes events to {path}: stop it, or give this daemon a file of its own"
            ) from error
        # Some network file systems know no locks; the daemon's own lock is on the database.
        if error.errno not in {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}:
            raise
