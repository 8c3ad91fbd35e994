"""Where the daemon stands: environment, folders and the file its configuration comes from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
import platformdirs

from pollerd.config.kinds import PathKind


class Place(msgspec.Struct, frozen=True):
    """``file`` is how messages name the configuration, ``base`` the folder its relative paths start at."""

    file: str
    base: Path
    env: Mapping[str, str]
    built_in: bool = False

    @property
    def path(self) -> PathKind:
        return PathKind(self.base, self.env.get("HOME"))

    def state_folder(self) -> Path:
        """``$STATE_DIRECTORY``, as systemd gives it, else the user's state folder."""
        given = self._folder("STATE_DIRECTORY")
        return given if given is not None else platformdirs.user_state_path("pollerd")

    def socket_folder(self, store: Path) -> Path:
        """``$RUNTIME_DIRECTORY``, as systemd gives it, else the database's own folder."""
        given = self._folder("RUNTIME_DIRECTORY")
        return given if given is not None else store.parent

    def credential(self, name: str) -> Path | None:
        """The systemd credential of this name, when there is one."""
        folder = self.env.get("CREDENTIALS_DIRECTORY")
        if not folder:
            return None
        found = self.base / folder / name
        try:
            return found if found.is_file() else None
        except OSError:
            return None

    def _folder(self, variable: str) -> Path | None:
        # systemd separates several folders by colons; the first is the main one.
        first = self.env.get(variable, "").split(":")[0]
        return self.base / first if first else None
