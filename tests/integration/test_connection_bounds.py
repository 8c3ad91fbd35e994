"""Bounds of HTTP connections: how many, and how long each may keep the server waiting."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest
from aiohttp import ClientSession, UnixConnector, web

from pollerd.base.descriptors import spare
from pollerd.base.errors import OutputError
from pollerd.config import Listen
from pollerd.outputs.acceptor import Acceptor
from pollerd.server import connection as bounds
from pollerd.server.connection import Wait
from pollerd.server.listen import HttpServer, TcpEndpoint, UnixEndpoint
from pollerd.server.pages.server import paint
from pollerd.simulator import Step
from tests.acceptance.waiting import PATIENCE
from tests.integration.control_kit import daemon
from tests.integration.output_kit import until

MOST = 8
GET = b"GET /quick HTTP/1.1\r\nHost: localhost\r\n\r\n"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Served:
    """A server with one quick answer, one that takes a body, one that is large, and one that never ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.place = Acceptor("here", MOST)
        self.more = asyncio.Event()
        self.writers: list[asyncio.StreamWriter] = []
        application = web.Application()
        application.router.add_get("/quick", self._quick)
        application.router.add_post("/body", self._body)
        application.router.add_get("/large", self._large)
        application.router.add_get("/stream", self._stream)
        self.server = HttpServer(application, UnixEndpoint(path, 0o660), self.place)

    async def _quick(self, _: web.Request) -> web.Response:
        return web.Response(text="quick")

    async def _body(self, request: web.Request) -> web.Response:
        return web.Response(text=str(len(await request.read())))

    async def _large(self, _: web.Request) -> web.Response:
        return web.Response(body=bytes(50_000_000))

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(b"begun ")
        await self.more.wait()
        await answer.write(b"ended")
        return answer

    async def connect(self, said: bytes = b"") -> Streams:
        reader, writer = await asyncio.open_unix_connection(self.path)
        self.writers.append(writer)
        writer.write(said)
        return reader, writer


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[Served]:
    found = Served(folder / "http.sock")
    await found.server.start()
    running = asyncio.create_task(found.server.run())
    try:
        yield found
    finally:
        for writer in found.writers:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
    assert found.place.open == 0


async def answer(streams: Streams) -> bytes:
    async with asyncio.timeout(PATIENCE):
        return await streams[0].read()


async def quick(streams: Streams) -> bytes:
    async with asyncio.timeout(PATIENCE):
        return (await streams[0].readuntil(b"quick"))[:12]


def full(records: list[object]) -> int:
    return sum(getattr(record, "event", "") == "connections_full" for record in records)


