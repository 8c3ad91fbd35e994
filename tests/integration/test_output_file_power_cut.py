"""What a power cut leaves of the event file: sectors that read as NUL, a lost end, a rotation half done. The same bytes
come back at the same places, since readers hold places.
"""

from __future__ import annotations

import gzip
import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from pollerd.core.ports import Cursor
from pollerd.outputs.file import FileOutput
from pollerd.outputs.synced import Synced
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

SECTOR = 512


async def write_all(store: SqliteStore, path: Path) -> None:
    """One start of the output, ended when everything is reported in whatever file."""
    output = FileOutput(path)
    async with running(output, store):
        await until(lambda: output.health.seq == store.last, "all told")


async def write_and_forget(store: SqliteStore, path: Path, synced: int, behind: int) -> int:
    """`synced` events are in the file and the place says so, `behind` more are only written; returns that offset."""
    place, offset = Cursor("file", 0), 0
    if synced:
        await commit(store, synced)
        await write_all(store, path)
        place, offset = after_a_boot(await saved(store)), size(path)
    await commit(store, behind)
    await write_all(store, path)
    await store.save_cursor(place)
    return offset


async def saved(store: SqliteStore) -> Cursor:
    place = await store.cursor("file")
    assert place is not None
    return place


def after_a_boot(place: Cursor) -> Cursor:
    """The place as the next boot of the machine finds it."""
    synced = Synced.of(place)
    assert synced is not None
    return Cursor(place.name, place.seq, msgspec.structs.replace(synced, boot="the one before").note)


def blank(path: Path, start: int, end: int) -> None:
    """These bytes never reached the disk."""
    with path.open("r+b") as file:
        file.seek(start)
        file.write(bytes(max(0, min(end, size(path)) - start)))


def another_inode(path: Path) -> None:
    """The same content in another file: restored, or on another disk."""
    shutil.copy(path, path.with_name("copy"))
    path.with_name("copy").replace(path)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("unit", [SECTOR, 4096])
