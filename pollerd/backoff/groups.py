"""One message, many recipients: one poll shows them all, and polling goes on while any of them is pending.

A poll is weighed against the staleness of all that are pending together. What it costs grows with the recipients that
its answer carries, pending or not: so much that a message of this size keeps to its own budget, see `allowance`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, sqrt
from typing import NamedTuple

from msgspec.structs import replace

from pollerd.backoff import budget, guards, plan
from pollerd.backoff.plan import Table
from pollerd.backoff.protocol import Part, Settings

DOUBLING = 0.22
"""Each doubling of its recipients adds this share to the budget of a message: the more there are, the more of them one
poll finds, and the larger its answer."""

MOST_TIMES = 3.2
"""A message of 1,000 recipients or more takes so many times the polls of one with a single recipient."""

LEAST_ALIVE = 1e-3
"""A share still pending is taken to be at least this: an age nobody reached yet says nothing about the recipients."""

TOGETHER = 4.0
"""Parts whose next poll lies more than so many times as far away as the nearest one do not bring that one forward."""

AT_MOST = 0.9
"""Of the longest wait: from this share on a wait is taken to be bounded by it; ages of the grid are so far apart."""

HELD_UP = 3.0
"""A message of which so many times the share expected is pending is held up as a whole, not late in each recipient:"""

HELD_UP_SHARE = 0.2
"""the next poll is this share of its age away at most. All of them will end at about one time, whatever their age."""

PATIENT_SIZE = 10
"""The octave of recipients (1,000) from which on the last ones wait `patience` times as long."""

LATE = 21600.0  # Seconds of age (six hours) from which on few are left of any message.
EARLY_SHARE = 0.55
"""Of the budget of a size: so much stays for the time before, whatever `max_interval` and the dates of expiry force."""

CLOSE = 0.05  # Off the budget by less than this share, the price of a size has settled.
TRIES = 8  # Plans made for one size at most until its price is left as it is.
AGAIN_FIRST = 10  # Decisions about one size until its price is settled anew, at first,
AGAIN_MOST = 640  # and at most: they are doubled each time.

STRIDE = 8.0
"""The price of a size may move by this factor at once: it concerns no other message."""


def allowance(size: int) -> float:
    """The budget of a message of some 2 ** `size` recipients, in budgets of one with a single recipient."""
    return min(1.0 + DOUBLING * size, MOST_TIMES)


class Sizes:
    """Bounds, price of a poll and first poll by the size of a message: the octave of its recipients, above 0."""

    __slots__ = ("_bounds", "_factors", "_firsts", "_quotas", "_settings", "_unsettled")

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._bounds: dict[int, Settings] = {}
        self._factors: dict[int, float] = {}
        self._firsts: dict[int, float] = {}
        self._quotas: dict[int, list[int]] = {}
        self._unsettled: dict[int, int] = {}

    def bounds(self, size: int) -> Settings:
        """The settings for this size: the longest wait grows with it, as far as they allow."""
        if size not in self._bounds:
            times = 1.0 + (self._settings.patience - 1.0) * min(size / PATIENT_SIZE, 1.0)
            self._bounds[size] = replace(self._settings, max_interval=self._settings.max_interval * times)
        return self._bounds[size]

    def factor(self, size: int) -> float:
        """The price of a poll of this size, in prices of a poll of one recipient."""
        if size not in self._factors:
            self._factors[size] = 2.0**size / allowance(size) ** 2
            self._quotas[size] = [AGAIN_FIRST, AGAIN_FIRST]
            self._unsettled[size] = TRIES
        quota = self._quotas[size]
        quota[0] -= 1
        if quota[0] < 0:
            quota[1] = min(2 * quota[1], AGAIN_MOST)
            quota[0] = quota[1]
            self._unsettled[size] = TRIES
        return self._factors[size]

    def first(self, size: int, single: float) -> float:
        """The age of the first poll; until it is known, that of a message with a single recipient."""
        self.factor(size)
        return self._firsts.get(size, single)

    def unsettled(self) -> bool:
        """Is there a size whose price does not meet its budget yet?"""
        return bool(self._unsettled)

    def settle(self, typical: Table, price: float, wanted: float, first: float) -> None:
        """One step towards the price at which the next size meets its budget: one plan.

        `typical` is the plan of a network for a single recipient, `price` its price, `wanted` its budget and
        `first` its first poll.
        """
        size, tries = self._unsettled.popitem()
        settings, own = self.bounds(size), price * self._factors[size]
        table = plan.solve_group(settings, typical, own, 2**size)
        first = self._firsts[size] = budget.best_first(settings, [(1.0, table)], first, inf)
        late = table.polls_from(LATE) - 1.0
        early, target = table.polls_from(first) - late, wanted * allowance(size)
        target = max(target - late, target * EARLY_SHARE)
        self._factors[size] = budget.steered(own, early, target, STRIDE) / price
        if abs(early / target - 1.0) > CLOSE and tries > 1:
            self._unsettled[size] = tries - 1


class Due(NamedTuple):
    """When a part of a message would be polled for itself: `gap` seconds after its `age`."""

    part: Part
    table: Table
    age: float
    gap: float


def at_first(k: int, table: Table, age: float) -> int:
    """The octave of as many recipients as must have been sent together for `k` of them to be left at `age`."""
    return budget.octave_of(k / max(table.alive(age), LEAST_ALIVE)) if k > 1 else 0


def held_up(k: int, of: int, alive: float) -> bool:
    """Are so many still pending, where a share `alive` is thought to be, that the message as a whole is held up?"""
    return k > of / 2 and k > HELD_UP * of * alive


def due(settings: Settings, part: Part, table: Table, age: float, first: float) -> Due:
    """When `part`, `age` seconds old, is to be polled by `table`, within the bounds; no jitter."""
    wanted = table.next_age(age) - age
    return Due(part, table, age, guards.bounded(settings, wanted, age, first, table.reach(age)))


def together(dues: Sequence[Due], longest: float) -> float:
    """The wait for all parts, from those of each.

    Where changes come at a rate h the best wait is as 1 / sqrt(h), and the rates of the parts add up. Of those that
    wait as long as is allowed, `longest`, the rates are not known: they bring nothing forward.
    """
    nearest = min(each.gap for each in dues)
    counted = [each.gap for each in dues if each.gap < min(TOGETHER * nearest, AT_MOST * longest)]
    return 1.0 / sqrt(sum(1.0 / (gap * gap) for gap in counted)) if counted else nearest
