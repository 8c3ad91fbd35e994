"""The event socket's path: its mode, what is there already, and who comes after."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from pathlib import Path

import pytest

from pollerd.base.errors import OutputError
from pollerd.outputs.socket import SocketOutput
from tests.integration.output_kit import commit, exactly, opened, until
from tests.integration.output_socket_kit import connected, is_listening, readers, serving


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "events.sock"


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
