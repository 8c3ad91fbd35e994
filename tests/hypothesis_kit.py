"""How many random examples are tried: CI tries all of them on one Python, and fewer on the others."""

from __future__ import annotations

import os
from typing import Final

from hypothesis import settings

_SHARE: Final = int(os.environ.get("POLLERD_EXAMPLES", "100"))
"""Percent of them."""


def share(count: int, least: int) -> int:
    """The number of examples that is tried instead of `count`, at least `least`."""
    return max(least, count * _SHARE // 100)


def examples(count: int) -> settings:
    """Hypothesis tries so many, however long each takes."""
    return settings(max_examples=share(count, 10), deadline=None)
