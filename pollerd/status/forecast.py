"""When the backlog of an account is gone, worked out from the rates alone."""

from __future__ import annotations

from math import ceil
from typing import Final, Literal

import msgspec

Kind = Literal["idle", "keeps_up", "drains", "overload", "held", "stopped"]
LOOKING_AHEAD: Final = 3600.0
"""Seconds from now for which the delay of an overload is foretold."""
HEADROOM: Final = 1.1
"""A limit that is recommended is so many times what is needed."""
LEAST_RATE: Final = 1e-3
"""A limit below this lets nothing through."""
SHORT: Final = 2.0
"""A backlog of so many seconds is none: polls that have just become due."""


class Load(msgspec.Struct, frozen=True):
    """What an account has to do and may do.

    `backlog` messages are due now, of `pending` in all; `arrivals` messages a second are handed over; a message takes
    `polls` polls; `rate` polls a second are allowed. `held_for` is the seconds until a hold is tried again, None when
    there is no hold.
    """

    backlog: int
    pending: int
    arrivals: float
    polls: float
    rate: float
    held_for: float | None = None
    running: bool = True


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of the backlog. Durations are seconds, rates polls a second.

    `demand` is what the arrivals ask for. `drained_in`: the backlog is gone then (`drains`; `held`: counted from the
    end of the hold). `needed_rate` would be enough, and `delay` is how late a poll is in an hour (`overload`). `text`
    says it in words.
    """

    kind: Kind
    backlog: int
    demand: float
    rate: float
    drained_in: float | None = None
    needed_rate: float | None = None
    delay: float | None = None
    text: str = ""


def forecast(load: Load) -> Forecast:
    """The forecast of one account."""
    demand = max(load.arrivals, 0.0) * max(load.polls, 0.0)
    spare = load.rate - demand
    drained = load.backlog / spare if spare > 0 else None
    if not load.running:
        return Forecast(kind="stopped", backlog=load.backlog, demand=demand, rate=load.rate)
    if load.held_for is not None:
        return Forecast(kind="held", backlog=load.backlog, demand=demand, rate=load.rate, drained_in=drained)
    if load.backlog <= SHORT * load.rate:
        # Whatever the arrivals ask for: nothing waits, so the limit let it all through.
        kind: Kind = "keeps_up" if load.pending or demand else "idle"
        return Forecast(kind=kind, backlog=load.backlog, demand=demand, rate=load.rate)
    if spare <= 0.0:
        return _overload(load, demand)
    return Forecast(kind="drains", backlog=load.backlog, demand=demand, rate=load.rate, drained_in=drained)


def _overload(load: Load, demand: float) -> Forecast:
    # A message waits once, however many polls it would have asked for: the backlog never exceeds what is pending.
    grown = load.backlog + (demand - load.rate) * LOOKING_AHEAD
    waiting = min(grown, load.pending + load.arrivals * LOOKING_AHEAD)
    return Forecast(
        kind="overload",
        backlog=load.backlog,
        demand=demand,
        rate=load.rate,
        needed_rate=float(max(1, ceil(demand * HEADROOM))),
        delay=waiting / load.rate if load.rate > LEAST_RATE else None,
    )
