"""The right to poll for a store that several machines share: for how long it holds, and when another may take it over.

No clock is compared with another machine's: each looks at its own, which goes on while the machine sleeps
(CLOCK_BOOTTIME). What takes over for good is decided by the store, in one transaction; these rules see to it that the
holder has ended by then. Pure: instants are arguments, in seconds of that clock.
"""

from __future__ import annotations

from typing import Final

import msgspec

RENEW: Final = 2.0
"""Seconds between two renewals: two may be lost before a lease ends."""
HOLD: Final = 5.0
"""Seconds after the sending of its last renewal for which a holder may begin requests and posts."""
WATCH: Final = 6.0
"""Seconds that another member sees no renewal before it takes over: longer than HOLD, by what clocks may drift apart
in that time and a thread may be late."""
LOOK: Final = 0.5
"""Seconds between two looks at the holder's renewals."""
GAP: Final = 1.5
"""Seconds from the answer to one look to that to the next within which they count as watching. After a longer gap the
watch begins anew: the store stood still, or this machine, and the holder may be about to renew."""
CLOCKS: Final = 5.0
"""Seconds that a member's clock may be away from the store's: due times are the active member's."""
UNREACHABLE: Final = 30.0
"""Seconds for which the active member does not reach the gateway before another is asked whether it does."""
AWAY: Final = 300.0
"""Seconds for which a member that gave its duty away for that reason does not take it back."""


class Lease:
    """The holder's side. `sent`: when the last renewal that the store has confirmed was sent."""

    __slots__ = ("_until",)

    def __init__(self, sent: float) -> None:
        self._until = sent + HOLD

    def renewed(self, sent: float) -> None:
        """The store has confirmed a renewal. Answers may come in any order."""
        self._until = max(self._until, sent + HOLD)

    def holds(self, now: float) -> bool:
        """Whether something may be begun that another member must not do at the same time."""
        return now < self._until

    def left(self, now: float) -> float:
        """Seconds until it ends; negative once it has."""
        return self._until - now


class Beat(msgspec.Struct, frozen=True):
    """What a look finds: who holds the duty, and the number of its last renewal."""

    holder: object
    number: int


class Watch:
    """Another member's side: for how long it has seen the same renewal."""

    __slots__ = ("_beat", "_seen", "_since")

    def __init__(self) -> None:
        self._beat: Beat | None = None
        self._since = 0.0
        self._seen = 0.0

    def saw(self, beat: Beat, sent: float, received: float) -> bool:
        """A look, sent and answered at these instants. Whether the holder may be taken over from, as it is in `beat`.

        The store may have been read at any moment between the two: what is counted is from the answer to the first
        look that found this renewal to the sending of this one.
        """
        if beat != self._beat or received - self._seen > GAP:
            self._beat, self._since = beat, received
        self._seen = received
        return sent - self._since >= WATCH

    def lost(self) -> None:
        """The store could not be read: watching begins anew."""
        self._beat = None

    def silent(self, now: float) -> float:
        """Seconds for which the same renewal was seen."""
        return 0.0 if self._beat is None else max(0.0, now - self._since)


def offset(store: float, sent: float, received: float) -> float:
    """Seconds that the store's clock is certainly away from this machine's: it said `store` (UNIX seconds) between
    `sent` and `received` by this machine's wall clock. Positive: the store's is ahead.
    """
    if sent <= store <= received:
        return 0.0
    return store - received if store > received else store - sent


class Reach:
    """When the active member offers its duty to others, because it does not reach the gateway."""

    __slots__ = ("_since",)

    def __init__(self) -> None:
        self._since: float | None = None

    def noted(self, unreachable: bool, now: float) -> bool:
        """Whether every account is held as unreachable, at `now`. True: it has lasted long enough to ask the others."""
        if not unreachable:
            self._since = None
            return False
        if self._since is None:
            self._since = now
        return now - self._since >= UNREACHABLE
