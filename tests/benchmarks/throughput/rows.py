"""What a case yields: figures against their targets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from statistics import median
from typing import Literal


@dataclass(frozen=True, slots=True)
class Scale:
    """How long a run may take: `rounds` alternating ones of `seconds` each; the sizes of the largest database."""

    rounds: int
    seconds: float
    sizes: tuple[int, ...]


FULL = Scale(5, 4.0, (10_000, 1_000_000, 5_000_000))
QUICK = Scale(3, 2.0, (10_000, 200_000))


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; `target` None: for information."""

    what: str
    value: float
    unit: str = ""
    target: float | None = None
    wanted: Literal["least", "most"] = "most"
    worst: float | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        if self.target is None:
            return ""
        met = self.value >= self.target if self.wanted == "least" else self.value <= self.target
        return "met" if met else "MISSED"


Case = Callable[[Scale], Iterator[Row]]


def medians(rounds: Sequence[Sequence[float]]) -> list[float]:
    """The median of each column."""
    return [median(column) for column in zip(*rounds, strict=True)]


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of the values that at least `share` of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, ceil(share * len(ordered)) - 1)]
