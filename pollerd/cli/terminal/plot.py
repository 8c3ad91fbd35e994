"""A curve in a terminal: levels in eighths of a line, over a logarithmic axis of time. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import exp, log
from typing import Final

from pollerd.base.text import brief

_EIGHTHS: Final = " ▁▂▃▄▅▆▇█"
_TICKS: Final = (1.0, 10.0, 60.0, 600.0, 3600.0, 21600.0, 86400.0, 259200.0)
"""Seconds of age that an axis names: one second to three days."""


class Axis:
    """`width` columns for the ages from `low` to `high` seconds."""

    def __init__(self, low: float, high: float, width: int) -> None:
        self._low, self._span, self.width = log(low), log(high / low), width

    def age(self, column: float) -> float:
        """The age that a column stands for."""
        return exp(self._low + self._span * column / max(1, self.width - 1))

    def column(self, age: float) -> int | None:
        """The column of an age; None when it lies outside."""
        if age <= 0:
            return None
        place = round((log(age) - self._low) / self._span * (self.width - 1))
        return place if 0 <= place < self.width else None

    def labels(self) -> str:
        """The ages along the axis, as many as fit."""
        line = [" "] * (self.width + 8)
        free = 0
        for age in _TICKS:
            place = self.column(age)
            if place is not None and place >= free:
                name = brief(age)
                line[place : place + len(name)] = name
                free = place + len(name) + 2
        return "".join(line).rstrip()


def area(axis: Axis, level: Callable[[float], float], height: int) -> list[str]:
    """The curve as filled columns: `level` gives 0 to 1 for an age. The highest line comes first."""
    columns = [round(min(max(level(axis.age(place)), 0.0), 1.0) * height * 8) for place in range(axis.width)]
    return [
        "".join(_EIGHTHS[min(max(filled - row * 8, 0), 8)] for filled in columns) for row in range(height - 1, -1, -1)
    ]


def marks(axis: Axis, ages: Sequence[float], mark: str = "▲") -> str:
    """A mark for each age."""
    line = [" "] * axis.width
    for age in ages:
        place = axis.column(age)
        if place is not None:
            line[place] = mark
    return "".join(line).rstrip()
