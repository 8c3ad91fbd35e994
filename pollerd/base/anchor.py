"""The daemon's own time, tied to the machine's clocks: what is noted of it, and how it is found again.

The daemon's time passes as time really passes: a wall clock that is set does not move it, and no stored instant is ever
moved. The note in the database says what the machine's clocks showed at one instant of it. Whoever reads the database
finds from that which wall time an instant has, whether the daemon runs or not.
"""

from __future__ import annotations

import os
import time
from functools import cache, partial
from pathlib import Path
from typing import Final, NamedTuple, Self

import msgspec

TIME_NOTE: Final = "time"
"""The name of the note in the database."""
STEP: Final = 2.0
"""Seconds of difference from which the wall clock was set; below it is drift, which is not reported."""
TOLERANCE: Final = 5.0
"""Seconds that two clocks may differ and still say the same: the gateway's dates are whole seconds, answers travel."""
BOOT_VARIABLE: Final = "POLLERD_BOOT_ID"
"""Where the service's unit says which boot it is: it hides /proc/sys from the daemon."""
_BOOTTIME: Final[int | None] = getattr(time, "CLOCK_BOOTTIME", None)
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class Clocks(NamedTuple):
    """What the machine's clocks show at one moment.

    `monotonic` stands still while the machine sleeps, `boottime` does not. `boot` names this run of the kernel; it is
    empty where the system does not say (a service without /proc/sys, another system than Linux).
    """

    wall: float
    monotonic: float
    boottime: float
    boot: str


class Anchor(msgspec.Struct, frozen=True):
    """The daemon's time at the moment when the machine's clocks showed `clocks`. All in seconds.

    `ahead`: how far the wall clock was ahead of `now` when that was last known to be right. `gateways`: the same of
    each gateway's clock. `sure_since`: since this instant of the daemon's time its pace is beyond doubt. `doubted`: the
    sum of what passed according to one clock alone, which ages no message. `sure` is False after a restart of the
    machine, until two clocks agree how long it was away. `looked`: all that other programs had written by then was
    taken in. `earlier`: how far the wall clock was ahead since, each with the instant until which it was.
    """

    now: float
    clocks: Clocks
    ahead: float = 0.0
    gateways: dict[str, float] = {}
    sure_since: float = 0.0
    doubted: float = 0.0
    sure: bool = True
    looked: float = 0.0
    earlier: list[tuple[float, float]] = []

    @classmethod
    def read(cls, note: bytes | None) -> Self | None:
        """From a note; None when there is none, or none that can be understood."""
        if note is None:
            return None
        try:
            return msgspec.json.decode(note, type=cls)
        except msgspec.MsgspecError:
            return None

    def written(self) -> bytes:
        """As a note."""
        return msgspec.json.encode(self)

    def passed(self, clocks: Clocks) -> float | None:
        """Seconds that really passed until the clocks show `clocks`; None when the machine was restarted meanwhile."""
        before = self.clocks
        awake, whole = clocks.monotonic - before.monotonic, clocks.boottime - before.boottime
        if not (before.boot and clocks.boot):
            # Which boot it is is not known: two clocks that agree prove that it is the same.
            return whole if whole >= 0.0 and abs(clocks.wall - before.wall - whole) <= TOLERANCE else None
        if before.boot != clocks.boot or awake < 0.0 or whole < 0.0:
            return None
        return max(awake, whole)

    def at(self, clocks: Clocks) -> float:
        """The daemon's time when the clocks show `clocks`; after a restart of the machine by the wall clock."""
        passed = self.passed(clocks)
        return self.now + (max(0.0, clocks.wall - self.now - self.ahead) if passed is None else passed)


class Machine:
    """This machine's clocks. Each gives seconds."""

    wall = staticmethod(time.time)
    """Since 1970, by whoever set the clock."""
    monotonic = staticmethod(time.monotonic)
    """Awake since some moment."""
    boottime = staticmethod(time.monotonic if _BOOTTIME is None else partial(time.clock_gettime, _BOOTTIME))
    """Since the machine was started, asleep or not; where there is no such clock, without the time asleep."""

    def clocks(self) -> Clocks:
        """All of them at this moment."""
        return Clocks(self.wall(), self.monotonic(), self.boottime(), boot())


@cache
def boot() -> str:
    """Names this run of the kernel; empty where the system does not say."""
    try:
        name = _BOOT_ID.read_text(encoding="ascii")
    except OSError:
        name = os.environ.get(BOOT_VARIABLE, "")
    # systemd writes it without dashes.
    return name.strip().replace("-", "")


def wall_ahead(note: bytes | None) -> float:
    """Seconds that the wall clock is ahead of the instants in the database with this note; 0.0 for mere drift."""
    anchor = Anchor.read(note)
    if anchor is None:
        return 0.0
    shown = Machine().clocks()
    ahead = shown.wall - anchor.at(shown)
    return ahead if abs(ahead) > STEP else 0.0
