"""The recipients of one message share their fate: what one poll shows of all of them is weighed together.

One after another they would prove too much. The last ones of a large message, each found by a poll of its own, would
contradict a plan that they fit; one message held up would look like an outage of its network.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pollerd.backoff.protocol import Key

MOST_MESSAGES = 4096
"""Messages whose number of recipients is remembered at a time; the one met first is dropped."""

OUTAGE_MESSAGES = 4.0
"""One message counts for so many recipients at most where an outage is judged: it takes several to prove one."""


MOST_ENDINGS = 8
"""Of those that one poll found ended, so many are held against the plan at most: they stand for the others."""


class Finding(NamedTuple):
    """One recipient at one poll: pending at the age `a0`, at `a1` `ended` or not, at `event_age` if that is known."""

    key: Key
    a0: float
    a1: float
    ended: bool
    event_age: float | None
    submit: float


class Shown(NamedTuple):
    """What the poll at `now` showed of one message: `findings` of some of its `of` recipients."""

    now: float
    findings: list[Finding]
    of: int

    def polls(self) -> Iterator[tuple[Key, float, float, float, float]]:
        """Operator, ages, how many ended and how many were pending before, for all alike; as an outage counts them."""
        alike: dict[tuple[Key, float, float], list[int]] = {}
        for found in self.findings:
            counts = alike.setdefault((found.key, found.a0, found.a1), [0, 0])
            counts[0] += found.ended
            counts[1] += 1
        weight = min(OUTAGE_MESSAGES / max(len(self.findings), 1), 1.0)
        for (key, a0, a1), (ended, shown) in alike.items():
            yield key, a0, a1, ended * weight, shown * weight

    def endings(self) -> Iterator[tuple[Finding, float]]:
        """Some of those that ended, and the share of a message that each stands for."""
        ended = [found for found in self.findings if found.ended]
        step = -(-len(ended) // MOST_ENDINGS)
        for found in ended[::step] if step > 1 else ended:
            yield found, max(step, 1) / self.of


class Companions:
    """The findings of the latest poll, until it is known that they are all."""

    __slots__ = ("_findings", "_of", "_poll", "_sizes", "now")

    def __init__(self) -> None:
        self.now = 0.0
        self._poll: tuple[float, float] | None = None
        self._of = 0
        self._findings: list[Finding | None] = []
        self._sizes: dict[float, int] = {}

    def begin(self, of: int) -> None:
        """What follows is of one message, of which `of` recipients are shown."""
        self._of = of

    def same(self, now: float, submit: float) -> bool:
        """Does the next finding belong to the poll of those at hand? Always while there are none."""
        return not self._findings or self._of > 0 or self._poll == (now, submit)

    def add(self, now: float, submit: float, finding: Finding | None) -> None:
        """Another recipient of the poll at `now`; None where it says nothing about its network."""
        self.now, self._poll = now, (now, submit)
        self._findings.append(finding)

    def size(self, submit: float, k: int) -> int:
        """How many recipients the message sent at `submit` has, of which `k` are pending: the most it ever showed."""
        known = self._sizes.get(submit, 1)
        if k > known:
            self._remember(submit, k)
        return max(known, k)

    def _remember(self, submit: float, size: int) -> None:
        if submit not in self._sizes and len(self._sizes) >= MOST_MESSAGES:
            del self._sizes[next(iter(self._sizes))]
        self._sizes[submit] = size

    def take(self) -> Shown | None:
        """The poll at hand, which is complete; None where there is none."""
        if not self._findings:
            return None
        findings, shown, of = self._findings, len(self._findings), self._of
        self._findings, self._of = [], 0
        submit = self._poll[1] if self._poll else 0.0
        size = of or self._sizes.get(submit, 0)
        if not size:
            size = shown
            if shown > 1:
                self._remember(submit, shown)
        return Shown(self.now, [each for each in findings if each is not None], max(size, shown))
