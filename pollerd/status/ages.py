"""How old what is pending is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from pollerd.status.document import AgeDocument

UP_TO: Final = (60.0, 300.0, 1800.0, 7200.0, 43200.0, 86400.0, 259200.0)
"""Seconds since sending; what is older is one group more."""


def ages(slots: Iterable[tuple[float, int]], width: float, now: float) -> list[AgeDocument]:
    """Pending messages by age. A slot is from when (UNIX seconds) and how many; messages lie in its middle."""
    counts = [0] * (len(UP_TO) + 1)
    for since, count in slots:
        age = now - since - width / 2
        counts[next((place for place, bound in enumerate(UP_TO) if age <= bound), len(UP_TO))] += count
    return [AgeDocument(up_to=bound, count=count) for bound, count in zip((*UP_TO, None), counts, strict=True)]
