"""Kept connections that the other side has forgotten: asked again once, on a new one, and no fault."""

from __future__ import annotations

import asyncio
import random
import re
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trustme

from pollerd.config import OAuth1, SecretKind
from pollerd.core.model import Answer, HoldReason, Trouble
from pollerd.core.ports import Balance
from pollerd.gateway.limits.account import AccountLimiter
from pollerd.gateway.limits.keepalive import MOST_REPEATS
from pollerd.simulator import Simulator
from tests.integration.connections_kit import pem, tls_server, trouble
from tests.integration.gateway_kit import (
    GOOD,
    ID,
    Clock,
    RawServer,
    account,
    client,
    gateway_client,
    raw_server,
    response,
    secret,
    until,
)
from tests.integration.test_gateway_proxy import proxy_server
from tests.integration.test_gateway_simulator import Polling, at, world

pytestmark = pytest.mark.usefixtures("no_proxy_around")

End = Callable[[asyncio.StreamWriter], Awaitable[None]]
BUSY = response(b"too slow", "408 Request Timeout", "Connection: close")


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()


async def reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def half_close(writer: asyncio.StreamWriter) -> None:
    writer.write_eof()


async def request_timeout(writer: asyncio.StreamWriter) -> None:
    writer.write(BUSY)
    await writer.drain()
    writer.close()


ENDS: dict[str, End] = {"closed": close, "reset": reset, "half closed": half_close, "408": request_timeout}


class Forgetful:
    """Answers the first request of each connection, and ends it at the second by `end`."""

    def __init__(self, end: End, *, lasts: int = 1) -> None:
        self._end = end
        self._lasts = lasts
        self._served: dict[asyncio.StreamWriter, int] = {}

    async def __call__(self, _: bytes, writer: asyncio.StreamWriter) -> None:
        served = self._served[writer] = self._served.get(writer, 0) + 1
        if served > self._lasts:
            await self._end(writer)
        else:
            writer.write(GOOD)


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())
async def test_a_request_that_meets_a_forgotten_connection_is_made_again(end: End) -> None:
    async with raw_server(Forgetful(end)) as server, client(account(server.url(), max_connections=1)) as gateway:
        for _ in range(3):
            assert isinstance(await gateway.read(ID), Answer)
        assert (len(server.heads), server.accepted) == (5, 3), "the second and third met an end, and were made again"
        assert server.peak == 1


async def test_the_balance_is_asked_for_again_too() -> None:
    money = response(b'{"credit": 1.5, "currency": "DKK", "id": 1}', "200 OK", "Content-Type: application/json")

    async def handler(head: bytes, writer: asyncio.StreamWriter) -> None:
        if len(server.heads) == 2:
            writer.close()
        else:
            writer.write(money if b"/rest/me" in head else GOOD)

    async with raw_server(handler) as server, client(account(server.url(), max_connections=1)) as gateway:
        await gateway.read(ID)
        assert isinstance(await gateway.balance(), Balance)
        assert server.paths[1:] == ["/rest/me", "/rest/me"]


async def test_an_end_while_nobody_asks_costs_no_second_request() -> None:
    """The server closes, or says 408, between two requests: the next one opens a connection and is the only one."""
    for end in (close, reset, request_timeout):
        async with raw_server(GOOD) as server, client(account(server.url(), max_connections=1)) as gateway:
            await gateway.read(ID)
            (writer,) = server.writers
            await end(writer)
            await until(lambda: _all_arrived(server))
            assert isinstance(await gateway.read(ID), Answer)
            assert (len(server.heads), server.accepted) == (2, 2)


def _all_arrived(server: RawServer) -> bool:
    return all(writer.is_closing() for writer in server.writers)


async def test_a_408_that_waits_unread_is_no_answer() -> None:
    """What the server said before the request is not the answer to it, although the connection is still open."""

    async with raw_server(GOOD) as server, client(account(server.url(), max_connections=1)) as gateway:
        await gateway.read(ID)
        (writer,) = server.writers
        writer.write(response(b"", "408 Request Timeout"))
        await writer.drain()
        # One turn of the loop for either side.
        other = asyncio.open_connection("127.0.0.1", server.port)
        _, probe = await other
        probe.close()
        assert isinstance(await gateway.read(ID), Answer)
        assert server.paths == [f"/rest/mtsms/{ID}"] * 2


