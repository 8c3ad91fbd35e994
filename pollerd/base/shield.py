"""Work that is not left half-way: a cancellation waits for its end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pollerd.base.errors import DurabilityError

T = TypeVar("T")


async def to_end(work: Awaitable[T], hurry: Callable[[], None] | None = None, patience: float | None = None) -> T:
    """What `work` returns. A cancellation calls `hurry` and is raised when `work` has ended, so that nothing is under
    way unseen; a disk that cannot be trusted (DurabilityError) is raised in its place.

    With `patience` a cancellation waits so many seconds at most, and leaves `work` behind.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if hurry is not None:
            hurry()
        clock = asyncio.get_running_loop().time
        end = None if patience is None else clock() + patience
        while not task.done() and (end is None or clock() < end):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({task}, timeout=None if end is None else end - clock())
        if task.done() and not task.cancelled() and isinstance(error := task.exception(), DurabilityError):
            raise error from None
        raise
