"""What a daemon that stands by does with what its programs ask for: it leaves that to the active one, and waits."""

from __future__ import annotations

import asyncio
from typing import Final

from pollerd.base.errors import StoreUnavailableError
from pollerd.core.ports import Asked, Engine, RequestKind

LOOK_EVERY: Final = 0.1
"""Seconds between two looks whether the active member has dealt with it. It looks for requests every 0.4 s itself."""


class StandbyIntake:
    """Takes the place of `Intake` where another machine polls."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def poke(self) -> None:
        """What was handed over here is noticed by the active member."""

    async def ask(self, kind: RequestKind, message_id: int | None, argument: str | None = None) -> None:
        """Have the active member do what a program asks this process for; done when this returns."""
        asked = await asyncio.to_thread(self._leave, kind, message_id, argument)
        # Another machine takes the row away: there is no event of this process to wait for.
        while await asyncio.to_thread(self._waiting, asked):  # noqa: ASYNC110
            await asyncio.sleep(LOOK_EVERY)

    def _leave(self, kind: RequestKind, message_id: int | None, argument: str | None) -> Asked:
        with self._engine.handover() as handover:
            return handover.ask(kind, [message_id], argument)

    def _waiting(self, asked: Asked) -> bool:
        try:
            with self._engine.handover() as handover:
                return handover.waiting(asked)
        except StoreUnavailableError:
            # It is in the store, and is done whether anybody can see that or not.
            return True
