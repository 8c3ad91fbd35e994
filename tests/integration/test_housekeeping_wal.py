"""The write-ahead log of a real database stays bounded, whatever others read."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from pollerd.core.ports import Batch
from pollerd.store.sqlite.checkpoint import CUT_ABOVE, Wal, WalWatch, checkpoint
from pollerd.store.sqlite.store import SqliteStore
from tests.sqlite_kit import autocommit

MIB = 1 << 20


async def write(store: SqliteStore, mib: int) -> None:
    for n in range(mib):
        await store.commit(Batch(notes=[(f"note {n}", bytes(MIB))]))


async def tended(store: SqliteStore, *, cut_above: int = CUT_ABOVE) -> Wal:
    return await store.run(lambda writer: checkpoint(writer, store.path, cut_above))


def size(store: SqliteStore) -> int:
    return Path(f"{store.path}-wal").stat().st_size


async def test_the_log_grows_under_a_long_reader_and_shrinks_afterwards(
    store: SqliteStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    watch = WalWatch(store, cut_above=MIB, warn_above=4 * MIB)
    with autocommit(store.path) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM meta").fetchone()
        await write(store, 8)
        assert (await watch.tend()).behind > 0
        assert (await watch.tend()).size > 8 * MIB
        assert [record.__dict__["event"] for record in caplog.records] == ["wal_grown"]
        reader.execute("COMMIT")
    assert await watch.tend() == Wal(0, 0)
    assert size(store) == 0
    assert (await watch.tend()).size == 0
    assert [record.__dict__["event"] for record in caplog.records] == ["wal_grown", "wal_shrunk"]
    await write(store, 1)


async def test_a_log_of_ordinary_size_is_not_cut(store: SqliteStore) -> None:
    await write(store, 2)
    before = size(store)
    assert (await tended(store)).behind == 0
    assert size(store) == before > 0


async def test_a_foreign_writer_is_waited_for_no_longer_than_allowed(store: SqliteStore) -> None:
    await write(store, 2)
    with autocommit(store.path) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("INSERT INTO messages (id) VALUES (1)")
        assert (await tended(store, cut_above=0)).size > 0
        other.execute("COMMIT")
    assert (await tended(store, cut_above=0)).size == 0
    assert await store.run(lambda writer: writer.execute("PRAGMA busy_timeout").fetchone()[0]) == 2000


def test_no_log_is_no_trouble(database: Path) -> None:
    with autocommit(database) as connection:
        connection.execute("CREATE TABLE t (x)")
        assert checkpoint(connection, database) == Wal(0, 0)
