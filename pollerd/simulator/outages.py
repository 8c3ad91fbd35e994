"""Operator outages: a network whose deliveries stand still for a while."""

import math
from dataclasses import dataclass

_DRAIN = 10.0  # Virtual seconds over which a network works off what waited.


@dataclass(frozen=True, slots=True)
class Outage:
    """From `starts` to `ends` (real UNIX seconds, `ends` may be infinite) the network reports nothing."""

    mcc: int
    mnc: int
    starts: float
    ends: float


class Outages:
    """Every outage so far. Past ones stay: the truth about old messages rests on them."""

    __slots__ = ("_drain", "_outages")

    def __init__(self, speed: float) -> None:
        self._outages: list[Outage] = []
        self._drain = _DRAIN / speed

    def replace_running(self, now: float, planned: list[Outage]) -> None:
        """End what runs, forget what was only planned, and plan anew; nothing changes before `now`."""
        kept = [Outage(o.mcc, o.mnc, o.starts, min(o.ends, now)) for o in self._outages if o.starts < now]
        new = [Outage(o.mcc, o.mnc, max(o.starts, now), o.ends) for o in planned]
        self._outages = sorted(kept + new, key=lambda o: o.starts)

    def delayed(self, at: float, mcc: int, mnc: int, u: float) -> float:
        """When a report due at `at` really comes; infinite as long as the outage has no end."""
        for outage in self._outages:
            if (outage.mcc, outage.mnc) == (mcc, mnc) and outage.starts <= at < outage.ends:
                at = outage.ends + u * self._drain if outage.ends < math.inf else math.inf
        return at

    def __bool__(self) -> bool:
        return bool(self._outages)