async def test_any_sectors_lost_come_back_in_place(
    path: Path, database: Path, seed: int, unit: int, caplog: pytest.LogCaptureFixture
) -> None:
    choice = random.Random(seed)
    async with opened(database) as store:
        offset = await write_and_forget(store, path, choice.choice([0, 1, 30]), 120)
        whole = path.read_bytes()
        for start in range(offset // unit * unit, size(path), unit):
            if choice.random() < 0.5:
                blank(path, max(start, offset), start + unit)
        if choice.random() < 0.5:
            os.truncate(path, choice.randint(offset, size(path)))
        if choice.random() < 0.3:
            os.truncate(path, size(path) + 9000)
        if choice.random() < 0.5:
            another_inode(path)
        await commit(store, 1)
        await write_all(store, path)
        assert path.read_bytes() == whole + (await stored_lines(store))[-1]
        assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert not errors(caplog, "another program")


async def test_the_first_page_of_a_rotated_file_comes_back(
    path: Path, database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The place is that of the old file's end: event 102. The new file begins with a page of NUL bytes."""
    old = path.with_name("events.ndjson.1")
    async with opened(database) as store:
        await commit(store, 102)
        async with running(output := FileOutput(path), store):
            await wait_written(path, 102)
            path.rename(old)
            output.reopen()
            await until(lambda: size(path) == 0, "a new file")
            await commit(store, 60)
            await wait_written(path, 162)
        now = await saved(store)
        synced = Synced.of(now)
        assert synced is not None
        kept = Cursor("file", 102, msgspec.structs.replace(synced, offset=0).note)
        await store.save_cursor(after_a_boot(kept))
        whole = path.read_bytes()
        blank(path, 0, 4096)
        await write_all(store, path)
        assert path.read_bytes() == whole
        assert seqs_in_all(path.parent) == exactly(162)
    assert len(errors(caplog, "lacked 4096 bytes of the events 103 to")) == 1


@pytest.mark.parametrize("detail", ["inode:{inode}", "inode:1", "", "nonsense"])
async def test_a_place_saved_by_another_version_is_enough(path: Path, database: Path, detail: str) -> None:
    async with opened(database) as store:
        offset = await write_and_forget(store, path, 30, 60)
        whole = path.read_bytes()
        await store.save_cursor(Cursor("file", 30, detail.format(inode=path.stat().st_ino)))
        blank(path, offset + 100, offset + 5000)
        await write_all(store, path)
        assert path.read_bytes() == whole


async def test_more_than_a_mebibyte_that_was_not_synced_is_checked_whole(path: Path, database: Path) -> None:
    """As when the database could not be written for a while, so that the place stood still."""
    async with opened(database) as store:
        await commit(store, 3)
        await write_all(store, path)
        kept = await saved(store)
        await commit(store, 4000, error="x" * 600)
        await write_all(store, path)
        whole = path.read_bytes()
        await store.save_cursor(after_a_boot(kept))
        blank(path, 4096, 8192)
        blank(path, 3 * SECTOR * 2048, 3 * SECTOR * 2048 + 4096)
        await write_all(store, path)
        assert path.read_bytes() == whole


@pytest.mark.parametrize("lost", ["all", "some", "nothing"])
@pytest.mark.parametrize("create", [False, True])
async def test_a_renamed_file_that_lost_its_end_gets_it_back(
    path: Path, database: Path, lost: str, create: bool
) -> None:
    """A reader of it holds a place behind its end: the same lines have to come back there, not in the new file."""
    old = path.with_name("events.ndjson.1")
    async with opened(database) as store:
        offset = await write_and_forget(store, path, 30, 60)
        seen = path.read_bytes()
        path.rename(old)
        if create:
            path.touch()
        os.truncate(old, {"all": offset, "some": offset + 1000, "nothing": len(seen)}[lost])
        await write_all(store, path)
        assert old.read_bytes() == seen
        await commit(store, 5)
        await write_all(store, path)
        assert old.read_bytes() == seen
        assert seqs_in_all(path.parent) == exactly(95)


async def test_without_a_boot_in_between_nothing_is_written_behind_a_renamed_file(path: Path, database: Path) -> None:
    old = path.with_name("events.ndjson.1")
    async with opened(database) as store:
        await commit(store, 30)
        await write_all(store, path)
        await commit(store, 10)
        path.rename(old)
        await write_all(store, path)
        assert (seqs(old), seqs(path)) == (exactly(30), exactly(40, 31))


@pytest.mark.parametrize("same", [True, False], ids=["same inode", "copy"])
@pytest.mark.parametrize("left", ["nothing", "NUL bytes", "its middle"])
async def test_a_renamed_file_that_was_never_synced_gets_all_back(
    path: Path, database: Path, left: str, same: bool
) -> None:
    """The place names it with nothing in it; its size may be on disk, whatever is in it."""
    old = path.with_name("events.ndjson.1")
    async with opened(database) as store:
        await write_and_forget(store, path, 0, 60)
        seen, file = path.read_bytes(), path.stat()
        await store.save_cursor(Cursor("file", 0, Synced(file.st_ino, file.st_dev, 0, "the one before").note))
        path.rename(old)
        if left == "its middle":
            blank(old, 0, 4096)
            blank(old, 12288, len(seen))
        else:
            os.truncate(old, 0)
            os.truncate(old, 0 if left == "nothing" else 9000)
        if not same:
            another_inode(old)
        await write_all(store, path)
        assert (old.read_bytes(), seqs(path)) == (seen, [])


async def test_bytes_that_are_gone_are_lost_whatever_the_boot_says(path: Path, database: Path) -> None:
    """A disk that was taken off and put back, or a kernel whose boot has no new name: holes are no kill's work."""
    old = path.with_name("events.ndjson.1")
    async with opened(database) as store:
        await commit(store, 30)
        await write_all(store, path)
        kept, offset = await saved(store), size(path)
        await commit(store, 60)
        await write_all(store, path)
        await store.save_cursor(kept)
        seen = path.read_bytes()
        path.rename(old)
        blank(old, offset + 600, offset + 3000)
        os.truncate(old, len(seen) - 1000)
        await write_all(store, path)
        assert (old.read_bytes(), seqs(path)) == (seen, [])


async def test_a_renamed_file_gets_its_end_back_however_far_behind_the_place_is(path: Path, database: Path) -> None:
    """The database could not be written for a while, so that the place stood still while the file was synced."""
    old = path.with_name("events.ndjson.1")
    async with opened(database) as store:
        await write_and_forget(store, path, 3, 4000)
        seen = path.read_bytes()
        path.rename(old)
        os.truncate(old, len(seen) - 400_000)
        await write_all(store, path)
        assert (old.read_bytes(), seqs(path)) == (seen, [])


@pytest.mark.parametrize("neighbour", ["events.ndjson.4", "events.ndjson.offset"])
async def test_an_empty_neighbour_is_not_written_to(path: Path, database: Path, neighbour: str) -> None:
    """The file at the path is the one that has lost all, or the neighbour keeps notes of another program."""
    other = path.with_name(neighbour)
    async with opened(database) as store:
        await write_and_forget(store, path, 0, 60)
        seen = path.read_bytes()
        file = path.stat()
        await store.save_cursor(Cursor("file", 0, Synced(file.st_ino, file.st_dev, 0, "the one before").note))
        os.truncate(path, 0)
        other.touch()
        if neighbour.endswith("offset"):
            another_inode(path)
        await write_all(store, path)
        assert (path.read_bytes(), size(other)) == (seen, 0)


async def test_what_is_not_reported_again_is_synced_whoever_wrote_it(
    path: Path, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gzip does not sync what it writes: the place may not pass its lines before they are on disk."""
    packed = path.with_name("events.ndjson.1.gz")
    fsync, synced = os.fsync, set()

    def watch_sync(fd: int) -> None:
        fsync(fd)
        synced.add(os.fstat(fd).st_ino)

    async with opened(database) as store:
        await write_and_forget(store, path, 30, 60)
        packed.write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
        monkeypatch.setattr(os, "fsync", watch_sync)
        await write_all(store, path)
        assert (await saved(store)).seq == 90
        assert packed.stat().st_ino in synced


async def test_a_renamed_file_full_of_holes_is_repaired_where_it_is(path: Path, database: Path) -> None:
    old = path.parent / "old" / "events.ndjson.1"
    async with opened(database) as store:
        offset = await write_and_forget(store, path, 30, 60)
        seen = path.read_bytes()
        old.parent.mkdir()
        path.rename(old)
        blank(old, offset + 600, offset + 3000)
        await write_all(store, path)
        assert old.read_bytes() == seen
        assert seqs(path) == []


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Nobody can write in the folder, root included."""
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if mount is None or umount is None or subprocess.run([mount, "--bind", folder, folder], check=False).returncode:
        pytest.skip("needs the right to mount")
    try:
        subprocess.run([mount, "-o", "remount,bind,ro", folder], check=True)
        yield
    finally:
        subprocess.run([umount, folder], check=True)


async def test_what_a_damaged_file_lacks_that_cannot_be_written_is_reported_again(
    path: Path, database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old = path.parent / "old" / "events.ndjson.1"
    async with opened(database) as store:
        offset = await write_and_forget(store, path, 30, 60)
        lines = path.read_bytes().splitlines(keepends=True)
        old.parent.mkdir()
        path.rename(old)
        start = offset + sum(map(len, lines[30:40])) + 10
        blank(old, start, start + 1000)
        with read_only(old.parent):
            await write_all(store, path)
        assert seqs(path) == exactly(90, first=41)
    assert len(errors(caplog, "was damaged by a crash and cannot be repaired")) == 1


async def test_a_renamed_file_that_was_compressed_is_gone_on_from(path: Path, database: Path) -> None:
    """Its lines are read, not written: what its end lacks is reported again in the new file."""
    packed = path.with_name("events.ndjson.1.gz")
    async with opened(database) as store:
        await write_and_forget(store, path, 30, 60)
        lines = path.read_bytes().splitlines(keepends=True)
        packed.write_bytes(gzip.compress(b"".join(lines[:70])))
        path.unlink()
        await write_all(store, path)
        assert seqs(path) == exactly(90, first=71)


async def test_lines_of_another_program_behind_what_was_synced_stay(path: Path, database: Path) -> None:
    async with opened(database) as store:
        await write_and_forget(store, path, 30, 0)
        with path.open("ab") as file:
            file.write(b"# checked until here\n")
        before = path.read_bytes()
        await commit(store, 5)
        await write_all(store, path)
        assert path.read_bytes() == before + b"".join((await stored_lines(store))[30:])


@pytest.mark.parametrize("damage", ["none", "torn", "hole", "end"])
async def test_an_event_above_a_mebibyte(path: Path, database: Path, damage: str) -> None:
    """A line longer than the window in which the last event is searched."""
    changes: dict[str, Callable[[int], None]] = {
        "none": lambda offset: None,
        "torn": lambda offset: os.truncate(path, offset + 1_500_000),
        "hole": lambda offset: blank(path, offset + 9000, offset + 1_200_000),
        "end": lambda offset: blank(path, offset + 1_200_000, offset + 3_000_000),
    }
    async with opened(database) as store:
        await commit(store, 2)
        await write_all(store, path)
        kept = await saved(store)
        offset = size(path)
        await commit(store, 1, error="long " * 400_000)
        await write_all(store, path)
        whole = path.read_bytes()
        await store.save_cursor(after_a_boot(kept))
        changes[damage](offset)
        await write_all(store, path)
        assert path.read_bytes() == whole
        await commit(store, 2)
        await write_all(store, path)
        assert seqs(path) == exactly(5)


async def test_never_more_than_512_kib_wait_for_a_sync(
    path: Path, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by an output that catches up, whose writes come at once."""
    synced, most = 0, 0
    fsync, write = os.fsync, os.write

    def watch_sync(fd: int) -> None:
        nonlocal synced
        fsync(fd)
        if path.exists() and os.fstat(fd).st_ino == path.stat().st_ino:
            synced = size(path)

    def watch_write(fd: int, data: bytes) -> int:
        nonlocal most
        done = write(fd, data)
        if path.exists() and os.fstat(fd).st_ino == path.stat().st_ino:
            most = max(most, size(path) - synced)
        return done

    monkeypatch.setattr(os, "fsync", watch_sync)
    monkeypatch.setattr(os, "write", watch_write)
    async with opened(database) as store:
        await commit(store, 9000)
        await write_all(store, path)
        assert seqs(path) == exactly(9000)
    assert size(path) > 2_500_000
    assert 0 < most <= 512 * 1024
