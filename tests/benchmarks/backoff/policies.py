"""The policies that are compared, all with the methods of the public class that the simulation drives."""

from __future__ import annotations

from collections.abc import Hashable
from random import Random
from typing import Protocol

from pollerd.backoff import Decision


class Driven(Protocol):
    """What the simulation calls."""

    def first(self, now: float, *, k: int = 1) -> Decision: ...
    def next(self, now: float, key: Hashable, submit: float, base: float, *, k: int = 1) -> Decision: ...
    def observe(
        self,
        now: float,
        key: Hashable,
        a0: float,
        a1: float,
        terminal: bool,
        event_age: float | None,
        status: str,
        submit: float,
        base: float,
    ) -> None: ...
    def index(self, key: Hashable, a0: float, a1: float) -> float: ...
    def base_for(self, key: Hashable, submit: float, base: float) -> float: ...
    def take_wake(self) -> list[Hashable]: ...


class _Deaf:
    """Learns nothing; the longest overdue goes first."""

    def observe(
        self,
        now: float,
        key: Hashable,
        a0: float,
        a1: float,
        terminal: bool,
        event_age: float | None,
        status: str,
        submit: float,
        base: float,
    ) -> None:
        pass

    def index(self, key: Hashable, a0: float, a1: float) -> float:
        return a1 - a0

    def base_for(self, key: Hashable, submit: float, base: float) -> float:
        return base

    def take_wake(self) -> list[Hashable]:
        return []


class Fixed(_Deaf):
    """Always the same gap."""

    def __init__(self, gap: float = 10.0) -> None:
        self.gap = gap

    def first(self, now: float, *, k: int = 1) -> Decision:
        return Decision(self.gap, "")

    def next(self, now: float, key: Hashable, submit: float, base: float, *, k: int = 1) -> Decision:
        return Decision(self.gap, "")


class Backoff(_Deaf):
    """Exponential: the gap grows by `factor` up to `cap`."""

    def __init__(self, first: float, factor: float, cap: float) -> None:
        self.start, self.factor, self.cap = first, factor, cap

    def first(self, now: float, *, k: int = 1) -> Decision:
        return Decision(self.start, "")

    def next(self, now: float, key: Hashable, submit: float, base: float, *, k: int = 1) -> Decision:
        return Decision(min((now - submit) * (self.factor - 1.0) + self.start, self.cap), "")


class Decorrelated(_Deaf):
    """AWS's decorrelated jitter: uniform between the base and three times the gap before."""

    def __init__(self, seed: int, base: float = 5.0, cap: float = 3600.0) -> None:
        self.rng, self.base, self.cap = Random(seed), base, cap
        self.gaps: dict[float, float] = {}

    def first(self, now: float, *, k: int = 1) -> Decision:
        return Decision(self.rng.uniform(self.base, 3 * self.base), "")

    def next(self, now: float, key: Hashable, submit: float, base: float, *, k: int = 1) -> Decision:
        before = self.gaps.get(submit, self.base)
        gap = self.gaps[submit] = min(self.rng.uniform(self.base, 3 * before), self.cap)
        return Decision(gap, "")


class Relative(_Deaf):
    """The gap is a share of the age."""

    def __init__(self, share: float, first: float = 2.0) -> None:
        self.share, self.start = share, first

    def first(self, now: float, *, k: int = 1) -> Decision:
        return Decision(self.start, "")

    def next(self, now: float, key: Hashable, submit: float, base: float, *, k: int = 1) -> Decision:
        return Decision(max((now - submit) * self.share, 2.0), "")
