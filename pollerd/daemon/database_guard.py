"""Watches that the database and its lock stay where they are, and ends the daemon when they do not."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from pollerd.base.errors import DatabaseLostError, StoreError, StoreFencedError
from pollerd.core.ports import Ownership
from pollerd.daemon.systemd import Notifier
from pollerd.status.parts import Parts

log = logging.getLogger(__name__)

EVERY: Final = 1.0
"""Seconds between two checks. Each transaction checks as well, so that nothing is acknowledged in between."""
LINGER: Final = 10.0
"""Seconds for which a lost database is shown in `status` and to health checks before the daemon stops."""


class Guard:
    """Checks once a second."""

    def __init__(self, parts: Parts, lock: Ownership, notifier: Notifier) -> None:
        self._parts = parts
        self._lock = lock
        self._notifier = notifier
        self._trouble = ""

    async def run(self) -> None:
        """Check until cancelled.

        Raises StoreFencedError when another process has taken over, DatabaseLostError when the database has been lost
        for `LINGER` seconds.
        """
        while not self._parts.store.lost or self._lock.lost:
            if self._lock.lost:
                # Nothing that this process still writes takes effect, and nothing is lost by its end.
                raise StoreFencedError(f"stopped: {self._lock.lost}")
            self._tend()
            await asyncio.sleep(EVERY)
        lost = self._parts.store.lost
        for poller in self._parts.pollers.values():
            poller.stop()
        self._parts.committer.block(lost)
        self._notifier.status(lost)
        log.error(
            "%s: polling has ended, nothing more is taken in, and in %.0f s the daemon stops. Its next start uses what "
            "is at that path then; put the right file there",
            lost,
            LINGER,
            extra={"event": "database_lost"},
        )
        if aside := await self._parts.store.rescue():
            log.error(
                "the last transactions of the lost database are in %s: to use it again, put that beside it as its -wal",
                aside,
                extra={"event": "database_lost"},
            )
        await asyncio.sleep(LINGER)
        raise DatabaseLostError(f"stopped: {lost}")

    def _tend(self) -> None:
        try:
            if self._lock.tend():
                log.warning(
                    "the lock's file beside the database was removed while the daemon runs; it is made again",
                    extra={"event": "lock_removed"},
                )
            self._trouble = ""
        except StoreError as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                log.warning("%s", error, extra={"event": "lock_removed"})
