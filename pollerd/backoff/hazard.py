"""What is learned about delays: events and exposure in age bins, and the hazard that follows from them.

A hazard is the chance per second that a message which is still pending changes now. It is a posterior mean with a chain
of priors: operator <- all operators <- neighbouring bins <- a share of the age.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from math import exp, inf, log

FIRST_EDGE = 0.5  # Seconds: end of the first age bin.
GROWTH = 1.3  # Factor from one bin to the next: some fifty bins over four days.
LAST_AGE = 345600.0  # Seconds (four days): all later ages share the last bin.
HALF_LIFE = 7 * 86400.0  # Seconds (a week) after which what was learned counts half.

_LOG_GROWTH = log(GROWTH)


def _edges() -> tuple[float, ...]:
    edges = [0.0, FIRST_EDGE]
    while edges[-1] < LAST_AGE:
        edges.append(edges[-1] * GROWTH)
    return tuple(edges)


EDGES = _edges()
BINS = len(EDGES) - 1
WIDTHS = tuple(b - a for a, b in pairwise(EDGES))
MIDDLES = tuple((a + b) / 2 for a, b in pairwise(EDGES))

PRIOR_SHARE = 0.6
"""Before anything is learned: the hazard times the age."""

PRIOR_KNEE = 2.0
"""Below this age (seconds) the prior hazard stops growing: a network needs a moment."""

PRIOR_BEND = 100.0  # Seconds of age.
PRIOR_FALL = 0.3
"""From the bend on the share falls by this power of the age: what is late is thought to come within hours rather than
never. Of 100 messages of a fresh installation one in ten may do so, and nobody has been followed so far yet."""

CARRY = 1.1
"""A late bin is thought to hold at most this much more than the one before it has shown."""

NEIGHBOURS = 4  # Bins on either side that a bin is drawn towards.
NEIGHBOUR_EVENTS = 1.0  # Events that the prior counts for against the neighbours.
LEAST_MASS = 1e-9  # Probability below which a bin is taken as even.
WORLD_EVENTS = 1.0  # Events that the neighbours count for against a bin over all networks.
KEY_EVENTS = 2.0  # Events that all networks count for against one.

KNOWN_EVENTS = 1000.0
"""The two above count for half once so many events were seen,"""

LEAST_TRUST = 0.25
"""and at least for this share. Else every large message would be polled at ages at which nothing ever came."""

PRIOR_SHARES = tuple(PRIOR_SHARE * min(1.0, (PRIOR_BEND / m) ** PRIOR_FALL) for m in MIDDLES)
PRIOR = tuple(share / max(m, PRIOR_KNEE) for share, m in zip(PRIOR_SHARES, MIDDLES, strict=True))


def bin_of(age: float) -> int:
    """The bin that holds `age`; ages beyond the grid fall into the last one."""
    if age < FIRST_EDGE:
        return 0
    b = int(log(age / FIRST_EDGE) / _LOG_GROWTH) + 1
    return b if b < BINS else BINS - 1


class History:
    """Events and exposure (seconds observed while pending) by age bin, in constant time per poll.

    Bins that an interval covers in full are counted by where the run begins and ends; only its two ends touch single
    bins.
    """

    __slots__ = ("events", "partial", "runs", "total")

    def __init__(self) -> None:
        self.events = [0.0] * BINS
        self.partial = [0.0] * BINS
        self.runs = [0.0] * (BINS + 1)
        self.total = 0.0

    def expose(self, a0: float, a1: float) -> None:
        """The message was pending from age `a0` to `a1`."""
        if a1 > a0:
            expose_all((self,), a0, a1)

    def event(self, age: float) -> None:
        """A message changed at `age`; its exposure is reported apart."""
        self.events[bin_of(age)] += 1.0
        self.total += 1.0

    def exposure(self) -> list[float]:
        """Seconds of exposure by bin."""
        out = []
        covering = 0.0
        for b in range(BINS):
            covering += self.runs[b]
            out.append(max(self.partial[b] + covering * WIDTHS[b], 0.0))
        return out

    def followed(self, messages: float) -> float:
        """The age up to which at least so many messages were observed while pending."""
        for edge, exposed, width in zip(EDGES, self.exposure(), WIDTHS, strict=False):
            if exposed < messages * width and edge > PRIOR_BEND:
                return edge
        return LAST_AGE

    def decay(self, seconds: float) -> None:
        """Let what was learned fade by `seconds` of the half-life of a week."""
        self.scale(exp(-log(2) * seconds / HALF_LIFE))

    def scale(self, f: float) -> None:
        """Let what was learned count `f` times as much."""
        self.events = [x * f for x in self.events]
        self.partial = [x * f for x in self.partial]
        self.runs = [x * f for x in self.runs]
        self.total *= f

    def remove(self, part: History) -> None:
        """Take out what `part` had added, as far as it is still there."""
        exposure = [max(mine - theirs, 0.0) for mine, theirs in zip(self.exposure(), part.exposure(), strict=True)]
        self.events = [max(mine - theirs, 0.0) for mine, theirs in zip(self.events, part.events, strict=True)]
        self.partial, self.runs = exposure, [0.0] * (BINS + 1)
        self.total = sum(self.events)

    def dump(self) -> tuple[list[float], list[float]]:
        """Events and exposure, for a snapshot."""
        return list(self.events), self.exposure()

    @classmethod
    def load(cls, events: Sequence[float], exposure: Sequence[float]) -> History:
        """The reverse of `dump`. Raises ValueError when the numbers cannot be a history."""
        numbers = (*events, *exposure)
        if len(events) != BINS or len(exposure) != BINS or not all(0 <= x < inf for x in numbers):
            raise ValueError("a history has one number, not negative, for each age bin")
        h = cls()
        h.events = list(events)
        h.partial = list(exposure)
        h.total = sum(events)
        return h


def expose_all(histories: Iterable[History], a0: float, a1: float) -> None:
    """One message was pending from age `a0` to `a1`, in each of the histories."""
    i, j = bin_of(a0), bin_of(a1)
    if i == j:
        for h in histories:
            h.partial[i] += a1 - a0
        return
    head, tail = EDGES[i + 1] - a0, a1 - EDGES[j]
    for h in histories:
        h.partial[i] += head
        h.partial[j] += tail
        h.runs[i + 1] += 1.0
        h.runs[j] -= 1.0


def spread_all(histories: Iterable[History], a0: float, a1: float, edges: Sequence[float]) -> None:
    """One message changed somewhere between `a0` and `a1`, in each of the histories.

    One step of expectation: the event is shared out by `edges`, the present survival at the bins' edges.
    """
    parts = _parts(a0, a1, edges)
    for h in histories:
        h.total += 1.0
        for b, share, exposed in parts:
            h.events[b] += share
            h.partial[b] += exposed


def _parts(a0: float, a1: float, edges: Sequence[float]) -> list[tuple[int, float, float]]:
    """Bin, share of the event and expected exposure."""
    i, j = bin_of(a0), bin_of(a1)
    if i == j:
        return [(i, 1.0, (a1 - a0) / 2)]
    start = edges[i] + (edges[i + 1] - edges[i]) * (a0 - EDGES[i]) / WIDTHS[i]
    # Ages beyond the last edge stay in the last bin.
    end = edges[j] + (edges[j + 1] - edges[j]) * min((a1 - EDGES[j]) / WIDTHS[j], 1.0)
    whole, span = start - end, a1 - a0
    later, before, left = 1.0, start, a0
    out = []
    for b in range(i, j + 1):
        after, right = (edges[b + 1], EDGES[b + 1]) if b < j else (end, a1)
        share = (before - after) / whole if whole > LEAST_MASS else (right - left) / span
        later -= share
        out.append((b, share, (right - left) * (max(later, 0.0) + share / 2)))
        before, left = after, right
    return out


def survival_at_edges(hazards: Sequence[float]) -> list[float]:
    """The chance to be pending at each edge of the bins."""
    out, total = [1.0], 0.0
    for h, width in zip(hazards, WIDTHS, strict=True):
        total += h * width
        out.append(exp(-total))
    return out


def _trust(history: History) -> float:
    """How much general experience counts for beside `history`, as a share."""
    return max(1.0 / (1.0 + history.total / KNOWN_EVENTS), LEAST_TRUST)


def world_hazards(history: History) -> list[float]:
    """The hazard by bin over all operators: own events, drawn towards the neighbouring bins, drawn towards the prior.

    Neighbours are compared by hazard times age, which changes slowly where the hazard itself does not.
    """
    exposure = history.exposure()
    events = history.events
    prior_events = NEIGHBOUR_EVENTS * _trust(history)
    counted = [0.0, *accumulate(events)]
    seen = [0.0, *accumulate(e / max(m, PRIOR_KNEE) for e, m in zip(exposure, MIDDLES, strict=True))]
    out: list[float] = []
    for b in range(BINS):
        share = PRIOR_SHARES[b]
        if MIDDLES[b] > PRIOR_BEND:
            share = min(share, CARRY * out[b - 1] * MIDDLES[b - 1])
        lo, hi = max(b - NEIGHBOURS, 0), min(b + NEIGHBOURS + 1, BINS)
        around = (counted[hi] - counted[lo] + prior_events) / (seen[hi] - seen[lo] + prior_events / share)
        prior = around / max(MIDDLES[b], PRIOR_KNEE)
        out.append((events[b] + WORLD_EVENTS) / (exposure[b] + WORLD_EVENTS / prior))
    return out


def key_hazards(history: History, world: Sequence[float]) -> list[float]:
    """The hazard by bin of one operator: its own events, drawn towards the world's."""
    world_events = KEY_EVENTS * _trust(history)
    return [
        (d + world_events) / (e + world_events / w)
        for d, e, w in zip(history.events, history.exposure(), world, strict=True)
    ]
