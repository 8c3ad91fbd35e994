"""Whether an account's connections are kept between requests, judged by how often the other side has forgotten them.

A kept connection saves a handshake; one that the other side has forgotten costs a second request and the wait for the
first to fail. Pure: time is an argument.
"""

from __future__ import annotations

from collections import deque
from typing import Final

RECENT: Final = 100
"""Requests that are counted."""
MOST_REPEATS: Final = RECENT // 10
"""Repeats among them that are put up with. More than a tenth of the requests is more than handshakes are worth."""
PAUSE: Final = 600.0
"""Seconds for which connections are not kept at first. A balancer that was restarted is back long before."""
LONGEST_PAUSE: Final = 86_400.0
"""Seconds that the pause grows to, doubled each time that a new trial ends as the last did."""


class Keeping:
    """The repeats among an account's last requests, and what follows. Instants are seconds on the monotonic clock."""

    __slots__ = ("_again_at", "_asked", "_kept_since", "_pause", "_repeats", "total")

    def __init__(self, now: float) -> None:
        self._asked = 0
        # Each repeat by how many requests there had been.
        self._repeats: deque[int] = deque()
        self._kept_since = now
        self._pause = PAUSE
        self._again_at = float("-inf")
        self.total = 0
        """Requests that were made a second time so far."""

    def on(self, now: float) -> bool:
        """Whether connections are to be kept."""
        return now >= self._again_at

    def asked(self) -> None:
        """A request goes out for the first time."""
        self._asked += 1

    def repeated(self, now: float) -> float | None:
        """A request goes out for the second time. Seconds for which connections are not kept from now on, or None."""
        self.total += 1
        if not self.on(now):
            # Kept before the pause began.
            return None
        repeats = self._repeats
        repeats.append(self._asked)
        while repeats[0] <= self._asked - RECENT:
            repeats.popleft()
        if len(repeats) <= MOST_REPEATS:
            return None
        # A trial that went well for longer than the pause before it is no further case of the same trouble.
        pause = PAUSE if now - self._kept_since > self._pause else self._pause
        repeats.clear()
        self._again_at = self._kept_since = now + pause
        self._pause = min(2 * pause, LONGEST_PAUSE)
        return pause
