"""After an operator's outage, or when its expiry becomes known: the messages it concerns are planned anew, and what is
due by that is spread over half a minute.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping
from typing import Final

import msgspec

from pollerd.backoff import EVERYWHERE, Key, Policy
from pollerd.base.errors import StoreUnavailableError
from pollerd.core import diff
from pollerd.core.diff import Result
from pollerd.core.learning import following, key
from pollerd.core.model import Message, State
from pollerd.core.ports import Clock, Store
from pollerd.polling.committer import Committer
from pollerd.polling.poller import Poller

log = logging.getLogger(__name__)

TICK: Final = 1.0  # Seconds between two checks.
SPREAD: Final = 30.0
"""Seconds over which the messages are spread."""
CHUNK: Final = 100
"""Messages planned between two breaths of the event loop: a few milliseconds."""


class Replanner:
    """Asks the policy once a second whose outage is over."""

    def __init__(
        self,
        policy: Policy,
        store: Store,
        committer: Committer,
        pollers: Mapping[str, Poller],
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._policy = policy
        self._store = store
        self._committer = committer
        self._pollers = pollers
        self._clock = clock
        self._rng = rng

    async def run(self) -> None:
        """Check until cancelled."""
        while True:
            await asyncio.sleep(TICK)
            if scopes := self._policy.take_wake():
                try:
                    await self.wake(frozenset(scopes))
                except StoreUnavailableError as error:
                    log.debug("not all messages could be planned anew: %s", error)

    async def wake(self, scopes: frozenset[Key]) -> None:
        """Re-plan every pending message of `scopes` that is not due soon anyway."""
        names = ", ".join("all operators" if scope == EVERYWHERE else str(scope) for scope in scopes)
        log.info("planned anew by what was learned: %s", names, extra={"event": "outage_over", "scopes": names})
        after, woken = 0, 0
        while rows := await self._store.pending(after, CHUNK):
            for row in rows:
                # What is not on disk yet was polled a moment ago.
                if self._committer.unsaved(row.id) is None:
                    woken += self._replan(row, scopes)
            after = rows[-1].id
            await self._committer.room()
            await asyncio.sleep(0)
        log.info("%d messages are polled sooner", woken, extra={"event": "outage_replanned", "messages": woken})

    def _replan(self, message: Message, scopes: frozenset[Key]) -> bool:
        poller = self._pollers.get(message.account)
        operator = key(message)
        if poller is None or message.state is not State.PENDING or not (EVERYWHERE in scopes or operator in scopes):
            return False
        if poller.window.under_way(message.id) is not None:
            return False
        now = self._clock.now()
        base = self._policy.base_for(operator, message.sending, message.base)
        moved, waiting = msgspec.structs.replace(message, base=base), diff.waiting(message.recipients)
        decision = following(self._policy, moved, now, waiting, replan=True)
        due = now + max(decision.delay, self._rng.uniform(0.0, SPREAD))
        if due >= message.next_poll_at:
            return False
        replanned = msgspec.structs.replace(message, base=base, next_poll_at=due, next_reason=decision.reason)
        self._committer.record(Result(replanned, full=False))
        poller.schedule(replanned)
        return True
