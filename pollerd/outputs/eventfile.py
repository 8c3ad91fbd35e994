"""The open event file: whole lines are appended, or nothing is. Blocking calls, for one thread at a time."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator, Sequence
from enum import Enum, auto
from pathlib import Path
from typing import Final, Self

from pollerd import failpoints
from pollerd.errors import DurabilityError, OutputError
from pollerd.event import Event
from pollerd.outputs.tail import Tail, survey

WRITE_SIZE: Final = 256 * 1024
"""Bytes given to one write, about."""

_DIRECTORY_MODE: Final = 0o750
_FLAGS: Final = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW


class Change(Enum):
    """What somebody else did to the file under our hands."""

    SHRUNK = auto()
    GROWN = auto()


def check_regular(path: Path) -> os.stat_result | None:
    """What is at `path`, None when nothing is. Raises OutputError when it is no regular file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    _require_regular(found, path)
    return found


def _require_regular(found: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise OutputError(f"{path} is not a regular file, so no events can be kept in it: name another path")


def inode(path: Path) -> int | None:
    """The inode at `path`, None when nothing is there."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def sync_directory(path: Path) -> None:
    """Put the names in a folder on disk. Raises DurabilityError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        # Some file systems know no sync of a folder.
        if error.errno in {errno.EINVAL, errno.ENOTSUP}:
            return
        raise DurabilityError(f"the folder {path} could not be synced to disk: {error.strerror}") from error
    finally:
        os.close(fd)


def make_parents(folder: Path) -> None:
    """Create the missing part of a folder's path, each with mode 0750 whatever the umask."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for part in reversed(missing):
        part.mkdir(mode=0o700, exist_ok=True)
        part.chmod(_DIRECTORY_MODE)


class EventFile:
    """A file open for appending, locked against a second writer.

    `seq` is the last event told so far, here or in the file before this one; `size` is where the last whole line ends;
    `created` tells that there was no file before.
    """

    def __init__(self, fd: int, path: Path, *, created: bool) -> None:
        self.path = path
        self.created = created
        self.inode = os.fstat(fd).st_ino
        self.seq = 0
        self.size = os.fstat(fd).st_size
        self._fd = fd
        self._torn = False
        self._gap = b""
        self._failed: DurabilityError | None = None

    @classmethod
    def open(cls, path: Path, mode: int) -> Self:
        """Open `path`, or create it with exactly `mode`. Raises OutputError and OSError."""
        check_regular(path)
        make_parents(path.parent)
        fd, created = _open(path, mode)
        try:
            _require_regular(os.fstat(fd), path)
            _lock(fd, path)
            # The name itself must outlast a power cut before anything in the file counts as told.
            sync_directory(path.parent)
            return cls(fd, path, created=created)
        except BaseException:
            os.close(fd)
            raise

    def survey(self, synced: int) -> Tail:
        """Look at the end of the file, see `tail.survey`."""
        return survey(self._fd, synced)

    def fileno(self) -> int:
        """The descriptor, for reading."""
        return self._fd

    def cut(self, end: int) -> None:
        """Remove what lies behind `end`."""
        os.ftruncate(self._fd, end)
        self.size = end

    def is_current(self) -> bool:
        """Whether the path still leads to this file (rotation renames it away)."""
        return inode(self.path) == self.inode

    def append(self, events: Sequence[Event]) -> Change | None:
        """Write the events' lines; `seq` and `size` follow each whole line written.

        Raises OSError when the system refuses; then no part of a line stays behind what was written whole, and the
        next call goes on there. Returns what others did to the file since the last call.
        """
        change = self._settle()
        for lines in _portions(events):
            self._write(lines)
        return change

    def sync(self) -> int:
        """Put all that is written on disk; returns its last `seq`. Raises DurabilityError, and then always."""
        if self._failed is not None:
            raise self._failed
        seq = self.seq
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
        return seq

    def close(self) -> None:
        """Give the file back; nothing is synced here."""
        os.close(self._fd)

    def _settle(self) -> Change | None:
        size = os.fstat(self._fd).st_size
        if size == self.size:
            return None
        if self._torn:
            self._cut_torn()
            return None
        change = Change.SHRUNK if size < self.size else Change.GROWN
        tail = survey(self._fd, 0)
        if change is Change.SHRUNK and tail.torn:
            self.cut(tail.end)
        elif tail.torn:
            # Another program's unfinished line is not ours to cut; a newline keeps our next line whole.
            self._gap = b"\n"
        self.size = os.fstat(self._fd).st_size
        return change

    def _write(self, lines: Sequence[tuple[int, bytes]]) -> None:
        gap, self._gap = self._gap, b""
        self.size += self._put(gap)
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
        if not data:
            return 0
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