@pytest.mark.parametrize(
    "answered",
    [
        GOOD.replace(b"HTTP/1.1", b"HTTP/1.0"),
        GOOD.replace(b"\r\n", b"\r\nConnection: close\r\n", 1),
        GOOD.replace(b"\r\n", b"\r\nConnection: Close, TE\r\n", 1),
        GOOD.replace(b"\r\n", b"\r\nKeep-Alive: timeout=0\r\n", 1),
    ],
)
@pytest.mark.parametrize("closes", [True, False])
async def test_a_server_that_keeps_no_connection_is_asked_once_on_each(answered: bytes, closes: bool) -> None:
    """Whether or not it closes: it said so, and the connection is not used again."""

    async def handler(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(answered)
        if closes:
            writer.close()

    async with raw_server(handler) as server, client(account(server.url(), max_connections=1)) as gateway:
        for _ in range(5):
            assert isinstance(await gateway.read(ID), Answer)
        assert (len(server.heads), server.accepted, server.peak) == (5, 5, 1)


async def test_a_server_that_closes_without_a_word_costs_repeats_at_most(tmp_path: Path) -> None:
    """HTTP/1.1 that promises to keep the connection, and closes it behind each answer."""

    async def handler(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(GOOD)
        writer.close()

    async with raw_server(handler) as server, client(account(server.url(), max_connections=2)) as gateway:
        outcomes = await asyncio.gather(*(gateway.read(ID) for _ in range(100)))
        assert all(isinstance(outcome, Answer) for outcome in outcomes)
        assert server.accepted == 100


@pytest.mark.parametrize("abort", [False, True])
async def test_over_tls(authority: trustme.CA, tmp_path: Path, abort: bool) -> None:
    async with tls_server(authority.issue_cert("localhost"), handler=Forgetful(close)) as server:
        of = account(server.url("https", "localhost"), ca_file=pem(authority, tmp_path), max_connections=1)
        async with client(of) as gateway:
            assert isinstance(await gateway.read(ID), Answer)
            if abort:
                for writer in list(server.writers):
                    writer.transport.abort()
            assert isinstance(await gateway.read(ID), Answer)
        assert server.accepted == 2


@pytest.mark.parametrize("tls", [False, True])
async def test_through_a_proxy_whose_tunnel_died(authority: trustme.CA, tmp_path: Path, tls: bool) -> None:
    served = (
        tls_server(authority.issue_cert("localhost"), handler=Forgetful(close)) if tls else raw_server(Forgetful(close))
    )
    async with served as server, proxy_server() as (proxy, port):
        url = server.url("https", "localhost") if tls else server.url()
        ca = pem(authority, tmp_path) if tls else None
        of = account(url, proxy=f"http://127.0.0.1:{port}", ca_file=ca, max_connections=1)
        async with client(of) as gateway:
            assert isinstance(await gateway.read(ID), Answer)
            assert isinstance(await gateway.read(ID), Answer)
        assert len(proxy.heads) == 2
        assert len(server.heads) == 3


@pytest.mark.parametrize(
    ("said", "kind", "first"),
    [
        (b"", "disconnected", True),
        (b"H", "disconnected", True),
        (b"H", "disconnected", False),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "disconnected", False),
        (GOOD[:-5], "truncated", False),
    ],
)
async def test_a_first_use_or_a_byte_of_the_answer_makes_it_a_fault(said: bytes, kind: str, first: bool) -> None:
    async def handler(_: bytes, writer: asyncio.StreamWriter) -> None:
        if first or len(server.heads) == 2:
            writer.write(said)
            await writer.drain()
            writer.close()
        else:
            writer.write(GOOD)

    async with raw_server(handler) as server, client(account(server.url(), max_connections=1)) as gateway:
        if not first:
            await gateway.read(ID)
        before = len(server.heads)
        assert trouble(await gateway.read(ID)).kind == kind
        assert len(server.heads) == before + 1, "nothing is made again"


async def test_a_used_connection_that_stays_silent_is_a_fault() -> None:
    """The request may be under way at the gateway."""
    over = asyncio.Event()

    async def handler(_: bytes, writer: asyncio.StreamWriter) -> None:
        if len(server.heads) == 1:
            writer.write(GOOD)
        else:
            await over.wait()

    async with raw_server(handler) as server, client(account(server.url(), timeout=0.5)) as gateway:
        await gateway.read(ID)
        assert trouble(await gateway.read(ID)).kind == "timeout"
        assert len(server.heads) == 2
        over.set()


async def test_a_repeat_that_fails_is_a_fault_and_the_last_try() -> None:
    async def handler(_: bytes, writer: asyncio.StreamWriter) -> None:
        if len(server.heads) == 1:
            writer.write(GOOD)
        else:
            writer.close()

    async with raw_server(handler) as server, client(account(server.url(), max_connections=1)) as gateway:
        await gateway.read(ID)
        assert trouble(await gateway.read(ID)).kind == "disconnected"
        assert len(server.heads) == 3


async def test_the_repeat_is_signed_again() -> None:
    auth = OAuth1("key", secret("its-secret", SecretKind.TOKEN))
    of = Forgetful(close)
    async with raw_server(of) as server, client(account(server.url(), auth=auth, max_connections=1)) as gateway:
        await gateway.read(ID)
        assert isinstance(await gateway.read(ID), Answer)
        nonces = [re.search(r'oauth_nonce="(\w+)"', server.headers(n)["authorization"]) for n in range(3)]
        assert len({found[1] for found in nonces if found}) == 3


async def test_one_forgotten_connection_means_those_unused_for_longer() -> None:
    """Three connections, all forgotten: one request is made again, the others open new ones at once."""
    async with raw_server(Forgetful(close)) as server, client(account(server.url(), max_connections=3)) as gateway:
        await asyncio.gather(*(gateway.read(ID) for _ in range(3)))
        assert server.accepted == 3
        assert isinstance(await gateway.read(ID), Answer)
        assert len(server.heads) == 5
        await asyncio.gather(*(gateway.read(ID) for _ in range(2)))
        assert len(server.heads) == 5 + 3, "the one in use was forgotten again, the two others were not tried"


class Shifted(Clock):
    """Real time, moved forward by hand."""

    ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


@pytest.mark.parametrize(
    ("header", "rest", "connections"),
    [
        ("Keep-Alive: timeout=5", 3.5, 1),
        ("Keep-Alive: timeout=5", 4.5, 2),
        ("keep-alive: max=100, timeout=5", 4.5, 2),
        ("Keep-Alive: timeout=1", 0.3, 1),
        ("Keep-Alive: timeout=1", 0.6, 2),
        ("Keep-Alive: max=5", 10.0, 1),
        ("Keep-Alive: timeout=soon", 10.0, 1),
    ],
)
async def test_the_servers_own_idle_time_is_kept_to(header: str, rest: float, connections: int) -> None:
    clock = Shifted()
    async with raw_server(GOOD.replace(b"\r\n", f"\r\n{header}\r\n".encode(), 1)) as server:
        gateway = gateway_client(account(server.url(), max_connections=1), clock, random.Random(1))
        await gateway.read(ID)
        clock.ahead += rest
        await gateway.read(ID)
        assert server.accepted == connections
        await gateway.close()


# -- with the limiter


async def test_a_gateway_that_forgets_costs_no_hold_and_keeps_the_pace() -> None:
    """Every connection dies at its second request: all is answered, at the configured rate as the gateway counts it,
    and after eleven repeats connections are not kept any more.
    """
    async with Simulator(world("reset:rest=0")) as simulator:
        account_ = at(simulator, rate=25.0, connections=2)
        limiter = AccountLimiter("default", account_.limits, Clock(), random.Random(1))
        async with client(account_, limiter=limiter) as gateway:
            polling = Polling(gateway, limiter)
            await polling.run(2, lambda: len(polling.outcomes) >= 60)
        seen = simulator.statistics()
    assert all(isinstance(outcome, Answer) for outcome in polling.outcomes)
    assert polling.told == []
    # The last two may meet connections that were kept before the decision.
    assert MOST_REPEATS < limiter.repeats <= MOST_REPEATS + 3
    assert not limiter.keeps_connections
    assert seen.by_fault["reset"] == limiter.repeats
    assert seen.requests == len(polling.outcomes) + limiter.repeats
    assert seen.max_requests_per_second <= 27


async def test_where_connections_are_not_kept_the_gateway_hears_of_it() -> None:
    async with raw_server(GOOD) as server, client(account(server.url()), limiter=Unkept()) as gateway:
        for _ in range(3):
            assert isinstance(await gateway.read(ID), Answer)
        assert server.accepted == 3
        assert server.headers()["connection"] == "close"


class Unkept:
    held = None
    keeps_connections = False

    async def again(self) -> bool:
        return True


async def test_a_probe_opens_a_connection_of_its_own() -> None:
    """A kept connection that was forgotten during a hold proves nothing about the gateway."""
    async with raw_server(Forgetful(close, lasts=1)) as server:
        of = account(server.url(), max_connections=1)
        limiter = AccountLimiter("default", of.limits, Clock(), random.Random(1))
        async with client(of, limiter=limiter) as gateway:
            limiter.take()
            assert limiter.report(await gateway.read(ID)) is None
            limiter.report(Trouble(HoldReason.FORBIDDEN, "http_403", "no"))
            limiter.credentials_changed()
            limiter.take()
            transition = limiter.report(await gateway.read(ID))
            assert transition is not None
            assert limiter.held is None
            assert (len(server.heads), server.accepted, limiter.repeats) == (2, 2, 0)


async def test_while_polling_is_held_nothing_is_made_again() -> None:
    """The hold began while the request was under way: it fails, and proves nothing."""
    asked = asyncio.Event()
    goes_on = asyncio.Event()

    async def handler(_: bytes, writer: asyncio.StreamWriter) -> None:
        if len(server.heads) == 1:
            writer.write(GOOD)
            return
        asked.set()
        await goes_on.wait()
        writer.close()

    async with raw_server(handler) as server:
        of = account(server.url(), max_connections=1)
        limiter = AccountLimiter("default", of.limits, Clock(), random.Random(1))
        async with client(of, limiter=limiter) as gateway:
            await gateway.read(ID)
            reading = asyncio.ensure_future(gateway.read(ID))
            await asked.wait()
            limiter.report(Trouble(HoldReason.FORBIDDEN, "http_403", "no"))
            goes_on.set()
            assert trouble(await reading).kind == "disconnected"
            assert len(server.heads) == 2
