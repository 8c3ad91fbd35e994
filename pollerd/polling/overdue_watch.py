"""Reports what is overdue at its time, whenever the next poll is and whatever state the account is in.

Each message is polled once more before, so that none is reported that has ended meanwhile; the answer decides (see
`pollerd.core.overdue.settled`). The watch waits for it a few seconds only, since a late alarm is no good. What became
overdue while the daemon was stopped or the machine slept is late anyway: it is reported only after a poll, or when none
is possible.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Mapping
from typing import Final

import msgspec

from pollerd.base.errors import StoreUnavailableError
from pollerd.core import overdue
from pollerd.core.model import Message
from pollerd.core.ports import Batch, Clock, Due, Store
from pollerd.polling import poll_log
from pollerd.polling.committer import Committer
from pollerd.polling.poller import Poller

log = logging.getLogger(__name__)

TICK: Final = 0.5  # Seconds between two checks.
ANSWER_WAIT: Final = 5.0
"""Seconds that the last question may take: an alarm is raised at its time, answered or not."""
UNANSWERED: Final = 60.0
"""The same for what became overdue unwatched: long enough for a request that failed to be made again a few times."""
UNWATCHED: Final = 10.0
"""Seconds between two checks in which something may have become overdue that could not be polled."""
SHARE: Final = 0.5
"""Of the account's pace, what these questions may take at most: a whole mailing may become overdue at once."""
CHUNK: Final = 1000
"""Rows read in one go."""


async def date(store: Store, account: str, after: float | None, now: float) -> None:
    """See to it that the pending messages of `account` go by its `overdue_after` (seconds) as it is now."""
    name, wanted = overdue.note(account), msgspec.json.encode(after)
    if wanted != (await store.note(name) or b"null"):
        await store.set_overdue(account, after)
        await store.commit(Batch(notes=[(name, wanted)], at=now))


class OverdueWatch:
    """Checks twice a second."""

    def __init__(self, store: Store, committer: Committer, pollers: Mapping[str, Poller], clock: Clock) -> None:
        self._store = store
        self._committer = committer
        self._pollers = pollers
        self._clock = clock
        self._checked_at = self._since = clock.now()
        """What became overdue before `_since` did so unwatched."""
        self._asked: dict[int, float] = {}
        self._allowed: dict[str, tuple[float, float]] = {}
        """Questions that each account may be asked, as of which instant."""

    async def run(self) -> None:
        """Check until cancelled."""
        while True:
            await asyncio.sleep(TICK)
            try:
                await self.check()
            except StoreUnavailableError as error:
                log.debug("what is overdue cannot be read now: %s", error)

    async def check(self) -> None:
        """Ask about what is overdue by now, and report what was asked about."""
        now = self._clock.now()
        passed, self._checked_at = now - self._checked_at, now
        if passed > UNWATCHED:
            self._since = now
        self._asked = {number: at for number, at in self._asked.items() if now - at < 2 * UNANSWERED}
        for account in await self._store.overdue_accounts():
            if (poller := self._pollers.get(account)) is not None:
                self._allow(account, poller.limiter.rate, now)
            await self._go_through(account, (self._since, 0), now)
            await self._go_through(account, (-math.inf, 0), self._since)

    def _allow(self, account: str, rate: float, now: float) -> None:
        most = max(1.0, SHARE * ANSWER_WAIT * rate)
        left, at = self._allowed.get(account, (most, now))
        self._allowed[account] = min(most, left + SHARE * rate * (now - at)), now

    async def _go_through(self, account: str, position: Due, until: float) -> None:
        while rows := await self._store.overdue(account, position, until, CHUNK):
            done = [await self._consider(account, *row) for row in rows]
            # What is behind those that wait became overdue later, and waits too.
            if not any(done) or len(rows) < CHUNK:
                return
            position = rows[-1]
            await self._committer.room()

    async def _consider(self, account: str, at: float, message_id: int) -> bool:
        """Ask about a message, or report it; False where it has to wait."""
        now, poller, asked = self._clock.now(), self._pollers.get(account), self._asked.get(message_id)
        late = at > self._since and now - at >= ANSWER_WAIT
        if poller is None or late or self._unreachable(poller, now):
            return await self._report(message_id)
        if asked is not None:
            return now - asked >= UNANSWERED and await self._report(message_id)
        return poller.limiter.held is None and await self._ask(message_id, poller)

    def _unreachable(self, poller: Poller, now: float) -> bool:
        """Whether the account has been held for so long that no answer is waited for."""
        held = poller.limiter.held
        return held is not None and now - max(held.held_since or 0.0, self._since) >= ANSWER_WAIT

    async def _ask(self, message_id: int, poller: Poller) -> bool:
        left, at = self._allowed[poller.account]
        if left < 1.0 or (message := await self._current(message_id)) is None:
            return False
        self._asked[message_id] = now = self._clock.now()
        if not poller.busy_with(message_id):
            self._allowed[poller.account] = left - 1.0, at
            due = min(now, message.next_poll_at)
            poller.schedule(msgspec.structs.replace(message, next_poll_at=due, forced=True))
        return True

    async def _report(self, message_id: int) -> bool:
        if (message := await self._current(message_id)) is None:
            return False
        self._asked.pop(message_id, None)
        result = overdue.reported(message, self._clock.to_wall(self._clock.now()))
        self._committer.record(result)
        poll_log.overdue(message_id)
        if (poller := self._pollers.get(message.account)) is not None:
            poller.window.amend(result.message)
        return True

    async def _current(self, message_id: int) -> Message | None:
        """The message as it stands; None where there is nothing to report any more."""
        if (message := self._committer.unsaved(message_id)) is None:
            stored = await self._store.message(message_id)
            # A poll may have been answered while the store was read.
            message = self._committer.unsaved(message_id) or stored
        return message if message is not None and overdue.is_due(message, self._clock.now()) else None
