"""Outputs that several machines have in common: only the active one delivers, and nothing overtakes the one before."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from pollerd.core.event import Event
from pollerd.core.ports import Cursor, EventLog, Output, OutputHealth, Ownership, Preparing

LONGEST: Final = 60.0
"""Seconds that one batch or statement may take: a program's time-out is the longest of them."""
_LOOK: Final = 0.1
"""Seconds between two looks whether the lease is renewed."""


class SharedOutput:
    """Fulfils `ports.Output` around another one, for the member that owns the store by `ownership`."""

    def __init__(self, output: Output, ownership: Ownership, longest: float = LONGEST) -> None:
        """`longest`: seconds that one delivery of the output may take."""
        self._output = output
        self._ownership = ownership
        self._longest = longest

    @property
    def name(self) -> str:
        return self._output.name

    @property
    def health(self) -> OutputHealth:
        return self._output.health

    def reopen(self) -> None:
        self._output.reopen()

    async def prepare(self, log: EventLog) -> None:
        """As the output itself does, where it does."""
        if isinstance(self._output, Preparing):
            await self._output.prepare(log)

    async def run(self, log: EventLog) -> None:
        """Deliver until cancelled: from the moment at which all that the member before may have begun has ended."""
        await asyncio.sleep(max(0.0, self._ownership.others_until + self._longest - boot_time()))
        await self._output.run(_HeldLog(log, self._ownership))


class _HeldLog:
    """Gives events only while the member may deliver them."""

    def __init__(self, log: EventLog, ownership: Ownership) -> None:
        self._log = log
        self._ownership = ownership

    @property
    def last(self) -> int:
        return self._log.last

    @property
    def pruned(self) -> int:
        return self._log.pruned

    async def read(self, after: int, limit: int) -> Sequence[Event]:
        found = await self._log.read(after, limit)
        # A lease ends by the clock, with no event of this process to wait for.
        while not self._ownership.holds():  # noqa: ASYNC110
            await asyncio.sleep(_LOOK)
        return found

    async def wait(self, after: int) -> None:
        await self._log.wait(after)

    async def cursor(self, name: str) -> Cursor | None:
        return await self._log.cursor(name)

    async def save_cursor(self, cursor: Cursor) -> None:
        await self._log.save_cursor(cursor)


def boot_time() -> float:
    """Seconds of the machine's clock that goes on while it sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
