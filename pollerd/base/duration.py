"""Durations as people write them: ``"250ms" "2s" "10m" "72h" "30d"``."""

from __future__ import annotations

import re
from fractions import Fraction

_UNITS = {
    "ms": Fraction(1, 1000),
    "s": Fraction(1),
    "m": Fraction(60),
    "h": Fraction(3600),
    "d": Fraction(86400),
}
_TEXT = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)(ms|s|m|h|d)", re.ASCII)

FORM = 'a duration such as "250ms", "2s", "10m", "72h" or "30d"'


def parse_duration(text: str) -> float:
    """Seconds. Raises ValueError when the text is not a number directly followed by ms, s, m, h or d."""
    match = _TEXT.fullmatch(text)
    if match is None:
        raise ValueError(f"must be {FORM}")
    return float(Fraction(match[1]) * _UNITS[match[2]])


def render_duration(seconds: float) -> str:
    """The shortest text that :func:`parse_duration` reads as the same duration, to the millisecond.

    A day and less is given in hours or smaller, as people say "72h" but "30d".
    """
    milliseconds = round(seconds * 1000)
    for unit, size, least in (("d", 86_400_000, 4), ("h", 3_600_000, 1), ("m", 60_000, 1), ("s", 1000, 0)):
        if milliseconds % size == 0 and milliseconds // size >= least:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms"
