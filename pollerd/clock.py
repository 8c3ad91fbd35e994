"""The daemon's clock: the wall's instants at the monotonic clock's pace, steps of the wall taken in one place."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

STEP: Final = 2.0
"""Seconds of difference above which the wall clock was stepped, not drifting."""


class SystemClock:
    """Implements `ports.Clock`.

    Between two calls of `correct` the instant moves only with the monotonic clock, so that a step of the system's
    clock neither stalls nor bursts anything; `correct` takes drift in and says how far a step goes.
    """

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._offset = wall() - monotonic()

    def now(self) -> float:
        """UNIX seconds."""
        return self._monotonic() + self._offset

    def monotonic(self) -> float:
        """Seconds for durations."""
        return self._monotonic()

    def correct(self) -> float:
        """Follow the wall clock's drift. Returns the seconds of a step (0.0: none), which only `step` takes in."""
        moved = self._wall() - self._monotonic() - self._offset
        if abs(moved) > STEP:
            return moved
        self._offset += moved
        return 0.0

    def step(self, seconds: float) -> None:
        """Take a step in, at the moment when everything that holds instants moves with it."""
        self._offset += seconds
