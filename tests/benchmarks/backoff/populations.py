"""Whom we poll: operators with known delay distributions, so that the exact optimum is known too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import erfc, exp, log, sqrt
from random import Random

HOUR = 3600.0
DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Part:
    """A share of the messages with log-normal delays: median in seconds, and the deviation of the logarithm."""

    share: float
    median: float
    sigma: float


@dataclass(frozen=True, slots=True)
class Operator:
    """`weight` of the traffic; what is in none of the `parts` expires at age `expiry` (and up to `blur` later)."""

    key: str
    weight: float
    parts: tuple[Part, ...]
    expiry: float = 2 * DAY
    blur: float = 0.0

    def draw(self, rng: Random) -> tuple[float, bool]:
        """The age of the final state, and whether it is EXPIRED."""
        u = rng.random()
        limit = self.expiry + self.blur * rng.random()
        for part in self.parts:
            u -= part.share
            if u < 0:
                age = part.median * exp(part.sigma * rng.gauss(0.0, 1.0))
                return (age, False) if age < limit else (limit, True)
        return limit, True

    def survival(self, age: float) -> float:
        """The chance that a message is still pending at `age`."""
        if age >= self.expiry + self.blur:
            return 0.0
        gone = sum(p.share * _normal(log(age / p.median) / p.sigma) for p in self.parts) if age > 0 else 0.0
        alive = 1.0 - gone
        if age > self.expiry:
            alive *= 1.0 - (age - self.expiry) / self.blur
        return alive


def _normal(x: float) -> float:
    return 0.5 * erfc(-x / sqrt(2.0))


@dataclass(frozen=True, slots=True)
class Population:
    """Operators, and what they are called."""

    name: str
    operators: tuple[Operator, ...] = field(default=())

    def pick(self, rng: Random) -> Operator:
        """One operator by weight."""
        return rng.choices(self.operators, [o.weight for o in self.operators])[0]

    def shares(self) -> list[tuple[float, Operator]]:
        """Operators with their normalised weights."""
        whole = sum(o.weight for o in self.operators)
        return [(o.weight / whole, o) for o in self.operators]

    def expiring(self, ages: Sequence[float], blur: float = 0.0) -> Population:
        """The same with expiry at `ages`, one an operator in turn."""
        changed = tuple(replace(o, expiry=ages[i % len(ages)], blur=blur) for i, o in enumerate(self.operators))
        return Population(f"{self.name}, expiry {'/'.join(f'{a / HOUR:.0f}' for a in ages)} h", changed)


def single(median: float = 5.0, sigma: float = 1.0, never: float = 0.03) -> Population:
    """One operator: log-normal delays, and a share that never arrives."""
    operator = Operator("238/01", 1.0, (Part(1.0 - never, median, sigma),))
    return Population(f"one operator, median {median:g} s, sigma {sigma:g}", (operator,))


def three_with_tail() -> Population:
    """Three operators of different pace, each with phones that are off for a while."""
    return Population(
        "three operators with a phone-off tail",
        (
            Operator("238/01", 5.0, (Part(0.88, 4.0, 0.8), Part(0.09, 2400.0, 1.8))),
            Operator("262/02", 3.0, (Part(0.85, 9.0, 0.9), Part(0.11, 3600.0, 1.6))),
            Operator("310/260", 2.0, (Part(0.80, 25.0, 1.1), Part(0.15, 5400.0, 1.5))),
        ),
    )


def ten(seed: int = 7) -> Population:
    """Ten operators with medians from 2 s to 60 s, tails and retry spikes at 1, 10 and 60 minutes."""
    rng = Random(seed)
    operators = []
    for i in range(10):
        median = 2.0 * 30.0 ** (i / 9)
        parts = [Part(0.82, median, rng.uniform(0.5, 1.2)), Part(0.06, 3600.0, 1.5)]
        parts += [Part(share, spike, 0.08) for share, spike in ((0.04, 60.0), (0.03, 600.0), (0.02, 3600.0))]
        operators.append(Operator(f"26{i}/0{i}", 1.0 / (1 + i % 4), tuple(parts)))
    return Population("ten operators, medians 2 s to 60 s, with retry spikes", tuple(operators))
