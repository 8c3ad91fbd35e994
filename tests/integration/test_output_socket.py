"""The socket output with real readers: places, gaps, stuck readers, and who may have the path."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import os
import resource
import socket
import sqlite3
import stat
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from pollerd.errors import OutputError
from pollerd.outputs import SocketOutput
from tests.integration.output_kit import commit, exactly, opened, running, until


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "pollerd.db"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "events.sock"


class Reader:
    """A program at the other end of the socket."""

    def __init__(self, stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.stream = stream
        self.writer = writer

    async def say(self, text: bytes) -> None:
        self.writer.write(text)
        await self.writer.drain()

    async def line(self) -> dict[str, Any]:
        async with asyncio.timeout(30):
            raw = await self.stream.readuntil(b"\n")
        value = json.loads(raw)
        assert isinstance(value, dict)
        return value

    async def numbers(self, count: int) -> list[int]:
        return [(await self.line())["seq"] for _ in range(count)]

    async def rest(self) -> bytes:
        async with asyncio.timeout(30):
            return await self.stream.read()


@asynccontextmanager
async def connected(path: Path) -> AsyncIterator[Reader]:
    stream, writer = await asyncio.open_unix_connection(path, limit=1 << 22)
    try:
        yield Reader(stream, writer)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


@asynccontextmanager
async def serving(path: Path, store: Any, **options: Any) -> AsyncIterator[SocketOutput]:
    output = SocketOutput(path, **options)
    async with running(output, store) as task:
        await until(lambda: task.done() or is_listening(path), "the socket")
        yield output


def is_listening(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


async def readers(output: SocketOutput, count: int) -> None:
    await until(lambda: output.health.readers == count, f"{count} readers")


async def test_a_reader_gets_every_event_from_its_connection_on(path: Path, database: Path) -> None:
    async with opened(database) as store, serving(path, store) as output:
        await readers(output, 0)
        await commit(store, 5)
        async with connected(path) as reader:
            await readers(output, 1)
            await commit(store, 700)
            assert await reader.numbers(700) == exactly(705, first=6)


async def test_a_reader_gets_the_events_after_the_place_it_names(path: Path, database: Path) -> None:
    async with opened(database) as store, serving(path, store):
        await commit(store, 600)
        async with connected(path) as reader:
            for place in (0, 590, 100):
                await reader.say(b"after %d\n" % place)
                assert await reader.numbers(600 - place) == exactly(600, first=place + 1)
            await commit(store, 1)
            assert await reader.numbers(1) == [601]


async def test_a_reader_may_move_while_it_is_served(path: Path, database: Path) -> None:
    async with opened(database) as store, serving(path, store):
        await commit(store, 20_000)
        async with connected(path) as reader:
            await reader.say(b"after 0\n")
            assert await reader.numbers(10) == exactly(10)
            await reader.say(b"after 19000\n")
            numbers = [10]
            while numbers[-1] != 20_000:
                numbers += await reader.numbers(1)
            jumps = [now for before, now in itertools.pairwise(numbers) if now != before + 1]
            assert jumps == [19_001]


async def test_a_place_in_the_future_waits_for_it(path: Path, database: Path) -> None:
    async with opened(database) as store, serving(path, store) as output, connected(path) as reader:
        await reader.say(b"after 12\n")
        await until(lambda: output.health.seq == 12, "the move")
        await commit(store, 15)
        assert await reader.numbers(3) == [13, 14, 15]


@pytest.mark.parametrize(
    "said", [b"hello\n", b"after\n", b"after -1\n", b"after x\n", b"\n", b"\xff\xfe\n", b"after 99999999999999999999\n"]
)
async def test_what_is_no_place_is_ignored(path: Path, database: Path, said: bytes) -> None:
    async with opened(database) as store, serving(path, store):
        await commit(store, 3)
        async with connected(path) as reader:
            await reader.say(said + b"  after   1 \r\n")
            assert await reader.numbers(2) == [2, 3]


async def test_a_reader_that_sends_a_line_without_end_is_disconnected(path: Path, database: Path) -> None:
    async with opened(database) as store, serving(path, store), connected(path) as reader:
        with_end = b"x" * 1_000_000
        reader.writer.write(with_end)
        assert await rest_or_reset(reader) == b""


async def rest_or_reset(reader: Reader) -> bytes:
    try:
        return await reader.rest()
    except ConnectionError:
        return b""


async def test_deleted_events_are_told_as_a_gap(path: Path, database: Path) -> None:
    async with opened(database) as store:
        await commit(store, 20)
    prune(database, 12)
    async with opened(database) as store, serving(path, store), connected(path) as reader:
        await reader.say(b"after 5\n")
        assert await reader.line() == {"type": "gap", "after": 5, "first": 13}
        assert await reader.numbers(8) == exactly(20, first=13)
        await reader.say(b"after 12\n")
        assert await reader.numbers(8) == exactly(20, first=13)


async def test_when_all_events_are_deleted_the_gap_is_told_at_once(path: Path, database: Path) -> None:
    async with opened(database) as store:
        await commit(store, 20)
    prune(database, 20)
    async with opened(database) as store, serving(path, store), connected(path) as reader:
        await reader.say(b"after 5\n")
        assert await reader.line() == {"type": "gap", "after": 5, "first": 21}
        await commit(store, 1)
        assert await reader.numbers(1) == [21]


def prune(database: Path, until_seq: int) -> None:
    connection = sqlite3.connect(database)
    with connection:
        connection.execute("DELETE FROM events WHERE seq <= ?", (until_seq,))
    connection.close()


async def test_a_thousand_reconnects_leave_no_gap(path: Path, database: Path) -> None:
    seen = [0]
    async with opened(database) as store, serving(path, store) as output:

        async def commit_on() -> None:
            while store.last < 5000:
                await commit(store, 3)

        committing = asyncio.create_task(commit_on())
        for _ in range(1000):
            async with connected(path) as reader:
                await reader.say(b"after %d\n" % seen[-1])
                wanted = seen[-1] + 5
                while seen[-1] < wanted:
                    number = (await reader.line())["seq"]
                    # Newer ones come again, once the reader has been moved.
                    if number == seen[-1] + 1:
                        seen.append(number)
        await committing
        await readers(output, 0)
    assert seen == list(range(5001))


async def test_reconnects_without_any_event_leave_no_connection_behind(path: Path, database: Path) -> None:
    async with opened(database) as store, serving(path, store) as output:
        for _ in range(50):
            async with connected(path):
                pass
        await readers(output, 0)


async def test_a_reader_that_ended_its_sending_half_is_still_served(path: Path, database: Path) -> None:
    """As in `echo after 1 | nc -U events.sock`."""
    async with opened(database) as store, serving(path, store) as output:
        await commit(store, 3)
        async with connected(path) as reader:
            await reader.say(b"after 1\n")
            reader.writer.write_eof()
            assert await reader.numbers(2) == [2, 3]
            await commit(store, 1)
            assert await reader.numbers(1) == [4]
        await readers(output, 0)


async def test_stuck_readers_delay_nobody_and_cost_little(path: Path, database: Path) -> None:
    filler = "x" * 500
    async with opened(database) as store, serving(path, store) as output:
        await commit(store, 200, error=filler)
        stuck = [socket.socket(socket.AF_UNIX) for _ in range(10)]
        try:
            for connection in stuck:
                connection.connect(str(path))
                connection.sendall(b"after 0\n")
            async with connected(path) as reader:
                await readers(output, 11)
                gc.collect()
                before = resident()
                await reader.say(b"after 0\n")
                last = 200
                while last < 40_000:
                    last = await commit(store, 200, error=filler)
                numbers = await reader.numbers(last)
                assert numbers == exactly(last)
                # 40,000 events are 36 MB; the store itself keeps the last few thousand.
                assert resident() - before < 40 << 20
                assert output.health.seq < last
            # A stuck reader has lost nothing.
            await until_all_read(stuck[0], last)
        finally:
            for connection in stuck:
                connection.close()


def resident() -> int:
    """Bytes of memory this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


