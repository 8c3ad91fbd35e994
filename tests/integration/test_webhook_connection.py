"""A post that meets a kept connection which the receiver has given up is made again at once, in the same attempt."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest

from pollerd.config import WebhookRouteConfig
from pollerd.outputs.webhook.post import Receiver
from tests.integration.gateway_kit import raw_server, response


@pytest.mark.parametrize("reset", [False, True])
async def test_a_kept_connection_that_ends_costs_no_attempt(reset: bool) -> None:
    async def handler(_: bytes, writer: asyncio.StreamWriter) -> None:
        if len(server.heads) != 2:
            writer.write(response(b"", "204 No Content"))
        elif reset:
            connection = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        else:
            writer.close()

    async with (
        raw_server(handler) as server,
        Receiver(WebhookRouteConfig(server.url()), allow_remote=False, connections=1) as receiver,
    ):
        assert (await receiver.post(b"")).taken
        assert (await receiver.post(b"")).taken
        assert (len(server.heads), server.accepted) == (3, 2)


async def test_a_post_is_not_made_again_once_another_machine_may_be_posting() -> None:
    """The connection ends while this machine sleeps: what it would post then may be older than what was posted."""
    mine = True

    async def handler(_: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal mine
        mine = False
        writer.close()

    async with (
        raw_server(handler) as server,
        Receiver(
            WebhookRouteConfig(server.url()), allow_remote=False, connections=1, may_post=lambda: mine
        ) as receiver,
    ):
        reply = await receiver.post(b"")
        assert (reply.taken, reply.down) == (False, True)
        assert "another machine" in reply.detail
        assert len(server.heads) == 1


async def test_who_is_not_there_is_tried_once() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        route = WebhookRouteConfig(f"http://127.0.0.1:{held.getsockname()[1]}/")
        async with Receiver(route, allow_remote=False, connections=1) as receiver:
            reply = await receiver.post(b"")
    assert (reply.taken, reply.down) == (False, True)
    assert "cannot be connected to" in reply.detail
