"""A Unix socket at a path: bound tightly, a stale one replaced, a live one of another process left alone."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path
from typing import Final, Self

from pollerd.base.errors import OutputError
from pollerd.base.folders import create_folder

BACKLOG: Final = 1024
"""Connections that may wait to be taken. They cost this process nothing, and one more would be refused."""
_PROBE_TIMEOUT: Final = 1.0  # Seconds for the other process to answer.
_PATH_LIMIT: Final = 107  # Bytes: 108 in Linux, the last one NUL; see unix(7).


class Listener:
    """A listening Unix stream socket and the path it was bound to."""

    def __init__(self, listening: socket.socket, path: Path) -> None:
        self.socket = listening
        self._path = path
        self._bound = _identity(path)

    @classmethod
    def bind(cls, path: Path, mode: int) -> Self:
        """Listen at `path` with exactly `mode`, whatever the umask; missing folders are created with mode 0750.

        Raises OutputError when the path is taken by something else than a stale socket, or cannot be used.
        """
        if len(bytes(path)) > _PATH_LIMIT:
            raise OutputError(
                f"{path} is too long for a Unix socket (at most {_PATH_LIMIT} bytes): name a shorter path"
            )
        try:
            create_folder(path.parent)
            _clear(path)
            return cls(_listen(path, mode), path)
        except OSError as error:
            raise OutputError(
                f"cannot listen at {path}: {error.strerror or error}. Make its folder writable for this user, "
                "or name another path"
            ) from error

    @property
    def in_place(self) -> bool:
        """Whether the path still leads to this socket."""
        return _identity(self._path) == self._bound

    def close(self) -> None:
        """Stop listening, and remove the socket file unless somebody else put one there meanwhile."""
        if self.in_place:
            self._path.unlink(missing_ok=True)
        self.socket.close()


def _listen(path: Path, mode: int) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.setblocking(False)
        # On Linux the file takes the mode of the unbound socket, so there is no moment when others may connect;
        # the umask, which belongs to the whole process, stays untouched.
        os.fchmod(listening.fileno(), 0o600 & mode)
        listening.bind(str(path))
        path.chmod(mode)
        listening.listen(BACKLOG)
    except BaseException:
        listening.close()
        raise
    return listening


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _clear(path: Path) -> None:
    """Remove a socket at which no process listens any more."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise OutputError(f"{path} exists and is not a socket: move it away, or name another path for the socket")
    if _is_live(path):
        raise OutputError(
            f"another process listens at {path}: stop it, or name another path for the socket of this daemon"
        )
    path.unlink(missing_ok=True)


def _is_live(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_TIMEOUT)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except TimeoutError:
            return True
        except OSError as error:
            # A full backlog, or a socket of another type: somebody is there.
            if error.errno in {errno.EAGAIN, errno.EPROTOTYPE}:
                return True
            raise
    return True
