"""Locks on the database file itself: one file has one lock, by whatever path it is reached.

They are open file description locks (fcntl(2), Linux) on single bytes far behind the end of any database. SQLite locks
bytes around 1 GiB (https://www.sqlite.org/fileformat.html, 1.4.1), so that the two never meet. `flock` would do as well
on a local disk, but NFS emulates it by a lock on the whole file, which would lock out SQLite itself. A lock ends with
the process; its descriptor is never closed, see `pollerd.base.open_databases`.
"""

from __future__ import annotations

import errno
import fcntl
import struct
import threading
from typing import Final

OWNER: Final = 1 << 62
"""The byte that the owner of the database locks: a daemon, or a command that does its work itself."""
DAEMON: Final = OWNER + 1
"""The byte that a daemon locks first, and no command: distinguishes the two, whatever files say."""

_FLOCK: Final = "hhqqi"
"""struct flock: type, whence, start, length, pid. The pid must be 0 for these locks."""
_BUSY: Final = frozenset({errno.EAGAIN, errno.EACCES})
_UNKNOWN: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
"""What a kernel answers that has no such locks (gVisor): the lock file alone guards the database there."""
_turn: Final = threading.Lock()
_ours: Final[set[tuple[int, int]]] = set()
"""Locks of this process: it meets none of its own."""


def lock(descriptor: int, byte: int) -> bool:
    """Take a lock; False when somebody has it. Raises OSError."""
    with _turn:
        if (descriptor, byte) in _ours:
            return False
        try:
            _ask(descriptor, fcntl.F_OFD_SETLK, fcntl.F_WRLCK, byte)
        except OSError as error:
            if error.errno in _BUSY:
                return False
            if error.errno not in _UNKNOWN:
                raise
            # Here only: whoever imports the client shall not pay for logging.
            import logging

            logging.getLogger(__name__).warning(
                "this system cannot lock a file by its inode: see to it that no second daemon runs on the database "
                "under another name (hard link, bind mount)",
                extra={"event": "inode_not_locked"},
            )
        _ours.add((descriptor, byte))
        return True


def unlock(descriptor: int, byte: int) -> None:
    """Give a lock back that `lock` took."""
    with _turn:
        _ours.discard((descriptor, byte))
        try:
            _ask(descriptor, fcntl.F_OFD_SETLK, fcntl.F_UNLCK, byte)
        except OSError as error:
            if error.errno not in _UNKNOWN:
                raise


def locked(descriptor: int, byte: int) -> bool | None:
    """Whether anybody has it, this process included; None where the system knows no such locks. Raises OSError."""
    with _turn:
        if (descriptor, byte) in _ours:
            return True
        try:
            return _ask(descriptor, fcntl.F_OFD_GETLK, fcntl.F_WRLCK, byte) != fcntl.F_UNLCK
        except OSError as error:
            if error.errno in _UNKNOWN:
                return None
            raise


def _ask(descriptor: int, command: int, kind: int, byte: int) -> int:
    answer = fcntl.fcntl(descriptor, command, struct.pack(_FLOCK, kind, 0, byte, 1, 0))
    return int(struct.unpack_from("h", answer)[0])
