"""One look at the daemon."""

from __future__ import annotations

from typing import NamedTuple

from pollerd.status.document import StatusDocument


class Look(NamedTuple):
    """What was seen at `now` (UNIX seconds); `rate` is polls a second, None while nobody knows."""

    now: float
    document: StatusDocument
    running: bool
    rate: float | None
