"""What one scrape of the metrics shows beside the meter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from pollerd.status.document import StatusDocument


class ConnectionUse(msgspec.Struct, frozen=True):
    """An endpoint where others connect: connections open and allowed, and how many were turned away since the start."""

    place: str
    open: int
    most: int
    turned_away: int


class Scrape(msgspec.Struct, frozen=True):
    """What one scrape shows. `warnings` counts by log level."""

    status: StatusDocument
    warnings: Mapping[str, int]
    places: Sequence[ConnectionUse] = ()
