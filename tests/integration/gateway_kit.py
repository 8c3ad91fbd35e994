"""Small servers that misbehave to the byte, for the tests of the gateway client."""

from __future__ import annotations

import asyncio
import gc
import json
import random
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from pollerd.config import (
    AccountConfig,
    Auth,
    InlineSecret,
    LimitsConfig,
    MaskedUrl,
    Origin,
    Secret,
    SecretKind,
    TokenAuth,
)
from pollerd.gateway.client import GatewayClient
from pollerd.gateway.gatewayapi.interface import GatewayApi

TOKEN = "tok-3n-0f-the-te5t"
ID = 421332671


class Clock:
    """Real time, and a count of nothing else."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()

    def to_wall(self, instant: float) -> float:
        return instant


def message(message_id: int = ID, status: str = "DELIVERED", **fields: Any) -> bytes:
    recipient = {"msisdn": 4587654321, "dsnstatus": status, "dsntime": 1764000042.0, "country": "DK"}
    return json.dumps([{"id": message_id, "recipients": [recipient], **fields}]).encode()


def response(body: bytes = b"", status: str = "200 OK", *headers: str, length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


GOOD = response(message(), "200 OK", "Content-Type: application/json")

Handler = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


class RawServer:
    """Counts connections and keeps the heads of all requests; the handler writes what it likes."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []
        self.open = 0
        self.peak = 0
        self.accepted = 0
        self.writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    def url(self, scheme: str = "http", host: str = "127.0.0.1") -> str:
        return f"{scheme}://{host}:{self.port}"

    @property
    def paths(self) -> list[str]:
        return [head.split(b" ", 2)[1].decode() for head in self.heads]

    def headers(self, request: int = -1) -> dict[str, str]:
        lines = self.heads[request].decode().split("\r\n")[1:]
        return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines) if name}


@asynccontextmanager
async def raw_server(
    handler: Handler | bytes, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[RawServer]:
    """Serve until the block ends. `handler` as bytes: that answer to every request."""
    server = RawServer()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.open += 1
        server.accepted += 1
        server.peak = max(server.peak, server.open)
        server.writers.add(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                server.heads.append(head)
                if isinstance(handler, bytes):
                    writer.write(handler)
                    await writer.drain()
                else:
                    await handler(head, writer)
                if writer.is_closing():
                    break
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass
        finally:
            server.open -= 1
            server.writers.discard(writer)
            writer.close()

    listener = await asyncio.start_server(serve, host, port, ssl=tls)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for writer in list(server.writers):
            writer.transport.abort()
        await until(lambda: not server.writers)
        await listener.wait_closed()


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for `condition`; fails when it does not come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        await asyncio.sleep(0.005)


def secret(text: str, kind: SecretKind = SecretKind.TOKEN) -> InlineSecret:
    return InlineSecret(Secret(text), kind, Origin("test", "secret"))


def account(
    url: str, *, auth: Auth | None = None, proxy: str | None = None, ca_file: Any = None, **limits: Any
) -> AccountConfig:
    return AccountConfig(
        name="default",
        base_url=url,
        auth=auth or TokenAuth(secret(TOKEN)),
        limits=LimitsConfig(**{"timeout": 5.0, "max_connections": 2, **limits}),
        proxy=MaskedUrl(proxy) if proxy else None,
        ca_file=ca_file,
    )


def gateway_client(of: AccountConfig, clock: Clock, rng: random.Random, **options: Any) -> GatewayClient:
    """A client of GatewayAPI."""
    return GatewayClient(of, GatewayApi(of), clock, rng, **options)


@asynccontextmanager
async def client(of: AccountConfig | str, **options: Any) -> AsyncIterator[GatewayClient]:
    """A client that is closed at the end, and checked for connections that it left open."""
    opened = gateway_client(account(of) if isinstance(of, str) else of, Clock(), random.Random(1), **options)
    try:
        yield opened
    finally:
        await opened.close()
        gc.collect()
