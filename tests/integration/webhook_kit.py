"""A receiver of webhooks that remembers what it got, and fails on demand."""

from __future__ import annotations

import asyncio
import random
import socket
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import jwt
from aiohttp import web
from aiohttp.test_utils import TestServer

from pollerd.config.secret import InlineSecret, Origin, Secret, SecretKind
from pollerd.core import event as events
from pollerd.core.ports import Batch
from pollerd.store.store import SqlStore
from tests.integration.output_kit import status

SECRET = "not long"
"""Shorter than what PyJWT warns of: secrets are the receiver's choice."""


def secret(text: str = SECRET) -> InlineSecret:
    return InlineSecret(Secret(text), SecretKind.SIGNING, Origin("test", "outputs.webhook.secret"))


@dataclass
class Receiver:
    """What arrived (`got`: payloads of tokens that were taken, `tries`: all of them) and what to answer."""

    port: int = 0
    answer: Callable[[dict[str, Any]], int] = lambda _: 204
    secret: str = SECRET
    got: list[dict[str, Any]] = field(default_factory=list)
    tries: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    more: dict[str, str] = field(default_factory=dict)
    gate: asyncio.Event | None = None
    busy: int = 0
    most: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/status"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.busy += 1
        self.most = max(self.most, self.busy)
        try:
            return await self._answer(request)
        finally:
            self.busy -= 1

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if "X-Gwapi-Signature" in request.headers:
            # As the vendor's own examples do it: what the token says is the event, whatever the body says.
            with warnings.catch_warnings():
                # The receiver's own: that pollerd warns of nothing is for the tests to see.
                warnings.simplefilter("ignore", jwt.InsecureKeyLengthWarning)
                body = jwt.decode(request.headers["X-Gwapi-Signature"], self.secret, algorithms=["HS256"])
            assert body == await request.json()
        self.tries.append(body)
        self.headers.append(dict(request.headers))
        code = self.answer(body)
        if self.gate is not None:
            await self.gate.wait()
        if 200 <= code < 300:
            self.got.append(body)
        headers = {"Location": f"{self.url}/elsewhere"} if 300 <= code < 400 else {}
        if code >= 400:
            headers |= self.more
        return web.Response(status=code, headers=headers)


@asynccontextmanager
async def receiving(receiver: Receiver | None = None) -> AsyncIterator[Receiver]:
    receiver = receiver or Receiver()
    app = web.Application()
    app.router.add_post("/{path:.*}", receiver.handle)
    server = TestServer(app, host="127.0.0.1", port=receiver.port or None)
    await server.start_server(shutdown_timeout=0.1)
    assert server.port is not None
    receiver.port = server.port
    try:
        yield receiver
    finally:
        if receiver.gate is not None:
            receiver.gate.set()
        await server.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def tell(store: SqlStore, *told: events.Body) -> None:
    """Commit events as results of polls would: with the message they are about."""
    from pollerd.core.diff import Result
    from pollerd.core.model import Message

    results = [
        Result(Message(body.id, body.account, 1.0, 1.0), (body,))
        if isinstance(body, events.Status | events.Completed | events.GaveUp)
        else None
        for body in told
    ]
    bodies = [body for body, result in zip(told, results, strict=True) if result is None]
    await store.commit(Batch(results=[r for r in results if r is not None], bodies=bodies, at=1.0))


def change(message: int, state: str, **more: Any) -> events.Status:
    import msgspec

    return msgspec.structs.replace(status(message), status=state, **more)


def flaky(share: float, seed: int = 1) -> Callable[[dict[str, Any]], int]:
    rng = random.Random(seed)
    return lambda _: rng.choice((500, 503, 404)) if rng.random() < share else 200
