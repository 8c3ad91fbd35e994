"""Rotation of the event file under load: nothing lost, nothing doubled over all files."""

from __future__ import annotations

import asyncio
import gzip
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pollerd.core.ports import Cursor
from pollerd.outputs.file import FileOutput
from pollerd.store.sqlite.store import SqliteStore
from tests.integration.output_file_kit import errors
from tests.integration.output_kit import (
    commit,
    exactly,
    opened,
    running,
    seqs,
    seqs_in_all,
    size,
    stored_lines,
    until,
    wait_written,
)

ROTATIONS = 40


@asynccontextmanager
async def load(store: SqliteStore) -> AsyncIterator[None]:
    """Events come without a pause."""

    async def commit_on() -> None:
        while True:
            await commit(store, 7)

    task = asyncio.create_task(commit_on())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


@pytest.mark.parametrize("create", [False, True], ids=["rename", "rename and create"])
@pytest.mark.parametrize("nudge", [False, True], ids=["no signal", "SIGHUP"])
async def test_rotated_under_load(path: Path, database: Path, create: bool, nudge: bool) -> None:
    output = FileOutput(path)
    async with opened(database) as store, running(output, store):
        async with load(store):
            for turn in range(ROTATIONS):
                await until(lambda: size(path) > 0, "a line in the new file")
                path.rename(path.with_name(f"events.ndjson.{turn}"))
                if create:
                    path.touch(mode=0o600)
                if nudge:
                    output.reopen()
        await until(lambda: output.health.seq == store.last, "all told")
        assert seqs_in_all(path.parent) == exactly(store.last)
        assert len(list(path.parent.glob("events.ndjson.*"))) == ROTATIONS


async def test_rotated_while_idle_is_noticed_without_any_event(path: Path, database: Path) -> None:
    async with opened(database) as store, running(FileOutput(path), store):
        await commit(store, 2)
        await wait_written(path, 2)
        path.rename(path.with_name("events.ndjson.1"))
        await until(lambda: size(path) == 0, "a new file")


async def test_a_rotation_taken_back_repeats_nothing(path: Path, database: Path) -> None:
    old = path.with_name("events.ndjson.1")
    output = FileOutput(path)
    async with opened(database) as store, running(output, store):
        await commit(store, 5)
        await wait_written(path, 5)
        path.rename(old)
        output.reopen()
        await until(lambda: size(path) == 0, "a new file")
        await commit(store, 5)
        await wait_written(path, 10)
        path.rename(path.with_name("events.ndjson.2"))
        old.rename(path)
        output.reopen()
        await commit(store, 5)
        await until(lambda: output.health.seq == 15, "all told")
    assert seqs_in_all(path.parent) == exactly(15)


async def test_a_foreign_file_put_in_place_is_renamed_aside(path: Path, database: Path) -> None:
    output = FileOutput(path)
    async with opened(database) as store, running(output, store):
        await commit(store, 5)
        await wait_written(path, 5)
        foreign = path.parent / "foreign"
        foreign.write_bytes(b'{"seq":3,"type":"account.held","account":"x","observed_at":"2020-01-01T00:00:00.000Z"}\n')
        path.rename(path.with_name("events.ndjson.1"))
        foreign.rename(path)
        output.reopen()
        await commit(store, 5)
        await wait_written(path, 10)
    assert len(list(path.parent.glob("*.other-*"))) == 1
    assert sorted(seqs(path) + seqs(path.with_name("events.ndjson.1"))) == exactly(10)


async def stop_behind(store: SqliteStore, path: Path, cursor: int) -> None:
    """The state a kill leaves: ten events in the file, the saved place at `cursor`."""
    async with running(FileOutput(path), store):
        await commit(store, 10)
        await wait_written(path, 10)
    saved = await store.cursor("file")
    assert saved is not None
    await store.save_cursor(Cursor("file", cursor, saved.detail))


@pytest.mark.parametrize("create", [False, True])
@pytest.mark.parametrize("where", ["events.ndjson.1", "events.ndjson-20261122", "events-1.ndjson", "old/anything"])
async def test_rotated_after_a_kill(path: Path, database: Path, where: str, create: bool) -> None:
    """The new file is empty and the place is old: the file it was rotated to says where to go on."""
    rotated = path.parent / where
    rotated.parent.mkdir(parents=True, exist_ok=True)
    async with opened(database) as store:
        await stop_behind(store, path, 4)
        with path.open("ab") as file:
            file.write(b'{"seq":11,"typ')
        path.rename(rotated)
        if create:
            path.touch()
        async with running(FileOutput(path), store):
            await commit(store, 3)
            await wait_written(path, 13)
        assert seqs(rotated) == exactly(10)
        assert seqs(path) == [11, 12, 13]


async def test_rotated_and_compressed_after_a_kill(path: Path, database: Path) -> None:
    async with opened(database) as store:
        await stop_behind(store, path, 4)
        with path.open("rb") as plain, gzip.open(path.parent / "events.ndjson.1.gz", "wb") as packed:
            shutil.copyfileobj(plain, packed)
        path.unlink()
        async with running(FileOutput(path), store):
            await commit(store, 3)
            await wait_written(path, 13)
        assert seqs(path) == [11, 12, 13]


