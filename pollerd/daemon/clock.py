"""The daemon's clock: its instants pass as time really passes, whatever is done to the wall clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from pollerd.base.anchor import STEP, Anchor, Machine

EARLIEST: Final = 1_700_000_000.0
"""November 2023: no message is older than this program, whatever the clock of a machine without a battery says."""
SLEPT: Final = 0.5
"""Seconds from which the clock that goes on asleep was ahead by a sleep, not by rounding."""
SLACK: Final = 1.0
"""Seconds by which what is handed over "now" may lie outside the time in which it must have been handed over."""


class ClockChange(NamedTuple):
    """What happened to the machine's clocks, in seconds: it was `asleep`, and its wall clock was `stepped`."""

    asleep: float
    stepped: float


class SystemClock:
    """Implements `ports.Clock`.

    The instants move with the clock that goes on while the machine sleeps: what is planned right after a sleep, before
    anybody has called `noticed`, is planned by the right time. Where the wall clock stands beside them is read when an
    instant is shown to somebody. `advance` takes in time in which this machine was stopped or switched off. Instants
    never go back.
    """

    monotonic: Callable[[], float]
    """Seconds awake, for how long something takes."""
    wall: Callable[[], float]
    """UNIX seconds by the machine's wall clock, for what is shown."""

    def __init__(self, anchor: Anchor | None = None, machine: Machine | None = None) -> None:
        """`anchor` is what was noted last; None begins with the wall's time.

        `taken_until`, to be kept up by the intake: all that other programs had written by then was taken in.
        """
        self._machine = machine or Machine()
        seen = self._machine.clocks()
        self._earlier: deque[tuple[float, float]] = deque(maxlen=8)
        """How far the wall was ahead before it was stepped, and the instant until which it was."""
        if anchor is None:
            now = max(seen.wall, EARLIEST)
            self.taken_until = self.sure_since = now
            self.sure, self.doubted = True, 0.0
        else:
            passed = anchor.passed(seen)
            now = anchor.now + (passed or 0.0)
            self.taken_until = anchor.looked
            self.sure, self.doubted = anchor.sure and passed is not None, anchor.doubted
            self.sure_since = now if passed is None else anchor.sure_since
            self._earlier.extend((*anchor.earlier, (anchor.clocks.wall - anchor.now, now)))
        # Asked a dozen times at each poll: the machine's own, without a call in between.
        self.monotonic, self.wall = self._machine.monotonic, self._machine.wall
        self._boottime = self._machine.boottime
        self._offset = now - seen.boottime
        self._asleep = seen.boottime - seen.monotonic
        self._ahead = seen.wall - now
        self._slept = self._stepped = 0.0

    def now(self) -> float:
        """The daemon's own time: seconds that are UNIX seconds as long as the wall clock is not set."""
        return self._boottime() + self._offset

    def to_wall(self, instant: float) -> float:
        """An instant of the daemon's time by the wall clock as it is set now."""
        return instant + self.wall() - self.now()

    def taken(self, wall: float) -> float:
        """The instant of a wall time that another program has written since the instant `taken_until`.

        It may have been written before the wall clock was stepped: what was "now" by the time before, is now. So is
        what lies ahead: the clock that it was written by was set and set back between two checks, or is another's.
        """
        return self.taking()(wall)

    def taking(self) -> Callable[[float], float]:
        """`taken`, for many times in a row: what the machine's clocks show is read once."""
        self._read()
        now = self.now()
        aheads = [_clear(ahead) for ahead in (self._ahead, *(ahead for ahead, _ in reversed(self._recent())))]
        earliest, latest = self.taken_until - SLACK, now + SLACK

        def taken(wall: float) -> float:
            for ahead in aheads:
                if earliest <= wall - ahead <= latest:
                    return wall - ahead
            return min(wall - aheads[0], now)

        return taken

    def noticed(self) -> ClockChange:
        """What happened to the machine's clocks since the last call."""
        self._read()
        asleep, stepped, self._slept, self._stepped = self._slept, self._stepped, 0.0, 0.0
        return ClockChange(asleep, stepped)

    def advance(self, seconds: float, *, doubted: bool) -> None:
        """So much time has passed unseen. `doubted`: one clock alone says so."""
        self._offset += seconds
        self._ahead -= seconds
        self.sure, self.sure_since = True, self.now()
        self.doubted += seconds if doubted else 0.0

    def anchor(self, ahead: float, gateways: dict[str, float]) -> Anchor:
        """What is to be noted now."""
        seen = self._machine.clocks()
        now = seen.boottime + self._offset
        return Anchor(
            now, seen, ahead, gateways, self.sure_since, self.doubted, self.sure, self.taken_until, self._recent()
        )

    def _recent(self) -> list[tuple[float, float]]:
        """What may have been the time for whoever wrote what was not taken in yet."""
        return [(ahead, until) for ahead, until in self._earlier if until >= self.taken_until - SLACK]

    def _read(self) -> None:
        seen = self._machine.clocks()
        asleep = seen.boottime - seen.monotonic - self._asleep
        if asleep > SLEPT:
            self._slept += asleep
        if asleep > SLEPT or asleep < 0.0:
            self._asleep += asleep
        now = seen.boottime + self._offset
        stepped = seen.wall - now - self._ahead
        if abs(stepped) > STEP:
            self._earlier.append((self._ahead, now))
            self._stepped += stepped
        self._ahead += stepped


def _clear(ahead: float) -> float:
    """Without mere drift: clocks that were not set apart give the same number."""
    return ahead if abs(ahead) > STEP else 0.0
