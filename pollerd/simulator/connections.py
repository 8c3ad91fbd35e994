"""Connections as the gateway counts them: real TCP connections, at most so many from one address."""

import asyncio
from collections import Counter
from typing import Literal, cast

from aiohttp.abc import AbstractAccessLogger
from aiohttp.web import BaseRequest, Server, StreamResponse
from aiohttp.web_protocol import RequestHandler

from pollerd.simulator.stats import Stats

_NEW, _GATEWAY, _SURPLUS, _ADMIN = range(4)
_SILENCE = 0.25  # Seconds a surplus connection may stay silent: it could be an administrator's.
_REFUSAL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class ConnectionGate:
    """Counts connections and turns surplus ones away.

    A connection counts against the limit of its address from the moment it is open, and in
    `Stats.max_connections` from its first request. Connections whose first request goes to the admin prefix
    count nowhere, and get in when the limit is reached.
    """

    def __init__(self, limit: int, over_limit: Literal["close", "503"], admin_prefix: str, stats: Stats) -> None:
        self._limit = limit
        self._refusal = _REFUSAL if over_limit == "503" else b""
        self._admin = f" {admin_prefix}".encode()
        self._stats = stats
        self._by_address: Counter[str] = Counter()
        self.gateway_by_address: Counter[str] = Counter()
        self._transports: set[asyncio.Transport] = set()
        self.connections = 0
        self.opened = 0
        self._drained = asyncio.Event()
        self._drained.set()
        self._closing = False

    async def abort_all(self) -> None:
        """Abort every connection and wait until the last is gone."""
        # One that was accepted just before can still arrive while the others go.
        self._closing = True
        for transport in tuple(self._transports):
            transport.abort()
        await self._drained.wait()

    def admit(self, transport: asyncio.Transport, address: str) -> int:
        """Register a new connection; its kind."""
        self._transports.add(transport)
        self.opened += 1
        self._drained.clear()
        if self._closing:
            transport.abort()
        if self._by_address[address] >= self._limit:
            return _SURPLUS
        self._by_address[address] += 1
        return _NEW

    def is_admin(self, data: bytes) -> bool:
        """Whether the first bytes of a connection are a request to the admin prefix."""
        return self._admin in data[:32]

    def first_request(self, address: str, kind: int, *, admin: bool) -> int:
        """What the connection is, now that it has spoken."""
        if admin:
            if kind == _NEW:
                self._by_address[address] -= 1
            return _ADMIN
        if kind == _NEW:
            self.connections += 1
            self._stats.opened_connections += 1
            self._stats.max_connections = max(self._stats.max_connections, self.connections)
            self.gateway_by_address[address] += 1
            most = self._stats.max_connections_by_address
            most[address] = max(most.get(address, 0), self.gateway_by_address[address])
            return _GATEWAY
        return kind

    def becomes_gateway(self, address: str) -> int:
        """An administrator's connection that is used for gateway requests counts from then on."""
        self._by_address[address] += 1
        return self.first_request(address, _NEW, admin=False)

    def asked(self, address: str) -> None:
        """A gateway request came from there."""
        self._stats.requests_by_address[address] += 1

    def turn_away(self, transport: asyncio.Transport) -> None:
        """Refuse a surplus connection in the configured manner."""
        self._stats.rejected_connections += 1
        if self._refusal:
            transport.write(self._refusal)
            transport.close()
        else:
            transport.abort()

    def gone(self, transport: asyncio.Transport, address: str, kind: int, age: float) -> None:
        """Forget a closed connection."""
        self._transports.discard(transport)
        if not self._transports:
            self._drained.set()
        if kind in (_NEW, _GATEWAY):
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]
        if kind == _GATEWAY:
            self.connections -= 1
            self.gateway_by_address[address] -= 1
            self._stats.max_connection_age = max(self._stats.max_connection_age, age)


class _NoAccessLog(AbstractAccessLogger):
    """Keeps aiohttp from timing and logging each request."""

    enabled = False

    def log(self, request: BaseRequest, response: StreamResponse, time: float) -> None:
        """Never called."""


class CountedConnection(RequestHandler):
    """aiohttp's protocol for one connection, which reports to the gate."""

    __slots__ = ("_address", "_answered_at", "_counted", "_gate", "_kind", "_opened_at", "_silence", "number")

    def __init__(
        self, server: Server, gate: ConnectionGate, loop: asyncio.AbstractEventLoop, *, keep_alive: float
    ) -> None:
        super().__init__(
            server, loop=loop, access_log_class=_NoAccessLog, keepalive_timeout=keep_alive, lingering_time=0.0
        )
        self._gate = gate
        self._answered_at: float | None = None
        self._address = ""
        self._kind = _NEW
        self.number = 0
        """Connections are numbered as they are opened, from 1."""
        self._opened_at = 0.0
        self._silence: asyncio.TimerHandle | None = None
        self._counted: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is connected: admit it, or wait a moment for what it says."""
        super().connection_made(transport)
        loop = asyncio.get_running_loop()
        # uvloop's transports are no subclass of asyncio's.
        self._counted = stream = cast("asyncio.Transport", transport)
        self._address = str(stream.get_extra_info("peername")[0])
        self._opened_at = loop.time()
        self._kind = self._gate.admit(stream, self._address)
        self.number = self._gate.opened
        if self._kind == _SURPLUS:
            self._silence = loop.call_later(_SILENCE, self._gate.turn_away, stream)

    def data_received(self, data: bytes) -> None:
        """Pass the bytes on; the first ones say whose connection it is."""
        # aiohttp calls with no bytes to parse what it had set aside.
        if data and self._kind in (_NEW, _SURPLUS):
            admin = self._gate.is_admin(data)
            self._kind = self._gate.first_request(self._address, self._kind, admin=admin)
            if self._silence is not None:
                self._silence.cancel()
            if self._kind == _SURPLUS:
                if self._counted is not None:
                    self._gate.turn_away(self._counted)
                return
        super().data_received(data)

    def carries_gateway_request(self) -> float | None:
        """Called at each gateway request, since clients reuse connections. Seconds since the last answer here."""
        if self._kind == _ADMIN and self._counted is not None:
            self._kind = self._gate.becomes_gateway(self._address)
        self._gate.asked(self._address)
        return None if self._answered_at is None else asyncio.get_running_loop().time() - self._answered_at

    def answered(self) -> None:
        """Called at each answer to a gateway request."""
        self._answered_at = asyncio.get_running_loop().time()

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection is gone, whoever closed it."""
        if self._counted is not None:
            if self._silence is not None:
                self._silence.cancel()
            age = asyncio.get_running_loop().time() - self._opened_at
            self._gate.gone(self._counted, self._address, self._kind, age)
            self._counted = None
        super().connection_lost(exc)
