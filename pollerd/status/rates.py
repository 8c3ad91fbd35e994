"""How fast polls were made and messages arrived over the last hour."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from itertools import pairwise
from typing import Final, NamedTuple

STEP: Final = 15.0
KEPT: Final = 241
"""Marks kept: an hour."""
ARRIVALS_OVER: Final = 300.0
"""Seconds over which arrivals are averaged, soon after the start too: they come in bursts, and one is no rate."""


class Beat(NamedTuple):
    """Polls a second in the `STEP` seconds before `at` (UNIX seconds)."""

    at: float
    polls: float


class _Mark(NamedTuple):
    at: float
    tick: float
    polls: int
    arrived: Mapping[str, int]


class Pulse:
    """Takes a mark every `STEP` seconds from whoever calls `mark` more often."""

    def __init__(self) -> None:
        self._marks: deque[_Mark] = deque(maxlen=KEPT)

    def mark(self, now: float, tick: float, polls: int, arrived: Mapping[str, int]) -> None:
        """Totals since the start at `now` (UNIX seconds) and `tick` (monotonic); `arrived` is by account."""
        if not self._marks or tick - self._marks[-1].tick >= STEP - 0.5:
            self._marks.append(_Mark(now, tick, polls, dict(arrived)))

    def beats(self) -> list[Beat]:
        """Polls a second, step by step, the oldest first."""
        marks = list(self._marks)
        return [
            Beat(after.at, max(0, after.polls - before.polls) / (after.tick - before.tick))
            for before, after in pairwise(marks)
            if after.tick > before.tick
        ]

    def arrivals(self, account: str, total: int, tick: float) -> float:
        """Messages a second that were handed over lately; `total` is their number by now."""
        before = next((mark for mark in self._marks if tick - mark.tick <= ARRIVALS_OVER), None)
        if before is None:
            return 0.0
        return max(0, total - before.arrived.get(account, 0)) / max(tick - before.tick, ARRIVALS_OVER)
