"""The best times to poll: optimal inspection on a grid of ages, solved exactly in linear time.

S(i) is the chance that a message is still pending at grid age g(i), W(i) the w-weighted chance that it changed by
then and M(i) the w-weighted first moment, where w(T) = sqrt(60 / (60 + T)) is what a second of not knowing costs for a
change at age T. A message found pending at g(i) and polled next at g(j) costs

    U(i) = min over j > i of  price S(i) + g(j) (W(j) - W(i)) - (M(j) - M(i)) + U(j)

(all taken from the moment of sending, not given that it is pending). Apart from price S(i) + M(i) each j is a line in
W(i) with slope -g(j): backwards, slopes and queries are both monotone, so the lower envelope is a queue.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from math import exp, inf, sqrt

import msgspec

from pollerd.backoff import guards
from pollerd.backoff.expiry import ExpiryWindow
from pollerd.backoff.hazard import EDGES, bin_of
from pollerd.backoff.protocol import Settings

CELLS = 6  # Grid ages for each age bin.
LATE_CELLS = 3  # The same from `LATE` on.
LATE = 3600.0
"""From this age (seconds) on half the cells a bin are enough."""

EXPIRY_WEIGHT = 0.15
"""An expiry is worth at least this much a second: it is rare, so telling it soon costs next to nothing."""

NEVER = 1e9  # Seconds, as good as infinite and still a number to reckon with.
SEEN_TO_TRUST = 5  # Expiries.
TRUSTED_AGE = 21600.0
"""To survive the last window means to be past expiry, from so many expiries in it on; at once if it lies this late."""


def weight(age: float) -> float:
    """What one second of not knowing costs for a change at `age`: 1 at first, halved after three minutes."""
    return sqrt(60.0 / (60.0 + age))


Curves = tuple[Sequence[float], Sequence[float], Sequence[float]]
Limits = tuple[float, float]
"""The age up to which enough is known for `guards.REACH_KNOWN`, and the wait before the first poll."""


class Grid(msgspec.Struct, frozen=True):
    """Ages to plan on, with what does not change between plans: a cell's bin, length, middle and weights."""

    ages: tuple[float, ...]
    cells: tuple[tuple[int, float, float, float, float, float], ...]
    """Per cell: bin, length, middle, weight, weight of an expiry, share of the messages alive that expires in it."""

    windows: tuple[ExpiryWindow, ...]
    soonest: tuple[int, ...]
    """Per age: the first index whose poll would not come too soon after."""

    begins: float
    """The age at which the first window begins."""

    over: float
    """The age at which the last window that can be trusted ends."""


def _base_ages() -> list[float]:
    ages = [0.0]
    for a, b in pairwise(EDGES):
        cells = CELLS if a < LATE else LATE_CELLS
        ages += [a + (b - a) * c / cells for c in range(1, cells + 1)]
    return ages


_BASE = _base_ages()


def base_ages() -> list[float]:
    """The ages every grid has."""
    return _BASE


def trusted(window: ExpiryWindow) -> bool:
    """Is a message that survives this window, the last one, past expiry?"""
    return window.seen >= SEEN_TO_TRUST or (window.seen > 0 and window.lo > TRUSTED_AGE)


def window_at(windows: Sequence[ExpiryWindow], age: float) -> ExpiryWindow | None:
    """The window that holds `age`, its end included."""
    for w in windows:
        if w.lo < age <= w.hi + 1e-6:
            return w
    return None


def soonest_age(settings: Settings, windows: Sequence[ExpiryWindow], age: float) -> float:
    """The earliest age of a poll after one at `age`. A known expiry is no reason to wait for 3 % of the age."""
    for w in windows:
        if w.lo <= age < w.hi:
            # The end of the window is always worth a poll, however near.
            return min(age + guards.PAST_EXPIRY_FIRST, max(w.hi, age + settings.min_interval))
        if age < w.lo:
            soon = age + guards.shortest(settings, age)
            return min(soon, max(w.lo, age + settings.min_interval))
    return age + guards.shortest(settings, age)


@lru_cache(maxsize=256)
def grid(settings: Settings, windows: tuple[ExpiryWindow, ...]) -> Grid:
    """The grid for these expiry windows: the ages of the bins, cut at the windows' ends and inner ages."""
    masses: list[tuple[float, float, float]] = []
    for w in windows:
        cuts = (w.lo, *w.inner, w.hi)
        masses += [(a, b, w.share / (len(cuts) - 1)) for a, b in pairwise(cuts) if b > a]
    ages = sorted({*_BASE, *(a for a, _, _ in masses), *(b for _, b, _ in masses)})
    cells = []
    left = 1.0
    for a, b in pairwise(ages):
        mass = sum(m * (b - a) / (hi - lo) for lo, hi, m in masses if lo <= a and b <= hi)
        fails = min(mass / left, 1.0) if left > 1e-12 else 1.0
        left -= mass
        middle = (a + b) / 2
        worth = weight(middle)
        cells.append((bin_of(middle), b - a, middle, worth, max(worth, EXPIRY_WEIGHT), fails))
    soonest = tuple(bisect_left(ages, soonest_age(settings, windows, a) - 1e-9) for a in ages)
    over = max((w.hi for w in windows if trusted(w)), default=NEVER)
    begins = windows[0].lo if windows else NEVER
    return Grid(tuple(ages), tuple(cells), windows, soonest, begins, over)


