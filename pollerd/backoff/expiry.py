"""EXPIRED is not a hazard but a date: when do messages expire that nothing else has ended?

Ages of expiry count from when the message was sent. They come as single ages (the gateway gave the time) or as the
interval between two polls. Those that agree are gathered into windows; before any is known, the usual validity periods
stand in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf

import msgspec

SAMPLES = 64  # Ages kept for each network: enough to tell a window, and to follow a change of it.
JOIN = 1800.0
"""Single ages closer than this (seconds) belong to one window."""

SHARED = 0.7
"""An expiry counts as sharp while so large a share of the samples agrees on one age."""

TRIM = 0.05  # Share of the samples left away at either end, as stray.
SLACK = 1.0
"""Seconds added behind a window, for a gateway that writes a moment later than it says."""

NEAR = 60.0  # Seconds within which two windows are the same one.
PIECES = 8  # Pieces of equal probability that a wide window is cut into.
SHARP = 4.0  # Seconds of width up to which a window counts as one date.
USUAL = (86400.0, 172800.0, 259200.0)  # Seconds: one, two and three days, the usual validity periods.
USUAL_CUTS = (60.0,)  # Seconds.
USUAL_WIDTH = 900.0
"""A usual period is kept to the minute or runs over a little: two pieces of equal probability."""

USUAL_SHARES = (0.3, 0.5, 0.2)  # Share of the expiries at each usual period, until own ones are known.
BORROWED = 1.0
"""How many own samples the other operators' windows, and the usual ones, are worth at first."""

ENOUGH = 8.0
"""With so many own samples they are worth nothing: a poll in vain at each usual age would cost more than it finds."""

Sample = tuple[float, float]


class ExpiryWindow(msgspec.Struct, frozen=True):
    """A share of the messages that are left expires between the ages `lo` and `hi`; `seen` of them did so here."""

    lo: float
    hi: float
    share: float
    seen: int
    inner: tuple[float, ...] = ()
    """Ages that cut the window into pieces of equal probability; empty for a sharp one."""

    @property
    def date(self) -> float:
        """The age of the one poll that this window is most worth: its end, or where a usual period ends sharply."""
        return self.hi if self.seen or not self.inner else self.inner[0]


class Expiries:
    """The last 64 expiry ages of one operator, and the windows that follow from them."""

    __slots__ = ("_announced", "_clusters", "samples", "version")

    def __init__(self, samples: Iterable[Sample] = ()) -> None:
        self.samples: list[Sample] = list(samples)[-SAMPLES:]
        self.version = len(self.samples)
        self._clusters: tuple[int, list[ExpiryWindow]] = (-1, [])
        self._announced: list[ExpiryWindow] = []

    def add(self, lo: float, hi: float) -> None:
        """A message expired between the ages `lo` and `hi` (equal when the time is known)."""
        self.samples.append((max(lo, 0.0), max(hi, lo, 0.0)))
        if len(self.samples) > SAMPLES:
            del self.samples[0]
        self.version += 1

    def changed(self) -> bool:
        """Have the windows changed so much since the last True that what was planned by them is void?"""
        now = self.clusters()
        if len(now) == len(self._announced) and all(
            n.hi - n.lo + SHARP > (o.hi - o.lo) / 2 and n.lo < o.hi + NEAR and n.hi > o.lo - NEAR
            for n, o in zip(now, self._announced, strict=True)
        ):
            return False
        self._announced = now
        return True

    def end(self) -> float:
        """The age at which the last window ends; infinite while none is known."""
        return max((w.hi for w in self.clusters()), default=inf)

    def clusters(self) -> list[ExpiryWindow]:
        """The windows of the own samples; shares sum to 1."""
        if self._clusters[0] != self.version:
            self._clusters = (self.version, _gather(self.samples))
        return self._clusters[1]


def _gather(samples: Sequence[Sample]) -> list[ExpiryWindow]:
    left = sorted(samples)
    everything = len(left)
    out: list[ExpiryWindow] = []
    while left:
        inside = _most_overlapping(left)
        chosen = set(inside)
        out.append(_window([left[i] for i in inside], everything))
        left = [s for i, s in enumerate(left) if i not in chosen]
        if len(out) == 4:
            break
    known = sum(w.seen for w in out)
    out = [ExpiryWindow(w.lo, w.hi, w.seen / known, w.seen, w.inner) for w in out]
    return sorted(out, key=lambda w: w.lo)


