"""Who owns the database and its folder, and who may read and write them."""

from __future__ import annotations

import grp
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pollerd.base.access import ENTER, WRITE, Person, may, myself, person
from pollerd.config import StoreConfig
from pollerd.deployment.doctor.check import Check, failure, ok, warning
from pollerd.deployment.doctor.unit import Unit
from pollerd.outputs.filepath import user
from pollerd.store.sqlite.groupwrites import lacking, shared
from pollerd.store.sqlite.lock import complaint, lock_path

NAME: Final = "rights"
_SIDE_FILES: Final = ("", "-wal", "-shm", ".lock")


def existing(path: Path) -> Path:
    """The path itself, or the nearest folder above it that exists."""
    for candidate in (path, *path.parents):
        try:
            candidate.lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError:
            # It may be there; that it cannot be seen is what will be reported.
            return candidate
        return candidate
    return Path("/")


def runs_as(database: Path, unit: Unit | None) -> Person:
    """Who runs the daemon: the service's user, else the owner of the database, else this process's user."""
    if unit is not None and (found := person(unit.last("User") or "root")) is not None:
        return found
    try:
        owner = person(database.stat().st_uid)
    except OSError:
        owner = None
    # Root may do anything, and says nothing about who will.
    mighty = os.geteuid() == 0 and os.access(database.parent, os.W_OK, effective_ids=True)
    return owner if owner is not None and not mighty else myself()


def may_write(path: Path, who: Person) -> bool:
    """Whether that user may write a file, or make files in a folder."""
    return may(who, WRITE, path) and (not path.is_dir() or may(who, ENTER, path))


def checks(store: StoreConfig, unit: Unit | None) -> Iterator[Check]:
    """The database's folder and files, as the daemon's user finds them."""
    database = Path(os.path.realpath(store.path))
    folder = database.parent
    there = existing(folder)
    who = runs_as(database, unit)
    me = who.name
    if there != folder:
        if may_write(there, who):
            yield ok(NAME, f"{folder} does not exist yet; {me} may make it")
        else:
            yield failure(NAME, f"{folder} does not exist and {me} may not make it", _give(folder))
        return
    found = folder.stat()
    mode = stat.S_IMODE(found.st_mode)
    facts = f"{folder} (owner {user(found.st_uid)}, mode {mode:04o})"
    if not may_write(folder, who):
        yield failure(NAME, f"{me} may not write to {facts}", _give(folder))
        return
    bad = [*_files(database, found, who), *_lock(database)]
    if store.group_writes:
        bad += [warning(NAME, f"group_writes = true, and {each}", _OPEN) for each in lacking(database)]
    elif mode & stat.S_IWGRP and database.exists() and database.stat().st_mode & stat.S_IWGRP:
        group = f"members of the group {_group(found.st_gid)} may write the database, though group_writes is not set"
        bad.append(warning(NAME, group, f"set it in [store], or run: chmod g-ws {folder}; chmod g-w {database}*"))
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        bad.append(warning(NAME, f"other users of this machine may look into {facts}", f"run: chmod o= {folder}"))
    yield from bad or [ok(NAME, f"{facts}; {me} may write")]


def _files(database: Path, folder: os.stat_result, who: Person) -> Iterator[Check]:
    owner = folder.st_uid
    for suffix in _SIDE_FILES:
        path = Path(f"{database}{suffix}")
        try:
            found = path.stat()
        except OSError:
            continue
        mode = stat.S_IMODE(found.st_mode)
        if not suffix and not found.st_size and found.st_uid != owner:
            evidence = f"{path} is empty and belongs to {user(found.st_uid)}: SQL came before the first start"
            yield warning(NAME, evidence, "nothing: the first start makes it anew. What was inserted then is not in it")
        elif found.st_uid != owner and os.geteuid() == 0 and not shared(found, folder):
            # Root may do anything, so the question is what the service's user may do.
            yield failure(
                NAME,
                f"{path} belongs to {user(found.st_uid)}, its folder to {user(owner)}, who may not write it",
                f"run: chown {user(owner)}: {path}",
            )
        elif not may_write(path, who):
            yield failure(NAME, f"{who.name} may not write {path} ({user(found.st_uid)}, {mode:04o})", _AS)
        elif mode & stat.S_IROTH and not suffix:
            yield warning(
                NAME, f"every user of this machine can read {path} (mode {mode:04o})", f"run: chmod o= {path}"
            )


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _lock(database: Path) -> Iterator[Check]:
    """Whether the lock's file is the one that pollerd made."""
    path = lock_path(database)
    try:
        found = path.lstat()
        said = complaint(path, found, database)
    except FileNotFoundError:
        return
    if said:
        yield failure(NAME, f"{said}, and no lock that pollerd made", f"find out who put it there; then: rm {path}")
    elif found.st_mode & stat.S_IRWXO:
        yield warning(
            NAME,
            f"every user of this machine can open {path} (mode {stat.S_IMODE(found.st_mode):04o}), and keep the daemon "
            "from starting by a lock on it",
            f"run: chmod o= {path}",
        )


_AS: Final = "run as the user of the service (sudo -u pollerd pollerd doctor), or chown the file to this one"


_OPEN: Final = (
    "restart the daemon, which sets what it may. Under systemd the folder's mode is the unit's: systemctl edit "
    "pollerd, with StateDirectoryMode=2770 under [Service] (pollerd service install --group-writes writes that); "
    "elsewhere run chmod 2770 on the folder and chmod 0660 on the files as their owner"
)


def _give(folder: Path) -> str:
    return f"make it for the service's user: install -d -m 0750 -o pollerd -g pollerd {folder}; or change [store] path"
