"""Whether the service's user may read what the configuration names: `check` runs as root, who may read everything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pollerd.base.access import READ, Person, closed, may, person
from pollerd.config.environment import Service
from pollerd.config.problem import Problem, show
from pollerd.config.secret import FileSecret
from pollerd.config.tables import Config


def service_person(service: Service | None) -> Person | None:
    """Who the service runs as, where that is somebody else than this process."""
    found = person(service.user) if service is not None and service.user else None
    return None if found is None or found.me else found


def unreadable(config: Config, service: Service | None) -> Iterator[Problem]:
    """Each file of the configuration, itself included, that the service could not read."""
    who = service_person(service)
    if who is None:
        return
    for key, path in _files(config):
        if path.exists() and not may(who, READ, path):
            yield Problem(config.source, key, show(str(path)) if key else None, _why(who, path))


def _files(config: Config) -> Iterator[tuple[str, Path]]:
    yield "", Path(config.source)
    for source in config.secret_sources():
        # What systemd loads it reads as root.
        if isinstance(source, FileSecret) and source.unit is None and source.credential is None:
            yield source.origin.key, source.path
    for account in config.accounts.values():
        if account.ca_file is not None:
            yield f"accounts.{account.name}.ca_file", account.ca_file


def _why(who: Person, path: Path) -> str:
    folder = closed(who, path)
    if folder != path:
        what = f"may not be read by {who.name}, who runs the service and may not enter {folder}"
        return f"{what}; move the file to another folder"
    right = f"run: chgrp {who.group} {path} && chmod g+r {path}"
    return f"may not be read by {who.name}, who runs the service; {right}"
