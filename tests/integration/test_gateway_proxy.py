"""The gateway client through proxies that ask, refuse and are not there."""

from __future__ import annotations

import asyncio
import base64
import logging
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from pollerd.config import ConfigError
from pollerd.core.model import Answer
from tests.integration.connections_kit import pem, tls_server, trouble
from tests.integration.gateway_kit import (
    GOOD,
    ID,
    TOKEN,
    Clock,
    account,
    client,
    gateway_client,
    raw_server,
    response,
    until,
)

pytestmark = pytest.mark.usefixtures("no_proxy_around")


class Proxy:
    """A forward proxy: CONNECT tunnels, and plain requests handed on. Wants `user:password` when given."""

    def __init__(self, wants: str | None = None) -> None:
        self.wants = "Basic " + base64.b64encode(wants.encode()).decode() if wants else None
        self.heads: list[bytes] = []
        self._pumps: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            if self.wants and f"Proxy-Authorization: {self.wants}".encode() not in head:
                writer.write(response(b"<html>who?", "407 Proxy Authentication Required", "Content-Type: text/html"))
                return
            method, target, _ = head.split(b" ", 2)
            if method == b"CONNECT":
                host, _, port = target.decode().rpartition(":")
                ahead, outward = await asyncio.open_connection(host, int(port))
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                authority = target.decode().split("/")[2]
                host, _, port = authority.rpartition(":")
                ahead, outward = await asyncio.open_connection(host, int(port))
                outward.write(head)
            try:
                await asyncio.gather(self._pump(reader, outward), self._pump(ahead, writer))
            finally:
                outward.close()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
        if sink.can_write_eof():
            sink.write_eof()
        else:
            sink.close()


@asynccontextmanager
async def proxy_server(wants: str | None = None) -> AsyncIterator[tuple[Proxy, int]]:
    proxy = Proxy(wants)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await proxy.serve(reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            tasks.discard(task)

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield proxy, listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        for task in list(tasks):
            task.cancel()
        await until(lambda: not tasks)
        await listener.wait_closed()


@pytest.mark.parametrize("how", ["configured", "environment"])
async def test_through_a_proxy_with_a_password(
    how: str, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        tls_server(authority.issue_cert("localhost")) as server,
        proxy_server("joe:p@ss \u20ac:%#") as (proxy, port),
    ):
        address = f"http://joe:p%40ss%20%E2%82%AC%3A%25%23@127.0.0.1:{port}"
        if how == "environment":
            monkeypatch.setenv("HTTPS_PROXY", address)
        configured = account(
            server.url("https", "localhost"),
            proxy=address if how == "configured" else None,
            ca_file=pem(authority, tmp_path),
        )
        async with client(configured) as gateway:
            assert isinstance(await gateway.read(ID), Answer)
            assert isinstance(await gateway.read(ID), Answer)
        assert len(proxy.heads) == 1, "the tunnel is kept"
        assert proxy.heads[0].startswith(f"CONNECT localhost:{server.port} HTTP/1.1\r\n".encode())
        assert TOKEN.encode() not in proxy.heads[0], "the proxy never sees our token"
        assert server.headers()["authorization"] == f"Token {TOKEN}"
        assert "proxy-authorization" not in server.headers()


async def test_a_proxy_that_wants_another_password(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with proxy_server("joe:right") as (proxy, port):
            away = account("https://gateway.test", proxy=f"http://joe:wr0ng-pass@127.0.0.1:{port}")
            async with client(away) as gateway:
                outcome = trouble(await gateway.read(ID))
    assert outcome.kind == "proxy_auth"
    assert len(proxy.heads) == 1
    assert "percent-encoded (%40 for @" in outcome.detail
    assert "wr0ng-pass" not in caplog.text + outcome.detail


async def test_plain_http_through_a_proxy_and_its_407() -> None:
    async with raw_server(GOOD) as server, proxy_server("joe:right\u20ac") as (proxy, port):
        async with client(account(server.url(), proxy=f"http://joe:right%E2%82%AC@127.0.0.1:{port}")) as gateway:
            assert isinstance(await gateway.read(ID), Answer)
        assert proxy.heads[0].startswith(f"GET http://127.0.0.1:{server.port}/rest/mtsms/{ID} ".encode())
        async with client(account(server.url(), proxy=f"http://joe:wrong@127.0.0.1:{port}")) as gateway:
            assert trouble(await gateway.read(ID)).kind == "proxy_auth"


async def test_a_proxy_that_is_not_there() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://joe:s3cret-pw@127.0.0.1:{held.getsockname()[1]}"
        async with client(account("https://gateway.test", proxy=url)) as gateway:
            outcome = trouble(await gateway.read(ID))
    assert outcome.kind == "proxy"
    assert "s3cret-pw" not in outcome.detail


async def test_a_proxy_that_cannot_reach_the_gateway() -> None:
    async with (
        raw_server(response(b"", "502 Bad Gateway")) as server,
        client(account("https://gateway.test", proxy=server.url())) as gateway,
    ):
        assert trouble(await gateway.read(ID)).kind == "proxy"


async def test_no_proxy_in_the_environment_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    async with raw_server(GOOD) as server, client(server.url()) as gateway:
        assert isinstance(await gateway.read(ID), Answer)


@pytest.mark.parametrize("text", ["socks5://127.0.0.1:1080", "http://", "http://[::1"])
def test_a_proxy_of_another_kind_is_a_configuration_error(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", text)
    with pytest.raises(ConfigError, match="HTTPS_PROXY"):
        gateway_client(account("https://gatewayapi.com"), Clock(), random.Random(1))


@pytest.mark.parametrize("password", ["p#ss", "p/ss", "p?ss", "p[ss", "p@:%#"])
def test_a_proxy_of_the_environment_whose_password_breaks_its_url(
    password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://joe:{password}@127.0.0.1:3128")
    with pytest.raises(ConfigError, match="percent-encoded") as caught:
        gateway_client(account("https://gatewayapi.com"), Clock(), random.Random(1))
    assert password not in str(caught.value)
