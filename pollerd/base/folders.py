"""Folders that pollerd makes: closed to others whatever the umask, and on disk before anything is put into them."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

from pollerd.base.errors import DurabilityError

_MODE: Final = 0o750
"""The group may read, so that members of the service's group can follow the event file."""


def create_folder(folder: Path) -> None:
    """Create the folder and those above it where they are missing. Raises OSError, DurabilityError."""
    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    for parent in reversed(missing):
        try:
            parent.mkdir(mode=_MODE)
        except FileExistsError:
            continue
        parent.chmod(_MODE)
        sync_folder(parent.parent)


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on disk. Raises DurabilityError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems know no sync of a folder.
        if error.errno in {errno.EINVAL, errno.ENOTSUP}:
            return
        raise DurabilityError(f"the folder {folder} could not be synced to disk: {error.strerror}") from error
    finally:
        os.close(descriptor)


def own_as_folder(descriptor: int, folder: Path) -> None:
    """Give a file that root has just made to the owner of its folder: otherwise the service could not write it."""
    if os.geteuid() == 0:
        owner = folder.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
