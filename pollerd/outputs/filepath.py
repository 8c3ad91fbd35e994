"""The way to the event file: followed link by link, and nothing on it that a stranger may have put there."""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import stat
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from pollerd.base.errors import OutputError

Identity = tuple[int, int]
"""Device and inode: which file it is, whatever its name. An inode number alone is given by every file system anew."""

_LINKS: Final = 40
"""Symbolic links followed, as many as Linux itself follows."""
_GROUP_OR_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH


class PathError(OutputError):
    """The path cannot hold events until a person has seen to it: what shows that, and what to do."""

    def __init__(self, evidence: str, advice: str) -> None:
        super().__init__(f"{evidence}: {advice}")
        self.evidence = evidence
        self.advice = advice


def resolve(path: Path, trusted: Collection[int] = ()) -> Path:
    """Where `path` leads; a file need not be there. `trusted`: users whose files are no stranger's.

    Raises PathError for links that lead nowhere but to each other, and for a link or a folder that a stranger has made
    where everybody may; OSError when the way cannot be read.
    """
    at = path.absolute()
    try:
        for _ in range(_LINKS):
            at = Path(os.path.realpath(at.parent)) / at.name
            for part in (at, *at.parents):
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    refuse_strangers(part, part.lstat(), trusted)
            if not at.is_symlink():
                return at
            at = at.parent / at.readlink()
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
    raise PathError(f"{path} is a loop of symbolic links", "let it lead to a file, or name another path")


def refuse_strangers(part: Path, found: os.stat_result, trusted: Collection[int] = ()) -> None:
    """Raises PathError when what was found at `part` was put there by a stranger, where everybody may."""
    maker = _stranger(part, found, trusted)
    if maker is None or not part.parent.stat().st_mode & stat.S_IWOTH:
        return
    what = "link" if stat.S_ISLNK(found.st_mode) else "folder" if stat.S_ISDIR(found.st_mode) else "file"
    raise PathError(
        f"{part} is a {what} that {user(maker)} has put where everybody may, so nothing is written to it",
        "remove it once you have checked it, or give it to the daemon's user by chown, or name another path",
    )


def doubts(path: Path, found: os.stat_result, trusted: Collection[int] = ()) -> Iterator[tuple[str, str]]:
    """What a person should know about the file at a resolved `path`: what shows it, and what to do."""
    maker = _stranger(path, found, trusted)
    if maker is not None:
        yield (
            f"{path} belongs to {user(maker)}, who may read and change it, in a folder where its group may put files",
            f"give {path} to the daemon's user by chown, or name a file in another folder",
        )
    if found.st_mode & stat.S_IWOTH:
        yield (
            f"every user of this machine may write to {path}, so that its lines may be anybody's",
            f"run: chmod o-w {path}",
        )


def _stranger(path: Path, found: os.stat_result, trusted: Collection[int]) -> int | None:
    """Who made what is at `path`, unless it is someone who is trusted with its folder anyway."""
    folder = path.parent.stat()
    if not folder.st_mode & _GROUP_OR_OTHERS or found.st_uid in {0, os.geteuid(), folder.st_uid, *trusted}:
        return None
    return found.st_uid


def user(uid: int) -> str:
    """The user's name, or its number when it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def identity(path: Path) -> Identity | None:
    """Which file is at `path`, None when nothing is there. Links are followed."""
    try:
        return identity_of(path.stat())
    except FileNotFoundError:
        return None


def identity_of(found: os.stat_result) -> Identity:
    """Which file was examined."""
    return found.st_dev, found.st_ino


def check_regular(path: Path) -> os.stat_result | None:
    """What is at `path`, None when nothing is. Raises PathError when it is no regular file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    require_regular(found, path)
    return found


def require_regular(found: os.stat_result, path: Path) -> None:
    """Raises PathError when events cannot be kept in what was found at `path`."""
    if not stat.S_ISREG(found.st_mode):
        raise PathError(f"{path} is not a regular file, so no events can be kept in it", "name another path")