@pytest.mark.parametrize(("packed", "again"), [(7, exactly(10, 8)), (10, []), (None, [])])
async def test_compressed_before_the_daemon_has_noticed(
    path: Path, database: Path, packed: int | None, again: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    """logrotate without delaycompress: a new file gets what the compressed one lacks, but no line of a deleted one."""
    output = FileOutput(path)
    async with opened(database) as store, running(output, store):
        await commit(store, 10)
        await wait_written(path, 10)
        lines = path.read_bytes().splitlines(keepends=True)
        path.unlink()
        if packed is not None:
            (path.parent / "events.ndjson.1.gz").write_bytes(gzip.compress(b"".join(lines[:packed])))
        output.reopen()
        await until(lambda: size(path) >= 0, "a new file")
        await commit(store, 2)
        await wait_written(path, 12)
    assert seqs(path) == [*again, 11, 12]
    assert len(errors(caplog, "Give logrotate's rule delaycompress")) == bool(again)


async def test_noticed_while_it_is_compressed(path: Path, database: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What was written after the compressing program had read its last is told again, however late that ends."""
    output = FileOutput(path)
    async with opened(database) as store, running(output, store):
        await commit(store, 12)
        await wait_written(path, 12)
        renamed = path.rename(path.with_name("events.ndjson.1"))
        packed = renamed.with_name("events.ndjson.1.gz")
        made = gzip.compress(b"".join(renamed.read_bytes().splitlines(keepends=True)[:10]))
        packed.write_bytes(b"")
        output.reopen()
        await commit(store, 3)
        # The program takes a second.
        for end in range(0, len(made), len(made) // 20):
            packed.write_bytes(made[:end])
            await asyncio.sleep(0.05)
        assert size(path) <= 0
        packed.write_bytes(made)
        renamed.unlink()
        await wait_written(path, 15)
    assert seqs(path) == exactly(15, 11)
    assert len(errors(caplog, "Give logrotate's rule delaycompress")) == 1


async def test_an_old_compressed_file_beside_the_renamed_one_holds_nothing_up_for_long(
    path: Path, database: Path
) -> None:
    output = FileOutput(path)
    async with opened(database) as store, running(output, store):
        await commit(store, 10)
        await wait_written(path, 10)
        path.with_name("events.ndjson.1.gz").write_bytes(gzip.compress(b"old"))
        path.rename(path.with_name("events.ndjson.1"))
        output.reopen()
        await commit(store, 5)
        await wait_written(path, 15)
    assert seqs(path) == exactly(15, 11)


async def test_an_older_compressed_file_is_not_taken_for_the_deleted_one(path: Path, database: Path) -> None:
    output = FileOutput(path)
    async with opened(database) as store, running(output, store):
        await commit(store, 10)
        await wait_written(path, 10)
        (path.parent / "events.ndjson.2.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
        output.reopen()
        await commit(store, 5)
        await wait_written(path, 15)
        path.unlink()
        output.reopen()
        await commit(store, 5)
        await wait_written(path, 20)
        assert seqs(path) == exactly(20, 16)


async def test_a_neighbour_from_another_database_says_nothing(path: Path, database: Path) -> None:
    async with (
        opened(database.with_name("other.db")) as store,
        running(FileOutput(path.parent / "events.ndjson.1"), store),
    ):
        await commit(store, 8)
        await wait_written(path.parent / "events.ndjson.1", 8)
    before = (path.parent / "events.ndjson.1").read_bytes()
    async with opened(database) as store:
        await commit(store, 12)
        async with running(FileOutput(path), store):
            await wait_written(path, 12)
        assert path.read_bytes() == b"".join(await stored_lines(store))
    assert (path.parent / "events.ndjson.1").read_bytes() == before


async def test_a_new_file_torn_in_its_first_line_and_rotated_is_repaired(path: Path, database: Path) -> None:
    """Rotated, killed in the first line of the new file, and that one rotated too before the start."""
    rotated = path.parent / "events.ndjson.1"
    async with opened(database) as store:
        await stop_behind(store, path, 10)
        path.write_bytes(b'{"seq":11,"typ')
        path.rename(rotated)
        async with running(FileOutput(path), store):
            await commit(store, 3)
            await wait_written(path, 13)
        assert rotated.read_bytes() == b""
        assert seqs(path) == [11, 12, 13]


async def test_a_neighbour_with_the_inode_and_higher_numbers_costs_no_event(path: Path, database: Path) -> None:
    """Another daemon's event file, made from the inode of the deleted one."""
    other = path.parent / "other.ndjson"
    async with (
        opened(database.with_name("other.db")) as store,
        running(FileOutput(path.parent / "theirs.ndjson"), store),
    ):
        await commit(store, 50)
        await wait_written(path.parent / "theirs.ndjson", 50)
    async with opened(database) as store:
        await stop_behind(store, path, 10)
        path.rename(other)
        other.write_bytes((path.parent / "theirs.ndjson").read_bytes())
        await commit(store, 5)
        async with running(FileOutput(path, advance=store.advance_seq), store):
            await wait_written(path, 15)
        assert seqs(path) == exactly(15, 11)
