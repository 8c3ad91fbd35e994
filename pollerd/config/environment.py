"""What a configuration is read with: the environment, the folders, and the file that it comes from."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from pollerd.base.access import person


class Service(msgspec.Struct, frozen=True):
    """The installed service: its unit, the files of the credentials that it loads, and the user that it runs as (empty:
    not said).

    None instead of a file: systemd has the credential from elsewhere (encrypted, its own store).
    """

    unit: Path
    credentials: Mapping[str, Path | None]
    user: str = ""


SYSTEM_CREDENTIALS: Final = Path("/run/credentials")
"""Below it each service has its credentials, as systemd.exec(5) says."""

_LONGEST_BLANK: Final = 64
"""Bytes that are read: more white space than this is no empty file, but a broken one."""

FindService = Callable[[Path], Service | None]
"""The service that uses the configuration at this path, if any."""


class LoadContext(msgspec.Struct, frozen=True):
    """``file`` is how messages name the configuration, ``base`` the folder its relative paths start at.

    ``service``: who will use it, when that is not this process.
    """

    file: str
    base: Path
    env: Mapping[str, str]
    built_in: bool = False
    service: Service | None = None

    def absolute(self, path: Path) -> Path:
        """The path from the root on; ``~`` is the home folder, and relative ones start at ``base``."""
        home = self.env.get("HOME")
        if home and path.parts[:1] == ("~",):
            path = Path(home, *path.parts[1:])
        # "a/../b" must compare equal to "b"; symbolic links are left to the operating system.
        return Path(os.path.normpath(self.base / path))

    def state_folder(self) -> Path:
        """``$STATE_DIRECTORY``, as systemd gives it, else the user's state folder."""
        given = self._folder("STATE_DIRECTORY")
        if given is not None:
            return given
        # Slow to import, and a service's configuration has paths of its own.
        import platformdirs

        return platformdirs.user_state_path("pollerd")

    def socket_folder(self, store: Path) -> Path:
        """``$RUNTIME_DIRECTORY``, as systemd gives it, else the database's own folder."""
        given = self._folder("RUNTIME_DIRECTORY")
        return given if given is not None else store.parent

    @property
    def reader(self) -> str:
        """The service's user, where this process runs as another one; empty else."""
        found = person(self.service.user) if self.service is not None and self.service.user else None
        return "" if found is None or found.me else found.name

    @property
    def credentials(self) -> Path | None:
        """Where systemd gives this process its credentials."""
        folder = self.env.get("CREDENTIALS_DIRECTORY")
        return self.base / folder if folder else None

    def credential(self, name: str) -> Path | None:
        """The systemd credential of this name, when there is one. An empty one is none: the unit gives that instead of
        a file that is not there."""
        if self.credentials is None:
            return None
        found = self.credentials / name
        try:
            return found if found.is_file() and not blank(found) else None
        except OSError:
            return None

    def credential_at(self, path: Path) -> str | None:
        """The credential's name, when the path is where systemd puts one."""
        folders = (SYSTEM_CREDENTIALS, *([self.credentials] if self.credentials is not None else []))
        return path.name if any(path.is_relative_to(folder) for folder in folders) else None

    def _folder(self, variable: str) -> Path | None:
        # systemd separates several folders by colons; the first is the main one.
        first = self.env.get(variable, "").split(":")[0]
        return self.base / first if first else None


def blank(path: Path) -> bool:
    """Whether nothing is in the file but white space. Raises OSError."""
    with path.open("rb") as file:
        return not file.read(_LONGEST_BLANK).strip()
