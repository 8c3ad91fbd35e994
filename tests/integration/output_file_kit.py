"""What the tests of the event file share."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import pytest

from pollerd.core import event as events
from pollerd.core.ports import Cursor
from pollerd.outputs.file import FileOutput
from pollerd.store.sqlite.store import SqliteStore
from tests.integration.output_kit import (
    running,
    wait_written,
)


async def write_all(store: SqliteStore, path: Path, last: int | None = None) -> None:
    """One start of the output, ended when the file ends with the last event."""
    output = FileOutput(path, advance=store.advance_seq)
    await output.prepare(store)
    async with running(output, store):
        await wait_written(path, store.last if last is None else last)


def errors(caplog: pytest.LogCaptureFixture, words: str) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING and words in r.getMessage()]


class Counting:
    """The real store; `reads` of events and `tries` to find the place are counted."""

    def __init__(self, store: SqliteStore) -> None:
        self.reads = 0
        self.tries = 0
        self.wait, self.save_cursor = store.wait, store.save_cursor
        self._store = store

    @property
    def last(self) -> int:
        return self._store.last

    @property
    def pruned(self) -> int:
        return self._store.pruned

    async def cursor(self, name: str) -> Cursor | None:
        self.tries += 1
        return await self._store.cursor(name)

    async def read(self, after: int, limit: int) -> Sequence[events.Event]:
        self.reads += 1
        return await self._store.read(after, limit)