async def test_silent_connections_make_room_for_those_that_ask(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Ten times as many as there may be, in silence; each that asks is answered; the others get the reason."""
    async with served(tmp_path) as found:
        silent = []
        for _ in range(10 * MOST):
            silent.append(await found.connect())
            assert found.place.open <= MOST + spare(MOST)
        assert await quick(await found.connect(GET)) == b"HTTP/1.1 200"
        gone = [await answer(streams) for streams in silent[: 9 * MOST]]
        assert all(text.startswith(b"HTTP/1.1 408 Request Timeout") for text in gone)
        assert json.loads(gone[0].partition(b"\r\n\r\n")[2])["error"]["reason"] == "too_slow"
        assert found.place.turned_away >= 9 * MOST
    assert full(list(caplog.records)) == 1


async def test_who_works_is_not_closed_and_the_next_is_refused(tmp_path: Path) -> None:
    async with served(tmp_path) as found, AsyncExitStack() as stack:
        session = await stack.enter_async_context(ClientSession(connector=UnixConnector(str(found.path), limit=0)))
        streams = [await session.get("http://localhost/stream") for _ in range(MOST)]
        for _ in range(3 * MOST):
            async with session.get("http://localhost/quick") as refused:
                assert refused.status == 503
                assert (await refused.json())["error"]["reason"] == "too_many_connections"
        found.more.set()
        assert [await stream.text() for stream in streams] == ["begun ended"] * MOST
        async with session.get("http://localhost/quick") as response:
            assert response.status == 200


async def test_the_longest_silent_goes_first(tmp_path: Path) -> None:
    """A connection that has just been answered stays; between two requests nothing is said."""
    async with served(tmp_path) as found:
        used = await found.connect(GET)
        await quick(used)
        others = [await found.connect() for _ in range(MOST - 1)]
        await until(lambda: found.place.open == MOST, "all are connected")
        used[1].write(GET)
        await quick(used)
        for _ in range(MOST - 1):
            await found.connect()
        for streams in others:
            assert (await answer(streams)).startswith(b"HTTP/1.1 408")
        used[1].write(GET)
        assert await quick(used) == b"HTTP/1.1 200"
        for _ in range(MOST):
            await found.connect()
        assert await answer(used) == b""


HALF = b"POST /body HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nfour"


@pytest.mark.parametrize(
    ("wait", "said", "told"),
    [
        (Wait.HEAD, b"", b"HTTP/1.1 408"),
        (Wait.HEAD, b"GET /quick HTTP/1.1\r\nHost: loc", b"HTTP/1.1 408"),
        (Wait.BODY, HALF, b"HTTP/1.1 408"),
        (Wait.NEXT, GET, b"HTTP/1.1 200"),
    ],
)
async def test_who_keeps_the_server_waiting_is_closed(
    wait: Wait, said: bytes, told: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(bounds.TIMEOUTS, wait, 0.1)
    async with served(tmp_path) as found:
        text = await answer(await found.connect(said))
        assert text.startswith(told)
        assert text.count(b"HTTP/1.1 408") == (wait is not Wait.NEXT)
        await until(lambda: found.place.open == 0, "the connection has gone")


async def test_the_next_request_has_as_long_as_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(bounds.TIMEOUTS, Wait.HEAD, 0.1)
    async with served(tmp_path) as found:
        streams = await found.connect(GET)
        await quick(streams)
        streams[1].write(b"GET /quick HTTP/1.1")
        assert (await answer(streams)).startswith(b"HTTP/1.1 408")


async def test_a_byte_now_and_then_buys_no_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(bounds.TIMEOUTS, Wait.HEAD, 0.5)
    async with served(tmp_path) as found:
        reader, writer = await found.connect(b"GET /quick HTTP/1.1\r\n")
        with suppress(ConnectionError):
            while not reader.at_eof():
                writer.write(b"X-More: 1\r\n")
                await writer.drain()
                with suppress(TimeoutError):
                    await asyncio.wait_for(reader.read(1000), 0.05)
        await until(lambda: found.place.open == 0, "the connection has gone")


async def test_an_answer_that_nobody_takes_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(bounds.TIMEOUTS, Wait.ANSWER, 0.1)
    async with served(tmp_path) as found:
        reader, _ = await found.connect(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await until(lambda: found.place.open == 1, "connected")
        await until(lambda: found.place.open == 0, "the connection has gone")
        assert not reader.at_eof()


async def test_a_reader_of_a_stream_may_be_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for wait in Wait:
        monkeypatch.setitem(bounds.TIMEOUTS, wait, 0.1)
    async with served(tmp_path) as found:
        stream = await found.connect(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"begun" in await stream[0].readuntil(b"begun ")
        # Another that waits as long is closed.
        assert (await answer(await found.connect())).startswith(b"HTTP/1.1 408")
        found.more.set()
        assert b"ended" in await stream[0].readuntil(b"ended")


async def test_a_port_is_bounded_too_and_speaks_in_pages() -> None:
    place = Acceptor("status page", 2)
    application = web.Application()
    door = TcpEndpoint(Listen("localhost", 0))
    server = HttpServer(application, door, place, paint)
    await server.start()
    assert door.address is not None
    running = asyncio.create_task(server.run())
    first = await asyncio.open_connection("localhost", door.address.port)
    others = [await asyncio.open_connection("localhost", door.address.port) for _ in range(2)]
    text = await answer(first)
    assert text.startswith(b"HTTP/1.1 408")
    assert b"text/html" in text
    assert b"<h1>408 Request Timeout</h1>" in text
    for _, writer in (first, *others):
        writer.close()
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_a_name_of_several_addresses_is_one_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one of them is no address of this machine, as without IPv6, the others are listened at."""
    loop = asyncio.get_running_loop()
    stream = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
    here, there = (*stream, ("127.0.0.1", 0)), (*stream, ("127.0.0.2", 0))
    elsewhere = (*stream, ("192.0.2.1", 0))

    async def resolve(*_: object, **__: object) -> list[object]:
        return answers

    monkeypatch.setattr(loop, "getaddrinfo", resolve)
    answers: list[object] = [elsewhere, here, there, here]
    door = TcpEndpoint(Listen("several.test", 0))
    sockets = await door.open()
    assert door.address is not None
    assert [each.getsockname() for each in sockets] == [
        ("127.0.0.1", door.address.port),
        ("127.0.0.2", door.address.port),
    ]
    door.close()
    answers = [elsewhere]
    with pytest.raises(OutputError, match="Cannot assign requested address"):
        await door.open()


async def test_without_descriptors_it_waits_and_says_so_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """No place may come to that; where the system itself has none left, connections are taken as soon as it has."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with served(tmp_path) as found:
        with socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as second:
            lowest_free = os.dup(first.fileno())
            os.close(lowest_free)
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
                for client in (first, second):
                    client.connect(str(found.path))
                    client.sendall(GET)
                await until(lambda: full(list(caplog.records)) > 0, "it is said")
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for client in (first, second):
                client.setblocking(False)
                text = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, 12), 30)
                assert text == b"HTTP/1.1 200"
    (told,) = [record.getMessage() for record in caplog.records if full([record])]
    assert "Too many open files" in told
    assert "LimitNOFILE" in told


async def test_readers_of_events_leave_room_for_commands(tmp_path: Path) -> None:
    """As many readers as there may be, and the daemon still answers; the next gets a reason."""
    async with daemon(tmp_path) as running, AsyncExitStack() as stack:
        assert running.app.daemon is not None
        feed = running.app.daemon.control._feed
        feed._most = 3
        running.simulator.truth.add(7, steps=[Step(1e9, "DELIVERED")])
        await running.ask("POST", "/messages", {"ids": [7]})
        for _ in range(3):
            follower = running.session.get("http://localhost/events?follow=1")
            await stack.enter_async_context(follower)
        assert (await running.get("/events?limit=1")).reason == "too_many_readers"
        assert (await running.get("/messages/7?wait=9")).reason == "too_many_readers"
        assert (await running.get("/messages/7")).status == 200
        assert (await running.get("/status")).status == 200
        await stack.aclose()
        await until(lambda: feed._readers == 0, "they have gone")
        assert (await running.get("/events?limit=1")).status == 200
        text = (await running.get("/metrics")).body.decode()
        assert 'pollerd_connections_limit{place="control socket"} 512.0' in text
        assert 'pollerd_connections_turned_away_total{place="event socket"} 0.0' in text
