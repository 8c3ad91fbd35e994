"""Waits until messages end, and bears a daemon that is restarted meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Final

from pollerd.base.errors import PollerdError, StoreError, UnavailableError
from pollerd.base.service import start_command
from pollerd.client.source import Location, Source, open_source
from pollerd.client.values import FinalStates, final_states
from pollerd.status.message import MessageDocument

GRACE: Final = 10.0
"""Seconds that a daemon may be away: a restart with an upgrade takes so long."""
_LEAST: Final = 0.1
"""Seconds between two checks at least."""
_SHARE: Final = 10
"""A check may take a tenth of the time, so that waiting for many messages leaves the machine to others."""


class Waiting:
    """Some messages, until they have ended. `left` are those that have not, with what was last known of them."""

    def __init__(self, location: Location, ids: Sequence[int]) -> None:
        self._location = location
        self._source: Source | None = None
        self._alive = time.monotonic()
        self._trouble: PollerdError | None = None
        self.left: dict[int, MessageDocument | None] = dict.fromkeys(ids)

    def ended(self, timeout: float) -> Iterator[FinalStates]:
        """Each message once it has ended, until none is left or `timeout` seconds have passed; 0: one check.

        Raises NotFollowedError for a message that is not followed; UnavailableError or StoreError when the daemon that
        polls them, or the database, has been away for `GRACE` seconds or is away at the end.
        """
        deadline = time.monotonic() + timeout
        try:
            while True:
                began = time.monotonic()
                yield from self._check()
                now = time.monotonic()
                if not self.left:
                    return
                if now - self._alive > GRACE or (now >= deadline and self._trouble is not None):
                    raise self._trouble or self._nobody()
                if now >= deadline:
                    return
                time.sleep(min(max(_LEAST, (now - began) * _SHARE), deadline - now))
        finally:
            self._close()

    def _check(self) -> Iterator[FinalStates]:
        try:
            if self._source is None:
                self._source = open_source(self._location)
            for message_id in list(self.left):
                document = self._source.message(message_id)
                if (found := final_states(document)) is None:
                    self.left[message_id] = document
                else:
                    del self.left[message_id]
                    yield found
            self._trouble = None if self._polled() else self._nobody()
        except (UnavailableError, StoreError) as error:
            self._close()
            self._trouble = error
        if self._trouble is None:
            self._alive = time.monotonic()

    def _polled(self) -> bool:
        """Whether a daemon runs; one that answered through its socket does."""
        if self._location.database is None:
            return True
        from pollerd.store.engine import engine_at

        try:
            return engine_at(self._location.database).owner() is not None
        except StoreError:
            # This user may not see the lock: then the daemon itself has answered.
            return True

    def _nobody(self) -> UnavailableError:
        return UnavailableError(
            f"no daemon polls the messages in {self._location.database}, so that nothing more will be known of "
            f"{len(self.left):,} of them. Start it: {start_command()}"
        )

    def _close(self) -> None:
        if self._source is not None:
            self._source.close()
            self._source = None
