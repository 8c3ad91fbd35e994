"""How many connections there are, how old they get, and what they go through."""

from __future__ import annotations

import asyncio
import base64
import logging
import random
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
import trustme
from aiohttp import ClientSession
from aiohttp.abc import AbstractResolver, ResolveResult

from pollerd.config import ConfigError
from pollerd.gateway import GatewayClient
from pollerd.gateway.client import CONNECTION_AGE
from pollerd.gateway.slots import REST, Slots
from pollerd.gateway.transport import KEEP_ALIVE, trust
from pollerd.model import Answer, HoldReason, Outcome, Trouble
from tests.integration.gateway_kit import (
    GOOD,
    ID,
    TOKEN,
    Clock,
    RawServer,
    account,
    client,
    raw_server,
    response,
    until,
)


def trouble(outcome: Outcome) -> Trouble:
    assert isinstance(outcome, Trouble), outcome
    assert outcome.reason is HoldReason.UNREACHABLE
    return outcome


@pytest.fixture(autouse=True)
def no_proxy_around(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


# -- how many, how old


@pytest.mark.parametrize("most", [1, 3, 20])
async def test_never_more_connections_than_allowed(most: int) -> None:
    """Many requests at once, a fifth of them failing, connections replaced all the time: the server counts."""

    async def handler(_: bytes, writer: asyncio.StreamWriter) -> None:
        match len(server.heads) % 5:
            case 0:
                writer.close()
            case 1:
                writer.write(response(b"busy", "500 Oops", "Connection: close"))
                writer.close()
            case _:
                writer.write(GOOD)

    async with (
        raw_server(handler) as server,
        client(account(server.url(), max_connections=most), connection_age=0.1) as gateway,
    ):
        outcomes = await asyncio.gather(*(gateway.read(ID) for _ in range(20 * most)))
        assert sum(isinstance(outcome, Answer) for outcome in outcomes) == 12 * most
        assert server.peak <= most
        assert server.accepted > most


async def test_under_little_load_one_connection_does_all() -> None:
    async with raw_server(GOOD) as server, client(account(server.url(), max_connections=20)) as gateway:
        for _ in range(30):
            await gateway.read(ID)
        assert server.accepted == 1


class MovingResolver(AbstractResolver):
    """A name server whose answer can be changed."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.asked = 0

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> list[ResolveResult]:
        self.asked += 1
        return [
            ResolveResult(
                hostname=host, host=self.address, port=port, family=socket.AF_INET, proto=0, flags=socket.AI_NUMERICHOST
            )
        ]

    async def close(self) -> None:
        pass


async def test_a_new_address_in_dns_is_used_although_the_old_one_still_answers() -> None:
    resolver = MovingResolver("127.0.0.1")
    async with (
        raw_server(GOOD) as old,
        raw_server(GOOD, host="127.0.0.2", port=old.port) as new,
        client(
            account(old.url(host="gateway.test"), max_connections=2), resolver=resolver, connection_age=0.2
        ) as gateway,
    ):
        assert isinstance(await gateway.read(ID), Answer)
        assert len(old.heads) == 1
        resolver.address = "127.0.0.2"

        async def poll() -> None:
            while not new.heads:
                assert isinstance(await gateway.read(ID), Answer)

        await asyncio.wait_for(poll(), 20.0)
        assert old.port == new.port
        before = len(old.heads)
        for _ in range(5):
            await gateway.read(ID)
        assert len(old.heads) == before


async def test_ages_that_are_promised() -> None:
    """The oldest a connection gets, with everything added up, lies well under the minute in which DNS is followed."""
    assert CONNECTION_AGE * 1.1 + KEEP_ALIVE + REST < 60.0


async def test_a_slot_rests_between_two_connections() -> None:
    """The server shall see the end of one before the beginning of the next."""
    opened: list[float] = []

    def open_session() -> ClientSession:
        opened.append(time.monotonic())
        return ClientSession()

    slots = Slots(1, open_session, time.monotonic, lambda: 0.0)
    for _ in range(3):
        slot, _ = await slots.take()
        slots.release(slot)
    await slots.close()
    # Half of it: some loops' timers are a little early.
    assert all(later - earlier >= REST / 2 for earlier, later in pairwise(opened))

    slots = Slots(1, open_session, time.monotonic, lambda: 60.0)
    slot, _ = await slots.take()
    broken = time.monotonic()
    slots.release(slot, broken=True)
    await slots.take()
    assert time.monotonic() - broken >= REST / 2
    await slots.close()


async def test_a_closed_client_opens_nothing_any_more() -> None:
    def nothing() -> ClientSession:
        raise AssertionError

    slots = Slots(1, nothing, lambda: 0.0, lambda: 1.0)
    await slots.close()
    with pytest.raises(RuntimeError, match="closed"):
        await slots.take()


# -- TLS


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@asynccontextmanager
async def tls_server(certificate: trustme.LeafCert, most: ssl.TLSVersion | None = None) -> AsyncIterator[RawServer]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    if most is not None:
        context.maximum_version = most
    async with raw_server(GOOD, tls=context) as server:
        yield server


def pem(authority: trustme.CA, folder: Path) -> Path:
    file = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    return file


async def test_a_private_authority_named_in_ca_file(authority: trustme.CA, tmp_path: Path) -> None:
    async with tls_server(authority.issue_cert("localhost")) as server:
        url = server.url("https", "localhost")
        async with client(account(url, ca_file=pem(authority, tmp_path))) as gateway:
            assert isinstance(await gateway.read(ID), Answer)


async def test_a_private_authority_from_the_environment(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(pem(authority, tmp_path)))
    certificate = authority.issue_cert("localhost")
    async with tls_server(certificate) as server, client(server.url("https", "localhost")) as gateway:
        assert isinstance(await gateway.read(ID), Answer)


@pytest.mark.parametrize(
    ("why", "says"),
    [
        ("expired", "expired"),
        ("unknown authority", "ca_file"),
        ("other host", "another host name"),
    ],
)
async def test_certificates_that_are_refused(why: str, says: str, authority: trustme.CA, tmp_path: Path) -> None:
    ended = datetime.now(UTC) - timedelta(days=1) if why == "expired" else None
    ca_file = pem(trustme.CA() if why == "unknown authority" else authority, tmp_path)
    name = "elsewhere.example" if why == "other host" else "localhost"
    async with tls_server(authority.issue_cert(name, not_after=ended)) as server:
        async with client(account(server.url("https", "localhost"), ca_file=ca_file)) as gateway:
            outcome = trouble(await gateway.read(ID))
        assert outcome.kind == "tls", why
        assert says in outcome.detail
        assert server.heads == [], "no credentials are sent to a stranger"


async def test_nothing_older_than_tls_1_2(authority: trustme.CA, tmp_path: Path) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    with pytest.warns(DeprecationWarning, match="deprecated"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="deprecated"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    async with raw_server(GOOD, tls=context) as server:
        url = server.url("https", "localhost")
        configured = account(url, ca_file=pem(authority, tmp_path))
        async with client(configured) as gateway:
            assert trouble(await gateway.read(ID)).kind in ("tls", "reset")
        assert server.heads == []
    assert trust(configured).minimum_version is ssl.TLSVersion.TLSv1_2


async def test_plain_http_where_tls_was_expected() -> None:
    async with raw_server(response(b"hello")) as server, client(server.url("https", "localhost")) as gateway:
        assert trouble(await gateway.read(ID)).kind in ("tls", "reset", "timeout")


@pytest.mark.parametrize("content", [None, "not a certificate"])
def test_a_ca_file_that_is_none_is_a_configuration_error(content: str | None, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match=r"accounts\.default\.ca_file"):
        GatewayClient(account("https://gatewayapi.com", ca_file=file), Clock(), random.Random(1))


# -- proxies


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
    async with tls_server(authority.issue_cert("localhost")) as server, proxy_server("joe:p@ss w") as (proxy, port):
        address = f"http://joe:p%40ss%20w@127.0.0.1:{port}"
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
    assert "wr0ng-pass" not in caplog.text + outcome.detail


async def test_plain_http_through_a_proxy_and_its_407() -> None:
    async with raw_server(GOOD) as server, proxy_server("joe:right") as (proxy, port):
        async with client(account(server.url(), proxy=f"http://joe:right@127.0.0.1:{port}")) as gateway:
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
        GatewayClient(account("https://gatewayapi.com"), Clock(), random.Random(1))
