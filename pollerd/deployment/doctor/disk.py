"""Room on the file systems that are written to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pollerd.base.text import size
from pollerd.config import Config
from pollerd.deployment.doctor.check import Check, failure, ok, warning
from pollerd.deployment.doctor.rights import existing

NAME: Final = "disk"
FULL: Final = 100 * 1024**2  # Bytes.
SCARCE: Final = 1024**3  # Bytes.
SHARE: Final = 0.10
"""Less than FULL bytes free is a failure; less than SCARCE, or than this share, a warning."""


def checks(config: Config) -> Iterator[Check]:
    """One finding for each file system."""
    wanted = {"the database": config.store.path} if config.store.url is None else {}
    if config.outputs.file is not None:
        wanted["the event file"] = config.outputs.file.path
    by_device: dict[int, tuple[Path, list[str]]] = {}
    for what, path in wanted.items():
        folder = existing(path.parent)
        by_device.setdefault(folder.stat().st_dev, (folder, []))[1].append(what)
    for folder, whats in by_device.values():
        yield judge(folder, " and ".join(whats), os.statvfs(folder))


def judge(folder: Path, what: str, found: os.statvfs_result) -> Check:
    """One file system, by what statvfs says of it."""
    free, total = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
    facts = f"{size(free)} free of {size(total)} for {what} ({folder})"
    room = "make room there, or move it to a larger file system ([store] path, [outputs.file] path)"
    if found.f_flag & os.ST_RDONLY:
        return failure(NAME, f"the file system of {folder} is mounted read-only", "mount it for writing")
    if found.f_files and not found.f_favail:
        return failure(NAME, f"no inodes are free for {what} ({folder})", "delete files there")
    if free < FULL:
        return failure(NAME, f"only {facts}", f"{room}; while it is full nothing is lost, but nothing is reported")
    if free < SCARCE or free < SHARE * total:
        return warning(NAME, f"only {facts}", room)
    return ok(NAME, facts)