async def until_all_read(connection: socket.socket, last: int) -> None:
    connection.setblocking(False)
    stream, writer = await asyncio.open_unix_connection(sock=connection, limit=1 << 22)
    reader = Reader(stream, writer)
    assert await reader.numbers(last) == exactly(last)
    writer.close()


async def test_a_stop_is_prompt_with_readers_connected_and_stuck(path: Path, database: Path) -> None:
    async with opened(database) as store:
        stuck = socket.socket(socket.AF_UNIX)
        begun = 0.0
        async with connected_later() as later:
            async with serving(path, store) as output:
                stuck.connect(str(path))
                stuck.sendall(b"after 0\n")
                reader = await later(path)
                await readers(output, 2)
                await commit(store, 3000, error="x" * 500)
                await reader.numbers(3000)
                await until(lambda: output.health.seq < 3000, "a stuck reader")
                begun = time.monotonic()
            assert time.monotonic() - begun < 30
            assert await reader.rest() == b""
        stuck.close()
    assert not path.exists()


@asynccontextmanager
async def connected_later() -> AsyncIterator[Any]:
    made: list[Reader] = []

    async def connect(path: Path) -> Reader:
        made.append(Reader(*await asyncio.open_unix_connection(path, limit=1 << 22)))
        return made[-1]

    try:
        yield connect
    finally:
        for reader in made:
            reader.writer.close()


