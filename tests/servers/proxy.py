"""A TCP proxy between clients and a server that freezes, holds back, cuts and refuses when a test says so."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from typing import Final, Self, TypeVar

from tests.servers.program import free_port

T = TypeVar("T")
_PIECE: Final = 65536
"""Bytes read at a time."""
_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER without any time: the end of the connection is a reset."""


class _Way:
    """One direction of a connection: what was read, and is not passed on yet."""

    def __init__(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, frozen: bool) -> None:
        self.held = bytearray()
        self._source = source
        self._sink = sink
        self._frozen = frozen
        self._ended = False
        self._changed = asyncio.Event()

    def set_frozen(self, frozen: bool) -> None:
        self._frozen = frozen
        self._changed.set()

    def drop(self) -> None:
        """Pass nothing on any more."""
        self.held.clear()
        self._ended = True
        self.set_frozen(False)

    async def carry(self) -> None:
        """Until the source has ended and all that it gave is passed on."""
        reading = asyncio.create_task(self._read())
        try:
            while not (self._ended and not self._frozen and not self.held):
                await self._changed.wait()
                self._changed.clear()
                if self.held and not self._frozen:
                    self._sink.write(bytes(self.held))
                    self.held.clear()
                    await self._sink.drain()
            self._sink.write_eof()
        except OSError:
            pass  # The sink has gone.
        finally:
            reading.cancel()

    async def _read(self) -> None:
        # All the time, frozen or not: a reset must not take what was sent before it.
        with contextlib.suppress(OSError):
            while data := await self._source.read(_PIECE):
                self.held += data
                self._changed.set()
        self._ended = True
        self._changed.set()


class _Connection:
    def __init__(self, to_server: _Way, to_client: _Way, writers: tuple[asyncio.StreamWriter, ...]) -> None:
        self.to_server = to_server
        self.to_client = to_client
        self.writers = writers

    def reset(self) -> None:
        for writer in self.writers:
            with contextlib.suppress(OSError):
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()
        self.to_server.drop()
        self.to_client.drop()


class Proxy:
    """Listens on 127.0.0.1:`port` and passes on to 127.0.0.1:`target`, in a thread of its own.

    What a client sent before it left is passed on all the same once nothing is frozen: a request that was taken for
    lost arrives at last.
    """

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._listener: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._frozen = (False, False)

    def __enter__(self) -> Self:
        self._thread.start()
        self.accept()
        return self

    def __exit__(self, *_: object) -> None:
        self.refuse()
        self.reset()
        self._do(lambda: [task.cancel() for task in asyncio.all_tasks() if task is not asyncio.current_task()])
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def connections(self) -> int:
        """How many stand."""
        return self._do(lambda: len(self._connections))

    def held(self) -> tuple[int, int]:
        """Bytes held back, those for the server and those for clients."""
        return self._do(
            lambda: (
                sum(len(each.to_server.held) for each in self._connections),
                sum(len(each.to_client.held) for each in self._connections),
            )
        )

    def holds(self, part: bytes) -> bool:
        """Whether this is in what is held back for the server, on one connection."""
        return self._do(lambda: any(part in each.to_server.held for each in self._connections))

    def freeze(self, *, to_server: bool = True, to_client: bool = True, new: bool = True) -> None:
        """Hold back what goes in these directions, on the connections that stand and, with `new`, on later ones."""

        def freeze() -> None:
            self._frozen = (to_server, to_client) if new else (False, False)
            for each in self._connections:
                each.to_server.set_frozen(to_server)
                each.to_client.set_frozen(to_client)

        self._do(freeze)

    def thaw(self) -> None:
        """Pass on what is held, and all that comes."""
        self.freeze(to_server=False, to_client=False)

    def reset(self) -> None:
        """End the connections that stand with a reset on both sides. What is held is lost."""

        def reset() -> None:
            for each in self._connections:
                each.reset()

        self._do(reset)

    def lead_to(self, target: int) -> None:
        """Pass later connections on to this port instead."""
        self._target = target

    def refuse(self) -> None:
        """Take no more connections: who tries is refused."""
        self._do(lambda: self._listener.close() if self._listener is not None else None)

    def accept(self) -> None:
        """Take connections (again)."""
        starting = asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self._listener = asyncio.run_coroutine_threadsafe(starting, self._loop).result()

    def _do(self, what: Callable[[], T]) -> T:
        async def done() -> T:
            return what()

        return asyncio.run_coroutine_threadsafe(done(), self._loop).result()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        connection: _Connection | None = None
        try:
            answers, onward = await asyncio.open_connection("127.0.0.1", self._target)
            writers.append(onward)
            to_server, to_client = self._frozen
            connection = _Connection(
                _Way(reader, onward, frozen=to_server), _Way(answers, writer, frozen=to_client), (writer, onward)
            )
            self._connections.add(connection)
            there = asyncio.create_task(connection.to_server.carry())
            await connection.to_client.carry()
            there.cancel()
        except OSError:
            pass  # The server is not there.
        finally:
            for each in writers:
                each.close()
            if connection is not None:
                self._connections.discard(connection)
