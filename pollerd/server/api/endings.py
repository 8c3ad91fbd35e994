"""Requests that wait until a message has ended, whatever their number: one task reads the log for all of them."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from pollerd.base.errors import StoreError
from pollerd.core.event import MESSAGE_COMPLETED, MESSAGE_GAVE_UP
from pollerd.server.api.stream import Feed

log = logging.getLogger(__name__)

_ENDS: Final = frozenset({MESSAGE_COMPLETED, MESSAGE_GAVE_UP})
_CHUNK: Final = 500
"""Events read from the log at a time."""


class Endings:
    """Wakes those who wait for a message when it may have ended: they read it themselves."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._waiting: defaultdict[int, set[asyncio.Event]] = defaultdict(set)

    async def run(self) -> None:
        """Read the log as it grows, until the server stops."""
        place = self._feed.log.last
        while await self._feed.more(place):
            place = await self._read(place)

    def stop(self) -> None:
        """Everybody is to go now."""
        self._feed.stop()
        self._wake_all()

    @property
    def stopped(self) -> bool:
        """Whether everybody is to go."""
        return self._feed.stopped

    @contextmanager
    def of(self, message_id: int) -> Iterator[asyncio.Event]:
        """Set once the message may have ended, and when the server stops. Read the message inside of the block."""
        changed = asyncio.Event()
        self._waiting[message_id].add(changed)
        try:
            with self._feed.reader():
                yield changed
        finally:
            self._waiting[message_id].discard(changed)
            if not self._waiting[message_id]:
                del self._waiting[message_id]

    async def _read(self, place: int) -> int:
        """Read on from `place`; where to go on."""
        last = self._feed.log.last
        if not self._waiting:
            # Who comes now reads the message after all that is committed by now.
            return last
        try:
            found = await self._feed.log.read(place, _CHUNK)
        except StoreError as error:
            log.warning("those who wait for a message check it now: %s", error, extra={"event": "control_error"})
            self._wake_all()
            return last
        if not found or found[0].seq > place + 1:
            # Some were deleted before they were read.
            self._wake_all()
        for event in found:
            if event.type in _ENDS and event.message_id is not None:
                for changed in self._waiting.get(event.message_id, ()):
                    changed.set()
        return found[-1].seq if found else last

    def _wake_all(self) -> None:
        for waiting in self._waiting.values():
            for changed in waiting:
                changed.set()
