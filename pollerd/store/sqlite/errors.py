"""SQLite's errors as ours: what may pass, what cannot be trusted, and what to do about it."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from pollerd.base.errors import DurabilityError, StoreBusyError, StoreError, StoreUnavailableError
from pollerd.store.sqlite import schema

_NO_FSYNC: Final = frozenset({sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC})
_PASSING: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN})
"""Primary codes of what may work later: no room, a disk that is away, no file descriptors left."""


def translated(error: sqlite3.Error, path: Path) -> Exception:
    """SQLite's error in the daemon as one of ours: may pass, disk not to be trusted, or database unusable."""
    code = getattr(error, "sqlite_errorcode", 0)
    if code in _NO_FSYNC:
        return DurabilityError(f"{path}: the disk refused to confirm a write ({error}); stopping, a restart recovers")
    explained = schema.explanation(path, error)
    if code & 0xFF in schema.BUSY:
        return StoreBusyError(explained)
    return StoreUnavailableError(explained) if code & 0xFF in _PASSING else StoreError(explained)
