"""Reads of a running daemon that may take a while: on threads of their own, so that neither the event loop nor the
outputs, which share the store's reading connection, wait for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from pollerd.core.ports import Engine, View

T = TypeVar("T")
_THREADS: Final = 3
"""A page, a search and a status at the same time; more would only share two cores."""


class ThreadedViews:
    """Fulfils `ports.Views`. Opens the store anew for each read, which costs a fraction of a millisecond and holds
    nothing open.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="reading")

    async def read(self, work: Callable[[View], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._run, work)

    def close(self) -> None:
        """Take no further reads; those under way end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _run(self, work: Callable[[View], T]) -> T:
        with self._engine.view() as view:
            return work(view)
