"""The event file beside a database that was restored, lost or swapped: no number twice."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pollerd.base.errors import OutputError
from pollerd.outputs.file import FileOutput
from pollerd.store.sqlite.store import SqliteStore
from tests.integration.output_file_kit import errors, write_all
from tests.integration.output_kit import (
    commit,
    exactly,
    opened,
    running,
    seqs,
    size,
    stored_lines,
    until,
    wait_written,
)


async def test_a_database_restored_from_an_older_copy(
    path: Path, database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(database) as store:
        await commit(store, 20)
        await write_all(store, path)
    shutil.copy(database, database.with_name("copy"))
    async with opened(database) as store:
        await commit(store, 15)
        await write_all(store, path)
    database.unlink()
    shutil.copy(database.with_name("copy"), database)
    for _ in range(2):
        async with opened(database) as store:
            await commit_after_prepare(store, path, 10)
    assert seqs(path) == exactly(55)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert len(errors(caplog, "ends at event 35 but the database ends at event 20: it was restored")) == 1


async def commit_after_prepare(store: SqliteStore, path: Path, count: int) -> None:
    output = FileOutput(path, advance=store.advance_seq)
    await output.prepare(store)
    await commit(store, count)
    async with running(output, store):
        await wait_written(path, store.last)


async def test_a_restored_database_with_events_that_were_not_reported(path: Path, database: Path) -> None:
    """The copy was made while events 18 to 20 were committed but not yet in the file; later they were."""
    async with opened(database) as store:
        await commit(store, 17)
        await write_all(store, path)
        await commit(store, 3)
    shutil.copy(database, database.with_name("copy"))
    async with opened(database) as store:
        await commit(store, 5)
        await write_all(store, path)
    database.unlink()
    shutil.copy(database.with_name("copy"), database)
    async with opened(database) as store:
        await commit_after_prepare(store, path, 5)
    assert seqs(path) == exactly(30)


async def test_a_lost_database_goes_on_above_the_file(
    path: Path, database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(database) as store:
        await commit(store, 20)
        await write_all(store, path)
    database.unlink()
    async with opened(database) as store:
        await commit_after_prepare(store, path, 5)
    assert seqs(path) == exactly(25)
    assert len(errors(caplog, "ends at event 20 but the database is new. Numbering goes on above it")) == 1


async def test_a_lost_database_goes_on_above_a_rotated_file(path: Path, database: Path) -> None:
    async with opened(database) as store:
        await commit(store, 20)
        await write_all(store, path)
    database.unlink()
    path.rename(path.with_name("events.ndjson.1"))
    async with opened(database) as store:
        await commit_after_prepare(store, path, 5)
    assert seqs(path) == exactly(25, first=21)


@pytest.mark.parametrize(("theirs", "ours"), [(8, 12), (12, 12), (30, 12)])
async def test_a_file_from_another_database_is_set_aside(
    path: Path, database: Path, theirs: int, ours: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(database.with_name("other.db")) as store:
        await commit(store, theirs)
        await write_all(store, path)
    foreign = path.read_bytes()
    async with opened(database) as store:
        await commit(store, ours)
        await write_all(store, path)
        await commit(store, 3)
        await write_all(store, path)
        assert path.read_bytes() == b"".join(await stored_lines(store))
    aside = [file for file in path.parent.iterdir() if ".other-" in file.name]
    assert [file.read_bytes() for file in aside] == [foreign]
    assert len(errors(caplog, "belongs to another database")) == 1


async def test_a_file_ahead_that_comes_too_late_to_move_the_numbers_is_set_aside(path: Path, database: Path) -> None:
    async with opened(database.with_name("other.db")) as store:
        await commit(store, 9)
        await write_all(store, path)
    async with opened(database) as store:
        async with running(FileOutput(path), store):
            await until(lambda: size(path) == 0, "a new file")
            await commit(store, 3)
            await wait_written(path, 3)
        assert seqs(path) == [1, 2, 3]
        assert len([file for file in path.parent.iterdir() if ".other-" in file.name]) == 1


async def test_a_file_ahead_by_an_absurd_number_does_not_move_the_numbers(path: Path, database: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b'{"seq":9223372036854775807,"type":"message.status"}\n')
    async with opened(database) as store:
        await commit(store, 3)
        with pytest.raises(OutputError, match="no event"):
            await FileOutput(path, advance=store.advance_seq).run(store)
        assert store.last == 3
