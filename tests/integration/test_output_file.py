"""The file output on a real store: places, modes, repairs, foreign files, a full disk."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import stat
from pathlib import Path

import pytest

from pollerd.base.errors import OutputError
from pollerd.outputs.file import FileOutput
from tests.integration.output_file_kit import Counting, write_all
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
    write_lines,
)


async def test_every_event_is_one_line_as_stored(path: Path, database: Path) -> None:
    async with opened(database) as store:
        await commit(store, 700)
        output = FileOutput(path)
        async with running(output, store):
            await wait_written(path, 700)
            await commit(store, 800)
            await until(lambda: output.health.seq == 1500, "all told")
            assert output.health.trouble == ""
        assert path.read_bytes() == b"".join(await stored_lines(store))
        cursor = await store.cursor("file")
        assert cursor is not None
        assert cursor.seq == 1500


@pytest.mark.parametrize("umask", [0o000, 0o077])
async def test_modes_are_exact_whatever_the_umask(path: Path, database: Path, umask: int) -> None:
    async with opened(database) as store:
        await commit(store, 1)
        before = os.umask(umask)
        try:
            await write_all(store, path)
        finally:
            os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o750


async def test_the_mode_of_a_file_that_was_there_is_left(path: Path, database: Path) -> None:
    path.parent.mkdir()
    path.touch()
    path.chmod(0o604)
    async with opened(database) as store:
        await commit(store, 1)
        await write_all(store, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o604


async def test_a_symlink_is_followed(tmp_path: Path, path: Path, database: Path) -> None:
    path.parent.mkdir()
    path.symlink_to(tmp_path / "elsewhere.ndjson")
    async with opened(database) as store:
        await commit(store, 3)
        await write_all(store, path)
    assert path.is_symlink()
    assert seqs(tmp_path / "elsewhere.ndjson") == [1, 2, 3]


@pytest.mark.parametrize("kind", ["folder", "fifo", "device"])
async def test_what_is_no_regular_file_is_refused(path: Path, database: Path, kind: str) -> None:
    path.parent.mkdir()
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/null")
    async with opened(database) as store:
        with pytest.raises(OutputError, match=r"not a regular file.*name another path"):
            await FileOutput(path).run(store)
        with pytest.raises(OutputError, match="not a regular file"):
            await FileOutput(path).inspect(store)


async def test_a_file_without_any_event_is_not_touched(path: Path, database: Path) -> None:
    path.parent.mkdir()
    path.write_text("root:x:0:0\nno newline at the end")
    async with opened(database) as store:
        await commit(store, 3)
        with pytest.raises(OutputError, match=r"no event in its last 1 MiB.*Move it away"):
            await FileOutput(path).run(store)
    assert path.read_text() == "root:x:0:0\nno newline at the end"


async def test_a_second_writer_is_refused(path: Path, database: Path) -> None:
    async with opened(database) as store:
        await commit(store, 3)
        async with running(FileOutput(path), store):
            await wait_written(path, 3)
            with pytest.raises(OutputError, match="another process writes events"):
                await FileOutput(path, name="second").run(store)
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


async def test_numbers_left_out_cost_nothing(path: Path, database: Path) -> None:
    output = FileOutput(path)
    async with opened(database) as store, running(output, log := Counting(store)) as task:
        await commit(store, 2)
        await wait_written(path, 2)
        await store.advance_seq(100)
        output.reopen()
        log.reads = 0
        await asyncio.wait({task}, timeout=0.5)
        assert log.reads < 10
        await commit(store, 2)
        await wait_written(path, 102)
        assert seqs(path) == [1, 2, 101, 102]


async def test_line_separators_of_unicode_and_control_characters_stay_inside_the_line(
    path: Path, database: Path
) -> None:
    nasty = "a\u2028b\u2029c\x85d\ne\rf\x00g\x1b[31mh\u202e"
    async with opened(database) as store:
        await commit(store, 1, error=nasty)
        await commit(store, 1)
        await write_all(store, path)
    lines = path.read_bytes().split(b"\n")
    assert len(lines) == 3
    assert json.loads(lines[0])["error"] == nasty
    assert not any(byte in lines[0] for byte in (0x00, 0x0D, 0x1B))
    # Nor for readers to whom more than a newline ends a line.
    assert len(path.read_text().splitlines()) == 2


async def test_a_stop_reports_what_was_committed_before(path: Path, database: Path) -> None:
    async with opened(database) as store:
        async with running(FileOutput(path), store):
            await until(lambda: size(path) == 0, "start")
            await commit(store, 5000)
        assert seqs(path) == exactly(5000)
        cursor = await store.cursor("file")
        assert cursor is not None
        assert cursor.seq == 5000


async def test_an_inspection_touches_nothing(path: Path, database: Path) -> None:
    path.parent.mkdir()
    async with opened(database) as store:
        await commit(store, 3)
        lines = await stored_lines(store)
        write_lines(path, [lines[0], lines[1][:9]])
        before = path.read_bytes()
        finding = await FileOutput(path).inspect(store)
        assert finding.seq == 1
        assert path.read_bytes() == before
        missing = path.with_name("missing")
        assert (await FileOutput(missing).inspect(store)).seq == 0
        assert not missing.exists()
