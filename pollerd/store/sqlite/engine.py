"""The SQLite file in every way that it is used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pollerd.core.ports import Handover, Store, StoreSize, View
from pollerd.core.ports.engine import Backup
from pollerd.store.commands import StoredHandover
from pollerd.store.search import SearchView
from pollerd.store.sqlite import lock
from pollerd.store.sqlite.command import CommandConnection
from pollerd.store.sqlite.lock import FileOwnership
from pollerd.store.sqlite.reader import SqliteReader


class SqliteEngine:
    """Fulfils `ports.Engine` for the database at `path`. What costs time to import is imported when it is used."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def where(self) -> str:
        """See `Engine`: the path."""
        return str(self._path)

    def size(self) -> StoreSize:
        """See `Engine`: the file, and the write-ahead log beside it."""
        return StoreSize(_bytes(self._path), _bytes(Path(f"{self._path}-wal")))

    def own(self, *, daemon: bool = False) -> FileOwnership:
        """See `Engine`."""
        return FileOwnership.acquire(self._path, daemon=daemon)

    async def open(self, wall: Callable[[], float]) -> Store:
        """See `Engine`."""
        from pollerd.store.sqlite.store import SqliteStore

        return await SqliteStore.open(self._path, wall)

    def view(self) -> View:
        """See `Engine`."""
        return SearchView(SqliteReader.open(self._path))

    def inspect(self) -> View:
        """See `Engine`."""
        return SearchView(SqliteReader.inspect(self._path))

    def handover(self) -> Handover:
        """See `Engine`."""
        return StoredHandover(CommandConnection.open(self._path))

    def owner(self) -> int | None:
        """See `Engine`."""
        return lock.owner_pid(self._path)

    def check_ownable(self) -> None:
        """See `Engine`."""
        lock.check_ownable(self._path)

    def back_up(self, target: Path, between: Callable[[], None] = lambda: None) -> Backup:
        """See `Engine`."""
        from pollerd.store.sqlite.backup import back_up

        return back_up(self._path, target, between)


def _bytes(path: Path) -> int:
    # stat() only, see `pollerd.base.open_databases`.
    try:
        return path.stat().st_size
    except OSError:
        return 0
