"""Many readers of the event socket: coming and going, stuck, and keeping up."""

from __future__ import annotations

import asyncio
import gc
import resource
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.output_kit import commit, exactly, opened, until
from tests.integration.output_socket_kit import Reader, connected, readers, serving


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "events.sock"


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
