"""Waits until messages end, and bears a daemon that is restarted meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Final

from pollerd.base.errors import (
    DatabaseMissingError,
    PollerdError,
    StoreError,
    StoreForbiddenError,
    UnavailableError,
)
from pollerd.base.service import start_command
from pollerd.client.source import Location, Source, open_source
from pollerd.client.values import FinalStates, NotFollowedError, final_states
from pollerd.status.message import MessageDocument

GRACE: Final = 10.0
"""Seconds that a daemon may be away: a restart with an upgrade takes so long."""
_LEAST_PAUSE: Final = 0.1
"""Seconds between two checks at least."""
_IN_TROUBLE: Final = 1.0
"""Seconds between two checks at most while no daemon answers: it may be back at any time."""
_SHARE: Final = 10
"""A check may take a tenth of the time, so that waiting for many messages leaves the machine to others."""


class Waiting:
    """Some messages, until they have ended. `left` are those that have not, with what was last known of them."""

    def __init__(self, location: Location, ids: Sequence[int]) -> None:
        self._location = location
        self._source: Source | None = None
        self._trouble: PollerdError | None = None
        self._troubled_since = 0.0
        self._patience = GRACE
        self.left: dict[int, MessageDocument | None] = dict.fromkeys(ids)

    def ended(self, timeout: float) -> Iterator[FinalStates]:
        """Each message once it has ended, until none is left or `timeout` seconds have passed; 0: one check.

        Raises NotFollowedError for a message that is not followed, PollerdError for one that nobody polls until a
        person acts; both after those that have ended by then. UnavailableError or StoreError when the daemon that polls
        them, or the database, has been away for `GRACE` seconds or is away at the end.
        """
        deadline = time.monotonic() + timeout
        self._patience = min(GRACE, timeout + 1.0)
        try:
            while True:
                began = time.monotonic()
                yield from self._check(deadline if timeout else None)
                now = time.monotonic()
                if not self.left:
                    return
                if self._trouble is not None and (
                    now >= deadline or now - self._troubled_since > GRACE or _is_final(self._trouble)
                ):
                    raise self._trouble
                if now >= deadline:
                    return
                most = _IN_TROUBLE if self._trouble is not None else timeout
                time.sleep(min(max(_LEAST_PAUSE, (now - began) * _SHARE), most, deadline - now))
        finally:
            self._close()

    def _check(self, deadline: float | None) -> Iterator[FinalStates]:
        """Those that have ended by now; `deadline` ends it in between."""
        hopeless: PollerdError | None = None
        try:
            if self._source is None:
                self._source = open_source(self._location, self._patience)
            for message_id in list(self.left):
                if deadline is not None and time.monotonic() >= deadline:
                    break
                try:
                    document = self._source.message(message_id)
                except NotFollowedError as error:
                    hopeless = hopeless or error
                    continue
                if (found := final_states(document)) is not None:
                    del self.left[message_id]
                    yield found
                    continue
                self.left[message_id] = document
                hopeless = hopeless or self._unpolled(document)
            self._note(None if self._polled() else self._nobody())
        except (UnavailableError, StoreError) as error:
            self._close()
            self._note(error)
        if hopeless is not None:
            raise hopeless

    def _note(self, trouble: PollerdError | None) -> None:
        if trouble is not None and self._trouble is None:
            self._troubled_since = time.monotonic()
        self._trouble = trouble

    def _unpolled(self, document: MessageDocument) -> PollerdError | None:
        """Why nobody polls the message until a person acts; None where it is polled."""
        if document.set_aside is not None:
            return PollerdError(
                f"{document.id} is set aside and not polled: {document.set_aside}. "
                f"Once it is right: pollerd retry {document.id}"
            )
        if self._location.accounts and document.account not in self._location.accounts:
            return PollerdError(
                f"nobody polls {document.id}: the configuration has no account {document.account!r}. "
                f"Add [accounts.{document.account}], or: pollerd untrack {document.id}"
            )
        return None

    def _polled(self) -> bool:
        """Whether a daemon runs; one that answered through its socket does."""
        if self._location.store is None:
            return True
        try:
            return self._location.store.owner() is not None
        except StoreError:
            # This user may not see the lock: then the daemon itself has answered.
            return True

    def _nobody(self) -> UnavailableError:
        where = "" if self._location.store is None else self._location.store.where
        return UnavailableError(
            f"no daemon polls the messages in {where}, so that nothing more will be known of "
            f"{len(self.left):,} of them. Start it: {start_command()}"
        )

    def _close(self) -> None:
        if self._source is not None:
            self._source.close()
            self._source = None


def _is_final(trouble: PollerdError) -> bool:
    """Whether waiting cannot help: a right is missing, or pollerd has never run here."""
    return isinstance(trouble, StoreForbiddenError | DatabaseMissingError) or isinstance(
        trouble.__cause__, PermissionError
    )
