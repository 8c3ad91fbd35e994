"""Tells whether the daemon moves, for the watchdog: work that could be done is done, or something stands still."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Protocol

import msgspec

from pollerd.core.ports import Clock

GRACE: Final = 10.0
"""Seconds that something may look stuck: a message due in this very moment is no sign of anything."""
WRITING: Final = 120.0
"""Seconds that one transaction may take; a disk that wakes up takes long, but not for ever."""


class Due(Protocol):
    """A window as seen from here."""

    def next_due(self) -> float: ...


class Allowance(Protocol):
    """A limiter as seen from here."""

    def delay(self) -> float: ...


class Polling(Protocol):
    """A poller as seen from here; `asking` gives since when (monotonic seconds) messages are being asked about."""

    @property
    def polls(self) -> int: ...
    @property
    def asking(self) -> Mapping[int, float]: ...
    @property
    def window(self) -> Due: ...
    @property
    def limiter(self) -> Allowance: ...


class Committing(Protocol):
    """A committer as seen from here; `groups` counts its transactions."""

    @property
    def trouble(self) -> str: ...
    @property
    def full(self) -> bool: ...
    @property
    def idle(self) -> bool: ...
    @property
    def groups(self) -> int: ...


class _Mark(msgspec.Struct, frozen=True):
    """Since when (monotonic seconds) something looks stuck, and the count that would have to rise."""

    since: float
    count: int


class Progress:
    """Compares one look with those before. `longest_request`: seconds after which an answer is overdue for good;
    twice the largest timeout of all accounts.
    """

    def __init__(
        self,
        pollers: Mapping[str, Polling],
        committer: Committing,
        clock: Clock,
        *,
        longest_request: float = 30.0,
    ) -> None:
        self._pollers = pollers
        self._committer = committer
        self._clock = clock
        self._longest = longest_request
        self._marks: dict[str, _Mark] = {}

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

    def _could_poll(self, poller: Polling, now: float) -> bool:
        if any(now - since < self._longest for since in poller.asking.values()):
            return False
        # A hold counts for as long as it says so; when its probe may go out, the probe has to go out.
        if poller.limiter.delay() > 0.0:
            return False
        return bool(poller.asking) or poller.window.next_due() <= self._clock.now()

    def _standstill(self, what: str, now: float, count: int, *, suspect: bool) -> float:
        """Seconds for which every look was suspect with the same count; 0 when this one is not."""
        if not suspect:
            self._marks.pop(what, None)
            return 0.0
        mark = self._marks.get(what)
        if mark is None or mark.count != count:
            mark = self._marks[what] = _Mark(now, count)
        return now - mark.since
