"""Who owns a database: one process at a time, known by locks that die with their holder.

There are two: one on the database file itself (see `inode`), which holds for every name of it, and one on a file beside
it, where anybody may read the holder's process id without opening the database.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pwd
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from math import inf
from pathlib import Path
from typing import Final, Self

from pollerd.base import open_databases
from pollerd.base.errors import DatabaseBusyError, StoreError, StoreForbiddenError, StoreUnavailableError
from pollerd.base.folders import own_as_folder
from pollerd.store.sqlite import inode
from pollerd.store.sqlite.groupwrites import shared
from pollerd.store.sqlite.schema import create_database, forbidden, full

_LOCK_TIMEOUT: Final = 0.5
"""Seconds: a check by :func:`owner_pid` holds the lock for microseconds and must not turn a daemon away."""
_SETTLING: Final = 2.5
"""Seconds after which the two locks must agree: a daemon makes its lock's file anew within one."""
_CHECK_EVERY: Final = 0.05  # Seconds between two tries.
_PLAIN: Final = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
"""Never through a link, and never waiting for the other end of a pipe: a stranger may have put it there."""


def lock_path(database: str | os.PathLike[str]) -> Path:
    """The lock's file: beside the database that all names of it lead to."""
    return Path(os.path.realpath(database) + ".lock")


class FileOwnership:
    """The right to write to a database as its only owner, until released or until the process ends."""

    shared = offered = False
    active = True
    lost = took_over = unfit = ""
    others_until = -inf

    def __init__(self, database: Path, descriptor: int, locks: ExitStack) -> None:
        self._database = database
        self._path = lock_path(database)
        self._descriptor = descriptor
        self._locks = locks

    @classmethod
    def acquire(cls, database: str | os.PathLike[str], *, daemon: bool = False) -> Self:
        """Take the lock at once; an empty database file is made where there is none.

        `daemon` is not for commands, which hold it for a moment. Raises DatabaseBusyError when another owner has it,
        StoreUnavailableError when the disk is full, StoreError when it cannot be had.
        """
        path = Path(os.path.realpath(database))
        create_database(path)
        with ExitStack() as locks, _explained(path):
            held = open_databases.descriptor(path, writable=True)
            if daemon:
                if not inode.lock(held, inode.DAEMON):
                    raise _busy(path, owner_pid(path) or 0, daemon=True)
                locks.callback(inode.unlock, held, inode.DAEMON)
            descriptor = _open(lock_path(path), path)
            locks.callback(os.close, descriptor)
            if not _lock(descriptor):
                raise _busy(path, _pid(descriptor), daemon=not daemon and bool(inode.locked(held, inode.DAEMON)))
            if not inode.lock(held, inode.OWNER):
                # Whoever has it came by another name of the file.
                raise _busy(path, 0, daemon=not daemon and bool(inode.locked(held, inode.DAEMON)))
            locks.callback(inode.unlock, held, inode.OWNER)
            if not os.path.samestat(path.stat(), os.fstat(held)):
                raise StoreUnavailableError(f"the database {path} was replaced this very moment. Try again.")
            _write_pid(descriptor)
            locks.callback(os.ftruncate, descriptor, 0)
            return cls(path, descriptor, locks.pop_all())

    def holds(self) -> bool:
        """See `Ownership`: nobody takes a file's lock away."""
        return True

    def offer(self, offered: bool) -> None:
        """See `Ownership`: there is nobody to take it."""

    def accept(self) -> None:
        """See `Ownership`: nothing is offered."""

    def watch(self, changed: Callable[[], None]) -> None:
        """See `Ownership`: it never changes."""

    def tend(self) -> bool:
        """Make the lock's file anew where somebody has removed or replaced it; whether that was so. Raises StoreError.

        Others learn from it who owns the database; the lock on the database itself is still there.
        """
        with _explained(self._database):
            try:
                if os.path.samestat(self._path.lstat(), os.fstat(self._descriptor)):
                    return False
            except FileNotFoundError:
                pass
            made = _open(self._path, self._database)
            try:
                if _lock(made):
                    os.dup2(made, self._descriptor, inheritable=False)
                    _write_pid(self._descriptor)
            finally:
                os.close(made)
            return True

    def release(self) -> None:
        """Give the lock back; a second call does nothing."""
        self._locks.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def owner_pid(database: str | os.PathLike[str]) -> int | None:
    """The process id of the database's owner; None when it has none, 0 when it is not known."""
    pid = _holder(lock_path(database))
    return 0 if pid is None and _inode_locked(database) else pid


