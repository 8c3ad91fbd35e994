"""A pause of one account and its probes: how long, how often, for which reason. Pure: time and chance are arguments."""

from __future__ import annotations

import random
from typing import Final

import msgspec

from pollerd.base.retryafter import MOST_RETRY_AFTER
from pollerd.core.model import HoldReason

_SPREAD: Final = 0.25
"""Share by which the wait for a probe is shortened at most, so that many pollers do not probe in one instant."""
_MOST_DOUBLINGS: Final = 30
"""Doubling stops long after every `most` is reached, and long before it could overflow."""


class Spacing(msgspec.Struct, frozen=True):
    """Seconds between probes: `first`, doubled with each that fails, never more than `most`."""

    first: float
    most: float

    def interval(self, failed: int, rng: random.Random) -> float:
        """The wait after `failed` failed probes, shortened by up to a quarter so that many pollers do not line up."""
        return min(self.most, self.first * 2.0 ** min(failed, _MOST_DOUBLINGS)) * rng.uniform(1.0 - _SPREAD, 1.0)


SPACING: Final = {
    # A person has to act, and a replaced secret is probed at once: probes only notice what was mended elsewhere.
    HoldReason.UNAUTHORIZED: Spacing(30.0, 900.0),
    HoldReason.FORBIDDEN: Spacing(30.0, 900.0),
    # Each probe adds to what the gateway finds too much.
    HoldReason.THROTTLED: Spacing(10.0, 300.0),
    # Mostly over within seconds. Polling goes on a minute after a long outage at the latest.
    HoldReason.UNREACHABLE: Spacing(2.0, 60.0),
    HoldReason.SERVER_ERRORS: Spacing(2.0, 60.0),
    # The gateway answers and is wrong: slower than an outage, but it ends by itself.
    HoldReason.REFUSING: Spacing(10.0, 300.0),
}
"""How long probes wait, by the reason of the hold."""
LONGEST_REFUSING: Final = 7 * 86400.0
"""Seconds after which a gateway that refuses everything is believed: no answer has said otherwise for a week."""
_LATENESS: Final = 0.1
"""Share of a wait that the gateway asks for, added at random at most: many pollers do not come back in one instant."""
_MOST_LATENESS: Final = 5.0
"""Seconds added at most, however long the wait: after an hour no account should lose minutes more."""


class Hold:
    """The pause in force. Instants are the daemon's (`ports.Clock.now`).

    While it lasts one request at a time goes out as a probe. `probe_at` is when the next may, `probe_sent` when the
    one under way did.
    """

    __slots__ = ("_failed", "_rng", "detail", "probe_at", "probe_sent", "reason")

    def __init__(self, reason: HoldReason, detail: str, rng: random.Random, now: float) -> None:
        self._rng = rng
        self._failed = 0
        self.reason = reason
        self.detail = detail
        self.probe_at = now
        self.probe_sent: float | None = None

    def begin(self, now: float, retry_after: float | None) -> None:
        """Wait the first interval, or what the gateway asks for."""
        self._failed = 0
        self.probe_at = now + self._wait(retry_after)

    def prolong(self, now: float, detail: str, retry_after: float | None) -> None:
        """A probe failed for the same reason."""
        self._failed += 1
        self.detail = detail
        self.probe_at = now + self._wait(retry_after)

    def turn(self, reason: HoldReason, detail: str, now: float, retry_after: float | None) -> None:
        """A probe failed for another reason: that one's spacing begins."""
        self.reason = reason
        self.detail = detail
        self.begin(now, retry_after)

    def at_least(self, now: float, retry_after: float) -> bool:
        """Another answer asks for a wait: the longer one counts. Whether that is this one."""
        asked = now + min(retry_after, MOST_RETRY_AFTER)
        longer = asked > self.probe_at
        self.probe_at = max(self.probe_at, asked)
        return longer

    def at_once(self, now: float) -> None:
        """Something changed that may end the hold: the next probe goes out now, and the spacing begins anew."""
        self._failed = 0
        self.probe_at = min(self.probe_at, now)

    def _wait(self, retry_after: float | None) -> float:
        if retry_after is not None and retry_after > 0.0:
            asked = min(retry_after, MOST_RETRY_AFTER)
            return asked + self._rng.uniform(0.0, min(_MOST_LATENESS, asked * _LATENESS))
        return SPACING[self.reason].interval(self._failed, self._rng)
