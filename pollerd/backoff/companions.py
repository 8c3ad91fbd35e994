"""The recipients of one message share their fate: what one poll shows of all of them is weighed together.

One after another they would prove too much. The last ones of a large message, each found by a poll of its own, would
contradict a plan that they fit; one message held up would look like an outage of its network.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from pollerd.backoff.protocol import Key

MOST_MESSAGES = 4096
"""Messages whose number of recipients is remembered at a time; the one met first is dropped."""

OUTAGE_MESSAGES = 4.0
"""One message counts for so many recipients at most where an outage is judged: it takes several to prove one."""


MOST_ENDINGS = 8
"""Of those that one poll found ended, so many are held against the plan at most: they stand for the others."""


class Finding(msgspec.Struct, frozen=True, gc=False):
    """One recipient at one poll: pending at the age `a0`, at `a1` `ended` or not, at `event_age` if that is known."""

    key: Key
    a0: float
    a1: float
    ended: bool
    event_age: float | None
    submit: float


class Shown(msgspec.Struct, frozen=True, gc=False):
    """What the poll at `now` showed of one message: `findings` of some of its `of` recipients, `ended` or not."""

    now: float
    findings: list[Finding]
    ended: int
    of: int

    def polls(self) -> Iterable[tuple[Key, float, float, float, float]]:
        """Operator, ages, how many ended and how many were pending before, for all alike; as an outage counts them."""
        if len(self.findings) == 1:
            # Nearly every message has one recipient.
            found = self.findings[0]
            return ((found.key, found.a0, found.a1, float(found.ended), 1.0),)
        return self._alike()

    def _alike(self) -> Iterator[tuple[Key, float, float, float, float]]:
        alike: dict[tuple[Key, float, float], list[int]] = {}
        for found in self.findings:
            counts = alike.setdefault((found.key, found.a0, found.a1), [0, 0])
            counts[0] += found.ended
            counts[1] += 1
        weight = min(OUTAGE_MESSAGES / max(len(self.findings), 1), 1.0)
        for (key, a0, a1), (ended, shown) in alike.items():
            yield key, a0, a1, ended * weight, shown * weight

    def endings(self) -> list[tuple[Finding, float]]:
        """Some of those that ended, and the share of a message that each stands for."""
        ended = [found for found in self.findings if found.ended]
        step = max(-(-len(ended) // MOST_ENDINGS), 1)
        return [(found, step / self.of) for found in ended[::step]]


class Companions:
    """The findings of the latest poll, until it is known that they are all."""

    __slots__ = ("_ended", "_findings", "_now", "_of", "_sizes", "_submit", "shown")

    def __init__(self) -> None:
        self.shown = 0
        """Recipients of the poll at hand so far."""
        self._now = self._submit = 0.0
        self._of = 0
        self._ended = 0
        self._findings: list[Finding] = []
        self._sizes: dict[float, int] = {}

    def begin(self, of: int) -> None:
        """What follows is of one message, of which `of` recipients are shown."""
        self._of = of

    def same(self, now: float, submit: float) -> bool:
        """Does the next finding belong to the poll of those at hand? Always while there are none."""
        return not self.shown or self._of > 0 or (self._now == now and self._submit == submit)

    def add(self, now: float, submit: float, finding: Finding | None) -> None:
        """Another recipient of the poll at `now`; None where it says nothing about its network."""
        self._now, self._submit = now, submit
        self.shown += 1
        if finding is not None:
            self._findings.append(finding)
            self._ended += finding.ended

    def size(self, submit: float, k: int) -> int:
        """How many recipients the message sent at `submit` has, of which `k` are pending: the most it ever showed."""
        known = self._sizes.get(submit, 1)
        if k <= known:
            return known
        self._remember(submit, k)
        return k

    def _remember(self, submit: float, size: int) -> None:
        if submit not in self._sizes and len(self._sizes) >= MOST_MESSAGES:
            del self._sizes[next(iter(self._sizes))]
        self._sizes[submit] = size

    def take(self) -> Shown | None:
        """The poll at hand, which is complete; None where there is none."""
        if not self.shown:
            return None
        findings, ended, shown, size = self._findings, self._ended, self.shown, self._of
        self._findings, self._ended, self.shown, self._of = [], 0, 0, 0
        if not size and not (size := self._sizes.get(self._submit, 0)):
            size = shown
            if shown > 1:
                self._remember(self._submit, shown)
        return Shown(self._now, findings, ended, size if size > shown else shown)
