"""How many connections there are, how old they get, and what they go through."""

from __future__ import annotations

import asyncio
import socket
import time
from itertools import pairwise

import pytest
from aiohttp import ClientSession
from aiohttp.abc import AbstractResolver, ResolveResult

from pollerd.core.model import Answer
from pollerd.gateway.client import CONNECTION_AGE
from pollerd.gateway.slots import REST, Slots
from pollerd.gateway.transport import KEEP_ALIVE
from tests.integration.gateway_kit import (
    GOOD,
    ID,
    account,
    client,
    raw_server,
    response,
)

pytestmark = pytest.mark.usefixtures("no_proxy_around")


@pytest.mark.parametrize("most", [1, 3, 20])
async def test_never_more_connections_than_allowed(most: int) -> None:
    """Many requests at once, two fifths of them failing, connections replaced all the time: the server counts."""

    async def handler(_: bytes, writer: asyncio.StreamWriter) -> None:
        match len(server.heads) % 5:
            case 0:
                # A byte of an answer: what ends without one, on a used connection, is made again.
                writer.write(b"H")
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

    def open_session(_keep: bool) -> ClientSession:
        opened.append(time.monotonic())
        return ClientSession()

    slots = Slots(1, open_session, time.monotonic, lambda: 0.0)
    for _ in range(3):
        slot, _ = await slots.take()
        slots.release(slot, 60.0)
    await slots.close()
    # Half of it: some loops' timers are a little early.
    assert all(later - earlier >= REST / 2 for earlier, later in pairwise(opened))

    slots = Slots(1, open_session, time.monotonic, lambda: 60.0)
    slot, _ = await slots.take()
    broken = time.monotonic()
    slots.release(slot, None)
    await slots.take()
    assert time.monotonic() - broken >= REST / 2
    await slots.close()


async def test_a_closed_client_opens_nothing_any_more() -> None:
    def nothing(_keep: bool) -> ClientSession:
        raise AssertionError

    slots = Slots(1, nothing, lambda: 0.0, lambda: 1.0)
    await slots.close()
    with pytest.raises(RuntimeError, match="closed"):
        await slots.take()