def _most_overlapping(samples: Sequence[Sample]) -> list[int]:
    """The largest group that shares a point; or that chains together, where an expiry is spread over a while."""
    chain: list[int] = []
    run: list[int] = []
    for i, (lo, hi) in enumerate(samples):
        if hi - lo > JOIN:
            continue
        if run and lo - samples[run[-1]][1] > JOIN:
            run = []
        run.append(i)
        if len(run) > len(chain):
            chain = list(run)
    shared: list[int] = []
    for point in {s[1] for s in samples}:
        here = [i for i, s in enumerate(samples) if s[0] <= point <= s[1]]
        if len(here) > len(shared):
            shared = here
    if len(shared) >= SHARED * len(chain):
        return shared
    # A wide interval that contains well-known ages says nothing against them.
    lo, hi = samples[chain[0]][0], samples[chain[-1]][1]
    held = set(chain)
    return chain + [i for i, s in enumerate(samples) if i not in held and s[0] <= hi and s[1] >= lo]


def _window(members: Sequence[Sample], everything: int) -> ExpiryWindow:
    share, seen = len(members) / everything, len(members)
    lo, hi = max(s[0] for s in members), min(s[1] for s in members)
    if lo <= hi:
        hi += SLACK
        if hi - lo <= SHARP:
            return ExpiryWindow(lo, hi, share, seen)
        inner = tuple(lo + (hi - lo) * p / PIECES for p in range(1, PIECES))
        return ExpiryWindow(lo, hi, share, seen, inner)
    known = [s for s in members if s[1] - s[0] <= JOIN]
    cut = int(len(known) * TRIM)
    lo = sorted(s[0] for s in known)[cut]
    hi = sorted(s[1] for s in known)[len(known) - 1 - cut] + SLACK
    # Room for what the sample has not shown yet: the fewer it holds, the more.
    hi += (hi - lo) / (len(known) + 1)
    middles = sorted((s[0] + s[1]) / 2 for s in known)
    pieces = {middles[len(middles) * p // PIECES] for p in range(1, PIECES)}
    return ExpiryWindow(lo, hi, share, seen, tuple(sorted(x for x in pieces if lo < x < hi)))


def windows(own: Expiries, world: Expiries | None) -> tuple[ExpiryWindow, ...]:
    """The windows to plan with, in order of age: the operator's own, the others' and the usual ones as a prior."""
    mine = own.clusters()
    count = float(len(own.samples))
    theirs = world.clusters() if world is not None and world is not own else []
    habit = BORROWED * max(1.0 - count / ENOUGH, 0.0)
    borrowed = habit if theirs else 0.0
    total = count + borrowed + habit
    parts = [ExpiryWindow(w.lo, w.hi, w.share * count / total, w.seen, w.inner) for w in mine]
    if habit:
        parts += [ExpiryWindow(w.lo, w.hi, w.share * borrowed / total, 0, w.inner) for w in theirs]
        parts += [
            ExpiryWindow(x, x + USUAL_WIDTH, share * habit / total, 0, tuple(x + c for c in USUAL_CUTS))
            for x, share in zip(USUAL, USUAL_SHARES, strict=True)
        ]
    return _merged(parts)


def _merged(parts: Sequence[ExpiryWindow]) -> tuple[ExpiryWindow, ...]:
    """Overlapping windows become one: the best seen decides where it lies."""
    out: list[ExpiryWindow] = []
    for w in sorted(parts, key=lambda p: (-p.seen, -p.share)):
        for i, o in enumerate(out):
            if w.lo <= o.hi + NEAR and w.hi >= o.lo - NEAR:
                out[i] = ExpiryWindow(o.lo, o.hi, o.share + w.share, o.seen, o.inner)
                break
        else:
            out.append(w)
    return tuple(sorted(out, key=lambda p: p.lo))