USUAL = 0.8
"""The share of messages that a reason calls usual: four of five."""


class Table(msgspec.Struct, frozen=True):
    """A solved plan for messages of `k` recipients. Tuples run along `grid.ages`.

    `cost` is U, and `polls` the polls still to come, both a recipient and from the moment of sending.
    """

    grid: Grid
    price: float
    k: int
    limits: Limits
    survival: tuple[float, ...]
    weighted: tuple[float, ...]
    moment: tuple[float, ...]
    following: tuple[float, ...]
    cost: tuple[float, ...]
    polls: tuple[float, ...]
    usual: float | None = None
    """The age by which USUAL of the messages have ended; None when fewer ever do."""

    far: float = guards.REACH_KNOWN
    """How far the next poll may be where enough is known, in ages; see `guards.reach`."""

    def reach(self, age: float) -> float:
        """How far the poll after one at `age` may be, in ages."""
        return guards.reach(age, self.limits[0], self.k, self.far)

    def next_age(self, age: float) -> float:
        """The age of the poll after one at `age`, between cells interpolated."""
        ages = self.grid.ages
        i = bisect_right(ages, age) - 1
        if i + 1 >= len(ages):
            return NEVER
        a, b = self.following[i], self.following[i + 1]
        share = (age - ages[i]) / (ages[i + 1] - ages[i])
        if b >= self.grid.begins:
            windows = self.grid.windows
            window = window_at(windows, a)
            # Between a date and an age there is no meaningful middle, and the end of a window is not passed over.
            if window is not None:
                return a if share < 0.5 or b > window.hi else b
            if window_at(windows, b) is not None:
                return a if share < 0.5 else b
        return a + share * (b - a)

    def at(self, age: float) -> tuple[float, float, float]:
        """S, W and M at `age`."""
        ages = self.grid.ages
        i = bisect_right(ages, age) - 1
        if i + 1 >= len(ages):
            return self.survival[-1], self.weighted[-1], self.moment[-1]
        f = (age - ages[i]) / (ages[i + 1] - ages[i])
        s, w, m = self.survival, self.weighted, self.moment
        return s[i] + f * (s[i + 1] - s[i]), w[i] + f * (w[i + 1] - w[i]), m[i] + f * (m[i + 1] - m[i])

    def alive(self, age: float) -> float:
        """S at `age`."""
        ages = self.grid.ages
        i = bisect_right(ages, age) - 1
        s = self.survival
        if i + 1 >= len(ages):
            return s[-1]
        return s[i] + (age - ages[i]) / (ages[i + 1] - ages[i]) * (s[i + 1] - s[i])

    def polls_from(self, first: float) -> float:
        """Expected polls a message when the first one comes at age `first`."""
        ages = self.grid.ages
        i = min(bisect_right(ages, first) - 1, len(ages) - 2)
        f = (first - ages[i]) / (ages[i + 1] - ages[i])
        return 1.0 + self.k * (self.polls[i] + f * (self.polls[i + 1] - self.polls[i]))

    def entries(self, start: int, ages: Sequence[float]) -> list[float]:
        """Expected cost of a message by the age of its first poll, the price of that poll left out.

        `ages` are base ages in order, from the index `start` on.
        """
        if ages[-1] < self.grid.begins:
            places: Sequence[int] = range(start, start + len(ages))
        else:
            places = [bisect_left(self.grid.ages, age) for age in ages]
        weighted, moment, cost = self.weighted, self.moment, self.cost
        return [age * weighted[i] - moment[i] + cost[i] for i, age in zip(places, ages, strict=True)]


def curves(grid_: Grid, hazards: Sequence[float]) -> Curves:
    """S, W and M along the grid for a hazard by bin."""
    s, w, m = 1.0, 0.0, 0.0
    survival, weighted, moment = [1.0], [0.0], [0.0]
    for b, length, middle, cost, expiry_cost, fails in grid_.cells:
        stays = exp(-hazards[b] * length)
        if fails:
            expired = s * (1.0 + stays) / 2 * fails
            changed = s - s * stays * (1.0 - fails) - expired
            mass = changed * cost + expired * expiry_cost
            s -= changed + expired
        else:
            changed = s * (1.0 - stays)
            mass = changed * cost
            s -= changed
        w += mass
        m += mass * middle
        survival.append(s)
        weighted.append(w)
        moment.append(m)
    return survival, weighted, moment


