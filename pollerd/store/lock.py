"""Who owns a database: one process at a time, told by a lock that dies with its holder."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from pollerd.errors import DatabaseBusyError, StoreError, StoreForbiddenError
from pollerd.store.schema import create_folder, forbidden, own_as_folder

_PATIENCE: Final = 0.5
"""Seconds: a look by :func:`owner_pid` holds the lock for microseconds and must not turn a daemon away."""


def lock_path(database: str | os.PathLike[str]) -> Path:
    """The lock's file: beside the database that all names of it lead to."""
    return Path(os.path.realpath(database) + ".lock")


class Ownership:
    """The right to write to a database as its only owner, until released or until the process ends."""

    __slots__ = ("_descriptor",)

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    @classmethod
    def acquire(cls, database: str | os.PathLike[str]) -> Self:
        """Take the lock at once. Raises DatabaseBusyError when another owner has it, StoreError when it cannot be had.

        The file is never unlinked: whoever had it open would lock a file that nobody else can see.
        """
        path = lock_path(database)
        descriptor = _open(path)
        try:
            _lock(descriptor, path)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(descriptor)

    def release(self) -> None:
        """Give the lock back; a second call does nothing."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.ftruncate(descriptor, 0)
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()


def owner_pid(database: str | os.PathLike[str]) -> int | None:
    """The process id of the database's owner; None when nobody owns it, 0 when the owner has not written it yet."""
    path = lock_path(database)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unusable(path, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _pid(descriptor)
    finally:
        os.close(descriptor)
    return None


def check_ownable(database: str | os.PathLike[str]) -> None:
    """Raises StoreForbiddenError when there is a lock that this user may not take."""
    path = lock_path(database)
    if path.exists() and not os.access(path, os.W_OK):
        raise _unusable(path, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))


def _open(path: Path) -> int:
    with _explained(path):
        create_folder(path.parent)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        except FileExistsError:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        os.fchmod(descriptor, 0o640)
        own_as_folder(descriptor, path.parent)
        return descriptor


def _lock(descriptor: int, path: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            with _explained(path):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise _busy(descriptor, path) from None
            time.sleep(0.01)
        else:
            return


def _busy(descriptor: int, path: Path) -> DatabaseBusyError:
    pid = _pid(descriptor)
    who = f"process {pid}" if pid else "another process"
    database = str(path).removesuffix(".lock")
    return DatabaseBusyError(
        f"{who} already runs on the database {database}. Stop it first, or give this one its own [store] path.",
    )


def _pid(descriptor: int) -> int:
    text = os.pread(descriptor, 20, 0).strip()
    return int(text) if text.isdigit() else 0


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (BlockingIOError, FileExistsError):
        raise
    except OSError as error:
        raise _unusable(path, error) from error


def _unusable(path: Path, error: OSError) -> StoreError:
    kind = StoreForbiddenError if forbidden(error) else StoreError
    return kind(
        f"the lock {path} cannot be used: {error.strerror}. "
        "Run as the user that owns the database, or give that user the right to it and its folder.",
    )
