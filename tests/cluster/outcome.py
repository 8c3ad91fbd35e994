"""How a case went, in words, and what of it was wrong; and what cases wait for."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from pollerd.core.lease import WATCH
from tests.acceptance.waiting import until
from tests.cluster.stage import PATIENCE, Stage, since

TWO_LEASES: Final = 2 * WATCH + 1.0
"""Seconds for which something stands still: long enough for a takeover, and for the new one to have worked a while."""


class Outcome(NamedTuple):
    """`wrong`: what should not be, in words; empty when all is well."""

    said: str = ""
    wrong: str = ""


Case = Callable[[Stage], Awaitable[Outcome]]


def judged(said: str, **ought: bool) -> Outcome:
    """What was seen, and each thing that ought to be true, by its name."""
    return Outcome(said, ", ".join(f"not {name.replace('_', ' ')}" for name, holds in ought.items() if not holds))


async def taken_over(stage: Stage, before: str) -> float:
    """Wait until another process than `before` (its token) polls; the seconds until its first request."""
    began = time.monotonic()
    await until(lambda: stage.token() not in ("", before), "another takes over", patience=PATIENCE)
    await polled(stage)
    return since(began)


async def polled(stage: Stage) -> float:
    """Wait until the gateway is asked; how long that took."""
    began, asked = time.monotonic(), stage.requests()
    await until(lambda: stage.requests() > asked, "somebody polls", patience=PATIENCE)
    return since(began)
