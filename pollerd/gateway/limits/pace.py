"""The pace of one account: a token bucket whose rate falls at once and returns step by step. Pure: time is an argument.

The scheme is additive increase, multiplicative decrease (AIMD), as TCP uses it.
"""

from __future__ import annotations

from typing import Final

_BURST_SECONDS: Final = 0.02
"""The bucket holds what falls due within one turn of a busy event loop, and one token at least."""
_LOWEST: Final = 0.05  # Requests a second: the floor of a slow account, one request in 20 s.
_LOWEST_SHARE: Final = 0.01  # Of the configured rate: the floor of a fast account.
_STEP_SHARE: Final = 0.1  # Of the configured rate: what one step adds.
_SIGNAL_GAP: Final = 1.0
"""Seconds in which many refusals are one signal: requests already under way could not know of the first."""
_AFTER_THROTTLE: Final = 10.0  # Seconds between steps: the full rate is back within 100 s.
_AFTER_OUTAGE: Final = 1.0  # Seconds between steps: the gateway is back, and did not find us too fast.
_RESTART_SHARE: Final = 0.2  # Of the configured rate, after a pause: all that became due meanwhile is waiting.
# A wait for exactly the missing time must not leave a rounding error of a token, for which no clock is fine enough.
_ROUNDING: Final = 1e-6


class Pace:
    """Requests per second, at most `configured`. Times are seconds on one monotonic clock.

    In any window of w seconds at most `configured * w + max(1, configured * 0.02)` requests go out, from the very
    first one on: the bucket starts with a single token and idleness never fills it beyond its size.
    """

    __slots__ = (
        "_capacity",
        "_configured",
        "_cut_at",
        "_lowest",
        "_raise_at",
        "_rate",
        "_stamp",
        "_step_every",
        "_tokens",
    )

    def __init__(self, configured: float, now: float) -> None:
        self._configured = configured
        self._capacity = max(1.0, configured * _BURST_SECONDS)
        self._lowest = min(configured, max(_LOWEST, configured * _LOWEST_SHARE))
        self._rate = configured
        self._tokens = 1.0
        self._stamp = now
        self._cut_at = float("-inf")
        self._raise_at = float("inf")
        self._step_every = _AFTER_THROTTLE

    def reconfigure(self, configured: float, now: float) -> None:
        """Another configured rate, from now on. A rate that has fallen rises to the new one."""
        if configured == self._configured:
            return
        self._refill(now)
        fallen = self._rate < self._configured
        fresh = Pace(configured, now)
        self._configured, self._capacity, self._lowest = configured, fresh._capacity, fresh._lowest
        self._rate = min(configured, max(self._lowest, self._rate)) if fallen else configured
        self._tokens = min(self._tokens, self._capacity)
        self._raise_at = now + self._step_every if self._rate < configured else float("inf")

    def delay(self, now: float) -> float:
        """Seconds until the next request may go out."""
        if now >= self._raise_at:
            self._refill(now)
        missing = 1.0 - self._tokens - (now - self._stamp) * self._rate
        return missing / self._rate if missing > _ROUNDING else 0.0

    def take(self, now: float) -> None:
        """A request goes out."""
        self._refill(now)
        self._tokens -= 1.0

    def rate(self, now: float) -> float:
        """Requests a second in force."""
        self._refill(now)
        return self._rate

    def cut(self, now: float) -> bool:
        """The gateway finds us too fast: halve the rate. False when this is the echo of a signal just heard."""
        self._refill(now)
        if now - self._cut_at < _SIGNAL_GAP:
            return False
        self._cut_at = now
        self._fall(self._rate / 2, now, _AFTER_THROTTLE)
        return True

    def restart(self, now: float, *, throttled: bool) -> None:
        """Polling goes on after a pause: an empty bucket, a fraction of the rate, and back step by step."""
        self._refill(now)
        self._tokens = 0.0
        every = _AFTER_THROTTLE if throttled else _AFTER_OUTAGE
        self._fall(min(self._rate, self._configured * _RESTART_SHARE), now, every)

    def _fall(self, rate: float, now: float, every: float) -> None:
        self._rate = max(self._lowest, rate)
        self._tokens = min(self._tokens, 1.0)
        self._step_every = every
        self._raise_at = now + every if self._rate < self._configured else float("inf")

    def _refill(self, now: float) -> None:
        while now >= self._raise_at:
            self._flow(self._raise_at)
            self._rate = min(self._configured, self._rate + self._configured * _STEP_SHARE)
            self._raise_at = self._raise_at + self._step_every if self._rate < self._configured else float("inf")
        self._flow(now)

    def _flow(self, now: float) -> None:
        if now > self._stamp:
            self._tokens = min(self._capacity, self._tokens + (now - self._stamp) * self._rate)
            self._stamp = now
