"""What a start waits for: a command that has the database for a moment, a disk that is full. Said once, and in the
status line; a stop ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from pollerd.base.errors import DatabaseBusyError, StoreUnavailableError
from pollerd.daemon.systemd import Notifier

log = logging.getLogger(__name__)

T = TypeVar("T")
EVERY: Final = 0.5
"""Seconds between two tries."""
EXTEND: Final = 30_000_000
"""Microseconds by which systemd's limit for the start moves on with each try: what is waited for may take hours."""


class StoppedError(Exception):
    """The daemon was stopped while it was starting."""


class Start:
    """Tries the steps of a start again until they succeed, or until `stop` is set."""

    def __init__(self, notifier: Notifier, stop: asyncio.Event) -> None:
        self._notifier = notifier
        self._stop = stop
        self._said = ""

    async def insist(self, step: Callable[[], Awaitable[T]]) -> T:
        """What `step` returns, once it does.

        Raises StoppedError, DatabaseBusyError when another daemon runs and this one was started by hand, and whatever
        does not pass by itself.
        """
        while True:
            try:
                result = await step()
            except DatabaseBusyError as error:
                # systemd starts a service once: when it is turned away here, it is not started again.
                if error.daemon and not self._notifier.active:
                    raise
                self._waits(f"waiting to start: {error}")
            except StoreUnavailableError as error:
                self._waits(f"waiting to start: {error}")
            else:
                if self._said:
                    log.info("going on: what was waited for is over", extra={"event": "start_goes_on"})
                    self._said = ""
                return result
            self._notifier.extend_timeout(EXTEND)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EVERY):
                    await self._stop.wait()
            if self._stop.is_set():
                raise StoppedError

    def _waits(self, text: str) -> None:
        if text != self._said:
            log.warning("%s", text, extra={"event": "start_waits"})
            self._notifier.status(text)
        self._said = text