def _holder(path: Path) -> int | None:
    """The process id of who has the lock's file locked, 0 when it is not known; None when it is free."""
    try:
        descriptor = os.open(path, os.O_RDONLY | _PLAIN)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):
            return None
        raise _unusable(path, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _pid(descriptor)
    finally:
        os.close(descriptor)
    return None


def check_same_file(database: str | os.PathLike[str]) -> None:
    """Raises StoreUnavailableError when a daemon runs that would not get to see what is written here.

    Either another file was put in the place of the one that it has open, or it has this one by another name: through a
    hard link or a bind mount SQLite uses another `-wal` file.
    """
    path = Path(os.path.realpath(database))
    deadline = time.monotonic() + _SETTLING
    while True:
        by_name, by_file = _holder(lock_path(path)), _inode_locked(path)
        if by_file is None or by_file is (by_name is not None):
            return
        if time.monotonic() >= deadline:
            break
        time.sleep(_CHECK_EVERY)
    if by_file:
        raise StoreUnavailableError(
            f"the database {path} is in use under another name (a hard link, or a bind mount of the file), and writing "
            "to it under this one would damage it. Use the name that the daemon has in [store] path.",
        )
    who = f"process {by_name}" if by_name else "the daemon"
    raise StoreUnavailableError(
        f"the database {path} was removed or replaced while {who} runs on it. The daemon ends by itself in a moment; "
        "try again when it runs anew.",
    )


def check_ownable(database: str | os.PathLike[str]) -> None:
    """Raises StoreForbiddenError when there is a lock that this user may not take."""
    path = lock_path(database)
    if path.exists() and not os.access(path, os.W_OK):
        raise _unusable(path, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))


def complaint(path: Path, found: os.stat_result, database: Path) -> str:
    """Why the file at `path` cannot be the lock that pollerd made; empty when it can."""
    if stat.S_ISLNK(found.st_mode):
        return f"{path} is a symbolic link"
    if not stat.S_ISREG(found.st_mode):
        return f"{path} is no regular file"
    if found.st_nlink > 1:
        return f"{path} is another name of some other file (a hard link)"
    trusted = {0, os.geteuid(), path.parent.stat().st_uid, database.stat().st_uid}
    if found.st_uid not in trusted and not shared(found, database.stat()):
        return f"{path} belongs to {_user(found.st_uid)}, who has nothing to do with the database"
    return ""


def _user(uid: int) -> str:
    try:
        return f"the user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"the user {uid}"


def _open(path: Path, database: Path) -> int:
    """The lock's file, made where it is missing; never one that somebody else has put there."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _PLAIN, 0o640)
    except FileExistsError:
        descriptor = _open_existing(path, database)
    else:
        os.fchmod(descriptor, 0o640)
        own_as_folder(descriptor, path.parent)
    return descriptor


def _open_existing(path: Path, database: Path) -> int:
    try:
        descriptor = os.open(path, os.O_RDWR | _PLAIN)
    except OSError:
        # A link cannot be opened; that it is one says more than the system's word for it.
        _refuse(path, path.lstat(), database)
        raise
    try:
        found = os.fstat(descriptor)
        _refuse(path, found, database)
        if found.st_mode & stat.S_IRWXO:
            # Whoever may open it can hold the lock for ever.
            with contextlib.suppress(PermissionError):
                os.fchmod(descriptor, stat.S_IMODE(found.st_mode) & ~stat.S_IRWXO)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _refuse(path: Path, found: os.stat_result, database: Path) -> None:
    if said := complaint(path, found, database):
        raise StoreError(f"the lock is not what pollerd made: {said}. Find out who put it there, then remove it.")


def _lock(descriptor: int) -> bool:
    deadline = time.monotonic() + _LOCK_TIMEOUT
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.01)
        else:
            return True


def _inode_locked(database: str | os.PathLike[str]) -> bool | None:
    """Whether somebody owns the file itself; None when this user, or this system, cannot know."""
    try:
        return inode.locked(open_databases.descriptor(Path(os.path.realpath(database))), inode.OWNER)
    except FileNotFoundError:
        return False
    except OSError:
        return None


def _busy(database: Path, pid: int, *, daemon: bool) -> DatabaseBusyError:
    who = f"process {pid}" if pid else "another process"
    if daemon:
        text = f"{who} already runs on the database {database}. Stop it first, or give this one its own [store] path."
        return DatabaseBusyError(text, holder=f"{who}, a daemon", daemon=True)
    text = f"{who}, a command, has the database {database} for a moment. Try again when it is done."
    return DatabaseBusyError(text, holder=f"{who}, a command", daemon=False)


def _write_pid(descriptor: int) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


def _pid(descriptor: int) -> int:
    text = os.pread(descriptor, 20, 0).strip()
    return int(text) if text.isdigit() else 0


@contextmanager
def _explained(database: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _unusable(database if error.filename == str(database) else lock_path(database), error) from error


def _unusable(path: Path, error: OSError) -> StoreError:
    what = f"the {'lock' if path.suffix == '.lock' else 'database'} {path} cannot be used: {error.strerror}"
    if full(error):
        return StoreUnavailableError(f"{what}. Make room on the disk.")
    kind = StoreForbiddenError if forbidden(error) else StoreError
    return kind(
        f"{what}. Run as the user that owns the database, or give that user the right to it and its folder.",
    )
