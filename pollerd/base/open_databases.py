"""Descriptors of SQLite databases that stay open for the life of the process.

POSIX drops every lock that a process has on a file when it closes any descriptor of that file, whoever opened it
(https://www.sqlite.org/howtocorrupt.html, 2.2): the locks of SQLite's own connections too, and then two writers damage
the database. What this process may have open through SQLite is therefore never opened and closed beside it. `stat`
answers most questions; for the others there is one descriptor here.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Final

_turn: Final = threading.Lock()
_kept: Final[dict[tuple[int, int, bool], int]] = {}
"""By device, inode, and whether it is open for writing."""


def descriptor(path: Path, *, writable: bool = False) -> int:
    """The descriptor of the file at `path`, opened where it is not yet. Never close it. Raises OSError."""
    with _turn:
        found = path.stat()
        for kind in {writable, True}:
            if (known := _kept.get((found.st_dev, found.st_ino, kind))) is not None:
                return known
        _let_go_of_deleted()
        # Without O_NONBLOCK a pipe that somebody put there would block the process.
        opened = os.open(path, (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC | os.O_NONBLOCK)
        there = os.fstat(opened)
        # Replaced between the two calls by a file that is known: the second descriptor is left open as well.
        return _kept.setdefault((there.st_dev, there.st_ino, writable), opened)


def _let_go_of_deleted() -> None:
    # A deleted file cannot be opened any more, so that its locks keep no one out; its space would stay taken.
    for key, number in list(_kept.items()):
        if os.fstat(number).st_nlink == 0:
            del _kept[key]
            os.close(number)
