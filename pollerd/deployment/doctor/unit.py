"""What the installed systemd unit says: which configuration, which credentials, where it may write."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Self

import msgspec

from pollerd.base.service import FOLDERS, UNIT
from pollerd.config import Service
from pollerd.config.search import SYSTEM_FILE

NAME: Final = UNIT
_SETTING: Final = re.compile(r"\s*([A-Za-z]+)\s*=\s*(.*?)\s*")
_ROOTS: Final = {
    "StateDirectory": "/var/lib",
    "RuntimeDirectory": "/run",
    "CacheDirectory": "/var/cache",
    "LogsDirectory": "/var/log",
}


# Source: systemd.exec(5). The first names a file, a folder or a socket; what the others hold cannot be read outside.
_PLAIN: Final = "LoadCredential"
_SEALED: Final = ("LoadCredentialEncrypted", "SetCredential", "SetCredentialEncrypted")


class Unit(msgspec.Struct, frozen=True):
    """A unit with its drop-ins; every setting as the list of values that are in force."""

    path: Path
    settings: Mapping[str, tuple[str, ...]]

    @classmethod
    def find(cls, folders: Sequence[Path] = FOLDERS) -> Self | None:
        """The installed unit, None when there is none that can be read."""
        path = next((folder / NAME for folder in folders if (folder / NAME).is_file()), None)
        if path is None:
            return None
        settings: dict[str, list[str]] = {}
        try:
            for file in (path, *_drop_ins(folders)):
                for line in _lines(file.read_text(encoding="utf-8", errors="replace")):
                    _take(line, settings)
        except OSError:
            return None
        return cls(path, {name: tuple(values) for name, values in settings.items()})

    @property
    def configuration(self) -> Path | None:
        """The file that ExecStart names, else the one that is read without a name; None when it is unknown."""
        words = self._command
        for option, value in itertools.pairwise((*words, "")):
            if option in ("-c", "--config") and value:
                return Path(value)
            if option.startswith("--config="):
                return Path(option.removeprefix("--config="))
        return SYSTEM_FILE if "run" in words else None

    @property
    def program(self) -> str:
        """What ExecStart runs; empty when it names nothing."""
        return self._command[0].lstrip("-@:+!") if self._command else ""

    @property
    def _command(self) -> tuple[str, ...]:
        try:
            return tuple(shlex.split(self.last("ExecStart"), comments=False))
        except ValueError:
            # A quote that is not closed: systemd does not start it either.
            return ()

    @property
    def credentials(self) -> Mapping[str, Path | None]:
        """What systemd gives the service, by name: the file that it is read from, None when it is no plain file."""
        found: dict[str, Path | None] = {}
        for setting in (*_SEALED, _PLAIN):
            for value in self.settings.get(setting, ()):
                name, _, source = value.partition(":")
                plain = setting == _PLAIN and source.startswith("/") and "%" not in source
                found[name] = Path(source) if plain else None
        return found

    @property
    def service(self) -> Service:
        """What the configuration's secrets may come from."""
        return Service(self.path, self.credentials, self.last("User"))

    def uses(self, configuration: Path) -> bool:
        """Whether it starts the daemon with this very file."""
        try:
            return self.configuration is not None and self.configuration.samefile(configuration)
        except OSError:
            return False

    @property
    def strict(self) -> bool:
        """Whether it may write to named folders alone."""
        return self.last("ProtectSystem") == "strict"

    @property
    def made(self) -> tuple[Path, ...]:
        """Folders that systemd itself makes for the service."""
        return tuple(
            Path(root, name)
            for setting, root in _ROOTS.items()
            for value in self.settings.get(setting, ())
            for name in value.split()
        )

    @property
    def writable(self) -> tuple[Path, ...]:
        """Folders that the service may write to when it is `strict`."""
        named = [Path(path.lstrip("-+")) for value in self.settings.get("ReadWritePaths", ()) for path in value.split()]
        return (*self.made, *named)

    def last(self, name: str) -> str:
        """A setting of which the last value counts; empty when it is not there."""
        return self.settings.get(name, ("",))[-1]


def _drop_ins(folders: Sequence[Path]) -> list[Path]:
    # A name in a folder with more weight hides the same name in the others.
    found: dict[str, Path] = {}
    for folder in reversed(folders):
        found.update((path.name, path) for path in (folder / f"{NAME}.d").glob("*.conf"))
    return [found[name] for name in sorted(found)]


def _lines(text: str) -> Iterator[str]:
    for line in re.sub(r"\\\n", " ", text).splitlines():
        if line.strip() and line.lstrip()[0] not in "#;[":
            yield line


def _take(line: str, settings: dict[str, list[str]]) -> None:
    match = _SETTING.fullmatch(line)
    if match is None:
        return
    name, value = match[1], match[2]
    if value:
        settings.setdefault(name, []).append(value)
    else:
        settings.pop(name, None)
