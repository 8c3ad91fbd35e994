"""Outputs that hand events over in batches: in order, at least once, their place saved after each."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final

from pollerd.core.event import Event
from pollerd.core.ports import Cursor, EventLog, OutputHealth

logger = logging.getLogger(__name__)

MOST_EVENTS: Final = 500  # Events of one batch.


class PatientOutput:
    """What outputs have in common whose other side may be away: it is said once, and waited out `retry_first` to
    `retry_max` seconds.
    """

    def __init__(self, name: str, retry_first: float, retry_max: float) -> None:
        self._name = name
        self._retry_first = retry_first
        self._retry_max = retry_max
        self._delay = retry_first
        self._seq = 0
        self._trouble = ""
        self._nudged = asyncio.Event()

    @property
    def name(self) -> str:
        return self._name

    @property
    def health(self) -> OutputHealth:
        return OutputHealth(self._name, self._seq, self._trouble)

    def reopen(self) -> None:
        """Try again at once."""
        self._nudged.set()

    async def went(self, trouble: str, first: int) -> bool:
        """What came of handing over the events from `first` on: whether it went well. Else a pause is over now."""
        if trouble and trouble != self._trouble:
            logger.error(
                "output %s: %s; events from %d on wait", self._name, trouble, first, extra={"event": "output_trouble"}
            )
        elif self._trouble and not trouble:
            logger.info("output %s: works again", self._name, extra={"event": "output_works"})
        self._trouble = trouble
        if not trouble:
            self._delay = self._retry_first
            return True
        self._nudged.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._delay):
                await self._nudged.wait()
        self._delay = min(2 * self._delay, self._retry_max)
        return False

    def warn_of_gap(self, log: EventLog, first: int) -> None:
        """Say it when events before `first` were deleted before they were handed over."""
        if self._seq < log.pruned and first > self._seq + 1:
            logger.error(
                "output %s: events %d to %d were deleted by retention before they were handed over",
                self._name,
                self._seq + 1,
                first - 1,
                extra={"event": "output_gap"},
            )
            # Said once, however often the next batch is tried.
            self._seq = first - 1


class BatchOutput(PatientOutput, ABC):
    """Fulfils `ports.Output` for whoever takes a batch whole or not at all."""

    @abstractmethod
    async def hand_over(self, events: Sequence[Event]) -> str:
        """Pass a batch on, whole or not at all; what went wrong, in words, empty when it was taken."""

    def batch(self, events: Sequence[Event]) -> Sequence[Event]:
        """As many of the first events as make one batch."""
        return events

    async def run(self, log: EventLog) -> None:
        """Hand events over until cancelled. Raises StoreError."""
        cursor = await log.cursor(self._name)
        self._seq = 0 if cursor is None else cursor.seq
        while True:
            last = log.last
            events = self.batch(await log.read(self._seq, MOST_EVENTS))
            if not events:
                # Numbers may be left out, so that there can be a higher one and still no event.
                await log.wait(max(last, self._seq))
                continue
            if cursor is not None:
                self.warn_of_gap(log, events[0].seq)
            if await self.went(await self.hand_over(events), events[0].seq):
                self._seq = events[-1].seq
                cursor = Cursor(self._name, self._seq)
                await log.save_cursor(cursor)
