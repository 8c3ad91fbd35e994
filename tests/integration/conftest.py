"""Fixtures that many of these tests want."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme

from pollerd.store.sqlite.store import SqliteStore
from tests.integration.output_kit import opened
from tests.store_database import StoreDatabase
from tests.store_place import AnyStore, FilePlace, Place, ServerPlace


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Where a database may be made."""
    return tmp_path / "pollerd.db"


@pytest.fixture
async def store(database: Path) -> AsyncIterator[SqliteStore]:
    """An open database in a file, empty."""
    async with opened(database) as store:
        yield store


@pytest.fixture
def place(engine: StoreDatabase | None, database: Path) -> Place:
    """Where a store may be made, in either engine."""
    return FilePlace(database) if engine is None else ServerPlace(engine)


@pytest.fixture
async def any_store(place: Place) -> AsyncIterator[AnyStore]:
    """An open store, empty, in either engine."""
    async with place.opened() as store:
        yield store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where an event file may be made; the output makes the folder too."""
    return tmp_path / "out" / "events.ndjson"


@pytest.fixture
def authority() -> trustme.CA:
    """A certificate authority that nobody trusts."""
    return trustme.CA()


@pytest.fixture
def no_proxy_around(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that names no proxy."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
