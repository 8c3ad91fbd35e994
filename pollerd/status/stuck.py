"""Whether the daemon makes progress, for the watchdog: what could be done is done, or something is stuck."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from pollerd.core.ports import Clock

if TYPE_CHECKING:
    from pollerd.polling.committer import Committer
    from pollerd.polling.poller import Poller

GRACE: Final = 10.0
"""Seconds that something may seem stuck: a message due in this very moment is no sign of anything."""
WRITING: Final = 120.0
"""Seconds that one transaction may take; a disk that wakes up takes long, but not for ever."""


class _Suspicion(msgspec.Struct, frozen=True):
    """Since when (monotonic seconds) something seems stuck, and the count that would have to rise."""

    since: float
    count: int


class StuckCheck:
    """Compares the counts now with those before. `longest_request`: seconds after which an answer is overdue for good;
    twice the largest timeout of all accounts.
    """

    def __init__(
        self,
        pollers: Mapping[str, Poller],
        committer: Committer,
        clock: Clock,
        *,
        longest_request: float = 30.0,
    ) -> None:
        self._pollers = pollers
        self._committer = committer
        self._clock = clock
        self.longest_request = longest_request
        self._suspicions: dict[str, _Suspicion] = {}

    def stuck(self) -> str | None:
        """What does not move though it could, in words; None when all is well. To be called every few seconds."""
        return next(self._complaints(), None)

    def _complaints(self) -> Iterator[str]:
        now = self._clock.monotonic()
        committer = self._committer
        writing = not committer.idle and not committer.trouble
        if (since := self._standstill("committer", now, committer.groups, suspect=writing)) > WRITING:
            yield f"nothing was written to the database for {since:.0f} s"
        waiting = bool(committer.trouble) or committer.full
        for name, poller in self._pollers.items():
            suspect = not waiting and self._could_poll(poller, now)
            if (since := self._standstill(f"poller {name}", now, poller.polls, suspect=suspect)) > GRACE:
                yield f"account {name} has polled nothing for {since:.0f} s though messages are due"

    def _could_poll(self, poller: Poller, now: float) -> bool:
        if any(now - since < self.longest_request for since in poller.asking.values()):
            return False
        # A hold counts for as long as it says so; when its probe may go out, the probe has to go out.
        if poller.limiter.delay() > 0.0:
            return False
        return bool(poller.asking) or poller.window.next_due() <= self._clock.now()

    def _standstill(self, what: str, now: float, count: int, *, suspect: bool) -> float:
        """Seconds for which every call was suspect with the same count; 0 when this one is not."""
        if not suspect:
            self._suspicions.pop(what, None)
            return 0.0
        suspicion = self._suspicions.get(what)
        if suspicion is None or suspicion.count != count:
            suspicion = self._suspicions[what] = _Suspicion(now, count)
        return now - suspicion.since
