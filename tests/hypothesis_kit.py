"""How many examples hypothesis tries."""

from __future__ import annotations

import os
from typing import Final

from hypothesis import settings

_SHARE: Final = int(os.environ.get("POLLERD_EXAMPLES", "100"))
"""Percent of the examples: CI tries all of them on one Python, and fewer on the others."""
_LEAST: Final = 10


def examples(count: int) -> settings:
    """Try so many examples, however long each takes."""
    return settings(max_examples=max(_LEAST, count * _SHARE // 100), deadline=None)
