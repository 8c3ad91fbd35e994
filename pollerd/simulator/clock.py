"""The simulator's only clock."""

import time


class SimClock:
    """Wall-clock time that never steps, and the speed-up of everything that takes time at the vendor's.

    Instants are real UNIX seconds, so that a client on the real clock sees consistent `senttime` and
    `dsntime`. Delays of the simulated networks are virtual seconds: `real` divides them by the speed.
    """

    __slots__ = ("_monotonic_at_start", "_skipped", "_wall_at_start", "speed")

    def __init__(self, speed: float = 1.0) -> None:
        if not speed > 0:
            raise ValueError(f"speed is {speed!r}; give a number above 0, such as 1 or 60")
        self.speed = speed
        self._wall_at_start = time.time()
        self._monotonic_at_start = time.monotonic()
        self._skipped = 0.0

    def now(self) -> float:
        """Real UNIX seconds; steps of the system clock after the start do not show."""
        return self._wall_at_start + self._skipped + (time.monotonic() - self._monotonic_at_start)

    def skip(self, seconds: float) -> None:
        """So many seconds pass at once."""
        self._skipped += seconds

    def real(self, virtual: float) -> float:
        """Real seconds that a virtual delay takes."""
        return virtual / self.speed