def solve(settings: Settings, grid_: Grid, hazards: Sequence[float], price: float, limits: Limits) -> Table:
    """The best next age for every grid age, within the guards."""
    return _solved(settings, grid_, curves(grid_, hazards), price, limits=limits, k=1)


def solve_group(settings: Settings, table: Table, price: float, k: int) -> Table:
    """The plan of `table` for messages of `k` recipients of the same operator.

    A poll is paid while any of them is pending, 1 - (1 - S)^k, and serves all: a recipient bears a k-th of it. Nearly
    every large message has some that come late or never, so a poll that finds nothing is paid for each time: where
    enough is known there is none but those that the plan itself asks for.
    """
    swm = (table.survival, table.weighted, table.moment)
    return _solved(settings, table.grid, swm, price, limits=table.limits, k=k, far=inf)


def _solved(
    settings: Settings,
    grid_: Grid,
    swm: Curves,
    price: float,
    *,
    limits: Limits,
    k: int,
    far: float = guards.REACH_KNOWN,
) -> Table:
    known, first = limits
    least, most = settings.min_interval, settings.max_interval
    # As `guards.longest`, written out: this runs for every age of every plan.
    spans = [guards.reach(a, known, k, far) * (a + first) for a in grid_.ages]
    latest = [a + (least if x < least else min(x, most)) for a, x in zip(grid_.ages, spans, strict=True)]
    survival, weighted, moment = swm
    paid = survival if k == 1 else [(1.0 - (1.0 - s) ** k) / k for s in survival]
    following, cost, polls = envelope(grid_.ages, (paid, weighted, moment), price, grid_.soonest, latest)
    # Tuples of numbers, unlike lists, are passed over by the garbage collector, which would hold up the event loop.
    usual = next((age for age, s in zip(grid_.ages, survival, strict=True) if s <= 1.0 - USUAL), None)
    return Table(
        grid_,
        price,
        k,
        limits,
        survival=tuple(survival),
        weighted=tuple(weighted),
        moment=tuple(moment),
        following=tuple(following),
        cost=tuple(cost),
        polls=tuple(polls),
        usual=usual,
        far=far,
    )


def next_age(settings: Settings, table: Table, age: float, first: float) -> float:
    """The age of the poll that is really made after one at `age`: what `table` says, within the guards; no jitter.

    `first` is the wait before the first poll.
    """
    due = table.next_age(age)
    if due >= table.grid.begins and window_at(table.grid.windows, due):
        return due
    return age + guards.bounded(settings, due - age, age, first, table.reach(age))


def envelope(
    ages: Sequence[float],
    swm: tuple[Sequence[float], Sequence[float], Sequence[float]],
    price: float,
    soonest: Sequence[int],
    latest: Sequence[float],
) -> tuple[list[float], list[float], list[float]]:
    """The recurrence of this module's head, backwards along `ages`: next age, cost and expected polls by index.

    `soonest` is the first index allowed after each, `latest` the last age; where the best poll lies later than that,
    it is moved to the latest grid age allowed, or to the next one at all in several polls.
    """
    survival, weighted, moment = swm
    last = len(ages) - 1
    following = [NEVER] * (last + 1)
    cost = [0.0] * (last + 1)
    polls = [0.0] * (last + 1)
    offset = [0.0] * (last + 1)
    offset[last] = ages[last] * weighted[last] - moment[last]
    queue = [0] * (last + 1)
    head, tail = 0, 0
    added = last + 1
    for i in range(last - 1, -1, -1):
        x = weighted[i]
        lowest = soonest[i]
        while added > lowest and added > i + 1:
            added -= 1
            g, c = ages[added], offset[added]
            while tail - head >= 2:
                p, q = queue[tail - 2], queue[tail - 1]
                if (offset[p] - c) * (ages[p] - ages[q]) < (offset[p] - offset[q]) * (ages[p] - g):
                    break
                tail -= 1
            queue[tail] = added
            tail += 1
        if head == tail:
            j = last
        else:
            j = queue[head]
            best = offset[j] - ages[j] * x
            while head + 1 < tail:
                q = queue[head + 1]
                value = offset[q] - ages[q] * x
                if value > best:
                    break
                best, j = value, q
                head += 1
        if ages[j] > latest[i]:
            j = max(bisect_right(ages, latest[i], i + 1, j) - 1, min(lowest, last), i + 1)
        reached = ages[j] - ages[i]
        # Where even the next grid age lies too late, the cell is crossed in several polls.
        crossings = max(reached / (latest[i] - ages[i]), 1.0)
        stale = ages[j] * (weighted[j] - x) - (moment[j] - moment[i])
        cost[i] = crossings * price * survival[i] + stale / crossings + cost[j]
        polls[i] = crossings * survival[i] + polls[j]
        offset[i] = ages[i] * x - moment[i] + cost[i]
        following[i] = ages[j]
    return following, cost, polls
