"""Whether this process polls, as its event loop hears of it."""

from __future__ import annotations

import asyncio

from pollerd.base.errors import StoreFencedError
from pollerd.core.ports import Ownership


class Duty:
    """Watches an ownership. To be made in the running loop."""

    def __init__(self, ownership: Ownership) -> None:
        self.ownership = ownership
        self.polls = ownership.active
        """Whether this process polls since the last call of `settled`."""
        self._changed = asyncio.Event()
        loop = asyncio.get_running_loop()

        def changed() -> None:
            loop.call_soon_threadsafe(self._changed.set)

        ownership.watch(changed)
        if ownership.active is not self.polls:
            self._changed.set()

    async def settled(self, stop: asyncio.Event) -> None:
        """Return when `stop` is set, or when this process has become the one that polls.

        Raises StoreFencedError when another one has taken over.
        """
        waits = [asyncio.ensure_future(event.wait()) for event in (stop, self._changed)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        self._changed.clear()
        if self.ownership.lost:
            raise StoreFencedError(f"stopped: {self.ownership.lost}")
        self.polls = self.ownership.active
