"""The event file on a full disk, in a missing folder and under the hands of other programs."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pollerd.outputs.file import FileOutput
from tests.integration.output_file_kit import Counting, errors
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


@contextmanager
def file_size_limit(limit: int) -> Iterator[Callable[[], None]]:
    """No file grows beyond `limit` bytes, until the call that is yielded; the database's cannot either."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def lift() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield lift
    finally:
        lift()


async def test_a_file_that_may_not_grow_has_no_torn_line_and_catches_up(
    path: Path, database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with opened(database) as store:
        await commit(store, 50)
        lines = await stored_lines(store)
        whole = sum(len(line) for line in lines[:20])
        output = FileOutput(path)
        with file_size_limit(whole + len(lines[20]) // 2) as lift:
            async with running(output, store):
                await until(lambda: output.health.trouble != "", "trouble")
                assert size(path) == whole
                output.reopen()
                await until(lambda: output.health.seq == 20, "another try")
                assert size(path) == whole
                lift()
                await wait_written(path, 50)
                await until(lambda: output.health.trouble == "", "end of trouble")
        assert path.read_bytes() == b"".join(lines)
    assert len(errors(caplog, "File too large; 30 events wait")) == 1
    assert len([r for r in caplog.records if "writing again" in r.getMessage()]) == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    mount, umount = shutil.which("mount"), shutil.which("umount")
    where = tmp_path / "disk"
    where.mkdir()
    command = [str(mount), "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(where)]
    if mount is None or umount is None or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield where
    subprocess.run([umount, str(where)], check=True)


async def test_a_full_disk_tears_no_line_and_catches_up(small_disk: Path, database: Path) -> None:
    path = small_disk / "events.ndjson"
    async with opened(database) as store:
        await commit(store, 1)
        output, other = FileOutput(path), FileOutput(database.with_name("other.ndjson"), name="other")
        async with running(output, store), running(other, store):
            await wait_written(path, 1)
            (small_disk / "filler").write_bytes(bytes(150 * 1024))
            await commit(store, 400)
            await until(lambda: "No space left" in output.health.trouble, "trouble")
            await wait_written(database.with_name("other.ndjson"), store.last)
            assert seqs(path) == exactly(output.health.seq)
            (small_disk / "filler").unlink()
            await wait_written(path, store.last)
        assert path.read_bytes() == b"".join(await stored_lines(store))


async def test_a_folder_that_is_missing_for_now_is_waited_for(tmp_path: Path, path: Path, database: Path) -> None:
    blocker = path.parent
    blocker.write_text("a file where the folder should be")
    async with opened(database) as store:
        await commit(store, 3)
        output = FileOutput(path)
        async with running(output, log := Counting(store)) as task:
            await until(lambda: output.health.trouble != "", "trouble")
            output.reopen()
            await asyncio.wait({task}, timeout=0.5)
            assert log.tries < 5, "a nudge makes one try, not tries without a pause"
            blocker.unlink()
            await wait_written(path, 3)


async def test_copytruncate_is_named_once_and_writing_goes_on(
    path: Path, database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(database) as store, running(FileOutput(path), store):
        for turn in range(3):
            await commit(store, 10)
            await wait_written(path, store.last)
            shutil.copy(path, path.with_name(f"copy.{turn}"))
            os.truncate(path, 0)
        await commit(store, 10)
        await wait_written(path, store.last)
        assert seqs(path) == exactly(40, first=31)
    assert len(errors(caplog, "copytruncate")) == 1


async def test_a_file_cut_in_the_middle_of_a_line_is_continued_by_whole_lines(path: Path, database: Path) -> None:
    async with opened(database) as store, running(FileOutput(path), store):
        await commit(store, 10)
        await wait_written(path, 10)
        os.truncate(path, size(path) - 7)
        await commit(store, 2)
        await wait_written(path, 12)
        assert seqs(path) == [*exactly(9), 11, 12]


async def test_another_programs_line_stays_and_ours_stay_whole(
    path: Path, database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(database) as store, running(FileOutput(path), store):
        await commit(store, 2)
        await wait_written(path, 2)
        with path.open("ab") as file:
            file.write(b'{"half a')
        await commit(store, 2)
        await wait_written(path, 4)
        lines = path.read_bytes().splitlines()
        assert lines[2] == b'{"half a'
        assert [json.loads(line)["seq"] for line in lines[:2] + lines[3:]] == [1, 2, 3, 4]
    assert len(errors(caplog, "another program writes to")) == 1
