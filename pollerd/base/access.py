"""What another user may do with a file: the service's user above all, whom root's own rights say nothing about."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path
from typing import Final, NamedTuple

READ: Final = "r"
WRITE: Final = "w"
ENTER: Final = "x"
_BITS: Final = {READ: stat.S_IROTH, WRITE: stat.S_IWOTH, ENTER: stat.S_IXOTH}
_TIMEOUT: Final = 5.0
"""Seconds for one question; a network file system may not answer at all."""


class Person(NamedTuple):
    """A user with all groups."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]

    @property
    def me(self) -> bool:
        """Whether this process runs as that user."""
        return self.uid == os.geteuid()

    @property
    def group(self) -> str:
        """The main group's name."""
        try:
            return grp.getgrgid(self.gid).gr_name
        except KeyError:
            return str(self.gid)


def person(user: str | int) -> Person | None:
    """The user of this name or number; None when there is none."""
    try:
        number = isinstance(user, int) or user.isdigit()
        found = pwd.getpwuid(int(user)) if number else pwd.getpwnam(str(user))
    except KeyError:
        return None
    groups = os.getgrouplist(found.pw_name, found.pw_gid)
    return Person(found.pw_name, found.pw_uid, found.pw_gid, tuple(groups))


def myself() -> Person:
    """Who this process runs as."""
    uid, gid = os.geteuid(), os.getegid()
    found = person(uid)
    return Person(found.name if found is not None else str(uid), uid, gid, tuple(os.getgroups()))


def may(who: Person, what: str, path: Path) -> bool:
    """Whether `who` may read, write or (a folder) enter `path`: as the system says it, or else as the modes do."""
    if who.me:
        return os.access(path, {READ: os.R_OK, WRITE: os.W_OK, ENTER: os.X_OK}[what], effective_ids=True)
    asked = _asked(who, what, path)
    return _by_mode(who, what, path) if asked is None else asked


def closed(who: Person, path: Path) -> Path:
    """The first folder on the way to `path` that `who` may not enter, else `path` itself."""
    return next((folder for folder in reversed(path.parents) if not may(who, ENTER, folder)), path)


def _asked(who: Person, what: str, path: Path) -> bool | None:
    """The system's own word, lists of rights (ACLs) included; None where this process may not become that user."""
    # Here only: most commands ask about no other user.
    import shutil
    import subprocess

    program = shutil.which("test", path="/usr/bin:/bin")
    if program is None or os.geteuid() != 0:
        return None
    try:
        done = subprocess.run(  # noqa: S603 - a fixed program, and a path that no shell reads
            [program, f"-{what}", str(path)],
            user=who.uid,
            group=who.gid,
            extra_groups=who.groups,
            cwd="/",
            timeout=_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.returncode == 0


def _by_mode(who: Person, what: str, path: Path) -> bool:
    if who.uid == 0:
        return True
    try:
        found = path.stat()
    except OSError:
        return False
    bit = _BITS[what]
    if found.st_uid == who.uid:
        return bool(found.st_mode & bit << 6)
    return bool(found.st_mode & (bit << 3 if found.st_gid in who.groups else bit))
