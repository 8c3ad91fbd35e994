"""The active machine offers its duty while it does not reach the gateway, and one that stands by accepts if it does.

One machine's way out is the likeliest failure in a firewalled house, and the store that they share knows nothing of it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Mapping
from typing import Final

from pollerd.config import AccountConfig, ConfigError
from pollerd.core.lease import Reach
from pollerd.core.model import HoldReason
from pollerd.core.ports import Balance, Clock, Limiter, Ownership
from pollerd.gateway.client import GatewayClient
from pollerd.gateway.gatewayapi.interface import GatewayApi
from pollerd.outputs.shared import boot_time

_LOOK: Final = 1.0
"""Seconds between two looks at the accounts, and at the offer."""
_ASK: Final = 10.0
"""Seconds between two requests of a member that stands by, while the duty is offered."""


class Offer:
    """Offers the duty while every account is held as unreachable for long enough."""

    def __init__(self, ownership: Ownership, limiters: Iterable[Limiter]) -> None:
        self._ownership = ownership
        self._limiters = list(limiters)
        self._reach = Reach()

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            held = [limiter.held for limiter in self._limiters]
            out = all(state is not None and state.held_reason is HoldReason.UNREACHABLE for state in held)
            self._ownership.offer(self._reach.noted(bool(held) and out, boot_time()))
            await asyncio.sleep(_LOOK)


class Acceptance:
    """Accepts an offered duty once the gateway has answered this machine, with its own credentials.

    A connection alone proves nothing: a captive portal takes any.
    """

    def __init__(self, ownership: Ownership, accounts: Mapping[str, AccountConfig], clock: Clock) -> None:
        self._ownership = ownership
        self._accounts = accounts
        self._clock = clock

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            if self._ownership.offered:
                if await self._reached():
                    self._ownership.accept()
                await asyncio.sleep(_ASK)
            await asyncio.sleep(_LOOK)

    async def _reached(self) -> bool:
        for account in self._accounts.values():
            try:
                gateway = GatewayClient(account, GatewayApi(account), self._clock, random.Random())
            except ConfigError:
                continue
            try:
                if isinstance(await gateway.balance(), Balance):
                    return True
            finally:
                await gateway.close()
        return False
