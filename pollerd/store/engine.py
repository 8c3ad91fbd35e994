"""Which engine keeps the store: the one place that the configuration chooses it at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pollerd.base.errors import StoreError
from pollerd.config.store_url import missing

if TYPE_CHECKING:
    from pollerd.config import StoreConfig
    from pollerd.core.ports import Engine


def engine_of(config: StoreConfig) -> Engine:
    """The engine of the store that `[store]` names. Opens nothing. Raises StoreError where its driver is not there."""
    if config.url is not None:
        if wrong := missing():
            raise StoreError(f"[store] url {wrong}.")
        from pollerd.store.postgresql import engine

        return engine.engine_of(config)
    return engine_at(config.path, group_writes=config.group_writes)


def engine_at(path: Path, *, group_writes: bool = False) -> Engine:
    """The engine of the store in the file at `path`; `group_writes`: as in `[store]`."""
    # Here, so that another engine's driver, or this one's, is imported only where it is used.
    from pollerd.store.sqlite.engine import SqliteEngine

    return SqliteEngine(path, group_writes=group_writes)
