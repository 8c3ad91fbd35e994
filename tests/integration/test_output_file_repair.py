"""The event file's end after a crash or an editor: torn, edited, emptied or gone, it goes on exactly."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pollerd.core.ports import Cursor
from tests.integration.output_file_kit import errors, write_all
from tests.integration.output_kit import (
    commit,
    exactly,
    opened,
    prune,
    seqs,
    seqs_in_all,
    size,
    stored_lines,
    write_lines,
)


async def test_a_line_torn_at_any_byte_is_repaired(path: Path, database: Path) -> None:
    path.parent.mkdir()
    async with opened(database) as store:
        await commit(store, 3)
        lines = await stored_lines(store)
        for cut in range(len(lines[2])):
            write_lines(path, [*lines[:2], lines[2][:cut]])
            await write_all(store, path)
            assert path.read_bytes() == b"".join(lines)


async def test_a_first_line_torn_at_any_byte_is_repaired(path: Path, database: Path) -> None:
    path.parent.mkdir()
    async with opened(database) as store:
        await commit(store, 2)
        lines = await stored_lines(store)
        for cut in range(len(lines[0])):
            # Killed in the first line, before any place was saved.
            await store.save_cursor(Cursor("file", 0, ""))
            write_lines(path, [lines[0][:cut]])
            await write_all(store, path)
            assert path.read_bytes() == b"".join(lines)


@pytest.mark.parametrize("nul", [1, 4096, 3 << 20])
async def test_a_tail_of_nul_bytes_is_cut(
    path: Path, database: Path, nul: int, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    async with opened(database) as store:
        await commit(store, 5)
        lines = await stored_lines(store)
        write_lines(path, [*lines[:3], lines[3][:20]])
        os.truncate(path, size(path) + nul)
        await write_all(store, path)
        assert path.read_bytes() == b"".join(lines)
    assert len(errors(caplog, f"{20 + nul} bytes of an unfinished line")) == 1


async def test_lines_edited_by_hand_at_the_end_are_left(
    path: Path, database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    async with opened(database) as store:
        await commit(store, 4)
        lines = await stored_lines(store)
        write_lines(path, [*lines[:2], b"# checked until here\n"])
        await write_all(store, path)
        assert path.read_bytes() == b"".join([*lines[:2], b"# checked until here\n", *lines[2:]])
    assert len(errors(caplog, "are no events: left as they are")) == 1


async def test_a_masked_number_in_the_last_line_does_no_harm(path: Path, database: Path) -> None:
    path.parent.mkdir()
    async with opened(database) as store:
        await commit(store, 3)
        lines = [line.replace(b"4587654321", b"0") for line in await stored_lines(store)]
        write_lines(path, lines[:2])
        await write_all(store, path)
    assert seqs_in_all(path.parent) == [1, 2, 3]


async def test_the_files_own_last_line_rules_over_the_cursor(path: Path, database: Path) -> None:
    path.parent.mkdir()
    async with opened(database) as store:
        await commit(store, 10)
        lines = await stored_lines(store)
        for cursor, kept in [(2, 7), (7, 2), (0, 10)]:
            await store.save_cursor(Cursor("file", cursor, ""))
            write_lines(path, lines[:kept])
            await write_all(store, path)
            assert path.read_bytes() == b"".join(lines)


async def test_a_deleted_file_begins_after_what_was_reported(
    path: Path, database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(database) as store:
        await commit(store, 5)
        await write_all(store, path)
        path.unlink()
        await commit(store, 3)
        await write_all(store, path)
        assert seqs(path) == [6, 7, 8]
    assert len(errors(caplog, "is gone: a new one begins after event 5, the last one reported")) == 1


async def test_an_emptied_file_goes_on_after_what_was_reported(path: Path, database: Path) -> None:
    async with opened(database) as store:
        await commit(store, 5)
        await write_all(store, path)
        os.truncate(path, 0)
        await commit(store, 1)
        await write_all(store, path)
        assert seqs(path) == [6]


async def test_events_deleted_before_they_were_reported_are_named(
    path: Path, database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(database) as store:
        await commit(store, 10)
    prune(database, 4)
    async with opened(database) as store:
        await write_all(store, path)
        assert seqs(path) == exactly(10, first=5)
    assert len(errors(caplog, "events 1 to 4 were deleted by retention before they were written")) == 1


@pytest.mark.parametrize(
    "content", [b"", b'{"seq":', b'{"seq":2,"type":"x"}\n{"seq":3', bytes(5000), b"\x37\x7f\x06\x82" * 99]
)
async def test_a_file_with_the_inode_of_the_deleted_one_does_not_pass_for_it(
    path: Path, database: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    """What the system does at random: another program's file is made from the deleted one's inode."""
    async with opened(database) as store:
        await commit(store, 5)
        await write_all(store, path)
        other = path.with_name("other")
        path.rename(other)
        other.write_bytes(content)
        await commit(store, 3)
        await write_all(store, path)
        assert seqs(path) == [6, 7, 8]
        assert other.read_bytes() == content
    assert len(errors(caplog, "is gone: a new one begins after event 5, the last one reported")) == 1
