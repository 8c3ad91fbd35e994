"""The SQLite file in every way that it is used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pollerd.core.ports import Handover, Store, View
from pollerd.core.ports.engine import Backup
from pollerd.store.commands import StoredHandover
from pollerd.store.search import SearchView
from pollerd.store.sqlite import groupwrites, lock
from pollerd.store.sqlite.command import CommandConnection
from pollerd.store.sqlite.lock import FileOwnership
from pollerd.store.sqlite.reader import SqliteReader


class SqliteEngine:
    """Fulfils `ports.Engine` for the database at `path`. What costs time to import is imported when it is used."""

    def __init__(self, path: Path, *, group_writes: bool = False) -> None:
        self._path = path
        self._group_writes = group_writes

    @property
    def where(self) -> str:
        """See `Engine`: the path."""
        return str(self._path)

    def own(self, *, daemon: bool = False) -> FileOwnership:
        owned = FileOwnership.acquire(self._path, daemon=daemon)
        self._open_to_group(logged=daemon)
        return owned

    async def open(self, wall: Callable[[], float]) -> Store:
        from pollerd.store.sqlite.store import SqliteStore

        return await SqliteStore.open(self._path, wall)

    def view(self) -> View:
        return SearchView(SqliteReader.open(self._path))

    def inspect(self) -> View:
        return SearchView(SqliteReader.inspect(self._path))

    def handover(self) -> Handover:
        opened = CommandConnection.open(self._path)
        self._open_to_group()
        return StoredHandover(opened)

    def _open_to_group(self, *, logged: bool = False) -> None:
        """As soon as there are files: what SQLite makes beside them gets the same rights."""
        if self._group_writes and (lacking := groupwrites.open_to_group(self._path)) and logged:
            import logging

            logging.getLogger(__name__).warning(
                "the group may not write the database, though group_writes = true: %s; see pollerd doctor",
                "; ".join(map(str, lacking)),
                extra={"event": "group_writes_lacking"},
            )

    def owner(self) -> int | None:
        return lock.owner_pid(self._path)

    def check_ownable(self) -> None:
        lock.check_ownable(self._path)

    def back_up(self, target: Path, between: Callable[[], None] = lambda: None) -> Backup:
        from pollerd.store.sqlite.backup import back_up

        return back_up(self._path, target, between)
