"""A load generator: an application that sends messages all day."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus

import aiohttp
import msgspec

from pollerd.simulator.config import DEMO_CREDENTIAL
from pollerd.simulator.fate import uniforms
from pollerd.simulator.networks import number_for
from pollerd.simulator.server import Simulator
from pollerd.simulator.wire import SendRecipient, SendRequest, encode

Send = Callable[[Sequence[SendRequest]], Awaitable[list[int]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficConfig:
    """`rate` messages a second (real), `total` messages or without end, and their form.

    `groups` is the share of messages with several recipients, of up to `group_size`.
    """

    rate: float = 20.0
    total: int | None = None
    groups: float = 0.05
    group_size: int = 5
    userref: str = "order"
    seed: int = 1


class _SendAnswer(msgspec.Struct):
    ids: list[int]


def through(simulator: Simulator) -> Send:
    """Send within the process, without HTTP and free of charge."""

    async def send(requests: Sequence[SendRequest]) -> list[int]:
        return [simulator.send(request) for request in requests]

    return send


def over_http(session: aiohttp.ClientSession, url: str, token: str = DEMO_CREDENTIAL) -> Send:
    """Send by `POST /rest/mtsms`; RuntimeError when the gateway refuses."""

    async def send(requests: Sequence[SendRequest]) -> list[int]:
        headers = {"Authorization": f"Token {token}", "Content-Type": "application/json"}
        async with session.post(f"{url}/rest/mtsms", data=encode(requests), headers=headers) as response:
            body = await response.read()
            if response.status != HTTPStatus.OK:
                raise RuntimeError(f"the gateway answered {response.status} to a sending request; see its log")
            return msgspec.json.decode(body, type=_SendAnswer).ids

    return send


class Traffic:
    """Sends messages of mixed countries and sizes; the same seed sends the same messages."""

    def __init__(self, send: Send, config: TrafficConfig | None = None) -> None:
        self._send = send
        self._config = config or TrafficConfig()
        self.sent = 0

    async def send(self, count: int) -> list[int]:
        """Send that many messages at once; their ids."""
        requests = [self._request(self.sent + offset) for offset in range(count)]
        self.sent += count
        return await self._send(requests)

    async def run(self, on_sent: Callable[[list[int]], Awaitable[None]], stop: asyncio.Event) -> int:
        """Send at the configured rate until `total` or `stop`; how many were sent.

        `on_sent` gets the ids of each portion, which is where an application hands them over.
        """
        loop = asyncio.get_running_loop()
        started, before = loop.time(), self.sent
        total = self._config.total
        while not stop.is_set() and (total is None or self.sent - before < total):
            owed = int((loop.time() - started) * self._config.rate) + 1 - (self.sent - before)
            if total is not None:
                owed = min(owed, total - (self.sent - before))
            if owed > 0:
                await on_sent(await self.send(owed))
            due = started + (self.sent - before) / self._config.rate
            try:
                async with asyncio.timeout_at(due):
                    await stop.wait()
            except TimeoutError:
                continue
        return self.sent - before

    def _request(self, number: int) -> SendRequest:
        config = self._config
        u = uniforms(config.seed, "traffic", number)
        count = 2 + int(u[1] * (config.group_size - 1)) if u[0] < config.groups and config.group_size > 1 else 1
        numbers = (uniforms(config.seed, "traffic number", number, index) for index in range(count))
        return SendRequest(
            recipients=[SendRecipient(number_for(n[0], n[1])) for n in numbers],
            userref=f"{config.userref}-{number + 1}",
            sender="Demo",
        )
