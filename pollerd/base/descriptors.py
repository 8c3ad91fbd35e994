"""How the process's file descriptors are shared: first what polling and the database need, then everybody else.

Source: RLIMIT_NOFILE, getrlimit(2). A process that has used up its descriptors can open neither a connection to the
gateway nor a file.
"""

from __future__ import annotations

import logging
import resource
from collections.abc import Mapping
from typing import Final

log = logging.getLogger(__name__)

OWN: Final = 96
"""Descriptors for the daemon itself. A start holds 24; reads of the database take 9 more, name look-ups two for each of
their threads, and files that are rotated, repaired or read again come and go."""
PER_CONNECTION: Final = 2
"""Descriptors for a connection to the gateway: a second address may be tried beside one that does not answer."""
LEAST_CONNECTIONS: Final = 4
"""Connections that every place may have, whatever the limit is: the operator's own commands."""
CONTROL: Final = "control socket"
PAGE: Final = "status page"
METRICS: Final = "metrics"
EVENTS: Final = "event socket"
"""The places where others connect, as the log calls them."""
PLACES: Final = {CONTROL: 512, PAGE: 128, METRICS: 32, EVENTS: 1024}
"""Connections that others may open at each place. Every program that follows events or waits for a message holds one at
the control socket; a browser holds up to six at the page; readers of the event socket stay for good, and each may cost
half a MiB."""
_UNKNOWN: Final = 1024
"""What Linux allows by default."""


def spare(most: int) -> int:
    """Descriptors beside those of `most` connections, for connections that are just being turned away."""
    return max(1, most // 8)


def share(limit: int, reserve: int, wanted: Mapping[str, int]) -> dict[str, int]:
    """How many connections each place may have of those it wants, with `limit` descriptors of which `reserve` are kept.

    All get what they want, or each the same part of it.
    """
    total = total_of(wanted)
    left = max(0, limit - reserve)
    if left >= total:
        return dict(wanted)
    return {name: max(LEAST_CONNECTIONS, most * left // total) for name, most in wanted.items()}


def total_of(wanted: Mapping[str, int]) -> int:
    """Descriptors that so many connections take at each place."""
    return sum(most + spare(most) for most in wanted.values())


def provide(needed: int) -> int:
    """Raise this process's limit to `needed` descriptors where that is allowed and necessary; the limit then."""
    try:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    except (OSError, ValueError):
        return _UNKNOWN
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return max(soft, needed)
    wanted = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    try:
        # No more than needed: programs that this process starts inherit it, and some cannot cope with many.
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError) as error:
        log.debug("the limit of open files stays at %d: %s", soft, error)
        return soft
    return wanted
