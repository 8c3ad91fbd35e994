"""Work that is not left half-way: a cancellation waits for its end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pollerd.base.errors import DurabilityError

T = TypeVar("T")


async def to_end(work: Awaitable[T], hurry: Callable[[], None] | None = None) -> T:
    """What `work` returns. A cancellation calls `hurry` and is raised when `work` has ended, so that nothing is under
    way unseen; a disk that cannot be trusted (DurabilityError) is raised in its place.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if hurry is not None:
            hurry()
        while not task.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({task})
        if not task.cancelled() and isinstance(error := task.exception(), DurabilityError):
            raise error from None
        raise