async def test_many_readers_that_keep_up_share_the_reads(path: Path, database: Path) -> None:
    async with opened(database) as store, serving(path, store) as output:
        connections = [await asyncio.open_unix_connection(path, limit=1 << 22) for _ in range(50)]
        all_readers = [Reader(*connection) for connection in connections]
        await readers(output, 50)
        for _ in range(20):
            await commit(store, 10)
        for reader in all_readers:
            assert await reader.numbers(200) == exactly(200)
        for reader in all_readers:
            reader.writer.close()


async def test_line_separators_of_unicode_stay_inside_the_line(path: Path, database: Path) -> None:
    nasty = "a\u2028b\u2029c\x85d\ne\x00f"
    async with opened(database) as store, serving(path, store) as output, connected(path) as reader:
        await readers(output, 1)
        await commit(store, 1, error=nasty)
        assert (await reader.line())["error"] == nasty


# -- the path


@pytest.mark.parametrize("umask", [0o000, 0o077])
@pytest.mark.parametrize("mode", [0o660, 0o600, 0o666])
async def test_modes_are_exact_whatever_the_umask(path: Path, database: Path, umask: int, mode: int) -> None:
    async with opened(database) as store:
        before = os.umask(umask)
        try:
            async with serving(path, store, mode=mode):
                assert stat.S_IMODE(path.stat().st_mode) == mode
                assert stat.S_IMODE(path.parent.stat().st_mode) == 0o750
        finally:
            os.umask(before)


async def test_a_stale_socket_is_replaced(path: Path, database: Path) -> None:
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
        stale.listen()
    async with opened(database) as store, serving(path, store) as output, connected(path) as reader:
        await readers(output, 1)
        await commit(store, 1)
        assert await reader.numbers(1) == [1]


@pytest.mark.parametrize("backlog_full", [False, True])
async def test_a_live_socket_of_somebody_else_is_left_alone(path: Path, database: Path, backlog_full: bool) -> None:
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as live:
        live.bind(str(path))
        live.listen(0)
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(2 if backlog_full else 0)]
        for connection in waiting:
            connection.setblocking(False)
            connection.connect_ex(str(path))
        inode = path.stat().st_ino
        async with opened(database) as store:
            with pytest.raises(OutputError, match=f"another process listens at {path}: stop it"):
                await SocketOutput(path).run(store)
        assert path.stat().st_ino == inode
        for connection in waiting:
            connection.close()


async def test_what_is_no_socket_is_left_alone(path: Path, database: Path) -> None:
    path.parent.mkdir()
    path.write_text("precious")
    async with opened(database) as store:
        with pytest.raises(OutputError, match="is not a socket: move it away"):
            await SocketOutput(path).run(store)
    assert path.read_text() == "precious"


async def test_a_path_that_is_too_long_is_refused(tmp_path: Path, database: Path) -> None:
    async with opened(database) as store:
        with pytest.raises(OutputError, match="too long for a Unix socket"):
            await SocketOutput(tmp_path / ("x" * 100)).run(store)


async def test_a_stop_leaves_the_socket_of_a_successor(path: Path, database: Path) -> None:
    async with opened(database) as store:
        async with serving(path, store):
            path.unlink()
            successor = socket.socket(socket.AF_UNIX)
            successor.bind(str(path))
        assert path.is_socket()
        successor.close()


async def test_a_socket_file_that_was_removed_comes_back_with_a_reload(path: Path, database: Path) -> None:
    async with opened(database) as store, serving(path, store) as output, connected(path) as old:
        await readers(output, 1)
        path.unlink()
        output.reopen()
        await until(lambda: is_listening(path), "the socket")
        async with connected(path) as new:
            await readers(output, 2)
            await commit(store, 1)
            assert await new.numbers(1) == [1]
            assert await old.numbers(1) == [1]


def test_the_same_under_uvloop(path: Path, database: Path) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def work() -> None:
        async with opened(database) as store:
            async with serving(path, store) as output, connected(path) as reader:
                await readers(output, 1)
                await commit(store, 500)
                assert await reader.numbers(500) == exactly(500)
                async with connected(path):
                    await readers(output, 2)
                await readers(output, 1)
                path.unlink()
                output.reopen()
                await until(lambda: is_listening(path), "the socket")
            assert not path.exists()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work())
