"""The file output on a real store: places, modes, repairs, foreign files, a full disk."""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import resource
import shutil
import sqlite3
import stat
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from pollerd import event as events
from pollerd.errors import OutputError
from pollerd.outputs import FileOutput
from pollerd.ports import Cursor
from pollerd.store.store import Store
from tests.integration.output_kit import (
    commit,
    exactly,
    opened,
    running,
    size,
    stored_lines,
    told,
    told_in_all,
    until,
    wait_told,
    write_lines,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out" / "events.ndjson"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "pollerd.db"


async def tell_all(store: Store, path: Path, last: int | None = None) -> None:
    """One start of the output, ended when the file ends with the last event."""
    output = FileOutput(path, advance=store.advance_seq)
    await output.prepare(store)
    async with running(output, store):
        await wait_told(path, store.last if last is None else last)


def errors(caplog: pytest.LogCaptureFixture, words: str) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING and words in r.getMessage()]


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


async def test_every_event_is_one_line_as_stored(path: Path, database: Path) -> None:
    async with opened(database) as store:
        await commit(store, 700)
        output = FileOutput(path)
        async with running(output, store):
            await wait_told(path, 700)
            await commit(store, 800)
            await wait_told(path, 1500)
            assert output.health.seq == 1500
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
            await tell_all(store, path)
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
        await tell_all(store, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o604


async def test_a_symlink_is_followed(tmp_path: Path, path: Path, database: Path) -> None:
    path.parent.mkdir()
    path.symlink_to(tmp_path / "elsewhere.ndjson")
    async with opened(database) as store:
        await commit(store, 3)
        await tell_all(store, path)
    assert path.is_symlink()
    assert told(tmp_path / "elsewhere.ndjson") == [1, 2, 3]


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
            await wait_told(path, 3)
            with pytest.raises(OutputError, match="another process writes events"):
                await FileOutput(path, name="second").run(store)
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


async def test_a_line_torn_at_any_byte_is_repaired(path: Path, database: Path) -> None:
    path.parent.mkdir()
    async with opened(database) as store:
        await commit(store, 3)
        lines = await stored_lines(store)
        for cut in range(len(lines[2])):
            write_lines(path, [*lines[:2], lines[2][:cut]])
            await tell_all(store, path)
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
            await tell_all(store, path)
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
        await tell_all(store, path)
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
        await tell_all(store, path)
        assert path.read_bytes() == b"".join([*lines[:2], b"# checked until here\n", *lines[2:]])
    assert len(errors(caplog, "are no events: left as they are")) == 1


async def test_a_masked_number_in_the_last_line_does_no_harm(path: Path, database: Path) -> None:
    path.parent.mkdir()
    async with opened(database) as store:
        await commit(store, 3)
        lines = [line.replace(b"4587654321", b"0") for line in await stored_lines(store)]
        write_lines(path, lines[:2])
        await tell_all(store, path)
    assert told_in_all(path.parent) == [1, 2, 3]


async def test_the_files_own_last_line_rules_over_the_cursor(path: Path, database: Path) -> None:
    path.parent.mkdir()
    async with opened(database) as store:
        await commit(store, 10)
        lines = await stored_lines(store)
        for cursor, kept in [(2, 7), (7, 2), (0, 10)]:
            await store.save_cursor(Cursor("file", cursor, ""))
            write_lines(path, lines[:kept])
            await tell_all(store, path)
            assert path.read_bytes() == b"".join(lines)


async def test_a_deleted_file_begins_after_what_was_told(
    path: Path, database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(database) as store:
        await commit(store, 5)
        await tell_all(store, path)
        path.unlink()
        await commit(store, 3)
        await tell_all(store, path)
        assert told(path) == [6, 7, 8]
    assert len(errors(caplog, "is gone: a new one begins after event 5; those up to it were told before")) == 1


async def test_an_emptied_file_goes_on_after_what_was_told(path: Path, database: Path) -> None:
    async with opened(database) as store:
        await commit(store, 5)
        await tell_all(store, path)
        os.truncate(path, 0)
        await commit(store, 1)
        await tell_all(store, path)
        assert told(path) == [6]


async def test_events_deleted_before_they_were_told_are_named(
    path: Path, database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(database) as store:
        await commit(store, 10)
    await prune(database, 4)
    async with opened(database) as store:
        await tell_all(store, path)
        assert told(path) == exactly(10, first=5)
    assert len(errors(caplog, "events 1 to 4 were deleted by retention before they were told")) == 1


async def prune(database: Path, until: int) -> None:
    connection = sqlite3.connect(database)
    with connection:
        connection.execute("DELETE FROM events WHERE seq <= ?", (until,))
    connection.close()


# -- another database


async def test_a_database_restored_from_an_older_copy(
    path: Path, database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(database) as store:
        await commit(store, 20)
        await tell_all(store, path)
    shutil.copy(database, database.with_name("copy"))
    async with opened(database) as store:
        await commit(store, 15)
        await tell_all(store, path)
    database.unlink()
    shutil.copy(database.with_name("copy"), database)
    for _ in range(2):
        async with opened(database) as store:
            await commit_after_prepare(store, path, 10)
    assert told(path) == exactly(55)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert len(errors(caplog, "ends at event 35 but the database ends at event 20: it was restored")) == 1


async def commit_after_prepare(store: Store, path: Path, count: int) -> None:
    output = FileOutput(path, advance=store.advance_seq)
    await output.prepare(store)
    await commit(store, count)
    async with running(output, store):
        await wait_told(path, store.last)


async def test_a_restored_database_with_events_that_were_not_told(path: Path, database: Path) -> None:
    """The copy was made while events 18 to 20 were committed but not yet in the file; later they were."""
    async with opened(database) as store:
        await commit(store, 17)
        await tell_all(store, path)
        await commit(store, 3)
    shutil.copy(database, database.with_name("copy"))
    async with opened(database) as store:
        await commit(store, 5)
        await tell_all(store, path)
    database.unlink()
    shutil.copy(database.with_name("copy"), database)
    async with opened(database) as store:
        await commit_after_prepare(store, path, 5)
    assert told(path) == exactly(30)


async def test_a_lost_database_goes_on_above_the_file(
    path: Path, database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(database) as store:
        await commit(store, 20)
        await tell_all(store, path)
    database.unlink()
    async with opened(database) as store:
        await commit_after_prepare(store, path, 5)
    assert told(path) == exactly(25)
    assert len(errors(caplog, "ends at event 20 but the database is new. Numbering goes on at 21")) == 1


async def test_a_lost_database_goes_on_above_a_rotated_file(path: Path, database: Path) -> None:
    async with opened(database) as store:
        await commit(store, 20)
        await tell_all(store, path)
    database.unlink()
    path.rename(path.with_name("events.ndjson.1"))
    async with opened(database) as store:
        await commit_after_prepare(store, path, 5)
    assert told(path) == exactly(25, first=21)


@pytest.mark.parametrize(("theirs", "ours"), [(8, 12), (12, 12), (30, 12)])
async def test_a_file_from_another_database_is_set_aside(
    path: Path, database: Path, theirs: int, ours: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(database.with_name("other.db")) as store:
        await commit(store, theirs)
        await tell_all(store, path)
    foreign = path.read_bytes()
    async with opened(database) as store:
        await commit(store, ours)
        await tell_all(store, path)
        await commit(store, 3)
        await tell_all(store, path)
        assert path.read_bytes() == b"".join(await stored_lines(store))
    aside = [file for file in path.parent.iterdir() if ".other-" in file.name]
    assert [file.read_bytes() for file in aside] == [foreign]
    assert len(errors(caplog, "belongs to another database")) == 1


async def test_a_file_ahead_that_comes_too_late_to_move_the_numbers_is_set_aside(path: Path, database: Path) -> None:
    async with opened(database.with_name("other.db")) as store:
        await commit(store, 9)
        await tell_all(store, path)
    async with opened(database) as store:
        async with running(FileOutput(path), store):
            await until(lambda: size(path) == 0, "a new file")
            await commit(store, 3)
            await wait_told(path, 3)
        assert told(path) == [1, 2, 3]
        assert len([file for file in path.parent.iterdir() if ".other-" in file.name]) == 1


async def test_a_file_ahead_by_an_absurd_number_does_not_move_the_numbers(path: Path, database: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b'{"seq":9223372036854775807,"type":"message.status"}\n')
    async with opened(database) as store:
        await commit(store, 3)
        with pytest.raises(OutputError, match="no event"):
            await FileOutput(path, advance=store.advance_seq).run(store)
        assert store.last == 3


# -- trouble


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
                await wait_told(path, 50)
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
            await wait_told(path, 1)
            (small_disk / "filler").write_bytes(bytes(150 * 1024))
            await commit(store, 400)
            await until(lambda: "No space left" in output.health.trouble, "trouble")
            await wait_told(database.with_name("other.ndjson"), store.last)
            assert told(path) == exactly(output.health.seq)
            (small_disk / "filler").unlink()
            await wait_told(path, store.last)
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
            await wait_told(path, 3)


# -- under our hands


async def test_copytruncate_is_named_once_and_writing_goes_on(
    path: Path, database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(database) as store, running(FileOutput(path), store):
        for turn in range(3):
            await commit(store, 10)
            await wait_told(path, store.last)
            shutil.copy(path, path.with_name(f"copy.{turn}"))
            os.truncate(path, 0)
        await commit(store, 10)
        await wait_told(path, store.last)
        assert told(path) == exactly(40, first=31)
    assert len(errors(caplog, "copytruncate")) == 1


async def test_a_file_cut_in_the_middle_of_a_line_is_continued_by_whole_lines(path: Path, database: Path) -> None:
    async with opened(database) as store, running(FileOutput(path), store):
        await commit(store, 10)
        await wait_told(path, 10)
        os.truncate(path, size(path) - 7)
        await commit(store, 2)
        await wait_told(path, 12)
        assert told(path) == [*exactly(9), 11, 12]


async def test_another_programs_line_stays_and_ours_stay_whole(
    path: Path, database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(database) as store, running(FileOutput(path), store):
        await commit(store, 2)
        await wait_told(path, 2)
        with path.open("ab") as file:
            file.write(b'{"half a')
        await commit(store, 2)
        await wait_told(path, 4)
        lines = path.read_bytes().splitlines()
        assert lines[2] == b'{"half a'
        assert [json.loads(line)["seq"] for line in lines[:2] + lines[3:]] == [1, 2, 3, 4]
    assert len(errors(caplog, "another program writes to")) == 1


class Counting:
    """The real store; `reads` of events and `tries` to find the place are counted."""

    def __init__(self, store: Store) -> None:
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


async def test_numbers_left_out_cost_nothing(path: Path, database: Path) -> None:
    output = FileOutput(path)
    async with opened(database) as store, running(output, log := Counting(store)) as task:
        await commit(store, 2)
        await wait_told(path, 2)
        await store.advance_seq(100)
        output.reopen()
        log.reads = 0
        await asyncio.wait({task}, timeout=0.5)
        assert log.reads < 10
        await commit(store, 2)
        await wait_told(path, 102)
        assert told(path) == [1, 2, 101, 102]


async def test_line_separators_of_unicode_and_control_characters_stay_inside_the_line(
    path: Path, database: Path
) -> None:
    nasty = "a\u2028b\u2029c\x85d\ne\rf\x00g\x1b[31mh\u202e"
    async with opened(database) as store:
        await commit(store, 1, error=nasty)
        await commit(store, 1)
        await tell_all(store, path)
    lines = path.read_bytes().split(b"\n")
    assert len(lines) == 3
    assert json.loads(lines[0])["error"] == nasty
    assert not any(byte in lines[0] for byte in (0x00, 0x0D, 0x1B))


async def test_a_stop_tells_what_was_committed_before(path: Path, database: Path) -> None:
    async with opened(database) as store:
        async with running(FileOutput(path), store):
            await until(lambda: size(path) == 0, "start")
            await commit(store, 5000)
        assert told(path) == exactly(5000)
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
