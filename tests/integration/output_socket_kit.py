"""Readers of the event socket."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from pollerd.outputs.socket import SocketOutput
from tests.acceptance.waiting import PATIENCE
from tests.integration.output_kit import running, until


class Reader:
    """A program at the other end of the socket."""

    def __init__(self, stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.stream = stream
        self.writer = writer

    async def say(self, text: bytes) -> None:
        self.writer.write(text)
        await self.writer.drain()

    async def line(self) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE):
            raw = await self.stream.readuntil(b"\n")
        value = json.loads(raw)
        assert isinstance(value, dict)
        return value

    async def numbers(self, count: int) -> list[int]:
        return [(await self.line())["seq"] for _ in range(count)]

    async def rest(self) -> bytes:
        async with asyncio.timeout(PATIENCE):
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
