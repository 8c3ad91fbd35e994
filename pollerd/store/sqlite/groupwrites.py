"""`[store] group_writes`: the rights with which members of the folder's group may write the database themselves.

SQLite gives -wal and -shm the mode of the database when it makes them, whoever that is; the folder's setgid bit gives
them its group.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

FOLDER: Final = 0o2770  # Rights of the folder: the group writes, and what is made in it belongs to the group.
FILE: Final = 0o660  # Rights of its files.
_OF_GROUP: Final = stat.S_ISGID | stat.S_IRWXG
_FILES: Final = ("", "-wal", "-shm", ".lock")


class Lacking(NamedTuple):
    """A file or folder that the group may not use as it must, and the rights that it has."""

    path: Path
    mode: int
    wanted: int

    def __str__(self) -> str:
        return f"{self.path} has mode {self.mode:04o}, and needs {self.wanted:04o} and the group of its folder"


def open_to_group(database: str | os.PathLike[str]) -> list[Lacking]:
    """Give the folder and the database's files these rights; what this user may not give is returned."""
    folder = Path(os.path.realpath(database)).parent
    for found in lacking(database):
        with contextlib.suppress(OSError):
            if found.path != folder:
                os.chown(found.path, -1, folder.stat().st_gid, follow_symlinks=False)
            found.path.chmod(found.mode | found.wanted & _OF_GROUP)
    return lacking(database)


def lacking(database: str | os.PathLike[str]) -> list[Lacking]:
    """What keeps a member of the folder's group from writing."""
    return [*_lacking(database)]


def shared(found: os.stat_result, database: os.stat_result) -> bool:
    """Whether a file belongs to the group whose members may write the database: any of them may have made it."""
    return found.st_gid == database.st_gid and bool(database.st_mode & stat.S_IWGRP)


def _lacking(database: str | os.PathLike[str]) -> Iterator[Lacking]:
    real = os.path.realpath(database)
    folder = Path(real).parent
    found = folder.stat()
    if not _has(found.st_mode, FOLDER):
        yield Lacking(folder, stat.S_IMODE(found.st_mode), FOLDER)
    for suffix in _FILES:
        path = Path(f"{real}{suffix}")
        try:
            of_file = path.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        if not _has(of_file.st_mode, FILE) or of_file.st_gid != found.st_gid:
            yield Lacking(path, stat.S_IMODE(of_file.st_mode), FILE)


def _has(mode: int, wanted: int) -> bool:
    return mode & wanted & _OF_GROUP == wanted & _OF_GROUP
