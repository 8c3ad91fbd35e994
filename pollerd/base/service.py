"""Whether pollerd is installed as a service here, and how its daemon is started then."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

UNIT: Final = "pollerd.service"
FOLDERS: Final = tuple(
    Path(folder)
    for folder in (
        "/etc/systemd/system",
        "/run/systemd/system",
        "/usr/local/lib/systemd/system",
        "/usr/lib/systemd/system",
        "/lib/systemd/system",
    )
)
SEARCH_PATH: Final = "SYSTEMD_UNIT_PATH"
"""Replaces FOLDERS, or comes before them when it ends in a colon, as systemd.unit(5) has it."""
JOIN: Final = "sudo usermod -aG pollerd NAME, then log in again"
"""How an ordinary user gets the right to ask the daemon and to read what it keeps."""


def folders_of(env: Mapping[str, str]) -> tuple[Path, ...]:
    """Where systemd searches for units, most weight first."""
    given = env.get(SEARCH_PATH, "")
    named = tuple(Path(folder) for folder in given.split(":") if folder)
    return (*named, *FOLDERS) if not named or given.endswith(":") else named


def installed(env: Mapping[str, str] = os.environ) -> bool:
    """Whether a unit is installed."""
    return any((folder / UNIT).is_file() for folder in folders_of(env))


def start_command() -> str:
    """What starts the daemon on this machine."""
    return "systemctl start pollerd" if installed() else "pollerd run"
